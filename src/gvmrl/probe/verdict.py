"""One statement about a probe: whether allocation can save rollouts, how many, and by what."""

from collections.abc import Sequence

from gvmrl.probe.ceiling import Stage
from gvmrl.probe.figures import Estimate
from gvmrl.probe.report import Row, StageRow

LEAST = 0.05
"""A smaller share of the rollouts is not worth a rule."""

BY: dict[Stage, str] = {
    "undecided": "not sampling prompts that look decided",
    "pass_rates": "following pass rates",
    "gradient_norms": "following gradient norms",
}


def verdict(rows: Sequence[Row], stages: Sequence[StageRow], pilots: int) -> str:
    """Return the statement, for one update.

    What counts is the stage or the rule with known statistics whose interval begins highest. There
    is nothing to win if it begins at 0 or below, or ends below `LEAST`. What pilots leave of
    it is judged at equal total cost.

    Args:
        rows: The update's rows.
        stages: Likewise, in order: each knows what the one before does, and more.
        pilots: Pilot rollouts of a prompt.
    """
    known = [row for row in rows if row.statistics == "known" and row.rule != "uniform"]
    found = [("the counts of least variance", stage.saved) for stage in stages]
    found += [(f"the rule {row.rule}", row.saved_equal_cost) for row in known]
    name, saved = max(found, key=lambda each: each[1].low)
    paid = max(
        (row for row in rows if row.statistics == "pilots" and row.rule != "uniform"),
        key=lambda row: row.saved_equal_cost.low,
    )
    after = (
        f"with {pilots} pilots a prompt that are discarded and counted, the best rule, "
        f"{paid.rule}, {_saves(paid.saved_equal_cost)}"
    )
    if not saved.low > 0 or saved.high < LEAST:
        return (
            f"Nothing to win here for {paid.arm}: the best that known statistics give, {name}, "
            f"{_saves(saved)}; {after}."
        )
    return (
        f"Allocation can save about {saved.value:.0%} of the rollouts here for {paid.arm} "
        f"({_range(saved)}, by {name}, if statistics cost nothing), most of it by "
        f"{BY[main_stage(stages)]}; {after}."
    )


def main_stage(stages: Sequence[StageRow]) -> Stage:
    """Return the stage that adds most to what the one before it saves."""
    before = [0.0, *(row.saved.value for row in stages)]
    gains = [row.saved.value - before[number] for number, row in enumerate(stages)]
    return stages[gains.index(max(gains))].stage


def _saves(saved: Estimate) -> str:
    """Say what is saved, or what is spent on top."""
    if saved.value < 0:
        return f"saves nothing ({saved.value:.0%}, {_range(saved)})"
    return f"saves {saved.value:.0%} ({_range(saved)})"


def _range(saved: Estimate) -> str:
    return f"95% interval {saved.low:.0%} to {saved.high:.0%}"
