"""The `gvmrl` command: one parser for flags and for settings files, one line for every error."""

import importlib
import inspect
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps

from gvmrl.cli.settings import expand_files
from gvmrl.errors import InputError
from gvmrl.flags import parse_flags

COMMANDS = {
    "train": "Train a policy under a fixed rollout budget; resumes by itself.",
    "eval": "Judge a model on benchmarks: avg@k, pass@k, majority@k with intervals.",
    "plan": "Hand out rollouts from a file of statistics; loads no model.",
    "bench": "Compare arms over sets, losses and seeds at equal settings; resumes by itself.",
    "probe": "Say whether allocation would help on your model and prompts, before you train.",
    "demo": "Train the built-in model four ways at equal cost and write a page of curves.",
    "report": "Write one self-contained page with the curves of finished or running runs.",
    "warmstart": "Make the built-in model again from scratch.",
    "verl": "Plan rollouts for verl, read its dumps, drive its runs.",
}
"""Command to one line of help; each lives in the module of its name, as a function of that name or
as several in `COMMANDS`."""

FUNCTIONS = {"eval": "evaluate"}
"""Commands whose function has another name, because theirs is taken in Python."""
INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run one command; bad input is one line on stderr and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "datasets", "filelock", "transformers", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        name, args = _choose(sys.argv[1:], COMMANDS, "gvmrl")
        module = importlib.import_module(f"gvmrl.cli.{name}")
        function, name = getattr(module, FUNCTIONS.get(name, name), None), f"gvmrl {name}"
        if function is None:
            lines = {each: (inspect.getdoc(call) or "") for each, call in module.COMMANDS.items()}
            lines = {each: text.splitlines()[0] for each, text in lines.items()}
            part, args = _choose(args, lines, name)
            function, name = module.COMMANDS[part], f"{name} {part}"
        parse_flags(_bind(function), expand_files(args), name=name)()
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


def _bind(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """Make a function that takes the same arguments and returns the call."""

    @wraps(function)
    def bind(*positional: object, **named: object) -> Callable[[], None]:
        return partial(function, *positional, **named)

    return bind


def _say(message: str) -> int:
    """Print one line on stderr and return the exit code for bad input."""
    print(" ".join(message.split()), file=sys.stderr)
    return 2
