"""One list of properties, for every rule: named, with settings, masked, and a user's own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gvmrl.allocate import (
    RULES,
    Demand,
    Limits,
    Rule,
    Update,
    allocate,
    gvm,
    in_proportion,
    masked,
    maximise_gain,
    mixed,
)
from gvmrl.allocate.demand import Proportional
from gvmrl.allocate.rules.catalog import ROUND_RULES
from gvmrl.allocate.rules.gains import vip
from gvmrl.allocate.rules.masks import mopps
from gvmrl.allocate.rules.matched import least_variance, neyman
from gvmrl.allocate.rules.rates import beta_rate, discounted_rate, fitted_rate
from gvmrl.allocate.rules.weights import dars
from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def users_own(stats: PromptStats) -> Demand:
    """A rule as a user would write it."""
    rate_P = beta_rate(stats)
    return in_proportion(rate_P * (1 - rate_P))


EVERY: dict[str, Rule] = {
    **RULES,
    "neyman raft": partial(neyman, estimator="raft", rate=fitted_rate),
    "least_variance grpo": partial(least_variance, estimator="grpo"),
    "vip dr_grpo": partial(vip, estimator="dr_grpo", rate=beta_rate),
    "dars hardness": partial(dars, schedule="hardness", rate=partial(discounted_rate, keep=0.5)),
    "gvm on mopps": masked(gvm, partial(mopps, keep=5)),
    "neyman on mixed": masked(partial(neyman, rate=beta_rate), mixed),
    "users_own": users_own,
}

every_rule = pytest.mark.parametrize("name", EVERY)
fewer = settings(max_examples=10)

NORMS = st.one_of(st.just(0.0), st.just(1.0), st.floats(0.1, 10), st.floats(1e-300, 1e300))


@st.composite
def prompts(
    draw: st.DrawFn, norms: st.SearchStrategy[float] = NORMS, least_trials: int = 0
) -> PromptStats:
    """Statistics with unseen, decided and mixed prompts, many of them equal."""
    number = draw(st.integers(1, 12))
    trials = st.sampled_from([least_trials, 1, 4, 8, 100])
    columns = [trials, st.floats(0, 1), norms, norms, norms]
    rows = draw(st.lists(st.tuples(*columns), min_size=number, max_size=number))
    trials_P, part_P, *norm_3P = (np.array(column, float) for column in zip(*rows, strict=True))
    measured = {"grad_norm_P": norm_3P[0], "rejected_norm_P": norm_3P[1]}
    optional = {name: norm_P for name, norm_P in measured.items() if draw(st.booleans())}
    if draw(st.booleans()):
        drawn_P = np.array(draw(st.lists(st.integers(0, 9), min_size=number, max_size=number)))
        optional["round_trials_P"] = drawn_P.astype(float)
        optional["round_successes_P"] = np.floor(part_P * drawn_P)
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(number)),
        trials_P=trials_P,
        successes_P=np.floor(part_P * trials_P),
        cost_P=np.maximum(norm_3P[2] % 100, 0.5),
        **optional,
    )


@every_rule
@fewer
@given(prompts(), st.data())
def test_the_counts_spend_the_budget_within_the_bounds(
    name: str, stats: PromptStats, data: st.DataObject
) -> None:
    lo_P = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(stats))))[: len(stats)]
    hi_P = lo_P + data.draw(st.integers(0, 9))
    budget = data.draw(st.integers(int(lo_P.sum()), int(hi_P.sum())))
    plan = allocate(stats, budget, rule=EVERY[name], lo=lo_P, hi=hi_P)
    assert plan.count_P.sum() == plan.spent == budget
    assert ((plan.count_P >= lo_P) & (plan.count_P <= hi_P)).all()
    assert sum(plan.left_out.values()) == (plan.count_P == 0).sum()


@pytest.mark.filterwarnings("ignore::gvmrl.allocate.RuleMismatchWarning")
@every_rule
@fewer
@given(prompts(), st.integers(0, 200), st.sampled_from(["raft", "rloo", "grpo"]))
def test_everything_in_a_plan_is_finite(
    name: str, stats: PromptStats, budget: int, estimator: str
) -> None:
    update = Update(estimator=estimator)  # pyright: ignore[reportArgumentType]
    plan = allocate(stats, budget, rule=EVERY[name], update=update if budget else None)
    assert np.isfinite(plan.loss_weight_P).all()
    assert (plan.loss_weight_P >= 0).all()
    assert (plan.loss_weight_P[plan.count_P == 0] == 0).all()
    assert np.isfinite(plan.share_P).all()
    for ratio in (plan.variance_ratio, plan.snr_ratio):
        assert ratio is None or (np.isfinite(ratio) and ratio >= 0)


@every_rule
@fewer
@given(prompts(), st.integers(0, 200), st.integers(0, 5), st.data())
def test_the_order_of_the_prompts_does_not_matter(
    name: str, stats: PromptStats, budget: int, seed: int, data: st.DataObject
) -> None:
    order_P = np.array(data.draw(st.permutations(range(len(stats)))))
    plan = allocate(stats, budget, rule=EVERY[name], seed=seed)
    moved = allocate(stats.take(order_P), budget, rule=EVERY[name], seed=seed)
    assert moved.count_P.tolist() == plan.count_P[order_P].tolist()
    assert moved.loss_weight_P.tolist() == plan.loss_weight_P[order_P].tolist()
    assert moved.left_out == plan.left_out


@every_rule
@fewer
@given(prompts(), st.integers(1, 200), st.integers(2, 4))
def test_groups_are_0_or_large_enough(
    name: str, stats: PromptStats, budget: int, group_min: int
) -> None:
    limits = Limits(group_min=group_min)
    if budget < group_min:
        with pytest.raises(ValueError, match="cannot be split into groups"):
            allocate(stats, budget, rule=EVERY[name], limits=limits)
        return
    plan = allocate(stats, budget, rule=EVERY[name], limits=limits)
    assert plan.count_P.sum() == budget
    assert ((plan.count_P == 0) | (plan.count_P >= group_min)).all()


@every_rule
@fewer
@given(prompts(), st.integers(0, 2000), st.sampled_from([1, 4]), st.sampled_from([1, 2]))
def test_a_token_budget_is_kept_and_used_up(
    name: str, stats: PromptStats, budget: int, multiple_of: int, group_min: int
) -> None:
    limits = Limits(unit="tokens", multiple_of=multiple_of, group_min=group_min)
    plan = allocate(stats, budget, rule=EVERY[name], limits=limits)
    assert stats.cost_P is not None
    assert plan.count_P @ stats.cost_P <= budget * (1 + 1e-12)
    assert plan.count_P.sum() % multiple_of == 0
    if multiple_of == group_min == 1:
        # what is left pays for no further rollout of a prompt that the rule knows
        known_P = stats.seen_P | (name in ROUND_RULES) | ~stats.seen_P.any()
        assert (stats.cost_P[known_P] * (1 + 1e-12) > budget - plan.spent).all()


@every_rule
@fewer
@given(prompts(), st.integers(0, 200), st.integers(2, 9))
def test_the_total_is_divisible_and_the_plan_says_what_it_spends(
    name: str, stats: PromptStats, budget: int, multiple_of: int
) -> None:
    plan = allocate(stats, budget, rule=EVERY[name], limits=Limits(multiple_of=multiple_of))
    assert plan.count_P.sum() == plan.spent == budget - budget % multiple_of
    assert plan.budget == budget


@every_rule
@fewer
@given(prompts(), st.integers(0, 100))
def test_the_same_input_gives_the_same_plan(name: str, stats: PromptStats, budget: int) -> None:
    first, second = (allocate(stats, budget, rule=EVERY[name], seed=3) for _ in range(2))
    assert first.count_P.tolist() == second.count_P.tolist()
    assert first.notes == second.notes


@every_rule
@fewer
@given(prompts(norms=st.floats(0.1, 10)), st.integers(0, 200), st.integers(-100, 100))
def test_the_scale_of_the_norms_does_not_matter(
    name: str, stats: PromptStats, budget: int, power: int
) -> None:
    factor = 2.0**power
    norms = {
        field: norm_P * factor
        for field in ("grad_norm_P", "rejected_norm_P")
        if (norm_P := getattr(stats, field)) is not None
    }
    scaled = replace(stats, **norms)
    plan, other = (allocate(each, budget, rule=EVERY[name]) for each in (stats, scaled))
    # powers of two are exact, except where a sum over binomial outcomes meets a plateau
    assert other.count_P.tolist() == plan.count_P.tolist()


def boosted(demand: Demand, factor_P: FloatArray) -> Demand:
    """Return a demand with the gains, or the weights, multiplied."""
    if isinstance(demand, Proportional):
        return replace(demand, weight_P=demand.weight_P * factor_P)
    return maximise_gain(lambda count_P: demand.gain(count_P) * factor_P)


@every_rule
@fewer
@given(prompts(st.floats(0.1, 10), least_trials=1), st.integers(0, 200), st.integers(0, 11))
def test_a_prompt_that_gains_more_never_gets_less(
    name: str, stats: PromptStats, budget: int, row: int
) -> None:
    row %= len(stats)

    def rule(factor: float) -> Callable[[PromptStats], Demand]:
        def stronger(stats: PromptStats) -> Demand:
            factor_P = np.where(np.arange(len(stats)) == row, factor, 1.0)
            return boosted(EVERY[name](stats), factor_P)

        return stronger

    counts = [allocate(stats, budget, rule=rule(factor)).count_P[row] for factor in (1, 1.5, 40)]
    assert counts == sorted(counts)


@every_rule
@fewer
@given(prompts(least_trials=1), st.integers(0, 100))
def test_prompts_without_gain_keep_their_lower_bound(
    name: str, stats: PromptStats, budget: int
) -> None:
    demand = EVERY[name](stats)
    room_P = demand.count_at(0.0, np.ones(len(stats)), np.full(len(stats), 1e6))
    if room_P.sum() < len(stats) + budget:
        return
    plan = allocate(stats, len(stats) + budget, rule=EVERY[name], lo=1)
    worthless_P = demand.gain(np.ones(len(stats))) == 0
    assert (plan.count_P[worthless_P] == 1).all()


@every_rule
@pytest.mark.parametrize(
    ("trials", "successes"),
    [([8], [0]), ([8], [8]), ([8], [3]), ([0], [0]), ([8, 8, 8], [0, 0, 0]), ([8, 8], [8, 8])],
)
def test_uniform_statistics_give_even_counts(
    name: str, trials: list[int], successes: list[int]
) -> None:
    stats = PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(trials))),
        trials_P=np.array(trials, float),
        successes_P=np.array(successes, float),
    )
    if "mopps" not in name:  # it draws some of equal prompts
        assert np.ptp(allocate(stats, 7, rule=EVERY[name]).count_P) <= 1
    assert allocate(stats, 7, rule=EVERY[name]).count_P.sum() == 7
    assert allocate(stats, 0, rule=EVERY[name]).count_P.sum() == 0


@every_rule
def test_infeasible_budgets_are_refused_with_the_missing_number(name: str) -> None:
    stats = PromptStats(ids=("a", "b"), trials_P=np.full(2, 8.0), successes_P=np.array([3.0, 0]))
    with pytest.raises(ValueError, match="budget 5 is 3 rollouts short of the 8"):
        allocate(stats, 5, rule=EVERY[name], lo=4)
    with pytest.raises(ValueError, match="budget 9 is 1 rollouts more than the 8"):
        allocate(stats, 9, rule=EVERY[name], hi=4)


@every_rule
@fewer
@given(prompts(), st.integers(0, 200))
def test_unseen_prompts_get_the_even_share(name: str, stats: PromptStats, budget: int) -> None:
    unseen_P = ~stats.seen_P
    if name in ROUND_RULES or not unseen_P.any():
        return
    count_K = allocate(stats, budget, rule=EVERY[name]).count_P[unseen_P]
    assert abs(count_K.sum() - budget * unseen_P.mean()) <= 0.5
    assert np.ptp(count_K) <= 1


@pytest.fixture(scope="module")
def a_million() -> PromptStats:
    """A U-shaped set of a million prompts."""
    generator = np.random.default_rng(0)
    trials_P = generator.choice([0, 4, 8, 16], 10**6, p=[0.1, 0.3, 0.5, 0.1])
    norm_P = generator.gamma(4, 0.25, 10**6)
    return PromptStats(
        ids=tuple(map(str, range(10**6))),
        trials_P=trials_P.astype(np.float64),
        successes_P=generator.binomial(trials_P, generator.beta(0.3, 0.4, 10**6)).astype(float),
        grad_norm_P=norm_P,
        round_trials_P=np.full(10**6, 4.0),
        round_successes_P=generator.binomial(4, 0.3, 10**6).astype(float),
    )


# least_variance for grpo sums over binomial outcomes at every step, which takes a minute here
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if name != "least_variance grpo"])
def test_a_million_prompts(name: str, a_million: PromptStats) -> None:
    plan = allocate(a_million, 8 * 10**6, rule=EVERY[name], lo=1, hi=64)
    assert plan.count_P.sum() == 8 * 10**6
    assert np.isfinite(plan.loss_weight_P).all()
