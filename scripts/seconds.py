"""Where the seconds of runs went, how many tokens a second they drew, and what memory they took.

    python scripts/seconds.py runs/gpu/*

Reads metrics.jsonl alone. Seconds are means over the steps (of an evaluation, over evaluations);
the first step is left out where there are others, since libraries warm up in it. Tokens a second
are generated tokens over the seconds of drawing and checking them (sample), and over those of all
phases but evaluation (all). Memory is the largest so far, in GB of 10^9 bytes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gvmrl.report.runs import RunRecord, load_run

PHASES = ("predict", "pilot", "sample", "update", "eval")
COLUMNS = ("run", "steps", *PHASES, "tokens/s, sample", "tokens/s, all", "tensors", "held")


def main(folders: Sequence[Path]) -> None:
    """Print a row for each run."""
    runs = [load_run(folder) for folder in folders]
    print("|", " | ".join(COLUMNS), "|")
    print("| --- |", " | ".join("---:" for _ in COLUMNS[1:]), "|")
    for run in runs:
        print("|", " | ".join(cells(run)), "|")


def cells(run: RunRecord) -> list[str]:
    """Return the cells of a run's row."""
    steps = [row for row in run.rows if row["step"] > 0]
    first, later = (steps[0], steps[1:]) if len(steps) > 1 else (run.rows[0], steps)
    tokens = later[-1]["cost/all_tokens"] - first["cost/all_tokens"] if later else 0.0
    sample_s = sum(row.get("time/sample_s", 0.0) for row in later)
    all_s = later[-1]["seconds"] - first["seconds"] if later else 0.0
    names = [f"time/{phase}_s" for phase in PHASES]
    seconds = [[row[name] for row in later if name in row] for name in names]
    return [
        run.folder.name,
        str(len(steps)),
        *(f"{np.mean(values):.2f} s" if values else "-" for values in seconds),
        *(f"{tokens / spent:,.0f}" if spent > 0 else "-" for spent in (sample_s, all_s)),
        *(memory(run, name) for name in ("memory/gpu_peak_bytes", "memory/gpu_held_bytes")),
    ]


def memory(run: RunRecord, name: str) -> str:
    """Return the last of a figure in bytes, in GB; a run on a CPU has none."""
    last = run.rows[-1].get(name)
    return f"{last / 1e9:.1f} GB" if last is not None else "-"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python scripts/seconds.py RUN...")
    main([Path(name) for name in sys.argv[1:]])
