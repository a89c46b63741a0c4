"""Norms that were not measured."""

import numpy as np

from gvmrl.allocate.rules.norms import Norms, gradient_norms
from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def norms_of(**columns: FloatArray) -> Norms:
    stats = PromptStats(
        ids=("a", "b", "c"),
        trials_P=np.full(3, 4.0),
        successes_P=np.array([0.0, 2.0, 4.0]),
        **columns,
    )
    return gradient_norms(stats)


def test_without_norms_all_are_1_and_it_says_so() -> None:
    norms = norms_of()
    assert norms.accepted_P.tolist() == norms.rejected_P.tolist() == [1, 1, 1]
    assert norms.notes == ("no gradient norms: all prompts count as equally noisy",)


def test_one_kind_of_norm_stands_in_for_the_other() -> None:
    accepted = norms_of(grad_norm_P=np.array([0.0, 2.0, 4.0]))
    # the prompt without a success gets the mean of the others
    assert accepted.accepted_P.tolist() == accepted.rejected_P.tolist() == [3, 2, 4]
    assert accepted.notes == ()
    rejected = norms_of(rejected_norm_P=np.array([2.0, 4.0, 0.0]))
    assert rejected.accepted_P.tolist() == rejected.rejected_P.tolist() == [2, 4, 3]
    assert rejected.notes == ("no norms of accepted rollouts: those of rejected ones stand in",)


def test_both_kinds_are_kept_apart() -> None:
    norms = norms_of(
        grad_norm_P=np.array([0.0, 2.0, 4.0]), rejected_norm_P=np.array([1.0, 5.0, 0.0])
    )
    assert norms.accepted_P.tolist() == [3, 2, 4]
    assert norms.rejected_P.tolist() == [1, 5, 3]


def test_the_weight_in_the_objective_multiplies_both() -> None:
    norms = norms_of(objective_weight_P=np.array([1.0, 2.0, 0.0]))
    assert norms.accepted_P.tolist() == norms.rejected_P.tolist() == [1, 2, 0]


def test_huge_norms_have_a_mean() -> None:
    norms = norms_of(grad_norm_P=np.array([0.0, 1.5e308, 1.5e308]))
    assert norms.accepted_P.tolist() == [1.5e308, 1.5e308, 1.5e308]
