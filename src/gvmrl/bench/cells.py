"""The cells of a bench: every arm, loss, set and seed as the settings of one run."""

import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product

from gvmrl.bench.config import BenchConfig
from gvmrl.config import RunConfig
from gvmrl.errors import InputError
from gvmrl.flags import parse_flags

logger = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
"""What an arm, a loss or a set may be called: it becomes a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a bench."""

    arm: str
    loss: str
    set: str
    config: RunConfig

    @property
    def group(self) -> str:
        """Set and loss: what arms are compared within."""
        return f"{self.set}, {self.loss}"

    @property
    def name(self) -> str:
        """Unique in its bench, and the cell's folder below the bench's."""
        return f"{self.set}/{self.loss}/{self.arm}/seed{self.config.seed}"


def make_cells(config: BenchConfig) -> list[Cell]:
    """Return the cells, seed by seed, so that a bench that is cut off still compares all arms.

    Raises:
        InputError: Naming the bundle, if it is malformed, has flags that `gvmrl train` does not
            know or values that do not fit together; or if an arm that is named does not exist.
    """
    arms, sets, losses = (
        _bundles(setting, getattr(config, setting)) for setting in ("arms", "sets", "losses")
    )
    where = _bundles("only", config.only)
    for setting in ("baseline", "headroom", "ceiling"):
        name = getattr(config, setting)
        if name is not None and name not in arms:
            raise InputError(f"{setting} {name!r} is no arm; there are {', '.join(arms)}")
    if config.baseline in where:
        raise InputError(
            f"only names the baseline {config.baseline!r}, which has to run everywhere"
        )
    places = [f"{kind}/{loss}/{seed}" for kind, loss, seed in product(sets, losses, config.seeds)]
    _check_patterns(where, arms, places)
    cells: list[Cell] = []
    for kind, loss, arm in product(sets, losses, arms):
        patterns = where.get(arm, ["*"])
        seeds = [seed for seed in config.seeds if _matches(f"{kind}/{loss}/{seed}", patterns)]
        if not seeds:
            continue
        flags = [*sets[kind], *losses[loss], *arms[arm]]
        settings = _settings(config, f"set {kind}, loss {loss}, arm {arm}", flags)
        for seed in seeds:
            cell = Cell(arm=arm, loss=loss, set=kind, config=replace(settings, seed=seed))
            out = config.out / cell.name
            cells.append(replace(cell, config=replace(cell.config, out=out)))
    return sorted(cells, key=lambda cell: config.seeds.index(cell.config.seed))


def _bundles(setting: str, texts: tuple[str, ...]) -> dict[str, list[str]]:
    """Split each "NAME: words" into its name and its words."""
    bundles: dict[str, list[str]] = {}
    for text in texts:
        name, colon, words = text.partition(":")
        if not colon or not NAME.fullmatch(name.strip()):
            raise InputError(
                f'{setting} {text!r} must read "NAME: --flag value ...", with a NAME of letters, '
                "digits and _ . + -"
            )
        if name.strip() in bundles:
            raise InputError(f"{setting} has two entries named {name.strip()!r}; rename one")
        try:
            bundles[name.strip()] = shlex.split(words)
        except ValueError as error:
            raise InputError(f"{setting} {text!r} has bad quotes: {error}") from error
    return bundles


def _settings(config: BenchConfig, name: str, flags: list[str]) -> RunConfig:
    """Let the flags of a cell change the shared settings."""
    if "-h" in flags or "--help" in flags:
        raise InputError(f"{name}: --help is no setting of a run")
    try:
        settings = parse_flags(RunConfig, flags, name="gvmrl train", default=config.run)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if (settings.out, settings.seed) != (config.run.out, config.run.seed):
        raise InputError(f"{name}: --out and --seed are set by the bench; use out and seeds")
    if settings.data.eval is None:
        raise InputError(f"{name}: data.eval is None, but arms are compared on held-out prompts")
    return settings


def _check_patterns(
    where: Mapping[str, list[str]], arms: Mapping[str, list[str]], places: list[str]
) -> None:
    """Refuse arms that do not exist; name patterns that match nothing, but let a bench be cut."""
    for arm, patterns in where.items():
        if arm not in arms:
            raise InputError(f"only names {arm!r}, which is no arm; there are {', '.join(arms)}")
        if not patterns:
            raise InputError(f"only names no SET/LOSS/SEED for {arm}, such as {places[0]}")
        matched = [any(_matches(place, [pattern]) for place in places) for pattern in patterns]
        if not any(matched):
            logger.warning("only: %s runs nowhere; a SET/LOSS/SEED is %s", arm, places[0])
        elif not all(matched):
            idle = [pattern for pattern, hit in zip(patterns, matched, strict=True) if not hit]
            logger.warning("only: %s of %s match no SET/LOSS/SEED", ", ".join(idle), arm)


def _matches(place: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(place, pattern) for pattern in patterns)
