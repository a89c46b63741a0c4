"""Tokens per second of the sampler and of plain `model.generate`, side by side.

    python benchmarks/generate.py [--prompts 64] [--rollouts 8] [--repeats 3]

Both draw the same number of completions of the same prompts of the embedded task from the built-in
model at temperature 1, with the same limit on their length.
"""

import argparse
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch

from gvmrl.config import ModelConfig, SamplerConfig
from gvmrl.model import load_policy
from gvmrl.sample.transformers import TransformersSampler
from gvmrl.tasks.arithmetic import make_problems
from gvmrl.tasks.encode import encode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    policy = load_policy(ModelConfig())
    config = SamplerConfig()
    problems = make_problems(args.prompts, seed=1)
    prompts = encode(problems, policy.tokenizer, max_prompt_tokens=64).prompts
    sampler = TransformersSampler(policy, config)
    count_P = np.full(len(prompts), args.rollouts)

    def ours(seed: int) -> int:
        completions = sampler.sample(prompts, count_P, (seed, 0, 0))
        return sum(len(completion.token_ids) for completion in completions)

    def plain(seed: int) -> int:
        torch.manual_seed(seed)
        texts = [problem.question for problem in problems for _ in range(args.rollouts)]
        policy.tokenizer.padding_side = "left"
        batch = policy.tokenizer(texts, return_tensors="pt", padding=True)
        generate = cast("Callable[..., torch.Tensor]", policy.module.generate)
        token_BT = generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=config.max_new_tokens,
            pad_token_id=policy.pad_id,
        )
        return int((token_BT[:, batch["input_ids"].shape[1] :] != policy.pad_id).sum())

    rates = {
        name: best_rate(draw, args.repeats) for name, draw in (("ours", ours), ("generate", plain))
    }
    for name, rate in rates.items():
        print(f"{name:10} {rate:10,.0f} tokens/s")
    print(
        f"ratio      {rates['ours'] / rates['generate']:10.2f}  ({torch.get_num_threads()} threads)"
    )


def best_rate(draw: Callable[[int], int], repeats: int) -> float:
    """Tokens per second of the best of some runs, after one that warms up."""
    draw(0)
    rates: list[float] = []
    for seed in range(1, repeats + 1):
        start = time.perf_counter()
        tokens = draw(seed)
        rates.append(tokens / (time.perf_counter() - start))
    return max(rates)


if __name__ == "__main__":
    main()
