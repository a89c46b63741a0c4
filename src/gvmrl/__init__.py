"""Spend a fixed rollout budget where it teaches a reasoning model most. numpy only.

>>> from gvmrl import PromptStats, allocate
>>> stats = PromptStats(ids=("a", "b"), trials_P=[8, 8], successes_P=[6, 1])
>>> plan = allocate(stats, budget=16, rule="gvm", lo=2)
>>> dict(zip(plan.ids, plan.count_P.tolist()))
{'a': 5, 'b': 11}
"""

from gvmrl.allocate import Plan, allocate
from gvmrl.stats import PromptStats

__all__ = ["Plan", "PromptStats", "allocate"]
