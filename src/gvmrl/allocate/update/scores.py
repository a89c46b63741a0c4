"""How long and how aligned the scores of each prompt's rollouts are.

Axes: P prompts. Scores, mu_acc, mu_rej and delta are those of `estimators`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gvmrl.allocate.update.estimators import check_rates
from gvmrl.data import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreModel:
    """All that the variance of an update depends on, besides the counts."""

    accept_rate_P: FloatArray
    """[P] probability p that a rollout is accepted, in [0, 1]."""
    accepted_norm_P: FloatArray
    """[P] root mean square norm of the accepted rollouts' scores, >= 0."""
    rejected_norm_P: FloatArray
    """[P] root mean square norm of the rejected rollouts' scores, >= 0."""
    signal_P: FloatArray
    """[P] norm of delta, accepted minus rejected mean score; at most `signal_limit`."""

    def __post_init__(self) -> None:
        check_rates(self.accept_rate_P)
        for name in ("accepted_norm_P", "rejected_norm_P", "signal_P"):
            value_P: FloatArray = getattr(self, name)
            if value_P.shape != self.accept_rate_P.shape:
                raise ValueError(
                    f"{name} has shape {value_P.shape}, accept_rate_P {self.accept_rate_P.shape}: "
                    "give one number for each prompt"
                )
            bad_P = ~(np.isfinite(value_P) & (value_P >= 0))
            if bad_P.any():
                row = int(bad_P.argmax())
                raise ValueError(f"{name} must be finite and >= 0; row {row} is {value_P[row]}")
        limit_P = signal_limit(self.accept_rate_P, self.accepted_norm_P, self.rejected_norm_P)
        bad_P = self.signal_P > limit_P * (1 + 1e-9)
        if bad_P.any():
            row = int(bad_P.argmax())
            raise ValueError(
                f"signal_P must be at most signal_limit, as no mean score is longer than the root "
                f"mean square; row {row} is {self.signal_P[row]}, its limit {limit_P[row]}; take "
                "the smaller of the two"
            )

    def squares(self, unit: float = 1.0) -> FloatArray:
        """Return [3, P] the accepted and the rejected scores' own variance, and |delta|^2.

        Args:
            unit: Length by which the norms are divided first, so that squares do not overflow.
        """
        signal_P = self.signal_P / unit
        accepted_P = (self.accepted_norm_P / unit) ** 2
        rejected_P = (self.rejected_norm_P / unit) ** 2
        return np.stack(
            [
                np.maximum(accepted_P - ((1 - self.accept_rate_P) * signal_P) ** 2, 0.0),
                np.maximum(rejected_P - (self.accept_rate_P * signal_P) ** 2, 0.0),
                signal_P**2,
            ]
        )

    @property
    def unit(self) -> float:
        """The longest norm, or 1 if all are 0."""
        longest = max(self.accepted_norm_P.max(initial=0), self.rejected_norm_P.max(initial=0))
        return float(longest) or 1.0


def score_model(
    accept_rate_P: ArrayLike,
    accepted_norm_P: ArrayLike = 1.0,
    rejected_norm_P: ArrayLike = 1.0,
    signal_P: ArrayLike = 0.0,
) -> ScoreModel:
    """Build a `ScoreModel`, spreading single numbers over all prompts.

    Norms left at 1 say that all prompts are equally noisy. A signal of 0 leaves out what the mean
    scores take from or add to the variance: the result is then an upper bound for every estimator
    but maxrl, whose variance grows with the signal at most rates above 1/2. A weight of the prompt
    in the objective multiplies its norms and its signal.

    Raises:
        ValueError: As `ScoreModel`, or if the shapes do not fit.
    """
    fields = (accept_rate_P, accepted_norm_P, rejected_norm_P, signal_P)
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(field, float)) for field in fields))
    rate_P, accepted_P, rejected_P, delta_P = (array.copy() for array in arrays)
    return ScoreModel(
        accept_rate_P=rate_P,
        accepted_norm_P=accepted_P,
        rejected_norm_P=rejected_P,
        signal_P=delta_P,
    )


def signal_limit(
    accept_rate_P: FloatArray, accepted_norm_P: FloatArray, rejected_norm_P: FloatArray
) -> FloatArray:
    """Return [P] the largest |delta| that the norms allow: min(accepted / q, rejected / p).

    A small part of it, such as a tenth, is a usable guess where the signal is unknown but
    `predict_update` needs one: comparisons between plans hardly depend on the part.
    """
    infinite_P = np.full_like(accept_rate_P, np.inf)
    with np.errstate(over="ignore"):
        by_accepted_P = np.divide(
            accepted_norm_P, 1 - accept_rate_P, out=infinite_P.copy(), where=accept_rate_P < 1
        )
        by_rejected_P = np.divide(
            rejected_norm_P, accept_rate_P, out=infinite_P, where=accept_rate_P > 0
        )
    return np.minimum(by_accepted_P, by_rejected_P)
