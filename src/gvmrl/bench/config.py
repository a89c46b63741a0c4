"""The settings of a bench."""

from dataclasses import dataclass, field
from pathlib import Path

from gvmrl.checks import require, require_at_least
from gvmrl.config import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """Arms side by side: every arm on every set, with every loss and seed.

    Arms, losses and sets are bundles "NAME: --flag value ..." of flags of `gvmrl train`. A cell
    takes the settings under `run`, then those of its set, its loss and its arm; later ones win.
    """

    arms: tuple[str, ...]
    """What is compared, such as "gvm: --allocation.rule gvm"."""
    sets: tuple[str, ...]
    """Model and prompts, such as "mine: --data.train a.jsonl --data.eval b.jsonl"."""
    losses: tuple[str, ...]
    """Losses, such as "grpo: --loss.name grpo"."""
    seeds: tuple[int, ...]
    """Seeds of each arm; the same for all arms, since seeds are compared in pairs."""
    baseline: str = "uniform"
    """The arm that the others are compared with."""
    headroom: str | None = None
    """Arm that says whether variance is the bottleneck: the baseline with twice the rollouts."""
    ceiling: str | None = None
    """Arm that says what could be won at most, such as true pass rates."""
    only: tuple[str, ...] = ()
    """Where an arm runs, if not everywhere: "NAME: PATTERN ..." of SET/LOSS/SEED, as in
    "oracle: D/* U/rloo/0". Arms that are not named run everywhere."""
    out: Path = Path("runs/bench")
    """Folder of the runs, of results.jsonl, table.md and report.html."""
    jobs: int = 0
    """Runs at once; 0 takes as many as there are cores."""
    threads: int = 1
    """Threads of each run; another number may change its last digits."""
    run: RunConfig = field(default_factory=RunConfig)
    """What all cells share; the bench itself sets run.out and run.seed."""

    def __post_init__(self) -> None:
        require_at_least(0, jobs=self.jobs)
        require_at_least(1, threads=self.threads)
        plain = RunConfig()
        require(
            (self.run.out, self.run.seed) == (plain.out, plain.seed),
            "run.out and run.seed are set by the bench; use out and seeds",
        )
        for name in ("arms", "sets", "losses", "seeds"):
            require(bool(getattr(self, name)), f"{name} is empty; name at least one")
        require(len(set(self.seeds)) == len(self.seeds), f"seeds must differ, got {self.seeds}")
