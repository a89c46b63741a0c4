"""The fair bench: arms side by side at equal settings, over sets, losses and seeds."""
