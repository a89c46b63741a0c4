"""A run's folder: the names of its files, whose it is, and whether its run has ended.

Loads no torch, so that a bench can look at a thousand folders in a moment.
"""

import json
from pathlib import Path

from gvmrl.config import RunConfig, flatten, to_json
from gvmrl.errors import InputError
from gvmrl.files import read_json_lines

CONFIG = "config.json"
METRICS = "metrics.jsonl"
ALLOCATION = "allocation.jsonl"
SAMPLES = "samples.jsonl"
CHECKPOINTS = "checkpoints"


def check_folder(config: RunConfig) -> None:
    """Refuse a folder that is not empty and not this run's.

    Raises:
        InputError: Naming the settings that differ from those the folder was made with.
    """
    saved = config.out / CONFIG
    if not saved.exists():
        if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
            raise InputError(f"out {config.out} is not empty and not a run; choose another folder")
        return
    before = flatten(json.loads(saved.read_text(encoding="utf-8")))
    now = flatten(json.loads(to_json(config)))
    changed = sorted(name for name in before | now if before.get(name) != now.get(name))
    if changed := [name for name in changed if name != "out"]:
        changes = "; ".join(
            f"{name} was {before.get(name)}, is {now.get(name)}" for name in changed
        )
        raise InputError(
            f"out {config.out} holds a run with other settings ({changes}); "
            "restore them to resume it, or choose another folder"
        )


def steps_done(out: Path) -> int:
    """Return the last step whose figures are in a run's folder; 0 if there is none."""
    rows = read_json_lines(out / METRICS)
    return int(str(rows[-1]["step"])) if rows else 0
