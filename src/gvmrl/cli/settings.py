"""Settings files as flags, so that there is one parser and no loader."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from gvmrl.errors import InputError


def expand_files(args: list[str]) -> list[str]:
    """Replace each `@file.toml` or `@file.json` by its settings, written as flags.

    Raises:
        InputError: If a file is missing or malformed.
    """
    expanded: list[str] = []
    for arg in args:
        if arg.startswith("@"):
            expanded += _flags(_read(Path(arg[1:])))
        else:
            expanded.append(arg)
    return expanded


def _read(path: Path) -> Mapping[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"settings file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"settings file {path} is malformed: {error}") from error


def _flags(settings: Mapping[str, object], prefix: str = "--") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flags(value, f"{prefix}{name}.")
        else:
            yield prefix + name
            yield from map(str, value if isinstance(value, list) else [value])
