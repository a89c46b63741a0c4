"""From a plan to the rows of verl's training file, batch after batch.

Axes: P prompts of the plan, R rows of the file, K batches, B rows of a batch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gvmrl.allocate import Limits, Plan, allocate, in_proportion
from gvmrl.allocate.demand import Demand
from gvmrl.allocate.ties import by_hash
from gvmrl.data import FloatArray, IntArray
from gvmrl.errors import InputError
from gvmrl.plugins.verl.batches import NoExactPacking, deal, pack_rows
from gvmrl.stats import PromptStats
from gvmrl.tables import READERS, PlacedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
    """What a batch of verl holds."""

    train_batch_size: int
    """Rows of a batch: `data.train_batch_size`."""
    rollout_n: int
    """Mean number of rollouts of a row: `actor_rollout_ref.rollout.n`."""
    group_min: int = 1
    """A prompt gets 0 rollouts or at least this many; 2 for RLOO and GRPO."""

    def __post_init__(self) -> None:
        for name in ("train_batch_size", "rollout_n", "group_min"):
            value = getattr(self, name)
            if not value >= 1:
                raise ValueError(f"{name.replace('_', '-')} must be >= 1, got {value}")

    @property
    def rollouts(self) -> int:
        """Rollouts of a batch: any other number makes verl pad it and take more updates."""
        return self.train_batch_size * self.rollout_n


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanRows:
    """The rows of a plan."""

    ids: tuple[str, ...]
    """The prompts' ids, each once."""
    count_P: IntArray
    """[P] rollouts, >= 0."""
    loss_weight_P: FloatArray
    """[P] weight of each rollout in the loss; 1 for uniform counts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Which prompt stands in which row of the training file, and with how many rollouts."""

    shape: BatchShape
    """What each batch holds."""
    ids: tuple[str, ...]
    """[R] prompt of each row, batch after batch. Only rows without rollouts repeat a prompt."""
    count_R: IntArray
    """[R] rollouts of each row; every batch has the same total."""
    loss_weight_R: FloatArray
    """[R] weight of each of the row's rollouts in the loss."""
    moved: int
    """Rollouts that were taken from the plan's prompts or added to them, together."""
    fillers: int
    """Rows without rollouts."""
    repeated: int
    """Fillers whose prompt stands in another row too."""
    left_out: int
    """Prompts of the plan that have no rollouts."""

    @property
    def num_batches(self) -> int:
        """Batches, and so training steps of verl."""
        return len(self.ids) // self.shape.train_batch_size

    def explain(self) -> str:
        """Say in a few lines what was laid out."""
        used_R = self.count_R[self.count_R > 0]
        size = f"{self.shape.train_batch_size} rows and {self.shape.rollouts} rollouts"
        lines = [
            f"{self.num_batches} batches of {size}",
            f"{used_R.size} prompts get {used_R.min()} to {used_R.max()} rollouts",
            f"left out by the plan: {self.left_out} prompts",
            f"rows without rollouts, as fillers: {self.fillers}",
        ]
        if self.repeated:
            lines.append(f"fillers that repeat a prompt of another row: {self.repeated}")
        if self.moved:
            total = int(self.count_R.sum())
            lines.append(f"batch by batch: {self.moved} rollouts moved, {self.moved / total:.2%}")
        return "\n".join(lines)


def read_plan(path: Path) -> PlanRows:
    """Read rows id, count, loss_weight, as `gvmrl plan` writes them.

    Raises:
        InputError: Naming the file, the line, the field and its value.
    """
    if path.suffix not in READERS:
        raise InputError(f"plan {path} must end in {', '.join(READERS)}")
    try:
        placed = list(READERS[path.suffix](path))
    except OSError as error:
        raise InputError(f"plan {path} cannot be read: {error.strerror}") from error
    if not placed:
        raise InputError(f"plan {path} holds no rows; there must be one for each prompt")
    rows = [_row(each) for each in placed]
    ids = tuple(prompt_id for prompt_id, _, _ in rows)
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(each for each in ids if each in seen or seen.add(each))
        raise InputError(f"plan {path}: id {twice!r} occurs twice; each prompt has one row")
    return PlanRows(
        ids=ids,
        count_P=np.array([count for _, count, _ in rows], np.int64),
        loss_weight_P=np.array([weight for _, _, weight in rows], np.float64),
    )


