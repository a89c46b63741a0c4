"""What every sampler must do, shown for the one on transformers."""

import numpy as np
import pytest
import torch

from gvmrl.config import SamplerConfig
from gvmrl.data import Completion, Prompt, TokenSequence
from gvmrl.model import Policy
from gvmrl.sample import Address
from gvmrl.sample.transformers import TransformersSampler, draw_tokens

HERE: Address = (0, 1, 2)
DEFAULT = SamplerConfig()
Prompts = tuple[Prompt, ...]


def draw(
    policy: Policy,
    prompts: Prompts,
    counts: list[int],
    config: SamplerConfig = DEFAULT,
    address: Address = HERE,
) -> list[Completion]:
    return TransformersSampler(policy, config).sample(prompts, np.array(counts), address)


def test_logprobs_of_the_sampler_equal_those_of_the_training_pass(
    shipped_policy: Policy, prompts: Prompts
) -> None:
    found = draw(shipped_policy, prompts, [4] * 8, SamplerConfig(temperature=0.8))
    rows = [
        TokenSequence(prompts[row // 4].token_ids, completion.token_ids)
        for row, completion in enumerate(found)
    ]
    with torch.no_grad():
        scores = shipped_policy.token_scores(rows, temperature=0.8)
    sampled = [logprob for completion in found for logprob in completion.logprobs]
    assert sampled == pytest.approx(scores.logprob_N.tolist(), abs=1e-4)


def test_counts_are_ragged_and_completions_stand_behind_their_prompts(
    shipped_policy: Policy, prompts: Prompts
) -> None:
    counts = [0, 3, 1, 0, 0, 5, 0, 2]
    together = draw(shipped_policy, prompts, counts)
    alone = [
        completion
        for prompt, count in zip(prompts, counts, strict=True)
        for completion in draw(shipped_policy, (prompt,), [count])
    ]
    assert len(together) == sum(counts)
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]


def test_nothing_is_drawn_for_a_budget_of_zero(shipped_policy: Policy, prompts: Prompts) -> None:
    assert draw(shipped_policy, prompts, [0] * 8) == []


@pytest.mark.parametrize("rows_per_batch", [1, 3, 256])
def test_a_completion_does_not_depend_on_its_batch(
    shipped_policy: Policy, prompts: Prompts, rows_per_batch: int
) -> None:
    config = SamplerConfig(rows_per_batch=rows_per_batch)
    found = draw(shipped_policy, prompts, [2] * 8, config)
    wanted = draw(shipped_policy, prompts, [2] * 8)
    assert [c.token_ids for c in found] == [c.token_ids for c in wanted]


def test_the_address_decides_the_completions(shipped_policy: Policy, prompts: Prompts) -> None:
    first, again, other = (
        draw(shipped_policy, prompts, [4] * 8, address=address)
        for address in (HERE, HERE, (0, 1, 3))
    )
    assert first == again
    assert [c.token_ids for c in first] != [c.token_ids for c in other]


def test_completions_end_with_the_stop_token_or_are_truncated(
    shipped_policy: Policy, prompts: Prompts
) -> None:
    for completion in draw(shipped_policy, prompts, [4] * 8, SamplerConfig(max_new_tokens=4)):
        stopped = [token in shipped_policy.stop_ids for token in completion.token_ids]
        assert not any(stopped[:-1])
        assert completion.truncated is not stopped[-1]
        assert len(completion.token_ids) == 4 or stopped[-1]


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
