"""How the online trainer decides: its settings, and a plan for one batch."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, get_args

from gvmrl.allocate import Limits, Objective, Plan, RuleName, Update, allocate, gvm
from gvmrl.allocate.rules.catalog import rule_named
from gvmrl.allocate.update.estimators import Estimator
from gvmrl.errors import InputError
from gvmrl.stats import PromptStats

VerlNorm = Literal["none", "logits", "output_head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineConfig:
    """Settings under the key `gvmrl` of verl's, such as `+gvmrl.rule=gvm`."""

    rule: RuleName = "gvm"
    """How to weigh the prompts."""
    estimator: Estimator | None = None
    """How the update is computed: decides loss weights and what the matched rules minimise; None
    makes every prompt weigh the same."""
    alpha: float = 1e-3
    """gvm: weight of the penalty on rarely accepted prompts; 0 turns it off."""
    beta: float = 2.0
    """gvm: power of that penalty in the acceptance rate; >= 1."""
    pilots: int = 0
    """Rollouts of each prompt drawn, scored and thrown away before a batch is planned; 0 plans from
    earlier steps alone."""
    norm: VerlNorm = "none"
    """Gradient norm of accepted rollouts: none, by logits (free: from the log-prob pass that verl
    runs anyway) or by the output head (exact, one forward pass more)."""
    decay: float = 1.0
    """What a prompt's earlier rollouts still count when it is drawn again, in (0, 1]."""
    lo: int = 0
    """Fewest rollouts of a prompt."""
    hi: int | None = None
    """Most rollouts of a prompt."""
    group_min: int = 1
    """A prompt gets 0 rollouts or at least this many; 2 for RLOO and GRPO."""
    seed: int = 0
    """Settles who is served first among equals."""

    def __post_init__(self) -> None:
        rule_named(self.rule)
        for name, bound in (("pilots", 0), ("lo", 0), ("alpha", 0), ("beta", 1), ("group_min", 1)):
            if not getattr(self, name) >= bound:
                raise ValueError(f"gvmrl.{name} must be >= {bound}, got {getattr(self, name)}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"gvmrl.decay must be in (0, 1], got {self.decay}")
        if self.hi is not None and not self.hi >= max(self.lo, 1):
            raise ValueError(f"gvmrl.hi must be >= gvmrl.lo and >= 1, got {self.hi}")
        for name, choices in (("norm", get_args(VerlNorm)), ("estimator", get_args(Estimator))):
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise ValueError(f"gvmrl.{name} must be one of {', '.join(choices)}, got {value!r}")


def online_config(settings: Mapping[str, object]) -> OnlineConfig:
    """Read the settings under verl's key `gvmrl`.

    Raises:
        InputError: If a name is unknown or a value is out of its range.
    """
    names = [field.name for field in fields(OnlineConfig)]
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean gvmrl.{near[0]}?" if near else f"there are {', '.join(names)}"
            raise InputError(f"there is no setting gvmrl.{name}; {hint}")
    try:
        return OnlineConfig(**settings)  # pyright: ignore[reportArgumentType] - checked inside
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error


def decide(config: OnlineConfig, stats: PromptStats, rollout_n: int, step: int) -> Plan:
    """Hand one batch's rollouts out over its prompts.

    Args:
        config: How.
        stats: What is known of the batch's prompts before they are drawn.
        rollout_n: Mean number of rollouts of a prompt.
        step: Mixes into the seed, so that ties fall differently from step to step.
    """
    rule = partial(gvm, alpha=config.alpha, beta=config.beta) if config.rule == "gvm" else None
    update = None
    if config.estimator is not None:
        # rates are estimates, so the weights keep to what uniform counts would do
        objective = Objective(reference=max(2, rollout_n))
        update = Update(estimator=config.estimator, objective=objective)
    return allocate(
        stats,
        len(stats) * rollout_n,
        rule=rule or config.rule,
        lo=config.lo,
        hi=config.hi,
        seed=config.seed + step,
        limits=Limits(group_min=config.group_min),
        update=update,
    )