def rows_of_plan(plan: Plan) -> PlanRows:
    """Return the rows of a plan that was just made."""
    return PlanRows(ids=plan.ids, count_P=plan.count_P, loss_weight_P=plan.loss_weight_P)


def lay_out(
    plan: PlanRows, shape: BatchShape, *, batch_by_batch: bool = False, seed: int = 0
) -> Layout:
    """Put the prompts of a plan into batches of exactly the shape's rows and rollouts.

    Args:
        plan: Whose counts are kept, unless `batch_by_batch`.
        shape: What a batch holds.
        batch_by_batch: Deal the prompts into batches and hand each batch's rollouts out again in
            proportion to the counts. It fits any plan, and moves as few rollouts as the deal
            leaves batches unequal.
        seed: Decides who is in which batch and the order of the batches.

    Raises:
        InputError: If the counts cannot be kept; the message says what can be done.
    """
    active_A = _in_order(plan.ids, np.flatnonzero(plan.count_P > 0), seed)
    idle_Z = _in_order(plan.ids, np.flatnonzero(plan.count_P == 0), seed)
    num_batches = _num_batches(plan, shape, active_A.size, batch_by_batch)
    fillers = num_batches * shape.train_batch_size - active_A.size
    repeated = max(0, fillers - idle_Z.size)
    # a row without rollouts is never sampled, so any prompt will do
    row_R = np.concatenate([active_A, idle_Z[:fillers], np.resize(active_A, repeated)])
    count_R = np.where(np.arange(row_R.size) < active_A.size, plan.count_P[row_R], 0)
    if batch_by_batch:
        place_KB = deal(count_R, num_batches)
        new_R = _hand_out_again(plan, shape, row_R, count_R, place_KB)
    else:
        _check_groups(plan, shape)
        try:
            place_KB = pack_rows(count_R, num_batches, seed)
        except NoExactPacking as error:
            raise InputError(
                f"{error}; take another --train-batch-size, make the plan with another --hi or "
                "--group-min, or let --batch-by-batch change some counts"
            ) from error
        new_R = count_R
    generator = np.random.default_rng(seed % 2**64)
    place_R = place_KB[generator.permutation(num_batches)].ravel()
    scale = new_R.sum() / count_R.sum()
    # what a prompt weighs in all stays the same where its count changes
    weight_R = plan.loss_weight_P[row_R] * scale * count_R / np.maximum(new_R, 1)
    return Layout(
        shape=shape,
        ids=tuple(plan.ids[row] for row in row_R[place_R].tolist()),
        count_R=new_R[place_R],
        loss_weight_R=weight_R[place_R],
        moved=int(np.abs(new_R - count_R).sum()),
        fillers=int((new_R == 0).sum()),
        repeated=repeated,
        left_out=idle_Z.size,
    )


def name_some(ids: list[str]) -> str:
    """Return up to five ids for a message."""
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(map(repr, ids[:5])) + more


def _row(placed: PlacedRow) -> tuple[str, int, float]:
    """Check one row of a plan."""
    where, row = placed
    for name in ("id", "count", "loss_weight"):
        if row.get(name) is None:
            raise InputError(f"{where} has no {name!r}; a plan's rows are id, count, loss_weight")
    count, weight = (_number(where, name, row[name]) for name in ("count", "loss_weight"))
    if count != int(count):
        raise InputError(f"{where}: count must be a whole number, got {count}")
    return str(row["id"]), int(count), weight


def _number(where: str, name: str, value: object) -> float:
    """Return a number that is finite and >= 0; CSV files hold text."""
    try:
        number = float(value) if isinstance(value, str | int | float) else float("nan")
    except ValueError:
        number = float("nan")
    if not 0 <= number < float("inf"):
        raise InputError(f"{where}: {name} must be finite and >= 0, got {value!r}")
    return number


