"""The settings of a probe: what is measured, and how much is spent on measuring it."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from gvmrl.allocate import RULES, RuleName
from gvmrl.allocate.rules.catalog import ROUND_RULES
from gvmrl.checks import require, require_at_least
from gvmrl.config import DataConfig, ModelConfig, RunConfig, SamplerConfig
from gvmrl.losses import LossConfig
from gvmrl.reward.config import RewardConfig
from gvmrl.strategy.config import Norm

DEFAULT_RULES: tuple[RuleName, ...] = (
    "gvm",
    "neyman",
    "least_variance",
    "cures",
    "vip",
    "knapsack",
    "informative",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    """One probe: a model, prompts, and the updates that are compared."""

    out: Path = Path("runs/probe.json")
    """File of all figures, with these settings in it; written whole or not at all."""
    seed: int = 0
    """Decides prompts and samples; the same seed gives the same figures."""
    prompts: int = 64
    """Prompts of one update, drawn from data.train; the intervals are over prompts."""
    pool: int = 128
    """Rollouts of each prompt that are measured; even, as one half plans and the other judges."""
    rollouts: int = 8
    """Training rollouts of a prompt in one update, on average: the budget that rules divide."""
    pilots: int = 8
    """Pilot rollouts of each prompt, N' in the paper, that estimated statistics cost."""
    pilot_draws: int = 16
    """Times that pilots are drawn and the budget is divided anew; averages over their luck."""
    check_draws: int = 16
    """Whole updates on fresh rollouts, for uniform and the first rule, to check the formulas;
    0 skips them."""
    rules: tuple[RuleName, ...] = DEFAULT_RULES
    """Rules beside uniform; those for rounds (hora, speed, ...) need rounds and are refused."""
    norm: Norm = "input_embedding"
    """Gradient norm that pilots measure; with known statistics it is that of all parameters."""
    sketch: int = 0
    """Size of the random projections that stand for mean gradients, for models whose gradients
    do not fit; 0 keeps whole gradients. Squared lengths get an error of about sqrt(2 / sketch)."""
    tokens_per_microbatch: int = 16384
    """Padded tokens of one pass; bounds memory, changes no result."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    reward: RewardConfig = field(default_factory=lambda: RewardConfig(extract="total"))
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed, check_draws=self.check_draws, sketch=self.sketch)
        require_at_least(4, prompts=self.prompts)
        require(
            self.pool >= 8 and self.pool % 2 == 0,
            f"pool must be even and >= 8, got {self.pool}: each half needs accepted and rejected "
            "rollouts",
        )
        require(
            self.rollouts >= 2,
            f"rollouts must be >= 2, got {self.rollouts}: a group of one has no baseline",
        )
        require_at_least(1, pilots=self.pilots)
        require_at_least(1, pilot_draws=self.pilot_draws)
        require_at_least(1, tokens_per_microbatch=self.tokens_per_microbatch)
        require(
            self.check_draws == 0 or (self.check_draws >= 10 and self.check_draws % 2 == 0),
            f"check_draws must be 0, or even and >= 10, got {self.check_draws}: the spread is "
            "that of pairs",
        )
        require(bool(self.rules), f"rules is empty; name one or more of {', '.join(RULES)}")
        for rule in self.rules:
            require(
                rule not in ROUND_RULES and rule != "uniform",
                f"rules may not hold {rule}: uniform is always measured, and the rules for rounds "
                f"({', '.join(sorted(ROUND_RULES))}) decide between the waves of one update",
            )

    @property
    def run(self) -> RunConfig:
        """The training run whose update this is: all prompts in one step, one update."""
        return RunConfig(
            seed=self.seed,
            prompts_per_step=self.prompts,
            rollouts_per_step=self.prompts * self.rollouts,
            rollouts_per_update=self.prompts * self.rollouts,
            model=self.model,
            data=replace(self.data, eval=None),
            reward=self.reward,
            sampler=self.sampler,
            loss=self.loss,
        )

    @property
    def settings(self) -> dict[str, object]:
        """The resolved settings, as JSON has them; a probe can be repeated from them."""
        return json.loads(json.dumps(asdict(self), default=str))
