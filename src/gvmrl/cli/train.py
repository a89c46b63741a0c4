"""`gvmrl train`."""

from typing import Annotated

import tyro

from gvmrl.config import RunConfig


def train(config: Annotated[RunConfig, tyro.conf.arg(name="")]) -> None:
    """Train a policy under a fixed rollout budget; resumes by itself if `out` holds a run.

    Writes config.json, metrics.jsonl, allocation.jsonl and checkpoints/ into `out`. Example:
    gvmrl train @configs/gsm8k.toml --model.path DIR --data.train FILE.jsonl --out runs/mine
    """
    from gvmrl.cli.display import progress  # torch is loaded here, so that --help stays fast
    from gvmrl.train.loop import train
    from gvmrl.train.run import open_run

    with open_run(config) as run, progress(config, run.state.step) as show:
        train(run, show)
