# pyright: basic
"""A reward that a random model earns in about two of five answers: a digit in the answer."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """Return verl's score of one answer."""
    return float(any(character in "0123456789" for character in solution_str))
