# pyright: basic
"""verl's training file: parquet, one row for each prompt, with a column for its rollouts.

Axes: D rows of the user's file, R rows of the planned one.
"""

import importlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from gvmrl.data import IntArray
from gvmrl.errors import InputError
from gvmrl.files import replacing
from gvmrl.plugins.verl.plans import BatchShape, Layout, name_some

if TYPE_CHECKING:
    from pyarrow import Table

COUNT_COLUMN = "__rollout_n__"
"""The column that verl's V1 trainer takes a prompt's number of rollouts from."""

WEIGHT_COLUMN = "gvmrl_loss_weight"
"""The column that the trainer modes of the plug-in take a prompt's loss weight from."""

SHAPE_KEY = b"gvmrl.shape"
"""Where the file's metadata keep the shape of its batches."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """verl's training file."""

    table: "Table"
    """The columns as they are."""
    ids: tuple[str, ...]
    """[D] the id of each row, each once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedFile:
    """What a planned file says of itself."""

    shape: BatchShape
    """The batches that it was made for."""
    count_R: IntArray
    """[R] rollouts of each row."""


def read_data(path: Path) -> TrainingData:
    """Read verl's parquet file, with ids from the column `id` or from `extra_info.id`, as text.

    Raises:
        InputError: If it cannot be read, has no ids, or one occurs twice.
    """
    pyarrow = _import("pyarrow")
    try:
        table = _read(path)
    except OSError as error:
        raise InputError(f"data {path} cannot be read: {error.strerror or error}") from error
    except pyarrow.ArrowException as error:
        raise InputError(f"data {path} is not a parquet file: {error}") from error
    return TrainingData(table=table, ids=_ids_of(table, path))


def write_planned(path: Path, data: TrainingData, layout: Layout) -> int:
    """Write the rows of a layout with their counts and loss weights, whole or not at all.

    Args:
        path: The .parquet to write.
        data: The user's.
        layout: What to write; each of its ids must be in the data.

    Returns:
        How many prompts of the data are not in the file.

    Raises:
        InputError: If the data lack prompts of the layout, or the suffix is another.
    """
    if path.suffix != ".parquet":
        raise InputError(f"planned data {path} must end in .parquet")
    row_of = {prompt_id: row for row, prompt_id in enumerate(data.ids)}
    _check_ids(layout.ids, row_of)
    pyarrow = _import("pyarrow")
    ours = (COUNT_COLUMN, WEIGHT_COLUMN)
    names = [name for name in data.table.column_names if name not in ours]
    planned = data.table.select(names).take(
        np.array([row_of[prompt_id] for prompt_id in layout.ids], np.int64)
    )
    planned = planned.append_column(COUNT_COLUMN, pyarrow.array(layout.count_R))
    planned = planned.append_column(WEIGHT_COLUMN, pyarrow.array(layout.loss_weight_R))
    # metadata of pandas or datasets describe the old columns, and datasets would insist on them
    shape = json.dumps(asdict(layout.shape)).encode()
    planned = planned.replace_schema_metadata({SHAPE_KEY: shape})
    with replacing(path) as temporary:
        _import("pyarrow.parquet").write_table(planned, temporary)
    return len(data.ids) - len(set(layout.ids))


def read_planned(path: Path) -> PlannedFile:
    """Read what a planned file says of its batches, without the prompts.

    Raises:
        InputError: If it is not a file of `gvmrl verl compile`.
    """
    try:
        schema = _import("pyarrow.parquet").read_schema(path)
        columns = [name for name in schema.names if name == COUNT_COLUMN]
        table = _read(path, columns)
    except OSError as error:
        raise InputError(f"data {path} cannot be read: {error.strerror or error}") from error
    except _import("pyarrow").ArrowException as error:
        raise InputError(f"data {path} is not a parquet file: {error}") from error
    stored = (schema.metadata or {}).get(SHAPE_KEY)
    if stored is None or not columns:
        raise InputError(
            f"data {path} is not planned: it has no column {COUNT_COLUMN} with the shape of its "
            "batches; make it with gvmrl verl compile"
        )
    return PlannedFile(
        shape=BatchShape(**json.loads(stored)),
        count_R=table[COUNT_COLUMN].to_numpy().astype(np.int64),
    )


def _read(path: Path, columns: list[str] | None = None) -> "Table":
    """Read a parquet file without threads: one that is left at the exit can abort the process."""
    with path.open("rb") as file:
        parquet = _import("pyarrow.parquet").ParquetFile(file, pre_buffer=False)
        return parquet.read(columns, use_threads=False)


def _check_ids(wanted: tuple[str, ...], known: dict[str, int]) -> None:
    """Refuse prompts that the data do not have, with their number and the first five."""
    missing = [prompt_id for prompt_id in dict.fromkeys(wanted) if prompt_id not in known]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(set(wanted))} prompts of the plan are not in the data "
            f"({name_some(missing)}), whose ids are {name_some(list(known))}; plan from statistics "
            "of the same data"
        )


def _ids_of(table: "Table", path: Path) -> tuple[str, ...]:
    """Return the ids of the rows."""
    if "id" in table.column_names:
        column = table["id"]
    elif "extra_info" in table.column_names and _has_field(table, "extra_info", "id"):
        column = _import("pyarrow.compute").struct_field(table["extra_info"], "id")
    else:
        raise InputError(
            f"data {path} have neither a column id nor extra_info.id; rows are joined to the plan "
            "by id, never by position, so give each row one"
        )
    ids = tuple(map(str, column.to_pylist()))
    if column.null_count:
        row = ids.index("None")
        raise InputError(f"data {path}: row {row} has no id ({column.null_count} rows in all)")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = [each for each in ids if each in seen or seen.add(each)]
        raise InputError(
            f"data {path}: {len(twice)} ids occur twice ({name_some(twice)}); rename them"
        )
    return ids


def _has_field(table: "Table", column: str, field: str) -> bool:
    kind = table.schema.field(column).type
    return _import("pyarrow.types").is_struct(kind) and kind.get_field_index(field) >= 0


def _import(name: str) -> ModuleType:
    """Import a part of pyarrow, or say how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError("verl's data are parquet: pip install gvmrl[verl]") from error
