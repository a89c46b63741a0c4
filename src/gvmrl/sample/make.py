"""The sampler that the settings ask for."""

from gvmrl.config import SamplerConfig
from gvmrl.model import Policy
from gvmrl.sample import Sampler
from gvmrl.sample.transformers import TransformersSampler


def make_sampler(policy: Policy, config: SamplerConfig) -> Sampler:
    """Return a sampler that draws from the policy with its current weights.

    Raises:
        InputError: If the backend is not installed.
    """
    if config.backend == "vllm":
        from gvmrl.sample.vllm import VllmSampler, start_engine  # an extra

        return VllmSampler(policy, config, start_engine(policy, config))
    return TransformersSampler(policy, config)
