"""What a probe found, as records that JSON keeps."""

from dataclasses import dataclass, fields
from typing import Literal

from gvmrl.allocate import RuleName
from gvmrl.probe.ceiling import Stage
from gvmrl.probe.figures import Estimate

Statistics = Literal["known", "pilots"]
"""Known: from the other half of the pool, at no cost. Pilots: from N' discarded rollouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One update under one rule."""

    arm: str
    """Loss and weighting."""
    rule: RuleName
    statistics: Statistics
    variance: Estimate
    """Trace of the covariance."""
    bias: Estimate
    """Sine of the angle between the expected update and that of uniform counts."""
    snr: Estimate
    """Signal-to-noise, 0 to 1."""
    variance_ratio: Estimate
    """Variance over that of uniform counts with as many training rollouts."""
    snr_ratio: Estimate
    """Signal-to-noise over that of uniform counts with as many training rollouts."""
    snr_ratio_equal_cost: Estimate
    """The same, where uniform counts get the pilots' rollouts too."""
    saved_equal_cost: Estimate
    """Share of uniform's rollouts that is saved at equal signal-to-noise; negative if lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """What known statistics save, stage by stage."""

    arm: str
    stage: Stage
    saved: Estimate
    """Share of uniform's rollouts, at equal signal-to-noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRow:
    """How much of the variance depends on the counts."""

    arm: str
    share: Estimate
    """1 - least possible variance / uniform's, for an unchanged expected update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """Whether a cheap norm orders prompts as the full one does."""

    signal: str
    rollouts: Literal["accepted", "rejected"]
    spearman: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """The pool's figures beside those of independent updates, for the run's own loss."""

    rule: RuleName
    predicted_variance: Estimate
    """From the pool; its interval is for other rollouts of the same prompts."""
    variance: Estimate
    """From the fresh updates."""
    predicted_snr: float
    snr: float | None
    """None where the mean update is not told from noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures of a probe."""

    settings: dict[str, object]
    arm: str
    """The run's own loss and weighting."""
    num_parameters: int
    pool_rollouts: int
    different_rollouts: int
    """Different ones among them: the backward passes that were needed."""
    bins: dict[str, int]
    """Prompts by accepted share of their pool."""
    sketch_error: float
    """Standard error of a squared mean gradient that the sketch adds, relative; 0 without."""
    rows: tuple[Row, ...]
    stages: tuple[StageRow, ...]
    shares: tuple[ShareRow, ...]
    ranks: tuple[RankRow, ...]
    checks: tuple[CheckRow, ...]
    verdict: str
    seconds: float

    @property
    def json(self) -> dict[str, object]:
        """The report as JSON has it."""
        return {
            each.name: [_plain(row) for row in value] if isinstance(value, tuple) else value
            for each in fields(self)
            for value in [getattr(self, each.name)]
        }

    def row(self, arm: str, rule: RuleName, statistics: Statistics) -> Row:
        """Return one of the rows."""
        return next(
            row
            for row in self.rows
            if (row.arm, row.rule, row.statistics) == (arm, rule, statistics)
        )


def _plain(row: Row | StageRow | ShareRow | RankRow | CheckRow) -> dict[str, object]:
    """Return a record with its estimates spelt out."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    return {
        name: value.json if isinstance(value, Estimate) else value for name, value in values.items()
    }
