"""The variance of an update as a function of the counts, and the counts that make it least.

Axes: P prompts, K some of them, U different rates, J different pairs of count and rate.

Variances are traces of covariance matrices. Rollouts of different prompts are independent, so the
variance of a step is the sum over its prompts, whatever directions their gradients have.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from gvmrl.allocate.bounds import Bounds
from gvmrl.allocate.counts import solve
from gvmrl.allocate.demand import Demand
from gvmrl.allocate.ties import Order, by_row
from gvmrl.allocate.update.estimators import Estimator, Moments, form_of, moments
from gvmrl.allocate.update.objective import (
    RATE_FLOOR,
    WEIGHT_LIMIT,
    Objective,
    objective_ratio,
    target_factor,
)
from gvmrl.allocate.update.scores import ScoreModel
from gvmrl.data import FloatArray, IntArray


def update_variance(estimator: Estimator, model: ScoreModel, count_P: IntArray) -> FloatArray:
    """Return [P] the variance of each prompt's update u, without loss weights.

    With A, R the norms, D = |delta|, and alpha, beta, spread the numbers of `Moments`:

        alpha (A^2 - q^2 D^2) + beta (R^2 - p^2 D^2) + spread D^2

    Exact if the model's four numbers are. A weight w on the prompt's update multiplies it by w^2.
    Too few rollouts have variance 0 because nothing is learnt: never judge by variance alone.

    Raises:
        ValueError: As `moments`.

    Example:
        >>> from gvmrl.allocate.update.scores import score_model
        >>> update_variance("rloo", score_model(0.5), np.array([4])).tolist()
        [0.08333333333333333]
    """
    return _combine(moments(estimator, count_P, model.accept_rate_P), model.squares())


def debiased_variance(
    estimator: Estimator, objective: Objective, model: ScoreModel, count_P: IntArray
) -> FloatArray:
    """Return [P] the variance of each prompt's update with its `debias_weight`.

    It falls, and falls ever more slowly, as the count grows: convex and decreasing. That is proved
    for reinforce, rloo and dr_grpo, where it is X / n + Y / (n (n - 1)) with X, Y >= 0, and
    checked on a grid for the others. It is infinite below `min_count`, where no weight removes
    the bias. Rates are kept `RATE_FLOOR` away from 0 and 1.

    Raises:
        ValueError: As `moments` and `target_factor`.
    """
    target_P = target_factor(estimator, objective, model.accept_rate_P)
    rate_P = np.clip(model.accept_rate_P, RATE_FLOOR, 1 - RATE_FLOOR)
    return _debiased(moments(estimator, count_P, rate_P), target_P, model.squares())


def neyman_weight(
    estimator: Estimator, objective: Objective, model: ScoreModel, cost_P: ArrayLike = 1.0
) -> FloatArray:
    """Return [P] the weights to which the best counts are proportional when counts are large.

    They are sqrt(V / cost), with V the limit of n times `debiased_variance`. With no signal, no
    reference, the native objective and both norms equal to G, that is G / sqrt(p) for raft,
    G sqrt(p) for reinforce, G sqrt(pq) for rloo and dr_grpo, G for grpo and G sqrt(q / p) for
    maxrl. With a reference N, raft's and maxrl's fall again at rates below about 1.3 / N.

    0 where no rollout can bring anything if the rate is right: at p = 0, at p = 1 with a
    baseline, and where the objective's ratio is beyond `WEIGHT_LIMIT`. Whether such a prompt is
    probed all the same is another decision than this one.

    Args:
        estimator: Which update.
        objective: What it should follow.
        model: Rates, norms and signal.
        cost_P: [P] tokens of one rollout, > 0; one number for all if they do not matter.

    Raises:
        ValueError: If a cost is not > 0, or as `target_factor`.

    Example:
        >>> from gvmrl.allocate.update.scores import score_model
        >>> neyman_weight("raft", Objective(), score_model([0.25, 0.0], 3.0)).tolist()
        [6.0, 0.0]
    """
    cost = np.asarray(cost_P, np.float64)
    if not (cost > 0).all():
        raise ValueError(f"cost_P must be > 0, got {cost.min()}")
    form = form_of(estimator)
    ratio_P = objective_ratio(estimator, objective, model.accept_rate_P)
    usable_P = (ratio_P <= WEIGHT_LIMIT) & (model.accept_rate_P > 0)
    if form.baseline:
        usable_P &= model.accept_rate_P < 1
    exact_P = target_factor(estimator, Objective(), model.accept_rate_P)
    scale_P = target_factor(estimator, objective, model.accept_rate_P) / exact_P
    rate_P = np.clip(model.accept_rate_P, RATE_FLOOR, 1 - RATE_FLOOR)
    square_P = form.limit(rate_P) ** 2
    limits = Moments(
        factor_P=exact_P,
        accepted_P=square_P / rate_P,
        rejected_P=square_P / (1 - rate_P) * form.baseline,
        spread_P=form.spread(rate_P) * (1.0 if form.baseline else (1 - rate_P) ** 2),
    )
    deviation_P = np.where(usable_P, scale_P, 0.0) * np.sqrt(
        _combine(limits, model.squares(model.unit))
    )
    return model.unit * deviation_P / np.sqrt(cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePrediction:
    """What a step's update will be like, before a rollout is drawn."""

    variance: float
    """Trace of the covariance of the sum over prompts of weight * u. Exact if the model is."""
    snr: float
    """(E ghat . g)^2 / (|g|^2 E |ghat|^2) in [0, 1], if gradients of different prompts are
    orthogonal: the share of |g|^2 that the best step along ghat is worth."""
    lost_signal: float
    """Share in [0, 1] of |g|^2 that belongs to prompts whose expected update is 0."""
    num_lost: int
    """Number of these prompts."""


