"""The losses by name, and the settings of what each rollout weighs in them."""

from dataclasses import dataclass
from typing import Literal

from gvmrl.checks import require, require_at_least

Loss = Literal["raft", "raft++", "grpo", "dr_grpo", "rloo"]
Weighting = Literal["auto", "accepted_mean", "inverse_probability", "prompt_mean", "flat"]
Aggregation = Literal["auto", "token_mean", "sequence_mean", "constant"]

POSITIVE_ONLY = ("raft", "raft++")
"""Losses that train on accepted rollouts alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """What each rollout weighs in the update."""

    name: Loss = "raft++"
    """raft and raft++ train on accepted rollouts; grpo, dr_grpo and rloo on group advantages."""
    weighting: Weighting = "auto"
    """accepted_mean (paper, Algorithm 1) or inverse_probability (paper, Lemma 1) for raft and
    raft++; prompt_mean for the others; flat (no per-prompt factor, as the paper's code) lets the
    counts change the objective. auto: accepted_mean or prompt_mean, and flat for raft and raft++
    where a strategy chooses the prompts, and the objective with them."""
    aggregation: Aggregation = "auto"
    """Length normaliser: the update's mean length, each rollout's own, or max_new_tokens.
    auto: constant for dr_grpo, token_mean for the others."""
    clip_low: float = 0.2
    """Ratios below 1 - clip_low get no gradient where the advantage is negative."""
    clip_high: float = 0.2
    """Ratios above 1 + clip_high get no gradient where the advantage is positive."""
    baseline: Literal["auto", "group", "history"] = "auto"
    """What a reward is compared with in rloo, dr_grpo and grpo: the group's other rollouts, or
    what they and the history together say about the prompt. The latter is as unbiased, has less
    variance, and learns from groups that are all wrong or all right. auto: history where a strategy
    chooses the prompts, else group."""
    kl_coef: float = 0.0
    """Weight of the KL penalty (k3 estimator) to the starting policy."""

    def __post_init__(self) -> None:
        require_at_least(0, loss__clip_low=self.clip_low, loss__clip_high=self.clip_high)
        require_at_least(0, loss__kl_coef=self.kl_coef)
        require(
            self.baseline != "history" or self.name not in POSITIVE_ONLY,
            f"loss.baseline is for losses that have one; {self.name} trains on accepted rollouts "
            "alone: leave it at auto",
        )
        valid = (
            ("auto", "accepted_mean", "inverse_probability", "flat")
            if self.name in POSITIVE_ONLY
            else ("auto", "prompt_mean", "flat")
        )
        require(
            self.weighting in valid,
            f"loss.weighting for {self.name} must be one of {', '.join(valid)}; "
            f"got {self.weighting}",
        )

    @property
    def resolved_weighting(self) -> Weighting:
        """The weighting in use where a rule divides the rollouts, never auto."""
        if self.weighting != "auto":
            return self.weighting
        return "accepted_mean" if self.name in POSITIVE_ONLY else "prompt_mean"

    @property
    def resolved_aggregation(self) -> Aggregation:
        """The aggregation in use, never auto."""
        if self.aggregation != "auto":
            return self.aggregation
        return "constant" if self.name == "dr_grpo" else "token_mean"
