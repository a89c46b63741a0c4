"""Statistics of prompts from rollouts."""
