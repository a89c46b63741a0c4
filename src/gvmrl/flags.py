"""Flags to records: the one parser of the command line, also for the bundles of a bench."""

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TypeVar, cast

import tyro

from gvmrl.errors import InputError

T = TypeVar("T")


def parse_flags(
    target: Callable[..., T], args: Sequence[str], *, name: str, default: T | None = None
) -> T:
    """Call `target` with what the flags say; `--help` prints its help and exits.

    Args:
        target: A record, or a function whose arguments become flags.
        args: Words of the command line, settings files already expanded.
        name: The command, for its help.
        default: A record that the flags change; without one, the record's own defaults.

    Raises:
        InputError: In one line, what tyro says in a box or a record of its fields.
    """
    box = io.StringIO()
    config = (tyro.conf.FlagConversionOff,)
    try:
        with contextlib.redirect_stderr(box):
            if default is None:
                return tyro.cli(target, prog=name, args=args, config=config)
            # tyro's types know defaults of classes alone, not of whatever returns a record
            call = cast("Callable[..., T]", tyro.cli)
            return call(target, prog=name, args=args, config=config, default=default)
    except ValueError as error:  # settings that do not fit together
        raise InputError(str(error)) from error
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_one_line(box.getvalue())) from None


def _one_line(box: str) -> str:
    """Turn a framed message into a sentence; of the flags it suggests, keep the nearest."""
    lines = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
    text = " ".join(line for line in lines if line.strip("─"))
    text = re.sub(r"Error parsing \S+: | For full helptext.*", "", text)
    text, _, suggestions = text.partition(" Perhaps you meant: ")
    wrong = re.search(r"--[\w.-]+", text)
    flags = re.findall(r"--[a-z][\w.-]*", suggestions)
    if wrong and (nearest := get_close_matches(wrong.group(), flags, n=1, cutoff=0)):
        text += f"; perhaps you meant {nearest[0]}"
    return text
