"""Rewards: what a completion earns, judged in worker processes that may hang or die."""
