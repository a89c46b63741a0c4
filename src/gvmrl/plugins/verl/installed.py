"""The verl that is installed: whether it is one that the plug-in works with.

Nothing here imports verl, which takes seconds and loads Ray.
"""

import importlib.util
import re
from importlib import metadata
from pathlib import Path

from gvmrl.errors import InputError
from gvmrl.plugins.verl.data import COUNT_COLUMN

OLDEST, BELOW = (0, 9), (0, 11)
"""Versions of verl that the plug-in works with: from the first on, below the second."""

AGENT_LOOP = "trainer/ppo/v1/agent_loop_tq.py"
"""The file of the V1 trainer that reads a prompt's number of rollouts."""


def verl_folder() -> Path:
    """Return the folder of the installed verl, after checking that it can be used.

    Raises:
        InputError: If verl is missing, of another version, or lacks what the plug-in needs.
    """
    try:
        version = metadata.version("verl")
    except metadata.PackageNotFoundError as error:
        raise InputError("verl is not installed: pip install gvmrl[verl]") from error
    spec = importlib.util.find_spec("verl")
    if spec is None or spec.origin is None:
        raise InputError("verl is installed without its code: pip install --force-reinstall verl")
    check_version(version)
    folder = Path(spec.origin).parent
    check_sources(folder, version)
    return folder


def check_version(version: str) -> None:
    """Refuse versions outside the supported range.

    Raises:
        InputError: Naming the range.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if not OLDEST <= numbers < BELOW:
        supported = f">={OLDEST[0]}.{OLDEST[1]},<{BELOW[0]}.{BELOW[1]}"
        raise InputError(f"verl {version} is not supported; pip install 'verl{supported}'")


def check_sources(folder: Path, version: str) -> None:
    """Refuse a verl whose trainer does not read the number of rollouts from the data.

    Args:
        folder: Of the package verl.
        version: For the message.

    Raises:
        InputError: Saying what is missing.
    """
    source = folder / AGENT_LOOP
    if not source.exists():
        raise InputError(
            f"verl {version} has no V1 trainer ({AGENT_LOOP} is missing), so counts per prompt "
            "would be ignored; install a release of the supported range"
        )
    if COUNT_COLUMN not in source.read_text(encoding="utf-8"):
        raise InputError(
            f"the V1 trainer of verl {version} does not read the column {COUNT_COLUMN} any more, "
            "so counts per prompt would be ignored; install verl 0.9.1"
        )
