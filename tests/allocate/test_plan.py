"""Plans: unseen prompts, notes, reasons, weights, shares and words."""

import dataclasses
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest

from gvmrl import Plan, PromptStats, allocate
from gvmrl.allocate import Limits, RuleMismatchWarning, Update, gvm, in_proportion
from gvmrl.allocate.plan import _warned  # pyright: ignore[reportPrivateUsage]
from gvmrl.data import FloatArray


def stats_of(
    successes: list[float], trials: list[float] | None = None, **columns: FloatArray
) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(successes))),
        trials_P=np.full(len(successes), 8.0) if trials is None else np.array(trials),
        successes_P=np.array(successes),
        **columns,
    )


def test_the_paper_s_counts_by_hand() -> None:
    # G / sqrt(p) at alpha 0: 1 / 1, 1 / sqrt(1/4), 3 / 1 of 6: 12 rollouts are 2, 4, 6
    stats = stats_of([8, 2, 8], grad_norm_P=np.array([1.0, 1.0, 3.0]))
    plan = allocate(stats, 12, rule=partial(gvm, alpha=0.0))
    assert plan.count_P.tolist() == [2, 4, 6]
    assert plan.share_P.tolist() == pytest.approx([2, 4, 6])
    assert plan.rule == "gvm(alpha=0.0)"
    assert plan.notes == ()


def test_a_user_s_function_is_a_rule() -> None:
    plan = allocate(stats_of([1, 3]), 8, rule=lambda stats: in_proportion(stats.successes_P))
    assert plan.count_P.tolist() == [2, 6]


def test_unseen_prompts_get_the_even_share_and_the_rule_the_rest() -> None:
    stats = stats_of([0, 0, 8, 2], trials=[0, 8, 8, 8])
    plan = allocate(stats, 12, rule=partial(gvm, alpha=0.0))
    # a quarter for the unseen one; the other 9 as 1 to 2
    assert plan.count_P.tolist() == [3, 0, 3, 6]
    assert plan.left_out == {"nothing accepted yet": 1}


def test_unseen_prompts_keep_to_their_bounds() -> None:
    stats = stats_of([0, 4], trials=[0, 8])
    assert allocate(stats, 12, hi=[2, 12]).count_P.tolist() == [2, 10]
    assert allocate(stats, 12, lo=[8, 0]).count_P.tolist() == [8, 4]
    assert allocate(stats, 12, hi=[12, 2]).count_P.tolist() == [10, 2]


def test_unseen_and_seen_prompts_share_so_that_both_can_make_groups() -> None:
    # even shares of 10 would be 2.5 for the seen prompt: too few for a group of 4
    stats = stats_of([0, 0, 0, 4], trials=[0, 0, 0, 8])
    plan = allocate(stats, 10, limits=Limits(group_min=4))
    assert plan.count_P.sum() == 10
    assert all(count == 0 or count >= 4 for count in plan.count_P)
    # groups of exactly 4
    fixed = allocate(stats, 12, hi=4, limits=Limits(group_min=4))
    assert sorted(fixed.count_P.tolist()) == [0, 4, 4, 4]


def test_the_even_fallback_and_the_leftovers_are_noted() -> None:
    dead = allocate(stats_of([0, 0]), 6)
    assert dead.count_P.tolist() == [3, 3]
    assert "no prompt has a positive weight: the budget is spread evenly" in dead.notes
    full = allocate(stats_of([0, 4]), 6, hi=4)
    assert full.count_P.tolist() == [2, 4]
    assert any("the others get the rest, 2 rollouts" in note for note in full.notes)


def test_reasons_for_leaving_prompts_out_add_up() -> None:
    stats = stats_of([0, 8, 4, 0, 0, 4], trials=[8, 8, 8, 8, 0, 8])
    plan = allocate(stats, 3, rule="neyman", hi=[9, 9, 9, 0, 9, 9], lo=0)
    assert plan.left_out == {
        "hi is below the smallest group": 1,
        "nothing accepted yet": 1,
        "everything accepted so far": 1,
    }
    poor = allocate(stats_of([4, 4, 4]), 1, rule="neyman")
    assert poor.left_out == {"others gain more": 2}
    new = allocate(stats_of([0, 0], trials=[0, 0]), 1)
    assert new.left_out == {"unseen, and the budget is too small": 1}


def test_without_an_update_every_prompt_weighs_the_same() -> None:
    stats = stats_of([0, 4, 2], objective_weight_P=np.array([1.0, 1.0, 3.0]))
    plan = allocate(stats, 12, rule="gvm", lo=1)
    total_P = plan.loss_weight_P * plan.count_P
    assert total_P.tolist() == pytest.approx([4, 4, 12])
    even = allocate(stats_of([1, 2, 3]), 12, rule="uniform")
    assert even.loss_weight_P.tolist() == [1, 1, 1]
    assert even.variance_ratio is None
    assert even.estimator is None
    assert even.lost_signal is None


