"""Statistics: what is accepted, what is refused, and the state of being unseen."""

import numpy as np
import pytest

from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def make(**columns: FloatArray) -> PromptStats:
    defaults = {"trials_P": np.array([8.0, 4.0]), "successes_P": np.array([2.0, 4.0])}
    return PromptStats(ids=("a", "b"), **(defaults | columns))


def test_columns_become_read_only_copies() -> None:
    trials_P = np.array([8.0, 4.0])
    stats = make(trials_P=trials_P)
    trials_P[0] = 1
    assert stats.trials_P.tolist() == [8, 4]
    with pytest.raises(ValueError, match="read-only"):
        stats.trials_P[0] = 1


def test_sequences_of_numbers_are_converted() -> None:
    stats = PromptStats(ids=["a"], trials_P=[3], successes_P=(1,))  # pyright: ignore[reportArgumentType]
    assert stats.ids == ("a",)
    assert stats.trials_P.dtype == np.float64


def test_an_unseen_prompt_has_no_acceptance_rate() -> None:
    stats = make(trials_P=np.array([8.0, 0.0]), successes_P=np.array([2.0, 0.0]))
    assert stats.seen_P.tolist() == [True, False]
    with pytest.raises(ValueError, match=r"prompt 'b' \(row 1\) has no trials"):
        _ = stats.accept_rate_P
    assert stats.take([0]).accept_rate_P.tolist() == [0.25]


def test_a_round_counts_as_seen_and_enters_the_rate() -> None:
    stats = PromptStats(
        ids=("a", "b"),
        trials_P=np.array([0.0, 6.0]),
        successes_P=np.array([0.0, 3.0]),
        round_trials_P=np.array([4.0, 2.0]),
        round_successes_P=np.array([1.0, 0.0]),
    )
    assert stats.seen_P.all()
    # 1 of 4, and 3 + 0 of 6 + 2
    assert stats.accept_rate_P.tolist() == [0.25, 0.375]
    assert stats.mixed_P.tolist() == [True, True]


def test_a_prompt_is_mixed_only_between_none_and_all() -> None:
    stats = PromptStats(
        ids=tuple("abcd"),
        trials_P=np.array([0.0, 4, 4, 4]),
        successes_P=np.array([0.0, 0, 1, 4]),
    )
    assert stats.mixed_P.tolist() == [False, False, True, False]


def test_take_keeps_every_column_in_step() -> None:
    stats = make(grad_norm_P=np.array([1.0, 2.0]), cost_P=np.array([10.0, 20.0]))
    taken = stats.take([1, 0])
    assert taken.ids == ("b", "a")
    assert taken.grad_norm_P is not None
    assert taken.cost_P is not None
    assert taken.grad_norm_P.tolist() == [2, 1]
    assert taken.cost_P.tolist() == [20, 10]
    assert taken.round_trials_P is None
    assert len(taken) == 2


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_bad_number_names_column_prompt_and_row(bad: float) -> None:
    with pytest.raises(
        ValueError, match=r"grad_norm_P must be finite and >= 0.*'b' \(row 1; 1 bad"
    ):
        make(grad_norm_P=np.array([1.0, bad]))


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match=r"successes_P must be at most trials_P, got 9 of 8 .*'a'"):
        make(successes_P=np.array([9.0, 0.0]))
    with pytest.raises(ValueError, match="round_successes_P must be at most round_trials_P"):
        make(round_trials_P=np.array([1.0, 1.0]), round_successes_P=np.array([1.0, 2.0]))


def test_a_duplicate_id_names_both_rows() -> None:
    with pytest.raises(ValueError, match="'a' occurs twice, in rows 0 and 2"):
        PromptStats(ids=("a", "b", "a"), trials_P=np.ones(3), successes_P=np.ones(3))


def test_no_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="ids is empty"):
        PromptStats(ids=(), trials_P=np.ones(0), successes_P=np.ones(0))


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"cost_P must hold one number for each of 2 ids, got \(3,\)"
    ):
        make(cost_P=np.ones(3))


def test_a_free_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cost_P must be > 0, got 0 for prompt 'b'"):
        make(cost_P=np.array([1.0, 0.0]))


def test_half_a_round_is_refused() -> None:
    with pytest.raises(ValueError, match="go together"):
        make(round_trials_P=np.ones(2))
