"""The statement at the end, for each of the cases that it knows."""

from gvmrl.allocate import RuleName
from gvmrl.probe.ceiling import STAGES
from gvmrl.probe.figures import Estimate
from gvmrl.probe.report import Row, StageRow, Statistics
from gvmrl.probe.verdict import main_stage, verdict

ONE = Estimate(1.0, 1.0, 1.0)
NOTHING = Estimate(-0.3, -0.5, -0.1)


def row(rule: RuleName, statistics: Statistics, saved: Estimate) -> Row:
    return Row(
        arm="rloo",
        rule=rule,
        statistics=statistics,
        variance=ONE,
        bias=ONE,
        snr=ONE,
        variance_ratio=ONE,
        snr_ratio=ONE,
        snr_ratio_equal_cost=ONE,
        saved_equal_cost=saved,
    )


def stages(*saved: Estimate) -> list[StageRow]:
    return [
        StageRow(arm="rloo", stage=stage, saved=each)
        for stage, each in zip(STAGES, saved, strict=True)
    ]


def rows(known: Estimate, paid: Estimate) -> list[Row]:
    return [
        row("uniform", "known", Estimate(0.0, 0.0, 0.0)),
        row("gvm", "known", known),
        row("uniform", "pilots", Estimate(0.9, 0.9, 0.9)),
        row("gvm", "pilots", paid),
    ]


def test_what_is_saved_by_what_and_what_pilots_leave_of_it() -> None:
    found = stages(Estimate(0.1, 0.05, 0.2), Estimate(0.4, 0.3, 0.5), Estimate(0.45, 0.35, 0.55))
    text = verdict(rows(Estimate(0.2, 0.1, 0.3), NOTHING), found, 8)
    assert text == (
        "Allocation can save about 45% of the rollouts here for rloo (95% interval 35% to 55%, by "
        "the counts of least variance, if statistics cost nothing), most of it by following pass "
        "rates; with 8 pilots a prompt that are discarded and counted, the best rule, gvm, saves "
        "nothing (-30%, 95% interval -50% to -10%)."
    )


def test_a_rule_may_save_more_than_the_counts_of_least_variance() -> None:
    found = stages(Estimate(0.1, 0.05, 0.2), Estimate(0.1, 0.0, 0.2), Estimate(0.1, -0.1, 0.3))
    text = verdict(rows(Estimate(0.5, 0.4, 0.6), Estimate(0.2, 0.1, 0.3)), found, 8)
    assert "about 50% of the rollouts here for rloo (95% interval 40% to 60%, by the rule" in text
    assert text.endswith("the best rule, gvm, saves 20% (95% interval 10% to 30%).")


def test_there_is_nothing_to_win_where_no_interval_begins_above_0() -> None:
    found = stages(Estimate(0.1, -0.05, 0.2), Estimate(0.1, -0.1, 0.2), Estimate(0.1, -0.1, 0.3))
    text = verdict(rows(Estimate(0.3, -0.4, 0.6), NOTHING), found, 8)
    assert text.startswith("Nothing to win here for rloo: the best that known statistics give")
    assert "saves 10% (95% interval -5% to 20%)" in text


def test_there_is_nothing_to_win_where_the_most_is_not_worth_a_rule() -> None:
    little = Estimate(0.02, 0.01, 0.03)
    text = verdict(rows(NOTHING, NOTHING), stages(little, little, little), 8)
    assert text.startswith("Nothing to win here")


def test_the_main_stage_adds_most_to_the_one_before() -> None:
    saved = [Estimate(x, x, x) for x in (0.3, 0.2, 0.6)]
    assert main_stage(stages(*saved)) == "gradient_norms"
    saved = [Estimate(x, x, x) for x in (0.3, 0.2, 0.4)]
    assert main_stage(stages(*saved)) == "undecided"
