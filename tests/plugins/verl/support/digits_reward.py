# pyright: basic
"""A reward that a random model earns about half of the time: two digits or more in the answer."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """Return verl's score of one answer."""
    return float(sum(character.isdigit() for character in solution_str) >= 2)
