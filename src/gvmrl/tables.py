"""Statistics and plans as files and tables: one row for each prompt.

JSON lines and CSV need nothing; parquet and tables of pandas, polars or pyarrow need pyarrow.
"""

import csv
import difflib
import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

from gvmrl.allocate import Plan
from gvmrl.errors import InputError
from gvmrl.files import replacing, write_json_lines
from gvmrl.stats import PromptStats

REQUIRED = {"trials": "trials_P", "successes": "successes_P"}
"""Column of a file to field of `PromptStats`."""

OPTIONAL = {
    "grad_norm": "grad_norm_P",
    "rejected_norm": "rejected_norm_P",
    "cost": "cost_P",
    "objective_weight": "objective_weight_P",
    "round_trials": "round_trials_P",
    "round_successes": "round_successes_P",
}
"""The same for columns that all rows have, or none."""

COLUMNS = ("id", *REQUIRED, *OPTIONAL)

Row = Mapping[str, object]
PlacedRow = tuple[str, Row]
"""Where a row stands, for messages, and its fields; None is an empty field."""


class ArrowTable(Protocol):
    """A table that offers the Arrow interface: pandas, polars and pyarrow tables do."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand the columns over."""
        ...


def read_stats(path: Path) -> PromptStats:
    """Read statistics from a .jsonl, .csv or .parquet file.

    Args:
        path: Rows with the columns id, trials and successes and, optionally, those of `OPTIONAL`.
            Other columns are ignored, unless they look misspelt.

    Raises:
        InputError: Naming the file, the line, the field and its value.
    """
    if path.suffix not in READERS:
        raise InputError(f"statistics {path} must end in {', '.join(READERS)}")
    try:
        rows = list(READERS[path.suffix](path))
    except OSError as error:
        raise InputError(f"statistics {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"statistics {path} are no text in UTF-8: {error}") from error
    return _stats(str(path), rows)


def stats_from_table(table: ArrowTable) -> PromptStats:
    """Take statistics from a pandas, polars or pyarrow table with the columns of a file.

    Raises:
        InputError: As `read_stats`, or without pyarrow.
    """
    return _stats("the table", list(_arrow_rows("the table", _pyarrow().table(table))))


def plan_rows(plan: Plan) -> Iterator[dict[str, object]]:
    """Give a plan's rows {"id", "count", "loss_weight"}, in the order of the statistics."""
    columns = (plan.ids, plan.count_P.tolist(), plan.loss_weight_P.tolist())
    for prompt_id, count, loss_weight in zip(*columns, strict=True):
        yield {"id": prompt_id, "count": count, "loss_weight": loss_weight}


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan's rows as .jsonl, .csv or .parquet, whole or not at all.

    Raises:
        InputError: If the suffix is another one, or pyarrow is missing.
    """
    check_writable(path)
    WRITERS[path.suffix](path, list(plan_rows(plan)))


def check_writable(path: Path) -> None:
    """Refuse a file name that no plan can be written to.

    Raises:
        InputError: If the suffix is another than those of `WRITERS`.
    """
    if path.suffix not in WRITERS:
        raise InputError(f"plan {path} must end in {', '.join(WRITERS)}")


def _json_rows(path: Path) -> Iterator[PlacedRow]:
    """Give the object of each line that is not blank."""
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise InputError(f"{path} line {line} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(
                f'{path} line {line} must be an object like {{"id": "a", "trials": 8, '
                f'"successes": 3}}, got {text.strip()[:40]}'
            )
        yield f"{path} line {line}", row


def _csv_rows(path: Path) -> Iterator[PlacedRow]:
    """Give the row of each line below the header; an empty field is None, numbers are read."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                where = f"{path} line {reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{where} has not as many fields as the header has names")
                yield where, {name: _from_text(name, text) for name, text in row.items()}
        except csv.Error as error:
            raise InputError(f"{path} is not CSV after line {reader.line_num}: {error}") from error


def _from_text(name: str, text: str) -> object:
    """Return a field of a CSV file: a number where one is due and it is one."""
    if not text.strip():
        return None
    if name not in REQUIRED | OPTIONAL:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _parquet_rows(path: Path) -> Iterator[PlacedRow]:
    """Give the rows of a parquet file."""
    pyarrow = _pyarrow()
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        with path.open("rb") as file:
            # without threads: one that is left at the exit can abort the process
            table = parquet.ParquetFile(file, pre_buffer=False).read(use_threads=False)
    except pyarrow.ArrowException as error:
        raise InputError(f"{path} is not a parquet file: {error}") from error
    return _arrow_rows(str(path), table)


def _arrow_rows(name: str, table: ArrowTable) -> Iterator[PlacedRow]:
    """Give the rows of a pyarrow table, only the columns that are known or look misspelt."""
    rows: list[Row] = _pyarrow().table(table).to_pylist()
    return ((f"{name} row {number}", row) for number, row in enumerate(rows, 1))


def _pyarrow() -> ModuleType:
    """Import pyarrow, or say how to get it."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise InputError("parquet and tables need pyarrow: pip install pyarrow") from error


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)


def _write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    table = _pyarrow().Table.from_pylist(rows)
    with replacing(path) as temporary:
        importlib.import_module("pyarrow.parquet").write_table(table, temporary)


READERS: dict[str, Callable[[Path], Iterator[PlacedRow]]] = {
    ".jsonl": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}

WRITERS: dict[str, Callable[[Path, list[dict[str, object]]], None]] = {
    ".jsonl": write_json_lines,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _stats(name: str, rows: list[PlacedRow]) -> PromptStats:
    """Check rows and turn them into statistics."""
    if not rows:
        raise InputError(f"{name} holds no rows; there must be one for each prompt")
    first: dict[str, str] = {}
    for where, row in rows:
        _check_row(where, row)
        prompt_id = str(row["id"])
        if prompt_id in first:
            raise InputError(
                f"{where}: id {prompt_id!r} occurs already at {first[prompt_id]}; merge the rows "
                "or rename one"
            )
        first[prompt_id] = where
    columns = {
        field: _column(rows, column)
        for column, field in (REQUIRED | OPTIONAL).items()
        if column in REQUIRED or any(row.get(column) is not None for _, row in rows)
    }
    if ("round_trials_P" in columns) != ("round_successes_P" in columns):
        raise InputError(f"{name} needs both round_trials and round_successes, or neither")
    return PromptStats(ids=tuple(first), **columns)  # pyright: ignore[reportArgumentType]


def _check_row(where: str, row: Row) -> None:
    """Refuse a row that lacks a field, misspells one, or holds no usable number."""
    for name in row.keys() - set(COLUMNS):
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.85)
        if near and near[0] not in row:
            raise InputError(f"{where}: unknown field {name!r}; did you mean {near[0]!r}?")
    for name in ("id", *REQUIRED):
        if row.get(name) is None:
            raise InputError(f"{where} has no {name!r}; each row needs id, trials and successes")
    if not isinstance(row["id"], str):
        raise InputError(f"{where}: id must be a string, got {row['id']!r}; put it in quotes")
    for name in (*REQUIRED, *OPTIONAL):
        if row.get(name) is not None:
            _number(where, name, row[name])
    for part, whole in (("successes", "trials"), ("round_successes", "round_trials")):
        if row.get(part) is not None and row.get(whole) is not None:
            many, most = _number(where, part, row[part]), _number(where, whole, row[whole])
            if many > most:
                raise InputError(
                    f"{where}: {part} must be at most {whole}, got {many:g} of {most:g}; "
                    "correct the row"
                )


def _number(where: str, name: str, value: object) -> float:
    """Return a field's number, finite and >= 0; a cost is > 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= 0):
        remedy = (
            "leave the field out where it is not known" if name in OPTIONAL else "correct the row"
        )
        raise InputError(f"{where}: {name} must be finite and >= 0, got {value}; {remedy}")
    if name == "cost" and value == 0:
        raise InputError(f"{where}: cost must be > 0, got {value}; give expected tokens")
    return value


def _column(rows: list[PlacedRow], name: str) -> list[float]:
    """Return a column that all rows have; there is no norm of what has not happened."""
    values: list[float] = []
    for where, row in rows:
        value = row.get(name)
        nothing = {"grad_norm": 0, "rejected_norm": row["trials"]}
        if value is None and row["successes"] == nothing.get(name):
            value = 0.0
        if value is None:
            raise InputError(
                f"{where} has no {name!r}, which other rows have; give it for all prompts or none"
            )
        values.append(_number(where, name, value))
    return values
