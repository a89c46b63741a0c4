"""A user's own reward as a program; only worker processes import this module."""

import json
import subprocess

from gvmrl.data import Completion, Prompt
from gvmrl.reward.config import Verdict


def judge(command: tuple[str, ...], prompt: Prompt, completion: Completion) -> Verdict:
    """Run a program with one completion on its standard input; return the number it prints.

    It lives within the worker's limits: time, since it is killed with the worker, and memory, since
    it inherits that of the address space.

    Raises:
        RuntimeError: If the program fails or prints anything but a number.
    """
    content = {
        "id": prompt.id,
        "answer": prompt.answer,
        "completion": completion.text,
        "truncated": completion.truncated,
    }
    done = subprocess.run(
        command, input=json.dumps(content), capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise RuntimeError(
            f"{command[0]} ended with status {done.returncode}: {words[-1] if words else 'silent'}"
        )
    try:
        return Verdict(float(done.stdout))
    except ValueError:
        raise RuntimeError(
            f"{command[0]} must print one finite number, got {done.stdout[:60]!r}"
        ) from None
