# pyright: basic
"""The tiny model, its prompts, and the environment in which stock verl runs on a CPU."""

import os
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))  # verl loads the modules there by name
os.environ["VERL_PLATFORM"] = "cpu"
os.environ["VERL_USE_EXTERNAL_MODULES"] = "cpu_platform"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and `train.parquet`, eight prompts."""
    import tiny

    folder = tmp_path_factory.mktemp("tiny")
    tiny.save_model(folder / "model")
    tiny.save_prompts(folder / "train.parquet", 8)
    return folder
