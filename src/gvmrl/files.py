"""Files that are never half written, and JSON lines."""

import json
import os
import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

Row = Mapping[str, object]


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a temporary path in the same folder, and move it into place if the block succeeds.

    The block may write a file there or make a folder; what a failed block leaves is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_line(row: Row) -> str:
    """Render a row as one line of JSON; NaN is refused, since no other reader takes it."""
    return json.dumps(row, allow_nan=False) + "\n"


def write_json_lines(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, whole or not at all."""
    write_text(path, "".join(map(json_line, rows)))


def read_json_lines(path: Path) -> list[dict[str, object]]:
    """Read the complete lines of a file that may still be growing; none if it does not exist."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
