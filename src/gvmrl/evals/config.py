"""The settings of an evaluation."""

from dataclasses import dataclass, field
from pathlib import Path

from gvmrl.checks import require_at_least
from gvmrl.config import ModelConfig, SamplerConfig
from gvmrl.evals.benchmarks import BENCHMARKS, parse_benchmarks
from gvmrl.reward.config import RewardConfig
from gvmrl.tasks.encode import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """How a question becomes a prompt; the same settings as in training."""

    template: Template = "auto"
    """auto uses the tokenizer's chat template where it has one."""
    system: str | None = None
    """System message of the chat template."""
    instruction: str = "Reason step by step, and put the final answer within \\boxed{}."
    """Text appended to every question."""
    max_prompt_tokens: int = 4096
    """A longer prompt is an error: leaving a problem out would change the benchmark."""

    def __post_init__(self) -> None:
        require_at_least(1, data__max_prompt_tokens=self.max_prompt_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """One evaluation of one model."""

    out: Path = Path("runs/eval")
    """Folder of the results; what an earlier command left there is used where it applies."""
    benchmarks: str = ",".join(BENCHMARKS)
    """Comma-separated names, each with =FILE.jsonl, =FILE.parquet or =owner/name:config:split where
    it shall not come from the hub; a name of your own needs a source with the fields problem,
    question or prompt, and answer."""
    k: int = 1
    """Completions of each problem."""
    seed: int = 0
    """Decides the samples and the bootstrap."""
    limit: int | None = None
    """Use at most this many problems of each benchmark, the first ones."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: PromptConfig = field(default_factory=PromptConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    sampler: SamplerConfig = field(default_factory=lambda: SamplerConfig(max_new_tokens=2048))

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, k=self.k, limit=self.limit)
        parse_benchmarks(self.benchmarks, self.reward.gold)
