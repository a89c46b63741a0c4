# pyright: basic, reportMissingImports=false
"""The shipped runs: verl takes their settings, and their updates are what they say."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="verl has an environment of its own: make .venv-verl/ready")

from gvmrl.plugins.verl.checks import check_run, compose
from gvmrl.plugins.verl.installed import verl_folder
from gvmrl.plugins.verl.names import TRAINER_MODULE

CONFIGS = Path(__file__).parents[3] / "configs" / "verl"


def settings_of(*args: str) -> list[str]:
    command = ["bash", str(CONFIGS / "paper.sh"), *args]
    done = subprocess.run(
        command, env=os.environ | {"PRINT": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("size", ["1.5b", "7b"])
@pytest.mark.parametrize("loss", ["raft++", "grpo"])
@pytest.mark.parametrize(
    ("rule", "updates"), [("uniform", 4), ("gvm", 4), ("gvm-paper-8x-updates", 32)]
)
def test_the_papers_runs_are_right_and_say_how_many_updates_they_take(
    monkeypatch: pytest.MonkeyPatch, size: str, loss: str, rule: str, updates: int
) -> None:
    monkeypatch.setenv("VERL_USE_EXTERNAL_MODULES", TRAINER_MODULE)
    overrides = settings_of(size, loss, rule)
    if size == "1.5b":
        assert check_run(overrides) is None
    setting = compose(verl_folder(), overrides, "ppo_trainer")
    mini_batch = setting("actor_rollout_ref.actor.ppo_mini_batch_size")
    assert setting("data.train_batch_size") == updates * int(str(mini_batch))
    assert setting("actor_rollout_ref.actor.policy_loss.loss_mode") == "vanilla"


def test_arms_differ_in_the_rule_alone() -> None:
    uniform, gvm = (
        {line for line in settings_of("1.5b", "grpo", rule) if "runs/" not in line}
        for rule in ("uniform", "gvm")
    )
    different = {line.split("=")[0] for line in uniform ^ gvm}
    assert different == {
        "+gvmrl.rule",
        "+gvmrl.pilots",
        "+gvmrl.norm",
        "trainer.experiment_name",
    }


def test_a_wrong_name_is_refused() -> None:
    command = ["bash", str(CONFIGS / "paper.sh"), "3b", "grpo", "gvm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "SIZE must be 1.5b or 7b, got 3b\n")


def test_verl_takes_the_settings_of_the_loop() -> None:
    loop = tomllib.loads((CONFIGS / "loop.toml").read_text(encoding="utf-8"))
    setting = compose(verl_folder(), loop["verl"], "ppo_trainer")
    assert setting("actor_rollout_ref.actor.ppo_mini_batch_size") == 256
