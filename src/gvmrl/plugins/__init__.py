"""Adapters to other engines; each loads its engine where it is used and not before."""
