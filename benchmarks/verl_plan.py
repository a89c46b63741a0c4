"""Time and memory of planning a million prompts for verl, step by step, on this machine."""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gvmrl import PromptStats, allocate
from gvmrl.plugins.verl.data import read_data, write_planned
from gvmrl.plugins.verl.dumps import stats_of_tally, tally_dumps
from gvmrl.plugins.verl.plans import BatchShape, lay_out, rows_of_plan

T = TypeVar("T")

BATCH, ROLLOUT_N, RESPONSE = 1024, 8, 2000


def timed(name: str, function: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = function()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {name} | {time.perf_counter() - start:.1f} s | {memory:.1f} GB |")
    return result


def write_data(path: Path, num_prompts: int) -> None:
    names = [f"problem-{row}" for row in range(num_prompts)]
    prompts = [[{"role": "user", "content": name + " " + "x" * 200}] for name in names]
    truth = [{"style": "rule", "ground_truth": str(row)} for row in range(num_prompts)]
    pq.write_table(pa.table({"id": names, "prompt": prompts, "reward_model": truth}), path)


def main() -> None:
    num_batches = max(1, int(sys.argv[1] if len(sys.argv) > 1 else 10**6) // BATCH)
    num_prompts = num_batches * BATCH
    generator = np.random.default_rng(0)
    rate_P = generator.beta(0.5, 0.5, num_prompts)
    success_P = generator.binomial(ROLLOUT_N, rate_P)
    print(f"{num_prompts} prompts, {num_batches} batches\n")
    print("| step | time | peak memory |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "train.parquet", num_prompts)
        data = timed("read the data and its ids", lambda: read_data(folder / "train.parquet"))
        stats = PromptStats(
            ids=data.ids,
            trials_P=np.full(num_prompts, float(ROLLOUT_N)),
            successes_P=success_P.astype(np.float64),
        )
        plan = timed(
            "allocate by gvm, at most 64 each",
            lambda: allocate(stats, num_prompts * ROLLOUT_N, rule="gvm", hi=64),
        )
        shape = BatchShape(train_batch_size=BATCH, rollout_n=ROLLOUT_N)
        layout = timed("pack into batches, exactly", lambda: lay_out(rows_of_plan(plan), shape))
        timed(
            "the same batch by batch",
            lambda: lay_out(rows_of_plan(plan), shape, batch_by_batch=True),
        )
        timed("write the planned file", lambda: write_planned(folder / "a.parquet", data, layout))
        write_dump(folder / "dumps", num_rollouts=100_000)
        tally = timed("read 100,000 dumped rollouts", lambda: tally_dumps(folder / "dumps"))
        problems = [(f"problem-{row}", str(row)) for row in range(num_prompts)]
        timed("join them to the data", lambda: stats_of_tally(tally, data.ids, problems))


def write_dump(folder: Path, num_rollouts: int) -> None:
    folder.mkdir()
    with (folder / "1.jsonl").open("w") as file:
        for row in range(num_rollouts):
            problem = str(row // ROLLOUT_N)
            line = {"input": f"problem-{problem}", "output": "x" * RESPONSE, "gts": problem}
            file.write(json.dumps(line | {"score": float(row % 2), "step": 1, "uid": "u"}) + "\n")


if __name__ == "__main__":
    main()
