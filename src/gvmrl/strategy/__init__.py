"""Who is visited in a step, and in how many waves. numpy only.

Read `waves` (what a strategy sees and says), `paced` (the default) and `catalog` (all by name).
"""
