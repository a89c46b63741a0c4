"""A step's rollouts by a strategy: the audit's share, the way back to uniform, and what is kept."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gvmrl.config import DataConfig, RunConfig
from gvmrl.estimate.audit import Audit, Yield
from gvmrl.losses import LossConfig
from gvmrl.strategy.config import AllocationConfig, StrategyName
from gvmrl.train.checkpoint import State
from gvmrl.train.draw import epoch_rows
from gvmrl.train.metrics import Clock
from gvmrl.train.pool import from_pool, judged
from gvmrl.train.run import open_run


def settings(out: Path, rule: StrategyName = "paced", audit_rate: float = 0.1) -> RunConfig:
    """Steps of 32 rollouts on 40 prompts."""
    return RunConfig(
        out=out,
        prompts_per_step=8,
        rollouts_per_step=32,
        rollouts_per_update=32,
        data=DataConfig(train_limit=40, eval=None),
        loss=LossConfig(name="rloo"),
        allocation=AllocationConfig(rule=rule, group=4, audit_rate=audit_rate),
    )


def test_a_tenth_goes_to_the_prompts_of_the_epochs(tmp_path: Path) -> None:
    with open_run(settings(tmp_path / "run")) as run:
        state = State()
        for step in range(50):
            audit = replace(state.audit, in_use=True)
            state = replace(state, step=step, updates=step, audit=audit)
            state, batch = from_pool(run, state, Clock())
            assert len(batch.rollouts.completions) == 32
            assert state.costs.all_rollouts == 32 * (step + 1)
            run.learn(batch.drawn, step)
    # 0.8 groups a step, drawn at random
    assert state.audit.num_uniform == pytest.approx(40, abs=8)


def test_without_a_gain_the_bulk_goes_to_the_prompts_of_the_epochs(tmp_path: Path) -> None:
    with open_run(settings(tmp_path / "run")) as run:
        state, batch = from_pool(run, State(audit=Audit(in_use=False)), Clock())
        even = {run.train_prompts[row].id for row in epoch_rows(run, 0, 7)}
        assert state.audit.num_uniform in (7, 8)
        assert even <= {prompt.id for prompt in batch.rollouts.prompts}
        assert len(batch.rollouts.completions) == 32


def test_the_log_says_when_the_other_side_takes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    idle = Yield()
    for _ in range(40):
        idle = idle.plus(np.array([4]), np.array([2]))
    with open_run(settings(tmp_path / "run")) as run, caplog.at_level(logging.INFO):
        after = judged(run, Audit(strategy=idle, uniform=idle), [], [])
        assert not after.in_use
        assert "the strategy yields 1.00 [1.00, 1.00] times" in caplog.text
        assert "uniform sampling is used now" in caplog.text
        better = replace(idle, y=idle.y * 2, yy=idle.yy * 4, ny=idle.ny * 2)
        again = judged(run, Audit(strategy=better, uniform=idle, in_use=False), [], [])
        assert again.in_use


def test_dapo_counts_what_it_throws_away_and_trains_on_the_rest(tmp_path: Path) -> None:
    with open_run(settings(tmp_path / "run", "dapo", 0.0)) as run:
        state, batch = from_pool(run, State(), Clock())
    generated = sum(len(wave.completions) for wave in batch.drawn)
    assert state.costs.all_rollouts == generated > 32
    assert len(batch.rollouts.completions) == 32
    mixed = (batch.rollouts.success_P > 0) & (batch.rollouts.success_P < 4)
    assert mixed.sum() >= 4


def test_the_oracle_serves_the_choice_the_baseline_or_both(tmp_path: Path) -> None:
    batches, measured = {}, {}
    for serves in ("all", "choice", "baseline"):
        config = settings(tmp_path / serves, "oracle", 0.0)
        allocation = replace(config.allocation, oracle_for=serves)
        pilot = replace(config.pilot, rollouts=6)
        with open_run(replace(config, allocation=allocation, pilot=pilot)) as run:
            # all were seen long ago, so that the prompts' values alone decide
            seen = np.full(40, 1)
            run.history.record(np.arange(40), 2 * seen, seen, 0)
            state, batches[serves] = from_pool(run, State(updates=99), Clock())
            assert state.stats is not None
            rate_P = state.stats.successes_P / 6
            measured[serves] = dict(zip(run.history.ids, rate_P, strict=True))
    assert measured["all"] == measured["choice"] == measured["baseline"]

    def errors(serves: str) -> float:
        batch = batches[serves]
        ids = (prompt.id for prompt in batch.rollouts.prompts)
        rate_P = np.array([measured[serves][one] for one in ids])
        return float(np.abs(batch.belief.rate_P - rate_P).max())

    def lively(serves: str) -> float:
        rates = [measured[serves][prompt.id] for prompt in batches[serves].rollouts.prompts]
        return float(np.mean([0 < rate < 1 for rate in rates]))

    assert errors("all") < 1e-3
    assert errors("baseline") < 1e-3
    assert errors("choice") > 0.1
    assert lively("all") == lively("choice") == 1
    assert lively("baseline") < 1
