"""What the settings refuse, with the words that they refuse it in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gvmrl.config import (
    DataConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SamplerConfig,
    to_json,
)
from gvmrl.losses import Loss, LossConfig
from gvmrl.strategy.config import AllocationConfig, PilotConfig, Rule

NAN = float("nan")
OUT = Path("run")


@pytest.mark.parametrize(
    ("record", "setting", "value", "message"),
    [
        (ModelConfig, "lora_rank", -1, "model.lora_rank must be >= 0, got -1"),
        (DataConfig, "max_prompt_tokens", 0, "data.max_prompt_tokens must be >= 1, got 0"),
        (DataConfig, "eval_limit", 0, "data.eval_limit must be >= 1, got 0"),
        (SamplerConfig, "temperature", 0.0, "sampler.temperature must be > 0, got 0.0"),
        (SamplerConfig, "max_new_tokens", 0, "sampler.max_new_tokens must be >= 1"),
        (PilotConfig, "rollouts", 0, "pilot.rollouts must be >= 1, got 0"),
        (AllocationConfig, "alpha", -1.0, "allocation.alpha must be >= 0, got -1.0"),
        (AllocationConfig, "alpha", NAN, "allocation.alpha must be >= 0, got nan"),
        (AllocationConfig, "beta", 0.5, "allocation.beta must be >= 1, got 0.5"),
        (AllocationConfig, "hi", -1, "allocation.hi must be >= 0, got -1"),
        (AllocationConfig, "group", 1, "allocation.group must be >= 2, got 1"),
        (
            AllocationConfig,
            "audit_rate",
            1.0,
            r"allocation.audit_rate must be in \[0, 1\), got 1.0",
        ),
        (
            AllocationConfig,
            "oracle_for",
            "choice",
            "oracle_for is choice, but .* is paced, not oracle",
        ),
        (AllocationConfig, "predictor_every", 0, "allocation.predictor_every must be >= 1"),
        (LossConfig, "baseline", "history", "loss.baseline is for losses that have one; raft"),
        (LossConfig, "kl_coef", -0.1, "loss.kl_coef must be >= 0, got -0.1"),
        (LossConfig, "weighting", "prompt_mean", "loss.weighting for raft.. must be one of auto"),
        (OptimConfig, "lr", 0.0, "optim.lr must be > 0 and finite, got 0.0"),
        (OptimConfig, "max_grad_norm", 0.0, "optim.max_grad_norm must be > 0, got 0.0"),
        (LogConfig, "eval_every", 0, "log.eval_every must be >= 1, got 0"),
    ],
)
def test_a_setting_out_of_its_range_is_named_with_its_bound(
    record: type[object], setting: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        record(**{setting: value})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rollouts_per_update": 48}, "must be a multiple of rollouts_per_update .48., got 128"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        (
            {"allocation": AllocationConfig(rule="gvm", lo=9)},
            "is 128, 16 too few for 16 .*allocation.lo = 9",
        ),
        (
            {"allocation": AllocationConfig(rule="gvm", hi=7)},
            "is 128, 16 more than 16 .*allocation.hi = 7",
        ),
        (
            {
                "pilot": PilotConfig(rollouts=9, reuse=True),
                "allocation": AllocationConfig(rule="gvm"),
            },
            "is 128, 16 too few for 16 .*pilot.rollouts = 9",
        ),
        (
            {"pilot": PilotConfig(reuse=True), "allocation": AllocationConfig(rule="gvm", every=2)},
            "pilot.reuse needs allocation.every = 1, got 2",
        ),
        (
            {"pilot": PilotConfig(reuse=True), "allocation": AllocationConfig(rule="uniform")},
            "rule uniform draws no pilots",
        ),
        (
            {
                "pilot": PilotConfig(reuse=True),
                "allocation": AllocationConfig(rule="gvm"),
                "loss": LossConfig(name="raft", weighting="inverse_probability"),
            },
            "needs acceptance rates from other rollouts",
        ),
        ({"allocation": AllocationConfig(rule="paced", lo=1)}, "paced chooses prompts itself"),
        ({"allocation": AllocationConfig(group=129)}, "is 128, too few for two groups of .* = 129"),
        (
            {
                "allocation": AllocationConfig(rule="oracle", oracle_for="baseline"),
                "loss": LossConfig(name="raft++"),
            },
            "oracle_for baseline needs a loss .* loss.name is raft",
        ),
        (
            {"allocation": AllocationConfig(rule="dapo")},
            "dapo throws groups away .*audit_rate to 0",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_named(
    config: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig(out=OUT, **config)  # pyright: ignore[reportArgumentType] - fields by name


def test_auto_settings_resolve_to_what_the_loss_needs() -> None:
    raft, grpo, dr_grpo = (LossConfig(name=name) for name in ("raft", "grpo", "dr_grpo"))
    assert (raft.resolved_weighting, grpo.resolved_weighting) == ("accepted_mean", "prompt_mean")
    assert (grpo.resolved_aggregation, dr_grpo.resolved_aggregation) == ("token_mean", "constant")


@pytest.mark.parametrize(
    ("loss", "rule", "weighting", "group", "predictor"),
    [
        ("raft++", "paced", "flat", 2, "prompt"),
        ("raft++", "gvm", "accepted_mean", 2, "none"),
        ("rloo", "paced", "prompt_mean", 2, "prompt"),
        ("rloo", "uniform", "prompt_mean", 4, "none"),
    ],
)
def test_a_strategy_changes_what_auto_means(
    loss: Loss, rule: Rule, weighting: str, group: int, predictor: str
) -> None:
    config = RunConfig(out=OUT, loss=LossConfig(name=loss), allocation=AllocationConfig(rule=rule))
    assert (config.weighting, config.group, config.predictor) == (weighting, group, predictor)
    asked = replace(config, loss=LossConfig(name="raft", weighting="accepted_mean"))
    assert asked.weighting == "accepted_mean"


def test_settings_are_saved_as_json_under_their_flag_names() -> None:
    saved = json.loads(to_json(RunConfig(out=OUT, steps=7)))
    assert saved["steps"] == 7
    assert saved["optim"]["betas"] == [0.9, 0.999]
    assert saved["out"] == "run"
