"""What every sampler must do; each implementation runs the same tests on the same policy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gvmrl.config import ModelConfig, SamplerConfig
from gvmrl.data import Completion, Prompt, TokenSequence
from gvmrl.load import load_policy
from gvmrl.model import Policy
from gvmrl.sample import Address, Sampler
from gvmrl.sample.transformers import TransformersSampler

HERE: Address = (0, 1, 2)
DEFAULT = SamplerConfig()
Prompts = tuple[Prompt, ...]
Draw = Callable[..., list[Completion]]
MakeSampler = Callable[[SamplerConfig], Sampler]

pytestmark = pytest.mark.parametrize(
    "make_sampler",
    [
        "transformers",
        pytest.param(
            "vllm",
            # vLLM's own warnings are none of ours
            marks=[pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)],
        ),
    ],
    indirect=True,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, shipped_policy: Policy) -> Policy:
    """A random policy whose completions differ in length; its heads are wide enough for vLLM."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=17,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=32,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=0.3,
            eos_token_id=1,
            pad_token_id=0,
            bos_token_id=None,
        )
    )
    model.save_pretrained(folder)
    shipped_policy.tokenizer.save_pretrained(folder)
    return load_policy(ModelConfig(path=str(folder)))


@pytest.fixture(scope="module")
def make_sampler(tiny: Policy, request: pytest.FixtureRequest) -> MakeSampler:
    """Return what makes a sampler of the tiny policy with other settings."""
    if request.param == "transformers":
        return lambda config: TransformersSampler(tiny, config)
    pytest.importorskip("vllm", reason="vLLM is an extra: pip install gvmrl[vllm]")
    from gvmrl.sample.vllm import VllmSampler, start_engine

    engine = start_engine(tiny, DEFAULT)  # one for all tests: its start takes a minute
    return lambda config: VllmSampler(tiny, config, engine)


@pytest.fixture
def draw(make_sampler: MakeSampler) -> Draw:
    """Draw from the sampler under test."""

    def sample(
        prompts: Prompts,
        counts: list[int],
        config: SamplerConfig = DEFAULT,
        address: Address = HERE,
    ) -> list[Completion]:
        return make_sampler(config).sample(prompts, np.array(counts), [address] * len(prompts))

    return sample


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_of_the_sampler_equal_those_of_the_training_pass(
    draw: Draw, tiny: Policy, prompts: Prompts, temperature: float
) -> None:
    found = draw(prompts, [4] * 8, SamplerConfig(temperature=temperature))
    rows = [
        TokenSequence(prompts[row // 4].token_ids, completion.token_ids)
        for row, completion in enumerate(found)
    ]
    with torch.no_grad():
        scores = tiny.token_scores(rows, temperature=temperature)
    sampled = [logprob for completion in found for logprob in completion.logprobs]
    assert sampled == pytest.approx(scores.logprob_N.tolist(), abs=1e-4)


def test_counts_are_ragged_and_completions_stand_behind_their_prompts(
    draw: Draw, prompts: Prompts
) -> None:
    counts = [0, 3, 1, 0, 0, 5, 0, 2]
    together = draw(prompts, counts)
    alone = [
        completion
        for prompt, count in zip(prompts, counts, strict=True)
        for completion in draw((prompt,), [count])
    ]
    assert len(together) == sum(counts)
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]


def test_a_completion_depends_on_its_number_and_not_on_the_count(
    draw: Draw, prompts: Prompts
) -> None:
    few, many = draw(prompts, [2] * 8), draw(prompts, [5] * 8)
    wanted = [many[5 * row + number] for row in range(8) for number in range(2)]
    assert [c.token_ids for c in few] == [c.token_ids for c in wanted]
    assert len({c.token_ids for c in many[:5]}) > 1


def test_nothing_is_drawn_for_a_budget_of_zero(draw: Draw, prompts: Prompts) -> None:
    assert draw(prompts, [0] * 8) == []


@pytest.mark.parametrize("rows_per_batch", [1, 3, 256])
def test_a_completion_does_not_depend_on_its_batch(
    draw: Draw, prompts: Prompts, rows_per_batch: int
) -> None:
    found = draw(prompts, [2] * 8, SamplerConfig(rows_per_batch=rows_per_batch))
    assert [c.token_ids for c in found] == [c.token_ids for c in draw(prompts, [2] * 8)]


def test_the_address_decides_the_completions(draw: Draw, prompts: Prompts) -> None:
    first, again, other = (
        draw(prompts, [4] * 8, address=address) for address in (HERE, HERE, (0, 1, 3))
    )
    assert first == again
    assert [c.token_ids for c in first] != [c.token_ids for c in other]


def test_waves_side_by_side_draw_what_each_would_draw_alone(
    make_sampler: MakeSampler, draw: Draw, prompts: Prompts
) -> None:
    there = (0, 1, 3)
    count_P = np.array([2] * 8 + [3] * 4)
    addresses = [HERE] * 8 + [there] * 4
    found = make_sampler(DEFAULT).sample([*prompts, *prompts[:4]], count_P, addresses)
    alone = [*draw(prompts, [2] * 8), *draw(prompts[:4], [3] * 4, address=there)]
    assert [c.token_ids for c in found] == [c.token_ids for c in alone]


def test_completions_end_with_the_stop_token_or_are_truncated(
    draw: Draw, tiny: Policy, prompts: Prompts
) -> None:
    found = draw(prompts, [4] * 8, SamplerConfig(max_new_tokens=6))
    for completion in found:
        stopped = [token in tiny.stop_ids for token in completion.token_ids]
        assert not any(stopped[:-1])
        assert completion.truncated is not stopped[-1]
        assert len(completion.token_ids) == 6 or stopped[-1]
    assert {completion.truncated for completion in found} == {True, False}


def test_the_text_holds_no_special_token(draw: Draw, tiny: Policy, prompts: Prompts) -> None:
    for completion in draw(prompts, [4] * 8):
        wanted = tiny.tokenizer.decode(list(completion.token_ids), skip_special_tokens=True)
        assert completion.text == wanted
        assert set(completion.text) <= set("0123456789+-=,.")


def test_first_tokens_come_with_their_probabilities(
    draw: Draw, tiny: Policy, prompts: Prompts
) -> None:
    # 2,000 draws: five standard deviations of a share are at most 0.056
    config = SamplerConfig(max_new_tokens=1, rows_per_batch=2000, temperature=1.5)
    token_R = torch.tensor([c.token_ids[0] for c in draw(prompts[:1], [2000], config)])
    with torch.no_grad():
        logit_V = tiny.module(torch.tensor([prompts[0].token_ids])).logits[0, -1] / 1.5
    share_V = torch.bincount(token_R, minlength=17) / 2000
    torch.testing.assert_close(share_V, logit_V.softmax(0), rtol=0, atol=0.056)


def test_a_change_of_the_weights_is_seen_at_once(
    make_sampler: MakeSampler, tiny: Policy, prompts: Prompts
) -> None:
    sampler = make_sampler(DEFAULT)
    before = sampler.sample(prompts, np.full(8, 2), [HERE] * 8)
    weight = tiny.head.get_parameter("weight")
    with torch.no_grad():
        weight.neg_()
        changed = sampler.sample(prompts, np.full(8, 2), [HERE] * 8)
        weight.neg_()
        after = sampler.sample(prompts, np.full(8, 2), [HERE] * 8)
    assert [c.token_ids for c in before] != [c.token_ids for c in changed]
    assert [c.token_ids for c in before] == [c.token_ids for c in after]
