"""The tables of `gvmrl probe`."""

import math

from rich.table import Column, Table

from gvmrl.allocate import RuleName
from gvmrl.probe.figures import Estimate
from gvmrl.probe.report import Report, Statistics


def own_table(report: Report) -> Table:
    """Return the run's own update under each rule, with known statistics and with pilots."""
    pilots = report.settings["pilots"]
    table = Table(
        Column("rule", no_wrap=True),
        Column("variance x", no_wrap=True),
        "bias",
        "snr",
        Column("snr x", no_wrap=True),
        "pilots: bias",
        Column("snr x, equal rollouts", no_wrap=True),
        Column("snr x, equal cost", no_wrap=True),
        title=f"{report.arm}: known statistics, and {pilots} pilots a prompt",
        caption="x: over uniform counts, 95% interval; at equal cost uniform gets the pilots too",
    )
    for row in (row for row in report.rows if (row.arm, row.statistics) == (report.arm, "known")):
        paid = report.row(row.arm, row.rule, "pilots")
        table.add_row(
            row.rule,
            str(row.variance_ratio),
            f"{row.bias.value:.2f}",
            f"{row.snr.value:.2f}",
            str(row.snr_ratio),
            f"{paid.bias.value:.2f}",
            str(paid.snr_ratio),
            str(paid.snr_ratio_equal_cost),
        )
    return table


def all_table(report: Report, statistics: Statistics) -> Table:
    """Return what every rule saves for every update, at equal total cost."""
    arms = list(dict.fromkeys(row.arm for row in report.rows))
    words = {"known": "statistics at no cost", "pilots": "pilots counted"}
    table = Table(
        Column("rule", no_wrap=True),
        *(Column(arm, justify="right") for arm in arms),
        title=f"Rollouts saved at equal signal-to-noise, {words[statistics]}",
        caption="* the 95% interval leaves 0 out; negative: uniform is cheaper",
    )
    rules: list[RuleName] = list(dict.fromkeys(row.rule for row in report.rows))
    for rule in rules:
        rows = [report.row(arm, rule, statistics) for arm in arms]
        table.add_row(rule, *(_marked(row.saved_equal_cost) for row in rows))
    return table


def ceiling_table(report: Report) -> Table:
    """Return what can be touched at all, and what each kind of knowledge adds."""
    arms = list(dict.fromkeys(row.arm for row in report.stages))
    table = Table(
        Column("", no_wrap=True),
        *(Column(arm, justify="right") for arm in arms),
        title="Rollouts saved with the expected update kept, known statistics",
    )
    words = {
        "undecided": "even counts, decided prompts left out",
        "pass_rates": "and best for the pass rates",
        "gradient_norms": "and for the gradients",
    }
    for stage, text in words.items():
        cells = [_marked(row.saved) for row in report.stages if row.stage == stage]
        table.add_row(text, *cells)
    table.add_section()
    shares = [_marked(row.share) for row in report.shares]
    table.add_row("share of the variance that counts can touch", *shares)
    return table


def rank_table(report: Report) -> Table:
    """Return how well cheap norms order prompts."""
    table = Table(
        Column("norm", no_wrap=True),
        "accepted rollouts",
        "rejected rollouts",
        title="Rank correlation with the full gradient's norm, over prompts",
    )
    for signal in dict.fromkeys(row.signal for row in report.ranks):
        table.add_row(signal, *(str(row.spearman) for row in report.ranks if row.signal == signal))
    return table


def check_table(report: Report) -> Table:
    """Return the pool's figures beside those of fresh updates."""
    table = Table(
        Column("rule", no_wrap=True),
        "variance, pool",
        "variance, fresh updates",
        "snr, pool",
        "snr, fresh updates",
        title=f"{report.arm}: {report.settings['check_draws']} whole updates on fresh rollouts",
    )
    for row in report.checks:
        table.add_row(
            row.rule,
            str(row.predicted_variance),
            str(row.variance),
            f"{row.predicted_snr:.2f}",
            "unresolved" if row.snr is None else f"{row.snr:.2f}",
        )
    return table


def tables(report: Report) -> list[Table]:
    """Return all tables, in the order in which they are read."""
    found = [own_table(report), all_table(report, "known"), all_table(report, "pilots")]
    found += [ceiling_table(report), rank_table(report)]
    return [*found, check_table(report)] if report.checks else found


def _marked(saved: Estimate) -> str:
    """Return a percentage, marked where its interval leaves 0 out."""
    if math.isnan(saved.value):
        return "unresolved"
    star = "*" if saved.low > 0 or saved.high < 0 else ""
    return f"{saved.value:+.0%}{star}"
