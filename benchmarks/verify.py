"""Verifications per second: ours against plain math-verify in a loop, on the same answers.

python benchmarks/verify.py [FILE.jsonl ...]   # files with an `answer` field, e.g. MATH-500
"""

import json
import logging
import random
import sys
import time
from contextlib import closing
from pathlib import Path

from math_verify import parse, verify

from gvmrl.data import Completion, Prompt
from gvmrl.reward.config import RewardConfig
from gvmrl.reward.scorer import make_reward

NUM_PROBLEMS = 400
ROLLOUTS = 8


def made_up_answers(rng: random.Random) -> list[str]:
    """Return answers as mathematics sets have them: half of them whole numbers."""
    forms = [
        lambda: str(rng.randrange(10_000)),
        lambda: str(rng.randrange(100)),
        lambda: rf"\frac{{{rng.randrange(1, 99)}}}{{{rng.randrange(2, 99)}}}",
        lambda: rf"{rng.randrange(2, 9)}\sqrt{{{rng.randrange(2, 99)}}}",
        lambda: rf"\left( {rng.randrange(9)}, \frac{{\pi}}{{{rng.randrange(2, 9)}}} \right)",
        lambda: rf"{rng.randrange(2, 9)}x^2 - {rng.randrange(2, 9)}x + {rng.randrange(2, 99)}",
    ]
    return [forms[row % 6 if row % 4 else 0]() for row in range(NUM_PROBLEMS)]


def batch(golds: list[str], rng: random.Random) -> list[tuple[str, str]]:
    """Return (completion, right answer) pairs: each problem's samples, 40% of them right."""
    pairs: list[tuple[str, str]] = []
    for gold in golds:
        likely_wrong = rng.choice(golds)
        for _ in range(ROLLOUTS):
            answer = rng.choices([gold, likely_wrong, rng.choice(golds)], [4, 3, 3])[0]
            pairs.append((rf"We compute, and find $\boxed{{{answer}}}$.", gold))
    rng.shuffle(pairs)
    return pairs


def plain_loop(pairs: list[tuple[str, str]]) -> tuple[int, float]:
    began = time.perf_counter()
    right = sum(verify(parse(rf"\boxed{{{gold}}}"), parse(text)) for text, gold in pairs)
    return right, len(pairs) / (time.perf_counter() - began)


def compare(name: str, golds: list[str]) -> None:
    """Print the rates on one set of right answers."""
    rng = random.Random(0)
    pairs = batch(golds, rng)
    prompts = [Prompt(str(row), (1,), gold) for row, (_, gold) in enumerate(pairs)]
    completions = [
        Completion(text=text, token_ids=(1,), logprobs=(0.0,), truncated=False) for text, _ in pairs
    ]
    right, plain_rate = plain_loop(pairs)
    print(f"{name}: {len(pairs)} verifications, {len(set(pairs))} of them different")
    print(f"  {'math-verify in a loop':34s} {plain_rate:9.0f} /s          {right} right")
    with closing(make_reward(RewardConfig())) as scorer:
        for label in ("ours, nothing remembered", "ours, pairs remembered"):
            began = time.perf_counter()
            verdicts = scorer.score(prompts, completions)
            rate = len(pairs) / (time.perf_counter() - began)
            accepted = sum(verdict.status == "correct" for verdict in verdicts)
            print(f"  {label:34s} {rate:9.0f} /s  {rate / plain_rate:6.1f}x  {accepted} right")


def main() -> None:
    """Compare on made-up answers and on the given files."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    compare("made up", made_up_answers(random.Random(1)))
    for name in sys.argv[1:]:
        rows = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
        compare(Path(name).name, [str(row["answer"]) for row in rows])


if __name__ == "__main__":
    main()
