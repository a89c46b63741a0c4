"""Evaluation: benchmarks, the figures that judge a model on them, and their uncertainty."""
