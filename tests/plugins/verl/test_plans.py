"""Plans into verl's training file: what is kept, what is refused, what is counted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gvmrl.errors import InputError
from gvmrl.plugins.verl.data import (
    COUNT_COLUMN,
    WEIGHT_COLUMN,
    read_data,
    read_planned,
    write_planned,
)
from gvmrl.plugins.verl.plans import BatchShape, Layout, PlanRows, lay_out, read_plan

SHAPE = BatchShape(train_batch_size=4, rollout_n=4)


def plan_of(counts: list[int]) -> PlanRows:
    count_P = np.array(counts, np.int64)
    even_P = np.divide(count_P.mean(), count_P, out=np.zeros(count_P.size), where=count_P > 0)
    return PlanRows(
        ids=tuple(f"p{row}" for row in range(count_P.size)), count_P=count_P, loss_weight_P=even_P
    )


def counts_of(layout: Layout) -> dict[str, int]:
    """Return the rollouts of each prompt over all its rows."""
    total: dict[str, int] = {}
    for prompt_id, count in zip(layout.ids, layout.count_R.tolist(), strict=True):
        total[prompt_id] = total.get(prompt_id, 0) + count
    return total


def test_every_batch_has_its_rows_and_rollouts_and_the_counts_are_kept() -> None:
    plan = plan_of([6, 2, 1, 7, 3, 5, 4, 4, 0, 0])
    layout = lay_out(plan, SHAPE)
    assert layout.count_R.reshape(2, 4).sum(1).tolist() == [16, 16]
    assert {name: count for name, count in counts_of(layout).items() if count} == {
        name: count for name, count in zip(plan.ids, plan.count_P.tolist(), strict=True) if count
    }
    assert (layout.moved, layout.fillers, layout.left_out) == (0, 0, 2)


def test_prompts_without_rollouts_fill_the_rows_that_others_leave() -> None:
    # 16 rollouts on two prompts leave two rows: one idle prompt, then a prompt once more
    layout = lay_out(plan_of([9, 7, 0]), SHAPE)
    assert sorted(layout.count_R.tolist()) == [0, 0, 7, 9]
    assert (layout.fillers, layout.repeated, layout.num_batches) == (2, 1, 1)
    assert "fillers that repeat a prompt of another row: 1" in layout.explain()


@pytest.mark.parametrize(
    ("counts", "shape", "words"),
    [
        ([6, 2, 1], SHAPE, r"9 rollouts, which do not fill batches of 16 .* 9 are left"),
        ([0, 0], SHAPE, "gives none of its 2 prompts a rollout"),
        ([17, 15], SHAPE, r"'p0' has 17 rollouts, more than a batch of 16; plan with --hi 16"),
        ([4] * 8 + [0], BatchShape(train_batch_size=4, rollout_n=8), r"8 prompts .* the 4 rows"),
        (
            [1, 7, 5, 3],
            BatchShape(train_batch_size=4, rollout_n=4, group_min=2),
            r"1 prompts have fewer than group-min 2 rollouts \('p0'\); plan with --group-min 2",
        ),
        ([3, 3, 3, 3, 12, 8], SHAPE, r"no way was found .* let --batch-by-batch change"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(
    counts: list[int], shape: BatchShape, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        lay_out(plan_of(counts), shape)


@pytest.mark.parametrize("counts", [[6, 2, 1], [3, 3, 3, 3, 12, 8], [1] * 9, [40, 1, 1, 0]])
def test_batch_by_batch_fits_any_plan_and_says_what_it_moved(counts: list[int]) -> None:
    plan = plan_of(counts)
    layout = lay_out(plan, BatchShape(train_batch_size=4, rollout_n=4, group_min=2),
                     batch_by_batch=True)  # fmt: skip
    assert (layout.count_R.reshape(-1, 4).sum(1) == 16).all()
    assert not (layout.count_R == 1).any()
    before = dict(zip(plan.ids, plan.count_P.tolist(), strict=True))
    after = counts_of(layout)
    assert layout.moved == sum(abs(after.get(name, 0) - many) for name, many in before.items())
    # a prompt weighs in all what it weighed: even weights stay even
    used_R = layout.count_R > 0
    share_R = layout.count_R[used_R] * layout.loss_weight_R[used_R]
    assert np.allclose(share_R, share_R[0])


def test_the_layout_depends_on_the_seed_alone() -> None:
    plan = plan_of([6, 2, 1, 7, 3, 5, 4, 4] * 4)
    assert lay_out(plan, SHAPE).ids == lay_out(plan, SHAPE).ids
    assert lay_out(plan, SHAPE).ids != lay_out(plan, SHAPE, seed=1).ids


def data_file(path: Path, ids: list[object], column: str) -> Path:
    infos = [{"index": row, "id": each} for row, each in enumerate(ids)]
    table = {"prompt": [[{"role": "user", "content": f"{each}?"}] for each in ids]}
    table |= {"id": ids} if column == "id" else {"extra_info": infos}
    pq.write_table(pa.table(table).replace_schema_metadata({"huggingface": "{}"}), path)
    return path


@pytest.mark.parametrize("column", ["id", "extra_info"])
def test_rows_are_joined_by_id_not_by_position(tmp_path: Path, column: str) -> None:
    source = data_file(tmp_path / "train.parquet", ["p3", "p2", "p1", "p0", "more"], column)
    layout = lay_out(plan_of([7, 5, 3, 1]), SHAPE)
    out = tmp_path / "planned.parquet"
    assert write_planned(out, read_data(source), layout) == 1
    rows = pq.read_table(out).to_pylist()
    planned = {row["prompt"][0]["content"]: row[COUNT_COLUMN] for row in rows}
    assert planned == {"p0?": 7, "p1?": 5, "p2?": 3, "p3?": 1}
    weights = {row["prompt"][0]["content"]: row[WEIGHT_COLUMN] for row in rows}
    assert weights["p3?"] == pytest.approx(7 * weights["p0?"])
    # datasets would insist on the columns that its metadata name
    assert b"huggingface" not in pq.read_schema(out).metadata
    assert read_planned(out).shape == SHAPE


def test_a_planned_file_can_be_planned_again(tmp_path: Path) -> None:
    source = data_file(tmp_path / "a.parquet", ["p0", "p1", "p2", "p3"], "id")
    out = tmp_path / "b.parquet"
    write_planned(out, read_data(source), lay_out(plan_of([7, 5, 3, 1]), SHAPE))
    write_planned(out, read_data(out), lay_out(plan_of([4, 4, 4, 4]), SHAPE))
    assert read_planned(out).count_R.tolist() == [4, 4, 4, 4]


def test_ids_that_the_data_lack_are_counted_and_the_first_five_named(tmp_path: Path) -> None:
    source = read_data(data_file(tmp_path / "train.parquet", ["a", "b"], "id"))
    layout = lay_out(plan_of([2] * 8), BatchShape(train_batch_size=8, rollout_n=2))
    with pytest.raises(InputError, match=r"8 of 8 prompts .* and 3 more\), whose ids are 'a', 'b'"):
        write_planned(tmp_path / "planned.parquet", source, layout)
    assert not (tmp_path / "planned.parquet").exists()


@pytest.mark.parametrize(
    ("ids", "words"),
    [(["a", "b", "a"], r"1 ids occur twice \('a'\)"), (["a", None], "row 1 has no id")],
)
def test_ids_of_the_data_must_be_there_once(tmp_path: Path, ids: list[object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_data(data_file(tmp_path / "train.parquet", ids, "id"))


def test_data_without_ids_and_files_that_are_no_parquet_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"prompt": ["a"]}), path)
    with pytest.raises(InputError, match=r"neither a column id nor extra_info.id"):
        read_data(path)
    with pytest.raises(InputError, match="is not planned"):
        read_planned(path)
    path.write_text("no parquet")
    with pytest.raises(InputError, match="is not a parquet file"):
        read_data(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_data(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"id": "a", "count": 1}', "line 1 has no 'loss_weight'"),
        ('{"id": "a", "count": 1.5, "loss_weight": 1}', "count must be a whole number, got 1.5"),
        ('{"id": "a", "count": -1, "loss_weight": 1}', "count must be finite and >= 0, got -1"),
        ('{"id": "a", "count": 1, "loss_weight": 1}\n' * 2, "id 'a' occurs twice"),
        ("", "holds no rows"),
    ],
)
def test_rows_of_a_plan_are_checked(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_plan(path)
