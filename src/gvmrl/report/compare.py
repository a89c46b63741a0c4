"""How far two arms lie apart, seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gvmrl.report.runs import Axis, RunRecord


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean accuracy of one arm minus another's, over paired seeds."""

    mean: float
    low: float
    """Lower end of the 95% interval (Student's t over seeds); -inf with one seed."""
    high: float
    """Upper end."""

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    @property
    def verdict(self) -> str:
        """Whether the interval leaves 0 out, and on which side."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no clear difference"


def paired_difference(
    arm: Sequence[RunRecord], baseline: Sequence[RunRecord], axis: Axis
) -> Difference:
    """Compare areas under the curves up to the cost that both runs of a seed have reached.

    Args:
        arm: Runs with different seeds.
        baseline: Runs with the same seeds.
        axis: The cost that the curves are drawn against.

    Raises:
        ValueError: If the seeds are not the same, each once.
    """
    seeds = sorted(run.seed for run in arm)
    if seeds != sorted(run.seed for run in baseline) or len(set(seeds)) != len(seeds):
        raise ValueError(
            f"both arms need the same seeds, each once; got {seeds} and "
            f"{sorted(run.seed for run in baseline)}"
        )
    other = {run.seed: run for run in baseline}
    differences: list[float] = []
    for run in arm:
        pair = (run, other[run.seed])
        cost = float(min(each.cost_E(axis)[-1] for each in pair))
        mine, theirs = (each.mean_accuracy(axis, cost) for each in pair)
        differences.append(mine - theirs)
    mean = float(np.mean(differences))
    if len(differences) < 2:
        return Difference(mean, -np.inf, np.inf)
    half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
    return Difference(mean, mean - float(half), mean + float(half))
