"""How many accepted answers were right by luck: a wrong step on the way, the last total right.

    python scripts/lucky.py runs/bench/D/raft++

Reads the samples that runs on the embedded task wrote (`samples.jsonl`, four a step, not chosen by
their outcome), pools the seeds of each arm, and prints the share of accepted completions whose
running totals are not all right. Of the seeds together, a 95% Wilson interval.
"""

import sys
from collections import defaultdict
from pathlib import Path

from scipy.stats import binomtest

from gvmrl.files import read_json_lines
from gvmrl.tasks.arithmetic import parse_question, write_totals

KINDS = ("easy", "mid", "hard")


def main(root: Path) -> None:
    """Print a row for each arm and half of training."""
    lucky_by: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    for path in sorted(root.rglob("samples.jsonl")):
        rows = read_json_lines(path)
        last = max(int(str(row["step"])) for row in rows)
        for row in rows:
            kind, _, question = str(row["id"]).partition("/")
            if row["reward"] != 1 or kind not in KINDS:
                continue
            half = "first half" if 2 * int(str(row["step"])) <= last else "second half"
            right = write_totals(parse_question(question).totals)
            lucky_by[path.parent.parent.name, half, kind].append(row["completion"] != right)
    print("| arm | steps |", " | ".join(f"{kind}, accepted and lucky" for kind in KINDS), "|")
    print("| --- | --- |", " | ".join("---:" for _ in KINDS), "|")
    for arm, half in dict.fromkeys((arm, half) for arm, half, _ in lucky_by):
        cells = [_share(lucky_by[arm, half, kind]) for kind in KINDS]
        print(f"| {arm} | {half} |", " | ".join(cells), "|")


def _share(lucky: list[bool]) -> str:
    if not lucky:
        return "-"
    interval = binomtest(sum(lucky), len(lucky)).proportion_ci(method="wilson")
    share = sum(lucky) / len(lucky)
    return f"{share:.0%} [{interval.low:.0%}, {interval.high:.0%}] of {len(lucky)}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/lucky.py FOLDER (of runs on the embedded task)")
    main(Path(sys.argv[1]))
