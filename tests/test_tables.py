"""Files and tables of statistics and plans."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gvmrl import Plan, PromptStats, allocate
from gvmrl.errors import InputError
from gvmrl.tables import ArrowTable, check_writable, read_stats, stats_from_table, write_plan

ROWS: list[dict[str, object]] = [
    {"id": "a", "trials": 8, "successes": 2.5, "grad_norm": 1.5, "cost": 100, "level": "hard"},
    {"id": "b", "trials": 4, "successes": 0, "grad_norm": None, "cost": 50, "level": ""},
]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
        case ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        case _:
            pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def check(stats: PromptStats) -> None:
    assert stats.ids == ("a", "b")
    assert stats.trials_P.tolist() == [8, 4]
    assert stats.successes_P.tolist() == [2.5, 0]
    assert stats.grad_norm_P is not None
    assert stats.grad_norm_P.tolist() == [1.5, 0]
    assert stats.cost_P is not None
    assert stats.cost_P.tolist() == [100, 50]
    assert stats.rejected_norm_P is None


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_statistics(tmp_path: Path, suffix: str) -> None:
    check(read_stats(write(tmp_path / f"stats.{suffix}", ROWS)))


def frames() -> list[ArrowTable]:
    return [pd.DataFrame(ROWS), pl.DataFrame(ROWS), pa.Table.from_pylist(ROWS)]  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("place", range(3))
def test_every_kind_of_table_gives_the_same_statistics(place: int) -> None:
    check(stats_from_table(frames()[place]))


def test_columns_of_a_round_are_read(tmp_path: Path) -> None:
    row: dict[str, object] = {"id": "a", "trials": 0, "successes": 0}
    path = tmp_path / "stats.jsonl"
    stats = read_stats(write(path, [row | {"round_trials": 4, "round_successes": 1}]))
    assert stats.accept_rate_P.tolist() == [0.25]
    with pytest.raises(InputError, match="needs both round_trials and round_successes"):
        read_stats(write(path, [row | {"round_trials": 4}]))


def bad(tmp_path: Path, row: dict[str, object]) -> Path:
    return write(tmp_path / "stats.jsonl", [ROWS[0], {k: v for k, v in row.items() if v != "-"}])


GOOD: dict[str, object] = {"id": "b", "trials": 8, "successes": 1, "grad_norm": 1, "cost": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "-"}, r"stats\.jsonl line 2 has no 'id'; each row needs"),
        ({"trials": "-"}, r"line 2 has no 'trials'"),
        ({"successes": "-"}, r"line 2 has no 'successes'"),
        ({"id": 7}, r"line 2: id must be a string, got 7; put it in quotes"),
        ({"id": "a"}, r"line 2: id 'a' occurs already at .*stats\.jsonl line 1"),
        ({"trials": "8"}, r"line 2: trials must be a number, got '8'"),
        ({"trials": True}, r"line 2: trials must be a number, got True"),
        ({"successes": -1}, r"line 2: successes must be finite and >= 0, got -1"),
        ({"grad_norm": float("nan")}, r"line 2: grad_norm must be finite and >= 0, got nan"),
        ({"grad_norm": float("inf")}, r"line 2: grad_norm must be finite and >= 0, got inf"),
        ({"cost": 0}, r"line 2: cost must be > 0, got 0; give expected tokens"),
        ({"successes": 9}, r"line 2: successes must be at most trials, got 9 of 8"),
        ({"grad_norm": "-"}, r"line 2 has no 'grad_norm', which other rows have"),
        ({"gradnorm": 1, "grad_norm": "-"}, r"unknown field 'gradnorm'; did you mean 'grad_norm'"),
        ({"sucesses": 1, "successes": "-"}, r"unknown field 'sucesses'; did you mean 'successes'"),
    ],
)
def test_bad_rows_name_line_field_value_and_remedy(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_stats(bad(tmp_path, GOOD | change))


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_text('{"id": "a"\n')
    with pytest.raises(InputError, match=r"line 1 is not JSON"):
        read_stats(path)
    path.write_text("[1, 2]\n")
    with pytest.raises(InputError, match=r"line 1 must be an object like .* got \[1, 2\]"):
        read_stats(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no rows"):
        read_stats(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_stats(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_stats(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"must end in \.jsonl, \.csv, \.parquet"):
        read_stats(tmp_path / "stats.json")
    broken = tmp_path / "stats.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="is not a parquet file"):
        read_stats(broken)


def test_malformed_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stats.csv"
    path.write_text("id,trials,successes\na,8\n")
    with pytest.raises(InputError, match="line 2 has not as many fields as the header"):
        read_stats(path)
    path.write_text("id,trials,successes\na,8,1,4\n")
    with pytest.raises(InputError, match="line 2 has not as many fields as the header"):
        read_stats(path)
    path.write_text("id,trials,successes\na,many,1\n")
    with pytest.raises(InputError, match="line 2: trials must be a number, got 'many'"):
        read_stats(path)
    path.write_text('id,trials,successes\n"a"b,8,1\n')
    with pytest.raises(InputError, match="is not CSV after line 1"):
        read_stats(path)


def make_plan() -> Plan:
    stats = PromptStats(
        ids=("a", "b"), trials_P=np.array([8.0, 8.0]), successes_P=np.array([8.0, 2.0])
    )
    return allocate(stats, 6)


def test_plans_are_written_in_every_format(tmp_path: Path) -> None:
    plan = make_plan()
    rows = [
        {"id": "a", "count": 2, "loss_weight": 1.5},
        {"id": "b", "count": 4, "loss_weight": 0.75},
    ]
    for suffix in ("jsonl", "csv", "parquet"):
        write_plan(tmp_path / f"plan.{suffix}", plan)
    lines = (tmp_path / "plan.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert (tmp_path / "plan.csv").read_text() == "id,count,loss_weight\na,2,1.5\nb,4,0.75\n"
    assert pq.read_table(tmp_path / "plan.parquet").to_pylist() == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "plan.csv",
        "plan.jsonl",
        "plan.parquet",
    ]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan .*plan\.txt must end in \.jsonl, \.csv, \.parquet"):
        write_plan(tmp_path / "plan.txt", make_plan())
    assert list(tmp_path.iterdir()) == []
    check_writable(tmp_path / "plan.csv")
