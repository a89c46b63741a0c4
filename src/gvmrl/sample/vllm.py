# pyright: basic, reportMissingImports=false
"""Sampling with vLLM, whose copy of the weights is updated in place.

The engine runs in this process, on the policy's device. It shares the prefill of a prompt among
its completions and schedules them by itself.
"""

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch

from gvmrl.config import SamplerConfig
from gvmrl.data import Completion, IntArray, Prompt
from gvmrl.errors import InputError
from gvmrl.model import Policy
from gvmrl.sample import Address

if TYPE_CHECKING:
    from peft.tuners.lora import Linear as LoraLinear
    from vllm import LLM

SEED_BYTES = 7
"""A seed plus a completion's number has to fit into 63 bits."""


class VllmSampler:
    """Draws from a copy of a policy in a vLLM engine; brings it up to date before it draws."""

    def __init__(self, policy: Policy, config: SamplerConfig, engine: "LLM") -> None:
        """Take an engine that `start_engine` made; the weights come with the first draw."""
        self._policy = policy
        self._config = config
        self._engine = engine
        self._version = -1

    def sample(
        self, prompts: Sequence[Prompt], count_P: IntArray, addresses: Sequence[Address]
    ) -> list[Completion]:
        """Draw `count_P[i]` completions of each prompt (see `Sampler`)."""
        from vllm import SamplingParams

        self._bring_up_to_date()
        wanted = [
            (prompt, int(count), address)
            for prompt, count, address in zip(prompts, count_P, addresses, strict=True)
            if count
        ]
        if not wanted:
            return []
        outputs = self._engine.generate(
            [{"prompt_token_ids": list(prompt.token_ids)} for prompt, _, _ in wanted],
            [
                SamplingParams(
                    n=count,
                    # completion number i of a prompt gets the seed + i
                    seed=_seed(prompt, address),
                    temperature=self._config.temperature,
                    max_tokens=self._config.max_new_tokens,
                    stop_token_ids=sorted(self._policy.stop_ids),
                    logprobs=0,
                    detokenize=False,
                )
                for prompt, count, address in wanted
            ],
            use_tqdm=False,
        )
        return [
            self._finish(list(output.token_ids), [*map(dict, output.logprobs)])
            for request in outputs
            for output in sorted(request.outputs, key=lambda output: output.index)
        ]

    def _bring_up_to_date(self) -> None:
        """Copy the policy's weights if an optimizer or anything else has written to them."""
        version = sum(weight._version for weight in self._policy.module.parameters())
        if version == self._version:
            return
        weights = merged_weights(self._policy)
        self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self._engine.reset_prefix_cache()
        self._version = version

    def _finish(self, token_ids: list[int], logprobs: list[dict]) -> Completion:
        values = [row[token].logprob for row, token in zip(logprobs, token_ids, strict=True)]
        if not all(map(math.isfinite, values)):
            raise FloatingPointError("the policy's logits are not finite")
        return Completion(
            text=str(self._policy.tokenizer.decode(token_ids, skip_special_tokens=True)),
            token_ids=tuple(token_ids),
            logprobs=tuple(values),
            truncated=token_ids[-1] not in self._policy.stop_ids,
        )


def merged_weights(policy: Policy) -> Iterator[tuple[str, torch.Tensor]]:
    """Give the weights by their names in the model without LoRA, with the adapter added in.

    The policy itself is not changed.
    """
    layers = dict(policy.module.named_modules())
    for name, weight in policy.module.state_dict().items():
        if ".lora_" in name:
            continue
        layer, base, suffix = name.rpartition(".base_layer.")
        if base and suffix == "weight":
            adapted = cast("LoraLinear", layers[layer])
            yield f"{layer}.weight", weight + adapted.get_delta_weight("default")
        else:
            yield name.replace(".base_layer.", "."), weight


def start_engine(policy: Policy, config: SamplerConfig) -> "LLM":
    """Start a vLLM engine for the policy's architecture, with weights that mean nothing yet.

    Raises:
        InputError: If vLLM is missing.
    """
    # the weights are handed over as tensors, so the engine must run in this process
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    try:
        from vllm import LLM
    except ImportError as error:
        raise InputError(
            f"sampler.backend = vllm needs vLLM ({error}): pip install gvmrl[vllm]"
        ) from error
    # the architecture alone: the policy may be a checkpoint or have an adapter
    with tempfile.TemporaryDirectory() as folder:
        policy.module.config.save_pretrained(folder)
        return LLM(
            model=folder,
            load_format="dummy",
            skip_tokenizer_init=True,
            dtype="float32" if policy.dtype == torch.float32 else "bfloat16",
            max_num_seqs=config.rows_per_batch,
            enforce_eager=policy.device.type == "cpu",  # compiling takes minutes there
            gpu_memory_utilization=config.vllm_memory_rate,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",  # those of the temperature in use
        )


def _seed(prompt: Prompt, address: Address) -> int:
    name = repr((address, prompt.id)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=SEED_BYTES).digest(), "big")
