"""Where the rollouts of a run went, prompt by prompt, from its allocation.jsonl.

Axes: V visits, that is, pairs of a step and one of its prompts; K bins of the pass rate.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from gvmrl.data import BoolArray, FloatArray, IntArray
from gvmrl.files import read_json_lines

BINS = ("unseen", "0", "to 1/4", "to 1/2", "to 3/4", "below 1", "1")
"""Bins of the pass rate that was known of a prompt before its step."""
_EDGES = (0.0, 0.25, 0.5, 0.75)
"""Upper ends of the bins after `unseen`, up to `to 3/4`; each holds its upper end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """The visits of one run, in the order of its steps."""

    step_V: IntArray
    prompt_V: IntArray
    """Number of the prompt within the run, in the order of first appearance."""
    known_rate_V: FloatArray
    """Accepted share of the statistics that the step had of the prompt; without any, of the
    prompt's last visit; NaN if there was none."""
    predicted_V: FloatArray
    """Predicted pass rate, NaN where the run predicts none."""
    count_V: IntArray
    """Training rollouts."""
    accepted_V: IntArray
    """Accepted ones among them."""

    @property
    def bin_V(self) -> IntArray:
        """[V] row of `BINS`."""
        bin_V = 1 + np.searchsorted(_EDGES, self.known_rate_V)
        bin_V[self.known_rate_V == 1] = len(BINS) - 1
        bin_V[np.isnan(self.known_rate_V)] = 0
        return bin_V

    @property
    def visited_V(self) -> BoolArray:
        """[V] whether the prompt got any rollout."""
        return self.count_V > 0

    @property
    def visits_of_prompts(self) -> IntArray:
        """[P] visits of each prompt that was visited at all."""
        num_P = np.bincount(self.prompt_V[self.visited_V])
        return num_P[num_P > 0]


def read_visits(folder: Path) -> Visits:
    """Read the visits of a run, finished or not; a prompt that got no rollout has count 0."""
    rows = read_json_lines(folder / "allocation.jsonl")
    ids = [list[str](row["ids"]) for row in rows]  # pyright: ignore[reportArgumentType] - JSON
    number = {name: at for at, name in enumerate(dict.fromkeys(chain.from_iterable(ids)))}
    length = [len(names) for names in ids]

    def column(name: str) -> FloatArray:
        values = [
            row[name] if row.get(name) is not None else [np.nan] * num
            for row, num in zip(rows, length, strict=True)
        ]
        return np.concatenate([np.zeros(0), *(np.array(value, np.float64) for value in values)])

    prompt_V = np.array([number[name] for names in ids for name in names], np.int64)
    count_V, accepted_V = (column(name).astype(np.int64) for name in ("counts", "accepted"))
    trials_V, successes_V = column("trials"), column("successes")
    rate_V = _last_rate(prompt_V, count_V, accepted_V)
    tried_V = trials_V > 0
    rate_V[tried_V] = successes_V[tried_V] / trials_V[tried_V]
    return Visits(
        step_V=np.repeat(np.array([int(str(row["step"])) for row in rows], np.int64), length),
        prompt_V=prompt_V,
        known_rate_V=rate_V,
        predicted_V=column("predicted"),
        count_V=count_V,
        accepted_V=accepted_V,
    )


def _last_rate(prompt_V: IntArray, count_V: IntArray, accepted_V: IntArray) -> FloatArray:
    """[V] accepted share at the prompt's last visit before this one; NaN at its first."""
    last = np.full(prompt_V.max(initial=-1) + 1, np.nan)
    rate_V = np.full(prompt_V.size, np.nan)
    for row, (prompt, count) in enumerate(zip(prompt_V, count_V, strict=True)):
        rate_V[row] = last[prompt]
        if count:
            last[prompt] = accepted_V[row] / count
    return rate_V