def _in_order(ids: tuple[str, ...], row_K: IntArray, seed: int) -> IntArray:
    """Return rows in an order that depends on the ids and the seed alone."""
    return by_hash(ids, seed)(row_K).astype(np.int64)


def _num_batches(plan: PlanRows, shape: BatchShape, active: int, batch_by_batch: bool) -> int:
    """Return how many batches the plan fills.

    Raises:
        InputError: If the plan has no rollouts, does not fill whole batches, or has more prompts
            with rollouts than rows.
    """
    total = int(plan.count_P.sum())
    if active == 0:
        raise InputError(f"the plan gives none of its {len(plan.ids)} prompts a rollout")
    if batch_by_batch:
        return max(-(-active // shape.train_batch_size), round(total / shape.rollouts))
    if total % shape.rollouts:
        lower = total - total % shape.rollouts
        raise InputError(
            f"the plan has {total} rollouts, which do not fill batches of {shape.rollouts} "
            f"(train-batch-size {shape.train_batch_size} x rollout-n {shape.rollout_n}): "
            f"{total % shape.rollouts} are left; plan with --budget {lower or shape.rollouts} or "
            f"--multiple-of {shape.rollouts}, or let --batch-by-batch change some counts"
        )
    num_batches = total // shape.rollouts
    rows = num_batches * shape.train_batch_size
    if active > rows:
        raise InputError(
            f"{active} prompts have rollouts, more than the {rows} rows of {num_batches} batches: "
            f"the mean count {total / active:.2f} is below rollout-n {shape.rollout_n}; take a "
            "smaller --rollout-n, a larger --budget, or let --batch-by-batch change some counts"
        )
    return num_batches


def _check_groups(plan: PlanRows, shape: BatchShape) -> None:
    """Refuse groups that are too small for the estimator, or larger than a batch.

    Raises:
        InputError: Naming up to five prompts.
    """
    small_P = (plan.count_P > 0) & (plan.count_P < shape.group_min)
    if small_P.any():
        names = name_some([plan.ids[row] for row in np.flatnonzero(small_P)])
        raise InputError(
            f"{int(small_P.sum())} prompts have fewer than group-min {shape.group_min} rollouts "
            f"({names}); plan with --group-min {shape.group_min}, or let --batch-by-batch change "
            "some counts"
        )
    row = int(plan.count_P.argmax())
    if plan.count_P[row] > shape.rollouts:
        raise InputError(
            f"prompt {plan.ids[row]!r} has {plan.count_P[row]} rollouts, more than a batch of "
            f"{shape.rollouts}; plan with --hi {shape.rollouts} or take larger batches"
        )


def _hand_out_again(
    plan: PlanRows, shape: BatchShape, row_R: IntArray, count_R: IntArray, place_KB: IntArray
) -> IntArray:
    """Return [R] counts in proportion to the old ones, with the right total in every batch."""
    new_R = np.zeros_like(count_R)
    for place_B in place_KB:
        place_A = place_B[count_R[place_B] > 0]
        if not place_A.size:
            raise InputError(
                f"{int((count_R > 0).sum())} prompts with rollouts are too few for "
                f"{len(place_KB)} batches; take larger batches or plan fewer rollouts"
            )
        stats = PromptStats(
            ids=tuple(plan.ids[row] for row in row_R[place_A].tolist()),
            trials_P=count_R[place_A].astype(np.float64),
            successes_P=np.zeros(place_A.size),
        )
        fits = place_A.size * shape.group_min <= shape.rollouts
        again = allocate(
            stats,
            shape.rollouts,
            rule=_as_before,
            lo=shape.group_min if fits else 0,
            limits=Limits(group_min=shape.group_min),
        )
        new_R[place_A] = again.count_P
    return new_R


def _as_before(stats: PromptStats) -> Demand:
    """Weigh by the counts of the plan, which stand in the trials."""
    return in_proportion(stats.trials_P)
