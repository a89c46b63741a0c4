"""A forecast of acceptance rates that shares strength between prompts.

What rollouts of some prompts show says something about others: about those that look alike to the
policy, and about those with a like past (how often has a prompt that was wrong sixteen times in a
row, fifty updates ago, come right?). A logistic regression on such features, updated with every
step's outcomes, gives each prompt a prior rate; `History.belief` adds the prompt's own rollouts.

Axes: P prompts of the pool, K visited in a step, F features with the constant, S signs, L looks.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gvmrl.data import FloatArray, IntArray
from gvmrl.estimate.history import History

NUM_STATES = 32
"""Features kept of a longer hidden state, by a fixed random projection."""
STATE_SCALE = 8**-0.5
"""Deviation of these features. The prior keeps small features small: many of them, each as free as
the few signs, would fit the noise of the first hundred prompts."""
FORGET = 0.99
"""Weight of the evidence so far at each further step: the policy that it is about changes."""
RIDGE = 1.0
"""Precision of the normal prior on each coefficient."""
_EDGE = 1e-3
"""Forecasts stay this far from 0 and 1."""


class Predictor:
    """Bayesian logistic regression, one Newton step for every step of training."""

    def __init__(self, num_prompts: int) -> None:
        """Begin without evidence, and with the past as all that tells prompts apart."""
        self.look_PL: FloatArray = np.zeros((num_prompts, 0))
        self.coefficient_F: FloatArray = np.zeros(NUM_PAST)
        self.precision_FF: FloatArray = RIDGE * np.eye(NUM_PAST)

    def look(self, sign_PS: FloatArray, state_PD: FloatArray) -> None:
        """Take the prompts as the policy reads them now; what was learned stays.

        Args:
            sign_PS: [P, S] few features that each say something, at any scale.
            state_PD: [P, D] hidden states, at any scale; S and D are the same every time.
        """
        state_PL = STATE_SCALE * projected(standardised(state_PD))
        self.look_PL = np.hstack([standardised(sign_PS), state_PL])
        new = NUM_PAST + self.look_PL.shape[1] - self.coefficient_F.size
        if new:
            self.coefficient_F = np.append(self.coefficient_F, np.zeros(new))
            old_FF, self.precision_FF = self.precision_FF, RIDGE * np.eye(self.coefficient_F.size)
            self.precision_FF[: len(old_FF), : len(old_FF)] = old_FF

    def rate(self, history: History, step: int) -> FloatArray:
        """Return [P] the expected acceptance rate of every prompt at an update, in (0, 1)."""
        return self._rate(np.hstack([past(history, step), self.look_PL]))

    def learn(
        self, history: History, step: int, row_K: IntArray, trial_K: IntArray, success_K: IntArray
    ) -> None:
        """Take in the outcomes of one step's prompts, which the history must not hold yet."""
        x_KF = np.hstack([past(history, step, row_K), self.look_PL[row_K]])
        rate_K = self._rate(x_KF)
        curve_K = trial_K * rate_K * (1 - rate_K)
        # what is forgotten is replaced by the prior, so the precision never falls below it
        ridge_FF = RIDGE * np.eye(x_KF.shape[1])
        self.precision_FF = FORGET * self.precision_FF + (1 - FORGET) * ridge_FF
        self.precision_FF += (x_KF * curve_K[:, None]).T @ x_KF
        slope_F = x_KF.T @ (success_K - trial_K * rate_K)
        self.coefficient_F = self.coefficient_F + np.linalg.solve(self.precision_FF, slope_F)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that `restore` needs."""
        return {
            "look_PL": self.look_PL,
            "coefficient_F": self.coefficient_F,
            "precision_FF": self.precision_FF,
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `arrays` gave."""
        self.look_PL = np.array(arrays["look_PL"], np.float64)
        self.coefficient_F = np.array(arrays["coefficient_F"], np.float64)
        self.precision_FF = np.array(arrays["precision_FF"], np.float64)

    def _rate(self, x_KF: FloatArray) -> FloatArray:
        logit_K = np.clip(x_KF @ self.coefficient_F, -30, 30)
        return np.clip(1 / (1 + np.exp(-logit_K)), _EDGE, 1 - _EDGE)


NUM_PAST = 8
"""Columns of `past`."""


def past(history: History, step: int, row_K: IntArray | None = None) -> FloatArray:
    """Return [K, 8] features of some prompts' pasts (None: of all), each of order 1.

    The constant; whether it was seen at all; the log-odds of all its outcomes, and their weight;
    the logarithms of its streaks of wrong and of right rollouts; that of the updates since its
    last visit; and how that wait meets a wrong streak: a long one says that it may have come right.
    """
    rows = np.arange(len(history.ids)) if row_K is None else row_K
    seen_K = history.seen_P[rows].astype(np.float64)
    trial_K, success_K = history.rollout_P[rows], history.success_P[rows]
    odds_K = np.log((success_K + 0.5) / (trial_K - success_K + 0.5)) / 2
    streak_K = history.streak_P[rows]
    wrong_K, right_K = np.log1p(np.maximum(-streak_K, 0)), np.log1p(np.maximum(streak_K, 0))
    wait_K = np.log1p(step - history.last_P[rows]) / 4 * seen_K
    columns = (seen_K**0, seen_K, odds_K, np.log1p(trial_K) / 4 * odds_K)
    return np.stack([*columns, wrong_K / 2, right_K / 2, wait_K, wait_K * wrong_K / 2], axis=1)


def standardised(look_PD: FloatArray) -> FloatArray:
    """Return [P, D] features of mean 0 and deviation 1; constant ones are 0."""
    centred_PD = look_PD - look_PD.mean(axis=0)
    scale_D = centred_PD.std(axis=0)
    return centred_PD / np.where(scale_D > 0, scale_D, 1.0)


def projected(state_PD: FloatArray) -> FloatArray:
    """Return [P, L] at most `NUM_STATES` features, mixed at random where there were more."""
    num = state_PD.shape[1]
    if num <= NUM_STATES:
        return state_PD
    mixing_DL = np.random.default_rng(num).standard_normal((num, NUM_STATES))
    return state_PD @ mixing_DL / np.sqrt(num)
