"""The update that counts lead to: its expectation, its variance, and the loss weights."""
