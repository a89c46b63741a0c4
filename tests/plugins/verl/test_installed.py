"""Which verl is taken, and what a planned run must be set to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gvmrl.errors import InputError
from gvmrl.plugins.verl.checks import check_planned
from gvmrl.plugins.verl.data import PlannedFile
from gvmrl.plugins.verl.installed import AGENT_LOOP, check_sources, check_version
from gvmrl.plugins.verl.plans import BatchShape


@pytest.mark.parametrize("version", ["0.9.0", "0.9.1", "0.10.2"])
def test_versions_of_the_range_are_taken(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["0.8.3", "0.11.0", "1.0.0", "0.7.0.dev0"])
def test_other_versions_are_refused_with_the_range(version: str) -> None:
    with pytest.raises(InputError, match=rf"verl {version} is not supported.*>=0.9,<0.11"):
        check_version(version)


def test_a_verl_without_the_trainer_or_the_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no V1 trainer"):
        check_sources(tmp_path, "0.9.1")
    source = tmp_path / AGENT_LOOP
    source.parent.mkdir(parents=True)
    source.write_text("n = config.n")
    with pytest.raises(InputError, match="does not read the column __rollout_n__"):
        check_sources(tmp_path, "0.9.1")


def settings(**changed: object) -> Callable[[str], object]:
    base: dict[str, object] = {
        "data.train_batch_size": 2,
        "actor_rollout_ref.rollout.n": 4,
        "data.shuffle": False,
        "data.filter_overlong_prompts": False,
        "data.train_max_samples": -1,
        "algorithm.adv_estimator": "gvmrl_raft",
    }
    return (base | {name.replace("__", "."): value for name, value in changed.items()}).get


def test_rows_that_were_moved_after_packing_are_noticed() -> None:
    shape = BatchShape(train_batch_size=2, rollout_n=4)
    check_planned(PlannedFile(shape=shape, count_R=np.array([7, 1, 5, 3])), settings())
    with pytest.raises(InputError, match="batch 0 of the planned file has 12 rollouts, not 8"):
        check_planned(PlannedFile(shape=shape, count_R=np.array([7, 5, 1, 3])), settings())
    with pytest.raises(InputError, match="1 prompts have one rollout"):
        check_planned(
            PlannedFile(shape=shape, count_R=np.array([7, 1, 5, 3])),
            settings(algorithm__adv_estimator="grpo"),
        )