def predict_update(
    estimator: Estimator,
    objective: Objective,
    model: ScoreModel,
    count_P: IntArray,
    weight_P: FloatArray,
) -> UpdatePrediction:
    """Predict variance and signal-to-noise of a step from its counts.

    The signal-to-noise compares with the whole gradient g of all prompts of the model, so a
    prompt that gets nothing is missed signal, where variance alone would call it a gain.

    Args:
        estimator: Which update.
        objective: What g is the gradient of.
        model: Rates, norms and signal; the signal must be > 0 somewhere.
        count_P: [P] rollouts, >= 0.
        weight_P: [P] weight on each prompt's update: `debias_weight`, or count over mean count
            for a trainer in which all rollouts weigh the same.

    Raises:
        ValueError: If no prompt of the model has a signal, or as `moments` and `target_factor`.
    """
    target_P = target_factor(estimator, objective, model.accept_rate_P) * model.signal_P
    if not target_P.any():
        raise ValueError(
            "signal-to-noise needs a signal, but signal_P is 0 for every prompt; give a guess "
            "such as 0.1 * signal_limit(...)"
        )
    part = moments(estimator, count_P, model.accept_rate_P)
    mean_P = weight_P * part.factor_P * model.signal_P
    variance = float((weight_P**2 * _combine(part, model.squares())).sum())
    whole = float((target_P**2).sum())
    lost_P = (mean_P == 0) & (target_P > 0)
    length = float((mean_P**2).sum()) + variance
    return UpdatePrediction(
        variance=variance,
        snr=float(mean_P @ target_P) ** 2 / (whole * length) if length > 0 else 0.0,
        lost_signal=float((target_P[lost_P] ** 2).sum()) / whole,
        num_lost=int(lost_P.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeastVariance:
    """The demand whose best counts have the least total `debiased_variance`.

    Made by `least_variance`. The gain of rollout n + 1 is what it takes off the variance, in
    squares of the model's longest norm; infinite below the estimator's `min_count`.
    """

    estimator: Estimator
    """Which update."""
    rate_U: FloatArray
    """[U] the different acceptance rates, `RATE_FLOOR` away from 0 and 1."""
    level_P: IntArray
    """[P] place of each prompt's rate in `rate_U`."""
    target_P: FloatArray
    """[P] `target_factor`."""
    square_3P: FloatArray
    """[3, P] `ScoreModel.squares`."""
    weight_P: FloatArray
    """[P] `neyman_weight` per root of the cost: 0 where no rollout brings anything."""
    cost_P: FloatArray
    """[P] cost of one rollout, > 0."""
    notes: tuple[str, ...] = ()
    """What the user of the plan should know."""

    def gain(self, count_P: FloatArray) -> FloatArray:
        """Return [P] what rollout number count + 1 takes off the variance, per cost."""
        return self._gain(np.arange(count_P.size), count_P)

    def count_at(self, price: float, low_P: FloatArray, high_P: FloatArray) -> FloatArray:
        """Search from the count at which the limit of large counts would have this gain."""
        if price == 0:
            return np.where(self.weight_P > 0, high_P, low_P)
        low_P, high_P = low_P.copy(), high_P.copy()
        with np.errstate(over="ignore"):
            guess_P = np.ceil(np.sqrt((self.weight_P / np.sqrt(price)) ** 2 + 0.25) - 0.5)
        row_K = np.flatnonzero(low_P < high_P)
        probe_K, steps = guess_P[row_K], 0
        while row_K.size:
            probe_K = np.clip(probe_K, low_P[row_K], high_P[row_K] - 1)
            enough_K = self._gain(row_K, probe_K) <= price
            high_P[row_K[enough_K]] = probe_K[enough_K]
            low_P[row_K[~enough_K]] = probe_K[~enough_K] + 1
            # the guess is seldom off by more than 2: look beside it first, then bisect
            beside_K = np.where(enough_K, probe_K - 1, probe_K + 1)
            middle_K = np.floor((low_P[row_K] + high_P[row_K]) / 2)
            steps += 1
            open_K = low_P[row_K] < high_P[row_K]
            probe_K = (beside_K if steps < 3 else middle_K)[open_K]
            row_K = row_K[open_K]
        return low_P

    def per_cost(self, cost_P: FloatArray) -> Demand:
        """Divide every gain by the prompt's cost."""
        return replace(self, cost_P=self.cost_P * cost_P, weight_P=self.weight_P / np.sqrt(cost_P))

    def _gain(self, row_K: IntArray, count_K: FloatArray) -> FloatArray:
        """Return [K] the gains of some rows."""
        whole_K = count_K.astype(np.int64)
        now_K, next_K = self._variance(row_K, whole_K), self._variance(row_K, whole_K + 1)
        saved_K = np.full(row_K.size, np.inf)
        np.subtract(now_K, next_K, out=saved_K, where=np.isfinite(now_K))
        return np.where(self.weight_P[row_K] > 0, np.maximum(saved_K, 0), 0) / self.cost_P[row_K]

    def _variance(self, row_K: IntArray, count_K: IntArray) -> FloatArray:
        """Return [K] the variances of some rows."""
        # Rates come from a few whole numbers, so a million prompts share some hundred pairs of
        # count and rate: the moments of each pair are summed once.
        pair_J, place_K = _distinct(count_K * self.rate_U.size + self.level_P[row_K])
        count_J, level_J = np.divmod(pair_J, self.rate_U.size)
        part = moments(self.estimator, count_J, self.rate_U[level_J]).take(place_K)
        return _debiased(part, self.target_P[row_K], self.square_3P[:, row_K])


def least_variance(estimator: Estimator, objective: Objective, model: ScoreModel) -> LeastVariance:
    """Ask for the counts of least total `debiased_variance`.

    A prompt whose `neyman_weight` is 0 gains nothing. The others want at least `min_count`
    rollouts before anything else; `optimal_counts` says so when the budget is too small for that.

    Raises:
        ValueError: As `target_factor`.
    """
    rate_P = np.clip(model.accept_rate_P, RATE_FLOOR, 1 - RATE_FLOOR)
    rate_U, level_P = np.unique(rate_P, return_inverse=True)
    return LeastVariance(
        estimator=estimator,
        rate_U=rate_U,
        level_P=level_P.astype(np.int64),
        target_P=target_factor(estimator, objective, model.accept_rate_P),
        square_3P=model.squares(model.unit),
        weight_P=neyman_weight(estimator, objective, model) / model.unit,
        cost_P=np.ones_like(model.accept_rate_P),
    )


def optimal_counts(
    demand: LeastVariance,
    budget: int,
    *,
    lo_P: IntArray,
    hi_P: IntArray,
    order: Order = by_row,
) -> IntArray:
    """Return [P] the whole counts that sum to the budget with the least total variance.

    Variances are comparable only between plans that leave out the same prompts. So who takes part
    is an input: a prompt with `hi_P` below the estimator's `min_count`, or a weight of 0, keeps
    its `lo_P` (unless the others have no room for the budget); every other gets at least
    `min_count`. Given that, the optimum is exact, because the variance is convex in the count.

    Args:
        demand: From `least_variance`.
        budget: Rollouts to hand out.
        lo_P: [P] fewest rollouts, >= 0.
        hi_P: [P] most, >= `lo_P`; 0 leaves a prompt out.
        order: Who comes first among equals.

    Raises:
        ValueError: If the bounds cross, or the budget does not fit them.

    Example:
        >>> from gvmrl.allocate.update.scores import score_model
        >>> model = score_model([0.5, 0.5, 0.0], [2.0, 1.0, 1.0], [2.0, 1.0, 1.0])
        >>> demand = least_variance("rloo", Objective(), model)
        >>> optimal_counts(demand, 12, lo_P=np.zeros(3, int), hi_P=np.full(3, 16)).tolist()
        [8, 4, 0]
    """
    crossed_P = ~((lo_P >= 0) & (lo_P <= hi_P))
    if crossed_P.any():
        row = int(crossed_P.argmax())
        raise ValueError(f"need 0 <= lo_P <= hi_P; row {row} has {lo_P[row]} and {hi_P[row]}")
    least = form_of(demand.estimator).min_count
    takes_part_P = (demand.weight_P > 0) & (hi_P >= least)
    start_P = np.where(takes_part_P, np.maximum(lo_P, least), lo_P)
    short = int(start_P.sum()) - budget
    if short > 0 and int(lo_P.sum()) <= budget:
        raise ValueError(
            f"budget {budget} is {short} rollouts short: each of {int(takes_part_P.sum())} "
            f"prompts needs {least} for {demand.estimator}; raise it or leave prompts out (hi_P 0)"
        )
    bounds = Bounds(
        budget=float(budget),
        lo_P=start_P.astype(np.float64),
        hi_P=hi_P.astype(np.float64),
        cost_P=np.ones(start_P.size),
        order=order,
    )
    bounds.check_feasible()
    return solve(demand, bounds).astype(np.int64)


def _distinct(key_K: IntArray) -> tuple[IntArray, IntArray]:
    """Return the different keys, ascending, and [K] the place of each key among them."""
    if not key_K.size or key_K.max() > 8 * key_K.size:
        key_J, place_K = np.unique(key_K, return_inverse=True)
        return key_J, place_K.astype(np.int64)
    present = np.bincount(key_K) > 0  # ten times as fast as sorting
    return np.flatnonzero(present), np.cumsum(present)[key_K] - 1


def _debiased(part: Moments, target_P: FloatArray, square_3P: FloatArray) -> FloatArray:
    """Return [P] the variance over (e / target)^2; infinite where e is 0."""
    learns_P = part.factor_P > 0
    weight_P = np.divide(target_P, part.factor_P, out=np.zeros_like(target_P), where=learns_P)
    return np.where(learns_P, weight_P**2 * _combine(part, square_3P), np.inf)


def _combine(part: Moments, square_3P: FloatArray) -> FloatArray:
    """Return [P] the variance from its moments and the lengths of the scores."""
    accepted_P, rejected_P, signal_P = square_3P
    return part.accepted_P * accepted_P + part.rejected_P * rejected_P + part.spread_P * signal_P
