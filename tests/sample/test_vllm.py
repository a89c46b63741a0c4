"""What belongs to the vLLM sampler alone; that it keeps the contract is in test_contract.py."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from gvmrl.config import ModelConfig, SamplerConfig
from gvmrl.errors import InputError
from gvmrl.load import load_policy
from gvmrl.model import Policy
from gvmrl.sample.make import make_sampler
from gvmrl.sample.transformers import TransformersSampler
from gvmrl.sample.vllm import merged_weights


def test_the_default_backend_is_transformers(shipped_policy: Policy) -> None:
    assert isinstance(make_sampler(shipped_policy, SamplerConfig()), TransformersSampler)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_a_missing_vllm_is_named_with_the_remedy(shipped_policy: Policy) -> None:
    with pytest.raises(InputError, match=r"backend = vllm needs vLLM .*pip install gvmrl\[vllm\]"):
        make_sampler(shipped_policy, SamplerConfig(backend="vllm"))


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_the_share_of_memory_is_bounded(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"vllm_memory_rate must be > 0 and < 1, got {rate}"):
        SamplerConfig(vllm_memory_rate=rate)


def test_merged_weights_are_those_of_one_plain_model_with_the_same_logits() -> None:
    policy = load_policy(ModelConfig(lora_rank=2))
    with torch.no_grad():
        for weight in policy.parameters:
            weight.add_(0.05)
    before = {name: weight.clone() for name, weight in policy.module.state_dict().items()}
    plain = load_policy(ModelConfig()).module
    with torch.no_grad():
        nn.Module.load_state_dict(plain, dict(merged_weights(policy)))
        token_BT = torch.tensor([[3, 4, 5]])
        found, wanted = plain(token_BT).logits, policy.module(token_BT).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    after = policy.module.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_merged_weights_without_an_adapter_are_the_weights(shipped_policy: Policy) -> None:
    assert dict(merged_weights(shipped_policy)).keys() == shipped_policy.module.state_dict().keys()
