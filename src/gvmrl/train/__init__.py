"""Training: the loop, the losses and their weights, updates, checkpoints and metrics."""
