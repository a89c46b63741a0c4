"""The settings of who gets how many rollouts."""

from dataclasses import dataclass
from typing import Literal, get_args

from gvmrl.allocate.rules.catalog import ROUND_RULES, RuleName
from gvmrl.checks import require, require_at_least

StrategyName = Literal["paced", "spaced", "thompson", "dapo", "oracle"]
Rule = Literal[RuleName, StrategyName]
Norm = Literal["input_embedding", "output_head", "all_parameters"]

STRATEGY_NAMES: tuple[StrategyName, ...] = get_args(StrategyName)
"""Rules that choose the prompts of a step too, from the whole pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotConfig:
    """Rollouts spent to learn acceptance rates and gradient norms (paper, Algorithm 2)."""

    rollouts: int = 8
    """Pilot rollouts of each prompt, N' in the paper; drawn only for rules that need them."""
    reuse: bool = False
    """Train on the pilots and count them in rollouts_per_step; False discards them (paper)."""
    norm: Norm = "input_embedding"
    """Parameters whose gradient norm stands for the full one; all_parameters is slow."""
    norm_average: Literal["mean", "rms"] = "mean"
    """Over a prompt's accepted pilots: the paper's mean, or its derivation's root mean square."""

    def __post_init__(self) -> None:
        require_at_least(1, pilot__rollouts=self.rollouts)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationConfig:
    """Who gets how many rollouts."""

    rule: Rule = "paced"
    """paced, spaced, thompson, dapo and oracle choose each step's prompts from the whole pool; the
    other rules divide the step's rollouts among the next prompts of the epoch. gvm is the paper's
    Proposition 1; docs/strategies.md and docs/allocation.md describe them all."""
    statistics: Literal["pilots", "history"] = "pilots"
    """What a rule knows: pilot rollouts of each step's prompts (paper), or the rollouts of earlier
    steps, which cost nothing. Rules for rounds and strategies have the history anyway."""
    spend_on: Literal["counts", "weights"] = "counts"
    """weights draws evenly and lets the rule's counts weigh the prompts in the loss instead: a
    control that tells what sampling adds."""
    alpha: float = 1e-3
    """gvm: weight of the penalty on rarely accepted prompts; 0 turns it off."""
    beta: float = 2.0
    """gvm: power of that penalty in the acceptance rate; >= 1."""
    lo: int = 0
    """Fewest rollouts of a prompt, where the epoch gives the prompts."""
    hi: int | None = None
    """Most rollouts of a prompt, likewise."""
    every: int = 1
    """Steps that share one round of pilots (for oracle: one measurement of all rates)."""
    oracle_for: Literal["all", "choice", "baseline"] = "all"
    """oracle: what its measured rates are for: the choice of prompts, what rewards are compared
    with, or both. The rest goes by the history, as under paced: that tells which is worth what."""
    group: int | None = None
    """Rollouts of a prompt at a visit, where a strategy chooses the prompts; >= 2. None: 4 where
    rewards are compared within the group alone, else 2."""
    predictor: Literal["auto", "none", "past", "prompt"] = "auto"
    """What is expected of a prompt besides its own recent rollouts: the pool's mean for all, or a
    forecast fitted as the run goes on, from how prompts with a like past fared, or from that and
    how the policy reads the prompt: its length, how open the answer's first token is, and the
    hidden state. auto: prompt where a strategy chooses the prompts, else none."""
    predictor_every: int = 32
    """Steps between two readings of the prompts; one takes a forward pass over all of them."""
    audit_rate: float = 0.1
    """Share of a strategy's rollouts that go to uniformly chosen prompts, to measure what the
    strategy gains; where it gains nothing, uniform sampling takes over. 0 never audits."""

    def __post_init__(self) -> None:
        require_at_least(0, allocation__alpha=self.alpha, allocation__lo=self.lo)
        require_at_least(1, allocation__beta=self.beta, allocation__every=self.every)
        require_at_least(2, allocation__group=self.group)
        require_at_least(1, allocation__predictor_every=self.predictor_every)
        require_at_least(self.lo, allocation__hi=self.hi)
        require(
            self.oracle_for == "all" or self.rule == "oracle",
            f"allocation.oracle_for is {self.oracle_for}, but allocation.rule is {self.rule}, not "
            "oracle: leave it out",
        )
        require(
            0 <= self.audit_rate < 1,
            f"allocation.audit_rate must be in [0, 1), got {self.audit_rate}",
        )

    @property
    def chooses_prompts(self) -> bool:
        """Whether the rule is a strategy."""
        return self.rule in STRATEGY_NAMES

    @property
    def strategy(self) -> StrategyName:
        """The rule, where it is a strategy."""
        for name in STRATEGY_NAMES:
            if name == self.rule:
                return name
        raise ValueError(f"{self.rule} is no strategy; there are {', '.join(STRATEGY_NAMES)}")

    @property
    def needs_statistics(self) -> bool:
        """Whether the rule needs rates before the step's rollouts are drawn."""
        return not (self.chooses_prompts or self.rule in ROUND_RULES or self.rule == "uniform")
