"""The settings of a run: frozen records that TOML files and flags fill in and JSON keeps.

A record checks its own fields; `RunConfig` checks what several of them must satisfy together.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gvmrl.checks import require, require_at_least
from gvmrl.losses import POSITIVE_ONLY, LossConfig, Weighting
from gvmrl.reward.config import RewardConfig
from gvmrl.strategy.config import AllocationConfig, PilotConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The policy."""

    path: str = "builtin:arithmetic"
    """Hugging Face folder or hub name of a causal language model; the default ships with gvmrl."""
    device: str = "auto"
    """Where it runs: cpu, cuda, cuda:1, mps; auto takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the passes; auto is bfloat16 on CUDA. Weights and AdamW stay in float32."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention kernel of transformers."""
    gradient_checkpointing: bool = False
    """Trade time for memory in the backward pass."""
    lora_rank: int = 0
    """Rank of the LoRA adapter on all linear layers; 0 trains all parameters."""
    lora_alpha: int = 32
    """Scale of the LoRA adapter, as in peft."""

    def __post_init__(self) -> None:
        require_at_least(0, model__lora_rank=self.lora_rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Prompts to train on and held-out prompts to judge by."""

    train: str = "builtin:arithmetic/demo"
    """JSONL or parquet file, hub data set (name:config:split), or builtin:arithmetic/MIX."""
    eval: str | None = "builtin:arithmetic/demo"
    """Held-out set in the same form; None evaluates nothing."""
    prompt: str = "question"
    """Field that holds the question."""
    answer: str = "answer"
    """Field that holds the right answer."""
    id: str | None = None
    """Field that holds a unique id; None numbers the rows."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """auto uses the tokenizer's chat template where it has one."""
    system: str | None = None
    """System message of the chat template."""
    instruction: str = ""
    """Text appended to every question."""
    max_prompt_tokens: int = 1024
    """Longer prompts are left out, counted and named in the log."""
    train_limit: int | None = 512
    """Use at most this many training problems."""
    eval_limit: int | None = 400
    """Use at most this many held-out problems."""

    def __post_init__(self) -> None:
        require_at_least(1, data__max_prompt_tokens=self.max_prompt_tokens)
        require_at_least(1, data__train_limit=self.train_limit, data__eval_limit=self.eval_limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """How completions are drawn."""

    temperature: Annotated[float, tyro.conf.arg(aliases=["--temperature"])] = 1.0
    """Divides the logits, in sampling and in the log-probabilities that training uses."""
    max_new_tokens: int = 32
    """Longest completion; a longer one is cut and counted as truncated."""
    rows_per_batch: int = 256
    """Completions generated side by side; bounds memory."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """vllm is fast on a GPU and holds the weights a second time (pip install gvmrl[vllm])."""
    vllm_memory_rate: float = 0.4
    """Share of the GPU's memory that vLLM takes; the rest is for training."""

    def __post_init__(self) -> None:
        require(
            0 < self.temperature < math.inf,
            f"sampler.temperature must be > 0, got {self.temperature}; training needs samples of "
            "the policy, not its mode (an evaluation takes a tiny one, such as 1e-4, for the mode)",
        )
        require_at_least(1, sampler__max_new_tokens=self.max_new_tokens)
        require_at_least(1, sampler__rows_per_batch=self.rows_per_batch)
        require(
            0 < self.vllm_memory_rate < 1,
            f"sampler.vllm_memory_rate must be > 0 and < 1, got {self.vllm_memory_rate}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW."""

    lr: float = 1e-6
    """Learning rate after warm-up."""
    warmup_updates: int = 0
    """Updates over which the learning rate rises linearly from 0."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the two moments."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    tokens_per_microbatch: int = 16384
    """Padded tokens of one forward and backward pass; bounds memory, changes no result."""
    recompute_logprobs: bool = False
    """Recompute the sampling log-probabilities with the training code before the update."""

    def __post_init__(self) -> None:
        require(0 < self.lr < math.inf, f"optim.lr must be > 0 and finite, got {self.lr}")
        require(
            self.max_grad_norm > 0, f"optim.max_grad_norm must be > 0, got {self.max_grad_norm}"
        )
        require_at_least(0, optim__warmup_updates=self.warmup_updates)
        require_at_least(0, optim__weight_decay=self.weight_decay)
        require_at_least(1, optim__tokens_per_microbatch=self.tokens_per_microbatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is written besides metrics.jsonl, and how often things happen."""

    eval_every: int = 20
    """Steps between evaluations on the held-out prompts; also before the first and at the end."""
    eval_rollouts: int = 1
    """Completions of each held-out prompt at sampler.temperature."""
    checkpoint_every: int = 20
    """Steps between checkpoints; the newest one is kept, and the last step is always saved."""
    tensorboard: bool = False
    """Also write TensorBoard events (pip install gvmrl[tensorboard])."""
    wandb_project: str | None = None
    """Also log to this Weights & Biases project (pip install gvmrl[wandb])."""

    def __post_init__(self) -> None:
        require_at_least(1, log__eval_every=self.eval_every, log__eval_rollouts=self.eval_rollouts)
        require_at_least(1, log__checkpoint_every=self.checkpoint_every)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run."""

    out: Path = Path("runs/train")
    """Folder of the run; an existing one is resumed, and must have the same settings."""
    seed: int = 0
    """Decides prompts, samples and order; the same seed gives the same run."""
    steps: int = 100
    """Rounds of allocating, sampling and updating."""
    prompts_per_step: int = 16
    """Prompts that share a step's rollouts."""
    rollouts_per_step: int = 128
    """Training rollouts of a step, discarded pilots not included."""
    rollouts_per_update: int = 64
    """Rollouts of one optimizer update, accepted or not; must divide rollouts_per_step."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    reward: RewardConfig = field(default_factory=lambda: RewardConfig(extract="total"))
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    pilot: PilotConfig = field(default_factory=PilotConfig)
    allocation: AllocationConfig = field(default_factory=AllocationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, steps=self.steps, prompts_per_step=self.prompts_per_step)
        require_at_least(1, rollouts_per_update=self.rollouts_per_update)
        require(
            self.rollouts_per_step >= 1 and self.rollouts_per_step % self.rollouts_per_update == 0,
            f"rollouts_per_step must be a multiple of rollouts_per_update "
            f"({self.rollouts_per_update}), got {self.rollouts_per_step}",
        )
        self._check_allocation()
        if self.pilot.reuse:
            require(
                self.uses_pilots,
                f"pilot.reuse is set, but rule {self.allocation.rule} draws no pilots",
            )
            require(
                self.loss.weighting != "inverse_probability",
                "loss.weighting inverse_probability needs acceptance rates from other rollouts "
                "than it trains on; set pilot.reuse to false",
            )
            require(
                self.allocation.every == 1,
                f"pilot.reuse needs allocation.every = 1, got {self.allocation.every}: "
                "pilots of an earlier step come from another policy",
            )

    def _check_allocation(self) -> None:
        allocation = self.allocation
        if not allocation.chooses_prompts:
            self._check_bounds()
            return
        require(
            allocation.lo == 0 and allocation.hi is None and allocation.spend_on == "counts",
            "allocation.lo, hi and spend_on are for rules that divide a step's rollouts among the "
            f"epoch's prompts; {allocation.rule} chooses prompts itself: leave them out, or set "
            "another allocation.rule",
        )
        require(
            allocation.rule != "dapo"
            or (allocation.audit_rate == 0 and self.rollouts_per_step % self.group == 0),
            "allocation.rule dapo throws groups away and keeps whole ones: set "
            "allocation.audit_rate to 0, and rollouts_per_step to a multiple of allocation.group "
            f"({self.group}), it is {self.rollouts_per_step}",
        )
        require(
            allocation.oracle_for != "baseline" or self.uses_history_baseline,
            "allocation.oracle_for baseline needs a loss that compares rewards with the history: "
            f"loss.name is {self.loss.name} and loss.baseline {self.loss.baseline}",
        )
        require(
            2 * self.group <= self.rollouts_per_step,
            f"rollouts_per_step is {self.rollouts_per_step}, too few for two groups of "
            f"allocation.group = {self.group}; an audit needs one of its own",
        )

    def _check_bounds(self) -> None:
        budget, prompts = self.rollouts_per_step, self.prompts_per_step
        lo, hi = self.lo, self.allocation.hi
        cause = "pilot.rollouts" if lo > self.allocation.lo else "allocation.lo"
        require(
            lo * prompts <= budget,
            f"rollouts_per_step is {budget}, {lo * prompts - budget} too few for {prompts} prompts "
            f"with {cause} = {lo} each",
        )
        if hi is not None:
            require(
                hi >= lo, f"allocation.hi must be >= pilot.rollouts ({lo}) with reuse, got {hi}"
            )
            require(
                hi * prompts >= budget,
                f"rollouts_per_step is {budget}, {budget - hi * prompts} more than {prompts} "
                f"prompts with allocation.hi = {hi} can take",
            )

    @property
    def uses_pilots(self) -> bool:
        """Whether pilots are drawn: the rule or the weighting needs acceptance rates from them."""
        allocation = self.allocation
        if allocation.statistics == "history" or allocation.chooses_prompts:
            return False
        return allocation.needs_statistics or self.loss.weighting == "inverse_probability"

    @property
    def uses_history_baseline(self) -> bool:
        """Whether rewards are compared with what the history says of their prompts."""
        if self.loss.baseline != "auto":
            return self.loss.baseline == "history"
        return self.allocation.chooses_prompts and self.loss.name not in POSITIVE_ONLY

    @property
    def group(self) -> int:
        """Rollouts of a prompt at a visit by a strategy."""
        if self.allocation.group is not None:
            return self.allocation.group
        within = self.loss.name not in POSITIVE_ONLY and not self.uses_history_baseline
        return 4 if within else 2

    @property
    def weighting(self) -> Weighting:
        """The weighting in use, never auto."""
        flat = self.allocation.chooses_prompts and self.loss.name in POSITIVE_ONLY
        return "flat" if flat and self.loss.weighting == "auto" else self.loss.resolved_weighting

    @property
    def predictor(self) -> Literal["none", "past", "prompt"]:
        """The predictor in use, never auto."""
        if self.allocation.predictor != "auto":
            return self.allocation.predictor
        return "prompt" if self.allocation.chooses_prompts else "none"

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates of a step."""
        return self.rollouts_per_step // self.rollouts_per_update

    @property
    def binary_for(self) -> str:
        """The setting that needs rewards of 0 or 1; empty where any number will do."""
        if self.loss.name in POSITIVE_ONLY:
            return f"loss.name {self.loss.name}"
        if self.uses_history_baseline:
            return "loss.baseline history"
        rule = self.allocation.rule
        return "" if rule == "uniform" and not self.uses_pilots else f"allocation.rule {rule}"

    @property
    def lo(self) -> int:
        """Fewest rollouts of a prompt in a step, reused pilots included."""
        return max(self.allocation.lo, self.pilot.rollouts if self.pilot.reuse else 0)


def to_json(config: RunConfig) -> str:
    """Render the resolved settings as JSON, one setting a line."""
    return json.dumps(asdict(config), indent=2, default=str) + "\n"


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Name nested settings with dots, as the flags do."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