def test_no_rollouts_make_a_plan_too() -> None:
    plan = allocate(stats_of([4, 4]), 0)
    assert plan.count_P.tolist() == plan.loss_weight_P.tolist() == [0, 0]
    assert "0 rollouts for 2 prompts" in plan.explain()


def test_tokens_buy_more_of_what_is_cheap() -> None:
    stats = stats_of([4, 4], cost_P=np.array([100.0, 400.0]))
    plan = allocate(stats, 12_000, rule="gvm", limits=Limits(unit="tokens"))
    # equal weights give 2 for 1: 40 rollouts of 100 tokens and 20 of 400
    assert plan.count_P.tolist() == [40, 20]
    assert plan.share_P.tolist() == pytest.approx([40, 20])
    assert plan.spent == 12_000
    even = allocate(stats, 12_000, rule="uniform", limits=Limits(unit="tokens"))
    assert even.count_P.tolist() == [24, 24]


def test_a_divisor_takes_away_the_rollouts_that_gain_least() -> None:
    stats = stats_of([4, 4, 4], cost_P=np.array([100.0, 100.0, 100.0]))
    limits = Limits(unit="tokens", multiple_of=4)
    plan = allocate(stats, 1_100, limits=limits)
    assert plan.count_P.sum() == 8
    assert plan.spent == 800
    with pytest.raises(ValueError, match="short of the 9 that lo asks for"):
        allocate(stats, 1_100, lo=3, limits=limits)


def test_seeds_settle_who_gets_the_leftover() -> None:
    stats = stats_of([4] * 20)
    plans = [allocate(stats, 21, seed=seed).count_P.argmax() for seed in range(20)]
    assert len(set(plans)) > 5


def test_a_rule_made_for_another_estimator_warns_once_and_notes_always() -> None:
    _warned.cache_clear()
    stats, update = stats_of([1, 4, 7, 8]), Update(estimator="rloo")
    with pytest.warns(RuleMismatchWarning, match=r"gvm minimises the variance of raft; for rloo"):
        first = allocate(stats, 32, rule="gvm", update=update)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = allocate(stats, 32, rule="gvm", update=update)
        allocate(stats, 32, rule="gvm", update=Update(estimator="raft"))
    assert first.notes == second.notes
    (note,) = [note for note in first.notes if "minimises" in note]
    best = allocate(stats, 32, rule="least_variance", update=update)
    assert first.variance_ratio is not None
    assert best.variance_ratio is not None
    ratio = first.variance_ratio / best.variance_ratio
    assert f"{ratio:.2f} times the variance of those of least_variance" in note


def test_the_estimator_in_use_reaches_the_rules_that_have_one() -> None:
    plan = allocate(stats_of([2, 4]), 16, rule="neyman", update=Update(estimator="raft"))
    assert plan.rule == "neyman(estimator='raft')"
    # weights 2 and the root of 2
    assert plan.share_P.tolist() == pytest.approx([16 / (1 + 0.5**0.5), 16 / (1 + 2**0.5)])


def test_explain_says_what_matters() -> None:
    stats = stats_of([0, 8, 4, 2])
    update = Update(estimator="rloo")
    text = allocate(stats, 33, rule="neyman", update=update, limits=Limits(multiple_of=8)).explain()
    for part in (
        "32 rollouts for 4 prompts by neyman(estimator='rloo')",
        "32 of 33 rollouts spent",
        "2 prompts get 15 to 17, half of them 16 or more",
        "left out, nothing accepted yet: 1",
        "left out, everything accepted so far: 1",
        "rloo update: 0.",
        "of the signal is in prompts that add nothing",
        "note: no gradient norms: all prompts count as equally noisy",
    ):
        assert part in text


def test_a_plan_is_rebuilt_from_json_like_columns() -> None:
    plan = allocate(stats_of([4, 2]), 6)
    values = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    lists = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}
    again = Plan(**lists)
    assert again.count_P.dtype == np.int64
    assert again.count_P.tolist() == plan.count_P.tolist()
    assert again.ids == plan.ids
    with pytest.raises(ValueError, match="read-only"):
        again.count_P[0] = 1


def test_the_library_loads_neither_torch_nor_a_command_line() -> None:
    code = "import sys, gvmrl; print(*sorted(set(sys.modules) & set(sys.argv[1].split())))"
    heavy = "torch transformers tyro rich pandas pyarrow scipy matplotlib"
    result = subprocess.run(
        [sys.executable, "-c", code, heavy], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_unknown_rules_and_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no rule 'gmv'; did you mean 'gvm'"):
        allocate(stats_of([4]), 4, rule="gmv")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="alpha must be >= 0, got -1"):
        allocate(stats_of([4]), 4, rule=partial(gvm, alpha=-1))
    with pytest.raises(ValueError, match="estimator must be one of"):
        Update(estimator="ppo")  # pyright: ignore[reportArgumentType]
