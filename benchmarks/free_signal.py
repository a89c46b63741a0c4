"""What the free gradient signal adds to an update: with and without it, in turns, in one run.

    python benchmarks/free_signal.py [--pairs 8] [--threads 1]

A pair is two updates of the same rollouts from the same weights, one as the product takes it and
one whose log-probability pass stops at the entropy. Whole updates differ by more than the signal on
a busy machine, so the share is taken from the time inside: that of entropy, signal and their sum
over rollouts, less that of the entropy alone, each the least of its runs. Times are of the
processor. Axes: N tokens, V vocabulary.
"""

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from gvmrl import model
from gvmrl.config import ModelConfig, OptimConfig, SamplerConfig
from gvmrl.data import Completion, Prompt, Rollouts, segment_sum
from gvmrl.load import load_policy
from gvmrl.losses import LossConfig
from gvmrl.model import Policy, entropy_and_signal
from gvmrl.train import update
from gvmrl.train.update import Learner, make_optimizer
from gvmrl.train.weigh import Weights

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Shape:
    """Sizes of one comparison."""

    num_rollouts: int
    prompt_tokens: int
    completion_tokens: int


@torch.no_grad()
def entropy_alone(logprob_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entropy at the least cost, and zeros for the signal."""
    prob_NV = logprob_NV.exp()
    return -prob_NV.mul_(logprob_NV).sum(-1), torch.zeros(target_N.shape)


def large_vocabulary() -> Policy:
    """Return a random policy of 10 M parameters with 32,000 tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=144,
        intermediate_size=360,
        num_hidden_layers=4,
        num_attention_heads=9,
    )
    # The update reads nothing of the tokenizer but a padding token.
    return replace(load_policy(ModelConfig()), module=LlamaForCausalLM(config).eval())


def make_rollouts(policy: Policy, shape: Shape) -> Rollouts:
    """Draw random tokens, since what they say takes no time."""
    rng = np.random.default_rng(0)
    vocabulary = policy.module.config.get_text_config().vocab_size

    def tokens(num: int) -> tuple[int, ...]:
        return tuple(rng.integers(vocabulary, size=rng.integers(num // 2, num + 1)).tolist())

    prompt = Prompt("0", tokens(shape.prompt_tokens), "")
    completions: list[Completion] = []
    for _ in range(shape.num_rollouts):
        ids = tokens(shape.completion_tokens)
        logprobs = (-1.0,) * len(ids)
        completions.append(Completion(text="", token_ids=ids, logprobs=logprobs, truncated=False))
    return Rollouts(
        prompts=(prompt,),
        prompt_R=np.zeros(shape.num_rollouts, np.int64),
        completions=tuple(completions),
        reward_R=rng.integers(2, size=shape.num_rollouts).astype(np.float64),
        statuses=("scored",) * shape.num_rollouts,
        policy_step=0,
    )


class Stopwatch:
    """Adds up the processor time of some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, run: Callable[P, T]) -> Callable[P, T]:
        """Return the function, with its time counted."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            start = time.process_time()
            result = run(*args, **kwargs)
            self.seconds += time.process_time() - start
            return result

        return timed


def seconds(policy: Policy, rollouts: Rollouts, *, signal: bool) -> tuple[float, float]:
    """Return the processor time of one update by a copy of the policy, and that inside."""
    policy = replace(policy, module=copy.deepcopy(policy.module))
    learner = Learner(
        policy=policy,
        reference=None,
        optimizer=make_optimizer(policy, OptimConfig()),
        loss=LossConfig(name="grpo"),
        optim=OptimConfig(),
        sampler=SamplerConfig(),
    )
    ones_R = np.ones(rollouts.reward_R.size)
    weights = Weights(
        advantage_R=2 * rollouts.reward_R - 1, weight_R=ones_R, share_R=ones_R, num_undefined=0
    )
    whole, inside = Stopwatch(), Stopwatch()
    model.entropy_and_signal = inside.timed(entropy_and_signal if signal else entropy_alone)
    update.segment_sum = inside.timed(segment_sum) if signal else segment_sum
    whole.timed(learner.update)(rollouts, weights, np.arange(ones_R.size), 0)
    return whole.seconds, inside.seconds


def compare(name: str, policy: Policy, shape: Shape, pairs: int) -> None:
    """Print the share of an update's time that the signal takes."""
    rollouts = make_rollouts(policy, shape)
    seconds(policy, rollouts, signal=True)  # the first update warms up
    taken: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for number in range(pairs):
        for signal in (True, False) if number % 2 else (False, True):
            taken[signal].append(seconds(policy, rollouts, signal=signal))
    print(f"{name}: {shape.num_rollouts} rollouts, {rollouts.num_tokens:,} tokens, {pairs} pairs")
    print("                 update ms: least  median    inside ms: least  median")
    for signal, title in ((False, "without signal"), (True, "with signal")):
        ms = np.array(taken[signal]) * 1e3
        (whole, inside), (whole_mid, inside_mid) = ms.min(axis=0), np.median(ms, axis=0)
        print(f"{title:16} {whole:16.1f} {whole_mid:7.1f} {inside:17.3f} {inside_mid:7.3f}")
    (whole, without), (_, with_signal) = (np.min(taken[signal], axis=0) for signal in (False, True))
    print(f"share of the signal in an update: {(with_signal - without) / whole:.2%}\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    builtin = load_policy(ModelConfig())
    compare("built-in model, vocabulary 20", builtin, Shape(256, 12, 30), args.pairs)
    compare(
        "10 M parameters, vocabulary 32,000", large_vocabulary(), Shape(16, 40, 120), args.pairs
    )


if __name__ == "__main__":
    main()
