# pyright: basic, reportMissingImports=false
"""A rollout engine for verl that samples with transformers on a CPU, in one Ray actor a rank."""

import os

import ray
import torch
import verl  # noqa: F401 - first: it loads the platform
from verl.workers.rollout import base
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput
from verl.workers.rollout.utils import ensure_async_iterator

NAME = "transformers_cpu"


def server_name(rank) -> str:
    """Return the name of the Ray actor that serves a rank."""
    return f"{NAME}_{rank}"


class Server:
    """Holds a copy of the policy and samples from it, one sequence at a time."""

    def __init__(self, path, response_length):
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.response_length = response_length
        self.step = None

    def load(self, weights, step):
        """Take the weights of a step."""
        self.model.load_state_dict(weights, strict=False)
        self.model.tie_weights()
        self.step = step

    async def generate(self, request_id, prompt_ids, sampling_params, **_):
        """Sample until the end token or the longest response."""
        temperature = sampling_params.get("temperature", 1.0)
        inputs, cache, token_ids, logprobs = torch.tensor([prompt_ids]), None, [], []
        for _step in range(self.response_length):
            with torch.no_grad():
                output = self.model(inputs, past_key_values=cache, use_cache=True)
            cache, logits = output.past_key_values, output.logits[0, -1].float()
            logprob = (logits / (temperature or 1.0)).log_softmax(-1)
            token = logprob.argmax() if temperature == 0 else torch.multinomial(logprob.exp(), 1)
            token_ids.append(int(token))
            logprobs.append(float(logprob[int(token)]))
            inputs = token.view(1, 1)
            if int(token) == self.model.generation_config.eos_token_id:
                break
        return TokenOutput(
            token_ids=token_ids,
            log_probs=logprobs,
            stop_reason="completed",
            extra_fields={"global_steps": self.step},
        )

    async def nothing(self, *_, **__):
        """Answer a call that concerns GPU memory."""
        return {}

    wake_up = sleep = clear_kv_cache = abort_all_requests = resume_generation = nothing
    release_kv_cache = resume_kv_cache = start_profile = stop_profile = nothing


class Replica(RolloutReplica):
    """What verl starts and talks to."""

    async def launch_servers(self):
        name = server_name(self.replica_rank)
        remote = ray.remote(Server).options(name=name, num_cpus=0, max_concurrency=64)
        server = remote.remote(self.model_config.path, self.config.response_length)
        self.servers, self._server_handle, self._server_address = [server], server, name


class Adapter(BaseRollout):
    """Sends each step's weights to the server."""

    async def resume(self, tags):
        pass

    async def release(self):
        pass

    async def update_weights(self, weights, global_steps=None, **_):
        copy = {}
        async for name, weight in ensure_async_iterator(weights):
            copy[name] = weight.detach().float().cpu().clone()
        server = ray.get_actor(server_name(os.environ["RANK"]))
        await server.load.remote(copy, global_steps)


RolloutReplicaRegistry.register(NAME, lambda: Replica)
base._ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.{Adapter.__name__}"
