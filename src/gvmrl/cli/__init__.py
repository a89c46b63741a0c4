"""The `gvmrl` command: one parser for flags and for settings files, one line for every error."""

import contextlib
import importlib
import inspect
import io
import logging
import re
import signal
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial, wraps

import tyro

from gvmrl.cli.settings import expand_files
from gvmrl.errors import InputError

COMMANDS = {
    "train": "Train a policy under a fixed rollout budget; resumes by itself.",
    "plan": "Hand out rollouts from a file of statistics; loads no model.",
    "demo": "Train the built-in model four ways at equal cost and write a page of curves.",
    "report": "Write one self-contained page with the curves of finished or running runs.",
    "warmstart": "Make the built-in model again from scratch.",
    "verl": "Plan rollouts for verl, read its dumps, drive its runs.",
}
"""Command to one line of help; each lives in the module of its name, as a function of that name or
as several in `COMMANDS`."""

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run one command; bad input is one line on stderr and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "datasets", "filelock", "transformers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        name, args = _choose(sys.argv[1:], COMMANDS, "gvmrl")
        module = importlib.import_module(f"gvmrl.cli.{name}")
        function, name = getattr(module, name, None), f"gvmrl {name}"
        if function is None:
            lines = {each: (inspect.getdoc(call) or "") for each, call in module.COMMANDS.items()}
            lines = {each: text.splitlines()[0] for each, text in lines.items()}
            part, args = _choose(args, lines, name)
            function, name = module.COMMANDS[part], f"{name} {part}"
        _parse(function, name, expand_files(args))()
    except InputError as error:
        sys.exit(_say(f"gvmrl: {error}"))
    except KeyboardInterrupt:
        _say("gvmrl: interrupted")
        sys.exit(INTERRUPTED)


def _choose(args: list[str], commands: Mapping[str, str], above: str) -> tuple[str, list[str]]:
    """Return the command and what follows it; print the list of commands where that is asked."""
    if not args or args[0] in ("-h", "--help"):
        width = max(map(len, commands))
        print(f"usage: {above} COMMAND [@FILE.toml] [--flags]\n")
        print("\n".join(f"  {name:<{width}}  {line}" for name, line in commands.items()))
        print(
            f"\n`{above} COMMAND --help` explains every setting; later flags win over the file's."
        )
        sys.exit(0)
    if args[0] not in commands:
        raise InputError(f"there is no command {args[0]!r}; there are {', '.join(commands)}")
    return args[0], args[1:]


def _parse(function: Callable[..., None], name: str, args: list[str]) -> Callable[[], None]:
    """Return the call that the flags ask for.

    Raises:
        InputError: In one line, what tyro says in a box.
    """

    @wraps(function)
    def bind(*positional: object, **named: object) -> Callable[[], None]:
        return partial(function, *positional, **named)

    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(bind, prog=name, args=args, config=(tyro.conf.FlagConversionOff,))
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


def _say(message: str) -> int:
    """Print one line on stderr and return the exit code for bad input."""
    print(" ".join(message.split()), file=sys.stderr)
    return 2
