"""The sampler on transformers: exact draws, shared prompts, batches that do not fit."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from gvmrl.config import SamplerConfig
from gvmrl.data import Prompt
from gvmrl.model import Policy
from gvmrl.sample import Address
from gvmrl.sample.transformers import TransformersSampler, draw_tokens

HERE: Address = (0, 1, 2)
Prompts = tuple[Prompt, ...]


def test_tokens_are_drawn_with_their_probabilities() -> None:
    # 20,000 equally spaced numbers hit each token in proportion, to 1/20,000 a boundary.
    logit_V = torch.tensor([0.0, 1.0, -2.0, 3.0, -float("inf")])
    uniform_B = (torch.arange(20000) + 0.5) / 20000
    token_B, logprob_B = draw_tokens(logit_V.expand(20000, 5), uniform_B)
    share_V = torch.bincount(token_B, minlength=5) / 20000
    torch.testing.assert_close(share_V, logit_V.softmax(0), rtol=0, atol=2e-4)
    torch.testing.assert_close(logprob_B, logit_V.log_softmax(0)[token_B])


def test_the_largest_uniform_number_draws_no_impossible_token() -> None:
    logit_BV = torch.tensor([[0.0, 0.0, -float("inf")]])
    token_B, _ = draw_tokens(logit_BV, torch.tensor([1.0]))
    assert token_B.tolist() == [1]


def test_a_policy_that_is_not_finite_is_an_error_and_not_a_token() -> None:
    with pytest.raises(FloatingPointError, match="logits are not finite"):
        draw_tokens(torch.tensor([[0.0, torch.nan]]), torch.tensor([0.5]))


def rows_of_each_pass(policy: Policy, most: int = 10**6) -> list[tuple[int, int]]:
    """Record the shape of each pass from now on, and let those of too many rows fail."""
    shapes: list[tuple[int, int]] = []

    def look(_: nn.Module, __: Sequence[object], named: dict[str, object]) -> None:
        token_BT = named["input_ids"]
        assert isinstance(token_BT, Tensor)
        if len(token_BT) > most:
            raise torch.OutOfMemoryError("no room for that many rows")
        shapes.append((token_BT.shape[0], token_BT.shape[1]))

    policy.module.register_forward_pre_hook(look, with_kwargs=True)
    return shapes


def test_a_prompt_is_read_once_for_all_its_rollouts(policy: Policy, prompts: Prompts) -> None:
    shapes = rows_of_each_pass(policy)
    counts = np.array([0, 3, 1, 0, 0, 5, 0, 2])
    TransformersSampler(policy, SamplerConfig()).sample(prompts, counts, [HERE] * len(prompts))
    assert shapes[0] == (4, max(len(prompts[row].token_ids) for row in np.flatnonzero(counts)))
    assert all(length == 1 for _, length in shapes[1:])
    assert shapes[1][0] <= 11
    rows = [num_rows for num_rows, _ in shapes[1:]]
    assert rows == sorted(rows, reverse=True), "finished rows leave the batch"


def test_a_batch_that_does_not_fit_is_halved_and_said_so(
    policy: Policy, shipped_policy: Policy, prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    shapes = rows_of_each_pass(policy, most=5)
    sampler = TransformersSampler(policy, SamplerConfig())
    with caplog.at_level(logging.WARNING):
        found = sampler.sample(prompts, np.full(8, 3), [HERE] * 8)
    wanted = TransformersSampler(shipped_policy, SamplerConfig()).sample(
        prompts, np.full(8, 3), [HERE] * 8
    )
    assert [c.token_ids for c in found] == [c.token_ids for c in wanted]
    assert max(num_rows for num_rows, _ in shapes) <= 5
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"{many} completions side by side do not fit into memory; going on with {few} "
        "(sampler.rows_per_batch is 256)"
        for many, few in ((24, 12), (12, 6), (6, 3))
    ]
    caplog.clear()
    sampler.sample(prompts, np.full(8, 3), [HERE] * 8)
    assert not caplog.records, "the smaller batch is kept"


def test_a_row_that_does_not_fit_alone_is_an_error(policy: Policy, prompts: Prompts) -> None:
    rows_of_each_pass(policy, most=0)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        TransformersSampler(policy, SamplerConfig()).sample(prompts, np.ones(8, int), [HERE] * 8)


def test_any_other_error_of_a_pass_is_not_swallowed(policy: Policy, prompts: Prompts) -> None:
    long = replace(prompts[0], token_ids=(99,))  # no such token: an IndexError of the embedding
    with pytest.raises(IndexError, match="index out of range"):
        TransformersSampler(policy, SamplerConfig()).sample((long,), np.array([4]), [HERE])


def test_memory_that_the_system_refuses_counts_as_full(policy: Policy, prompts: Prompts) -> None:
    # what torch raises on a CPU is a plain RuntimeError, here a real one: 2^60 bytes
    def greedy(_: nn.Module, __: Sequence[object], named: dict[str, object]) -> None:
        token_BT = named["input_ids"]
        assert isinstance(token_BT, Tensor)
        if len(token_BT) > 4:
            torch.empty(2**60, dtype=torch.uint8)

    policy.module.register_forward_pre_hook(greedy, with_kwargs=True)
    sampler = TransformersSampler(policy, SamplerConfig())
    assert len(sampler.sample(prompts, np.ones(8, int), [HERE] * 8)) == 8
    assert sampler.rows_per_batch == 4


def test_a_tokenizer_without_a_pad_token_changes_nothing(policy: Policy, prompts: Prompts) -> None:
    wanted = TransformersSampler(policy, SamplerConfig()).sample(prompts, np.full(8, 2), [HERE] * 8)
    policy.tokenizer.pad_token = None
    try:
        found = TransformersSampler(policy, SamplerConfig()).sample(
            prompts, np.full(8, 2), [HERE] * 8
        )
    finally:
        policy.tokenizer.pad_token = "<pad>"
    assert found == wanted


class _Casts(TorchDispatchMode):
    """Counts how often an array of some shape is cast to bfloat16."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        if func is torch.ops.aten._to_copy.default and named.get("dtype") == torch.bfloat16:
            assert isinstance(args[0], Tensor)
            self.count += args[0].shape == self.shape
        return func(*args, **named)


def test_weights_are_cast_once_for_all_tokens_of_a_batch(policy: Policy, prompts: Prompts) -> None:
    half = replace(policy, dtype=torch.bfloat16)
    (weight,) = policy.head.parameters()
    sampler = TransformersSampler(half, SamplerConfig(max_new_tokens=8))
    with _Casts(weight.shape) as casts:
        completions = sampler.sample(prompts, np.full(8, 1), [HERE] * 8)
    assert max(len(completion.token_ids) for completion in completions) > 1
    assert casts.count == 1
