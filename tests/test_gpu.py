"""What only a GPU shows: bfloat16 passes, sampling and training there, and the memory they take."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from gvmrl.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SamplerConfig
from gvmrl.data import Prompt, TokenSequence
from gvmrl.load import load_policy
from gvmrl.sample.transformers import TransformersSampler
from gvmrl.train.loop import train
from gvmrl.train.metrics import MetricRow
from gvmrl.train.run import open_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

Prompts = tuple[Prompt, ...]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_a_gpu_gives_the_log_probabilities_of_the_cpu(
    prompts: Prompts, dtype: Literal["float32", "bfloat16"], tolerance: float
) -> None:
    sequences = [TokenSequence(prompt.token_ids, (5, 7, 9, 4)) for prompt in prompts]
    ours, reference = ModelConfig(device="cuda", dtype=dtype), ModelConfig(device="cpu")
    with torch.no_grad():
        logprob_N, wanted_N = (
            load_policy(config).token_scores(sequences).logprob_N.cpu()
            for config in (ours, reference)
        )
    torch.testing.assert_close(logprob_N, wanted_N, rtol=tolerance, atol=tolerance)


def test_the_sampler_says_what_the_training_pass_says(prompts: Prompts) -> None:
    policy = load_policy(ModelConfig(device="cuda"))
    found = TransformersSampler(policy, SamplerConfig()).sample(
        prompts, np.full(8, 4), [(0, 1, 2)] * 8
    )
    sequences = [
        TokenSequence(prompts[row // 4].token_ids, completion.token_ids)
        for row, completion in enumerate(found)
    ]
    with torch.no_grad():
        trained_N = policy.token_scores(sequences).logprob_N.cpu()
    drawn_N = torch.tensor([logprob for one in found for logprob in one.logprobs])
    # bfloat16 in two orders of summation: off by a few hundredths, and by nothing on the mean.
    assert policy.dtype == torch.bfloat16
    assert float((trained_N - drawn_N).abs().mean()) < 0.02
    assert float((trained_N - drawn_N).mean().abs()) < 0.01


def test_a_run_on_a_gpu_learns_and_says_what_memory_it_took(tmp_path: Path) -> None:
    config = RunConfig(
        out=tmp_path / "run",
        steps=20,
        model=ModelConfig(device="cuda"),
        data=DataConfig(train_limit=256, eval_limit=200),
        optim=OptimConfig(lr=3e-4),
    )
    rows: list[MetricRow] = []
    with open_run(config) as run:
        train(run, rows.append)
        weights = sum(weight.numel() for weight in run.learner.policy.parameters)
    assert rows[-1]["eval/accuracy"] > rows[0]["eval/accuracy"] + 0.05
    # Weights, gradients and two moments in float32, at least; and no more than the GPU has.
    peak, held = rows[-1]["memory/gpu_peak_bytes"], rows[-1]["memory/gpu_held_bytes"]
    total = torch.cuda.get_device_properties(0).total_memory
    assert 4 * 4 * weights < peak <= held < total
    assert [row["memory/gpu_peak_bytes"] for row in rows] == sorted(
        row["memory/gpu_peak_bytes"] for row in rows
    )
