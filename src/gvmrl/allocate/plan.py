"""From statistics and a budget to a plan: how many rollouts each prompt gets, what each weighs.

Axes: P prompts, K some of them.
"""

import functools
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gvmrl.allocate.bounds import Limits, bounds_of
from gvmrl.allocate.demand import Rule
from gvmrl.allocate.divide import divide
from gvmrl.allocate.rules.catalog import RuleName, describe, fitted, rule_named, target_of
from gvmrl.allocate.rules.matched import least_variance
from gvmrl.allocate.update.estimators import Estimator
from gvmrl.allocate.update.forecast import Forecast, Update, forecast, weight_of
from gvmrl.data import FloatArray, IntArray
from gvmrl.stats import PromptStats


class RuleMismatchWarning(UserWarning):
    """The rule minimises the variance of another estimator than the one in use."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """How a budget is spent on P prompts, in the order of the statistics."""

    ids: tuple[str, ...]
    """The prompts' ids."""
    count_P: IntArray
    """[P] rollouts of each prompt."""
    loss_weight_P: FloatArray
    """[P] weight of each rollout in the loss, on top of the estimator's own coefficient: 1 for
    uniform counts. 0 where there is no rollout, or none of use."""
    share_P: FloatArray
    """[P] what the rule asked for, before bounds and rounding, at the cost of the budget; the
    counts themselves for a rule that knows no shares."""
    rule: str
    """The rule and the settings it was given."""
    notes: tuple[str, ...]
    """What happened on the way that the user should know."""
    budget: int
    """What could be spent."""
    unit: Literal["rollouts", "tokens"]
    """What the budget counts."""
    spent: float
    """What the counts cost, in that unit."""
    left_out: dict[str, int]
    """Why prompts got no rollout, and how many for each reason."""
    estimator: Estimator | None
    """What the weights and the ratios are for; None if no update was declared: then the weights
    make every prompt that has rollouts weigh the same."""
    variance_ratio: float | None
    """Predicted variance of the update over that of uniform counts at equal cost; None without
    an estimator, or where uniform counts learn nothing."""
    snr_ratio: float | None
    """The same for the signal-to-noise; judge by this one, since variance falls when nothing is
    learnt."""
    lost_signal: float | None
    """Predicted share in [0, 1] of the signal that belongs to prompts which add nothing to the
    update; None as above. Where noise prevails, the signal-to-noise alone favours few prompts."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        object.__setattr__(self, "notes", tuple(self.notes))
        for name, kind in (("count_P", int), ("loss_weight_P", float), ("share_P", float)):
            array = np.array(getattr(self, name), kind)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def explain(self) -> str:
        """Say in a few lines what was decided and why."""
        used_K = self.count_P[self.count_P > 0]
        total = int(self.count_P.sum())
        lines = [f"{total} rollouts for {len(self.ids)} prompts by {self.rule}"]
        lines.append(f"{self.spent:,.0f} of {self.budget:,} {self.unit} spent")
        if used_K.size:
            low, middle, high = np.quantile(used_K, (0, 0.5, 1))
            spread = f"{low:.0f} to {high:.0f}, half of them {middle:g} or more"
            lines.append(f"{used_K.size} prompts get {spread}")
        lines += [f"left out, {reason}: {number}" for reason, number in self.left_out.items()]
        if self.variance_ratio is not None and self.snr_ratio is not None:
            lines.append(
                f"{self.estimator} update: {self.variance_ratio:.2f} times the variance and "
                f"{self.snr_ratio:.2f} times the signal-to-noise of uniform counts, predicted"
            )
        if self.lost_signal:
            lines.append(f"{self.lost_signal:.1%} of the signal is in prompts that add nothing")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def allocate(
    stats: PromptStats,
    budget: int,
    *,
    rule: RuleName | Rule = "gvm",
    lo: ArrayLike = 0,
    hi: ArrayLike | None = None,
    seed: int = 0,
    limits: Limits | None = None,
    update: Update | None = None,
) -> Plan:
    """Hand out a budget over the prompts; a budget in rollouts is spent to the last one.

    Unseen prompts get the even share of the budget, since a rule has nothing to say about
    them; the rule divides the rest among the seen ones. (The rules for rounds know what to do with
    both.) If it gives none of them any weight, or if those with a weight cannot hold the budget,
    what is left is spread evenly, and `notes` says so.

    The counts depend neither on the order of the prompts nor on the scale of the norms.

    Args:
        stats: One row for each prompt.
        budget: What to hand out, whole, from sum lo to sum hi.
        rule: A name, or a function from statistics to a `Demand`; `functools.partial` sets its
            parameters.
        lo: Fewest rollouts of a prompt; one number, or one for each row.
        hi: Most rollouts of a prompt, likewise; None is no bound.
        seed: Settles who is served first among equals.
        limits: The unit of the budget, the smallest group, the divisor of the total; None for
            rollouts, 1 and 1.
        update: What the rollouts are for. With it the loss weights keep its expectation what it is
            for uniform counts, the plan carries a forecast, and neyman, least_variance and vip take
            its estimator. A rule made for another estimator works, and warns once.

    Raises:
        ValueError: If a bound or the budget is no whole number >= 0, lo exceeds hi, the bounds
            exclude the budget (by how much), the rule is unknown, a setting is out of range, or
            groups cannot hold the budget.

    Example:
        >>> stats = PromptStats(
        ...     ids=("easy", "hard", "dead"),
        ...     trials_P=[8, 8, 8],
        ...     successes_P=[8, 2, 0],
        ...     grad_norm_P=[1.0, 1.0, 0.0],
        ... )
        >>> plan = allocate(stats, 12)
        >>> plan.count_P.tolist(), plan.left_out
        ([4, 8, 0], {'nothing accepted yet': 1})
    """
    limits = limits or Limits()
    function = rule_named(rule) if isinstance(rule, str) else rule
    if update is not None:
        function = fitted(function, update.estimator)
    bounds = bounds_of(stats, budget, lo, hi, limits)
    division = divide(stats, bounds, function, limits, seed)
    notes, weight_P = list(division.notes), _even_weights(division.count_P) * weight_of(stats)
    outlook = None
    if update is not None:
        outlook = forecast(stats, division.count_P, bounds, update)
        notes += outlook.notes
        weight_P = outlook.loss_weight_P
        if target_of(function) and update.estimator not in target_of(function):
            fitting = partial(least_variance, estimator=update.estimator)
            rival = divide(stats, bounds, fitting, limits, seed)
            best = forecast(stats, rival.count_P, bounds, update)
            notes.append(_mismatch(function, update.estimator, outlook, best))
    return Plan(
        ids=stats.ids,
        count_P=division.count_P,
        loss_weight_P=weight_P,
        share_P=division.share_P,
        rule=describe(function),
        notes=tuple(notes),
        budget=budget,
        unit=limits.unit,
        spent=bounds.spent(division.count_P.astype(np.float64)),
        left_out=division.left_out,
        estimator=update.estimator if update is not None else None,
        variance_ratio=outlook.variance_ratio if outlook is not None else None,
        snr_ratio=outlook.snr_ratio if outlook is not None else None,
        lost_signal=outlook.lost_signal if outlook is not None else None,
    )


def _even_weights(count_P: IntArray) -> FloatArray:
    """Return [P] weights by which every prompt with rollouts weighs the same in their sum."""
    weight_P = np.zeros(count_P.size)
    return np.divide(float(count_P.mean()), count_P, out=weight_P, where=count_P > 0)


def _mismatch(rule: Rule, estimator: Estimator, plan: Forecast, best: Forecast) -> str:
    """Return what a rule costs that was made for another estimator, and warn the first time."""
    ratio = "an unknown multiple of"
    if plan.variance_ratio is not None and best.variance_ratio:
        ratio = f"{plan.variance_ratio / best.variance_ratio:.2f} times"
    message = (
        f"{describe(rule)} minimises the variance of {' and '.join(target_of(rule))}; for "
        f"{estimator} its counts have {ratio} the variance of those of least_variance, predicted"
    )
    _warn_once(describe(rule), estimator, message)
    return message


def _warn_once(rule: str, estimator: Estimator, message: str) -> None:
    """Warn about a pair of rule and estimator, the first time that it is met."""
    if (rule, estimator) not in _warned():
        _warned().add((rule, estimator))
        # the line that called allocate, seen from here
        warnings.warn(message, RuleMismatchWarning, stacklevel=4)


@functools.cache
def _warned() -> set[tuple[str, Estimator]]:
    """Return the pairs that were warned about; `_warned.cache_clear()` forgets them."""
    return set()
