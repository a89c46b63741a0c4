"""How well the predictor forecasts the first visit of each prompt, by what it reads of a prompt.

    python scripts/forecasts.py [MIX]

Measures the built-in model's acceptance rate on 512 prompts of the embedded task with 64 rollouts
each, then plays a first pass: 32 prompts a step, 2 rollouts each, every step's outcomes learned
before the next step is forecast. Prints the mean squared error of the forecasts and their
correlation with the rates (mean over three sets of prompts and four orders of each).
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gvmrl.config import DataConfig, RunConfig
from gvmrl.data import FloatArray, segment_sum
from gvmrl.estimate.history import History
from gvmrl.estimate.predictor import Predictor
from gvmrl.load import load_policy
from gvmrl.model import Reading
from gvmrl.reward.scorer import make_reward
from gvmrl.sample import Wave, collect
from gvmrl.sample.make import make_sampler
from gvmrl.train.prompts import load_prompts

PROMPTS, ROLLOUTS, VISIT, PER_STEP = 512, 64, 2, 32
SETS, ORDERS = 3, 4


@dataclass(frozen=True, slots=True)
class Pool:
    """Prompts with the rates that the forecasts are compared with."""

    rate_P: FloatArray
    reading: Reading


def main(mix: str) -> None:
    """Print a row for each selection of features."""
    found = defaultdict[str, list[tuple[float, float]]](list)
    for seed in range(SETS):
        pool = measure(mix, seed)
        nothing_P0 = np.zeros((PROMPTS, 0))
        sign_PS, state_PD = pool.reading.sign_PS, pool.reading.state_PD
        features = {
            "length, entropy and hidden state (default)": (sign_PS, state_PD),
            "length and entropy": (sign_PS, nothing_P0),
            "length": (sign_PS[:, :1], nothing_P0),
            "hidden state": (nothing_P0, state_PD),
            "nothing": (nothing_P0, nothing_P0),
        }
        for order in range(ORDERS):
            for name, looks in features.items():
                found[name].append(first_pass(pool.rate_P, *looks, seed=order))
    print("| read of a prompt | squared error | correlation |\n| --- | ---: | ---: |")
    for name, pairs in found.items():
        error, correlation = np.mean(pairs, axis=0)
        print(f"| {name} | {error:.3f} | {correlation:.2f} |")


def measure(mix: str, seed: int) -> Pool:
    """Read and sample the prompts of one seed."""
    source = f"builtin:arithmetic/{mix}"
    data = DataConfig(train=source, train_limit=PROMPTS, eval=None)
    config = RunConfig(out=Path("unused"), seed=seed, data=data)
    policy = load_policy(config.model)
    scorer = make_reward(config.reward)
    try:
        prompts, _ = load_prompts(config, policy.tokenizer, scorer)
        wave = Wave(prompts, np.full(PROMPTS, ROLLOUTS), (seed, 99))
        sampler = make_sampler(policy, config.sampler)
        (drawn,) = collect(sampler, scorer, [wave], policy_step=0)
    finally:
        scorer.close()
    hits_P = segment_sum(drawn.reward_R, drawn.prompt_R, PROMPTS)
    return Pool(hits_P / ROLLOUTS, policy.read(prompts, config.optim.tokens_per_microbatch))


def first_pass(
    rate_P: FloatArray, sign_PS: FloatArray, state_PD: FloatArray, *, seed: int
) -> tuple[float, float]:
    """Return the squared error and the correlation of forecasts made before each first visit."""
    rng = np.random.default_rng(seed)
    predictor, history = Predictor(PROMPTS), History(tuple(map(str, range(PROMPTS))))
    predictor.look(sign_PS, state_PD)
    forecast_P = np.zeros(PROMPTS)
    for step, rows in enumerate(np.split(rng.permutation(PROMPTS), PROMPTS // PER_STEP)):
        forecast_P[rows] = predictor.rate(history, step)[rows]
        trial_K = np.full(PER_STEP, VISIT)
        success_K = rng.binomial(trial_K, rate_P[rows])
        predictor.learn(history, step, rows, trial_K, success_K)
        history.record(rows, trial_K, success_K, step)
    error = float(((forecast_P - rate_P) ** 2).mean())
    return error, float(np.corrcoef(forecast_P, rate_P)[0, 1])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit("usage: python scripts/forecasts.py [MIX] (a mix of the embedded task, D if none)")
    main(sys.argv[1] if len(sys.argv) == 2 else "D")
