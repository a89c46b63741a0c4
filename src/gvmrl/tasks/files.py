"""Problems from JSONL and parquet files and from hub data sets.

Everything that is wrong with a row is found here, and named by file, row and field.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gvmrl.data import Problem
from gvmrl.errors import InputError

FILE_SUFFIXES = (".jsonl", ".parquet")

Row = tuple[str, dict[str, object]]
"""Where it stands, as `file:number` from 1, and its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which fields of a row make a problem."""

    question: str
    """Field of the question."""
    answer: str
    """Field of the right answer: text, number or list of them."""
    id: str | None
    """Field of a unique id; None numbers the rows."""
    context: str | None
    """Field of a text that stands before the question where it is not empty; None for none."""


def load_problems(
    source: str | Path,
    *,
    prompt_field: str,
    answer_field: str,
    id_field: str | None = None,
    context_field: str | None = None,
    limit: int | None = None,
    extract: Callable[[str], str | None] | None = None,
) -> tuple[Problem, ...]:
    """Load problems from a file or a hub data set.

    Args:
        source: A .jsonl or .parquet file; or a hub data set as `owner/name`, `owner/name:config`
            or `owner/name:config:split` (split train unless named; a folder in the hub's layout
            will do for `owner/name`).
        prompt_field: Field of the question.
        answer_field: Field of the right answer. A whole float loses its fraction (27.0 is 27); a
            list becomes one line an item.
        id_field: Field of a unique id; None gives `name:row`, rows counted from 1 (lines in a
            JSONL file), with the file's name without its suffix or the data set's name and split.
        context_field: Field of a text that is put before the question where it is not empty.
        limit: Load the first rows only; the others are not looked at.
        extract: Finds the right answer in the field's text, such as what follows GSM8K's ####;
            applied to each item of a list. None takes the text as it is.

    Raises:
        InputError: If the source is missing, empty or unreadable, or a row has no such field,
            a value of another type, no answer for `extract` to find, or an id that is taken.
        ValueError: If `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be >= 1 problem, got {limit}")
    fields = Fields(question=prompt_field, answer=answer_field, id=id_field, context=context_field)
    prefix, rows = _open(str(source))
    problems: list[Problem] = []
    where_by_id: dict[str, str] = {}
    for where, row in islice(rows, limit):
        problem = _problem(where, row, fields, f"{prefix}:{where.rpartition(':')[2]}", extract)
        if problem.id in where_by_id:
            raise InputError(
                f"{where}: id {problem.id!r} is taken by {where_by_id[problem.id]}; "
                f"make the ids in {id_field!r} unique or name another id field"
            )
        where_by_id[problem.id] = where
        problems.append(problem)
    if not problems:
        raise InputError(f"{source} holds no rows; give a file with at least one problem")
    return tuple(problems)


def field_names(source: str | Path) -> tuple[str, ...]:
    """Return the names of the fields of a source's first row.

    Raises:
        InputError: If the source is missing, empty or unreadable.
    """
    _, rows = _open(str(source))
    for _, row in rows:
        return tuple(row)
    raise InputError(f"{source} holds no rows; give a file with at least one problem")


def _problem(
    where: str,
    row: dict[str, object],
    fields: Fields,
    default_id: str,
    extract: Callable[[str], str | None] | None,
) -> Problem:
    question = _value(where, row, fields.question)
    if not isinstance(question, str) or not question.strip():
        raise InputError(
            f"{where}: field {fields.question!r} must be a text that is not empty, "
            f"got {_shown(question)}"
        )
    context = _value(where, row, fields.context) if fields.context is not None else None
    if not isinstance(context, str | None):
        raise InputError(
            f"{where}: field {fields.context!r} must be a text or nothing, got {_shown(context)}"
        )
    if context and context.strip():
        question = f"{context}\n{question}"
    problem_id = default_id
    if fields.id is not None:
        given = _value(where, row, fields.id)
        if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
            raise InputError(
                f"{where}: field {fields.id!r} must be a text or a whole number to be an id, "
                f"got {_shown(given)}"
            )
        problem_id = str(given)
    given = _value(where, row, fields.answer)
    items: list[object] = given if isinstance(given, list) else [given]
    answers = [_answer(f"{where}: field {fields.answer!r}", item, extract) for item in items]
    if not answers:
        raise InputError(f"{where}: field {fields.answer!r} is an empty list; give an answer")
    for text in (question, problem_id, *answers):
        _check_text(where, text)
    return Problem(problem_id, question, "\n".join(answers))


def _value(where: str, row: dict[str, object], field: str) -> object:
    if field not in row:
        there = ", ".join(row) or "none"
        raise InputError(f"{where}: no field {field!r}; the fields there are: {there}")
    return row[field]


def _answer(what: str, value: object, extract: Callable[[str], str | None] | None) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{what} must be a text, a number or a list of these, got {_shown(value)}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{what} must be a finite number, got {value}")
        value = int(value) if value.is_integer() else value
    # a line break in an answer is a blank; between answers it parts them
    answer = " ".join(str(value).split())
    if extract is not None and isinstance(value, str):
        answer = " ".join((extract(value) or "").split())
    if not answer:
        cause = "is empty" if extract is None else "holds no answer that the extractor can find"
        raise InputError(f"{what} {cause}, got {_shown(value)}")
    return answer


def _check_text(where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: half a character (surrogate U+{ord(text[error.start]):04X}) in "
            f"{text[max(0, error.start - 10) : error.start + 10]!a}; repair the text"
        ) from None


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _open(source: str) -> tuple[str, Iterator[Row]]:
    path = Path(source)
    if path.is_file():
        if path.suffix == ".jsonl":
            return path.stem, _jsonl_rows(path)
        if path.suffix == ".parquet":
            return path.stem, _parquet_rows(path)
        raise InputError(
            f"{source}: cannot read {path.suffix or 'this'} files; give .jsonl or .parquet"
        )
    name, _, rest = source.partition(":")
    if path.suffix in FILE_SUFFIXES or name.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(
            f"{source}: no such file; give a .jsonl or .parquet file, or a hub data set as "
            "owner/name:config:split"
        )
    config, _, split = rest.partition(":")
    split = split or "train"
    label = "/".join(part for part in (name.rpartition("/")[2], config, split) if part)
    return label, _hub_rows(name, config or None, split)


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(raw.decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
                ) from None
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{where}: column {error.colno}: not JSON ({error.msg}); "
                    "each line must be one JSON object"
                ) from None
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: cannot read the JSON ({error})") from None
            if not isinstance(row, dict):
                raise InputError(f"{where}: each line must be one JSON object, got {_shown(row)}")
            yield where, row


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"{path}: parquet needs pyarrow: pip install gvmrl[hf]") from None
    try:
        # without threads: one that is left at the exit can abort the process
        with pq.ParquetFile(path, pre_buffer=False) as file:
            number = 0
            for batch in file.iter_batches(use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a readable parquet file ({error})") from None


def _hub_rows(name: str, config: str | None, split: str) -> Iterator[Row]:
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise InputError(f"{name}: hub data sets need datasets: pip install gvmrl[hf]") from None
    try:
        data = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        raise InputError(
            f"cannot load data set {name} (config {config or 'default'}, split {split}): "
            f"{' '.join(str(error).split())[:300]}; check the name and the network, or give a "
            ".jsonl or .parquet file"
        ) from None
    for number, row in enumerate(data, start=1):
        yield f"{name}:{number}", dict(row)
