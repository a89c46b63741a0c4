"""What a bench on the embedded task shows by kind of prompt, for each arm against uniform.

    python scripts/kinds.py runs/bench/D/rloo

Prints the held-out accuracy of hard prompts along the curve minus uniform's (mean over the seeds
that both have, 95% t interval); the share of the training rollouts that went to each kind after
step 60, and the mean squared error of the acceptance rates believed before each visit of at least
2 rollouts; and what the audit found: its last gain over the seeds, and how often it was in use.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from scipy import stats

from gvmrl.files import read_json_lines
from gvmrl.report.runs import load_run
from gvmrl.train.folder import ALLOCATION

FIRST_STEP = 60
KINDS = ("easy", "mid", "hard", "dead")
HARD = "eval/accuracy_hard"


def main(root: Path) -> None:
    """Print a row for each arm."""
    shares = " | ".join(f"{kind}: rollouts, error" for kind in KINDS)
    print(f"| arm | hard, minus uniform | {shares} | audit's gain, in use |")
    print("| --- |" + " ---: |" * (len(KINDS) + 2))
    for arm in sorted(folder for folder in root.iterdir() if folder.is_dir()):
        cells = (_hard(arm, root / "uniform"), *_spent(arm), _audit(arm))
        print(f"| {arm.name} |", " | ".join(cells), "|")


def _hard(arm: Path, uniform: Path) -> str:
    pairs = [(run, uniform / run.name) for run in arm.iterdir() if (uniform / run.name).exists()]
    gains = [_along(run) - _along(other) for run, other in pairs]
    if len(gains) < 2 or np.isnan(gains).any() or arm == uniform:
        return "-"
    half = stats.sem(gains) * stats.t.ppf(0.975, len(gains) - 1)
    return f"{np.mean(gains):+.3f} ± {half:.3f}"


def _along(folder: Path) -> float:
    rows = [row for row in load_run(folder).rows if "eval/accuracy" in row]
    return float(np.mean([row.get(HARD, np.nan) for row in rows]))


def _spent(arm: Path) -> Iterator[str]:
    spent, errors = Counter[str](), defaultdict[str, list[float]](list)
    for kind, believed, count, accepted in _visits(arm):
        spent[kind] += count
        if count >= 2:
            # less the variance of the share itself, so that its noise is no error of the belief
            noise = accepted * (count - accepted) / (count**2 * (count - 1))
            errors[kind].append((believed - accepted / count) ** 2 - noise)
    for kind in KINDS:
        share = spent[kind] / max(spent.total(), 1)
        yield f"{share:.0%}, {np.mean(errors[kind]):.3f}" if errors[kind] else "-"


def _visits(arm: Path) -> Iterator[tuple[str, float, int, int]]:
    for path in sorted(arm.glob(f"seed*/{ALLOCATION}")):
        for row in read_json_lines(path):
            if int(str(row["step"])) < FIRST_STEP:
                continue
            names = ("ids", "predicted", "counts", "accepted")
            ids, believed, counts, accepted = (cast(Sequence[object], row[name]) for name in names)
            for one, rate, n, hits in zip(ids, believed, counts, accepted, strict=True):
                kind = str(one).partition("/")[0]
                yield kind, float(str(rate)), int(str(n)), int(str(hits))


def _audit(arm: Path) -> str:
    runs = [load_run(folder).rows[1:] for folder in sorted(arm.glob("seed*"))]
    gains = [rows[-1]["audit/gain"] for rows in runs if "audit/gain" in rows[-1]]
    if not gains:
        return "-"
    in_use = np.mean([row["audit/strategy_in_use"] for rows in runs for row in rows])
    return f"{min(gains):.1f} to {max(gains):.1f}, {in_use:.0%}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/kinds.py FOLDER (SET/LOSS of a bench on the embedded task)")
    main(Path(sys.argv[1]))
