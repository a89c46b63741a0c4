"""Tokens per second of the sampler and of plain `model.generate`, side by side.

    python benchmarks/generate.py [--model DIR] [--prompts 64] [--rollouts 8] [--tokens 32]

Both draw the same number of completions of the same prompts of the embedded task at temperature 1,
with the same limit on their length; from the built-in model unless another is named.
"""

import argparse
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch

from gvmrl.config import ModelConfig, SamplerConfig
from gvmrl.load import load_policy
from gvmrl.sample.transformers import TransformersSampler
from gvmrl.tasks.arithmetic import make_problems
from gvmrl.tasks.encode import encode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=ModelConfig().path)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    policy = load_policy(ModelConfig(path=args.model))
    config = SamplerConfig(max_new_tokens=args.tokens)
    problems = make_problems(args.prompts, seed=1)
    prompts = encode(problems, policy.tokenizer, template="plain", max_prompt_tokens=64).prompts
    sampler = TransformersSampler(policy, config)
    count_P = np.full(len(prompts), args.rollouts)

    def ours(seed: int) -> int:
        completions = sampler.sample(prompts, count_P, [(seed, 0, 0)] * len(prompts))
        return sum(len(completion.token_ids) for completion in completions)

    def plain(seed: int) -> int:
        torch.manual_seed(seed)
        texts = [problem.question for problem in problems for _ in range(args.rollouts)]
        policy.tokenizer.padding_side = "left"
        batch = policy.tokenizer(texts, return_tensors="pt", padding=True).to(policy.device)
        generate = cast("Callable[..., torch.Tensor]", policy.module.generate)
        with policy.autocast():
            token_BT = generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                repetition_penalty=1.0,
                max_new_tokens=config.max_new_tokens,
                eos_token_id=sorted(policy.stop_ids),
                pad_token_id=policy.pad_id,
            )[:, batch["input_ids"].shape[1] :]
        stop = torch.tensor(sorted(policy.stop_ids), device=policy.device)
        # a row ends with its first stop token; what follows is padding
        stopped_BT = torch.isin(token_BT, stop).cumsum(-1)
        return int((stopped_BT - torch.isin(token_BT, stop).long() == 0).sum())

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
