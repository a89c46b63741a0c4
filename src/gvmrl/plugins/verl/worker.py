# pyright: basic, reportMissingImports=false
"""The exact gradient norm by the output head, inside verl's actor and without a backward pass.

Forward only, so ranks of FSDP cannot mix: each measures the rollouts that it holds.

Axes: B rollouts of a micro-batch, T response tokens of one of them, S all its tokens, V vocabulary,
d hidden size.
"""

from functools import partial

import torch
from tensordict import TensorDict
from verl.single_controller.base.decorator import make_nd_compute_dataproto_dispatch_fn, register
from verl.utils import tensordict_utils
from verl.workers.engine_workers import ActorRolloutRefWorker

NORM_FIELD = "gvmrl_norm"
"""Where the norms are put: one number for each rollout."""

BLOCK = 2**24
"""Floats of the gradient that are held at once; bounds memory, changes no result."""


def head_norm(
    hidden_Td: torch.Tensor, logit_TV: torch.Tensor, target_T: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the norm of the gradient of sum_t log pi(y_t) by the output head's weight.

    With d_t = pi_t - onehot(y_t) it is |sum_t d_t h_t^T| / temperature, as in `gvmrl.gradnorm`,
    formed in blocks of the vocabulary. Of a tied weight it is the head's part.

    Args:
        hidden_Td: What the head got, at the positions that predict the response's tokens.
        logit_TV: What it gave there, before any temperature.
        target_T: The tokens.
        temperature: Divides the logits; > 0.
    """
    delta_TV = (logit_TV.float() / temperature).softmax(-1)
    delta_TV[torch.arange(len(target_T), device=target_T.device), target_T] -= 1
    hidden_Td = hidden_Td.float() / temperature
    square = hidden_Td.new_zeros(())
    width = max(1, BLOCK // max(1, hidden_Td.shape[1]))
    for start in range(0, delta_TV.shape[1], width):
        square += (delta_TV[:, start : start + width].T @ hidden_Td).square().sum()
    return square.sqrt()


def norms_of_microbatch(
    hidden: torch.Tensor,
    logits: torch.Tensor,
    input_ids: torch.Tensor,
    response_mask: torch.Tensor,
    *,
    packed: bool,
    temperature: float,
) -> torch.Tensor:
    """Return [B, 1] norms of a micro-batch as verl runs it, as a nested tensor.

    Args:
        hidden: What the head got: [B, S, d] padded right, or [1, sum of S, d] packed.
        logits: What it gave, likewise.
        input_ids: [B, S] nested: prompts and responses.
        response_mask: [B, T] nested: 1 at tokens that the policy sampled.
        packed: Whether the sequences were packed (`use_remove_padding`).
        temperature: Divides the logits.
    """
    starts = input_ids.offsets().tolist()  # pyright: ignore[reportAttributeAccessIssue] - nested
    norms = []
    pairs = zip(input_ids.unbind(), response_mask.unbind(), strict=True)
    for row, (token_S, mask_T) in enumerate(pairs):
        line, first = (0, starts[row]) if packed else (row, 0)
        end = first + len(token_S) - 1
        window = slice(end - len(mask_T), end)
        sampled_T = mask_T.bool()
        norm = head_norm(
            hidden[line, window][sampled_T],
            logits[line, window][sampled_T],
            token_S[len(token_S) - len(mask_T) :][sampled_T],
            temperature,
        )
        norms.append(norm.reshape(1))
    return torch.nested.as_nested_tensor(norms, layout=torch.jagged)


class NormWorker(ActorRolloutRefWorker):
    """verl's worker with one method more."""

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def gvmrl_head_norm(self, data: TensorDict) -> TensorDict | None:
        """Measure the rollouts of a batch; the norms are its field `NORM_FIELD`."""
        seen: dict[str, torch.Tensor] = {}
        named = self.actor.engine.module.named_modules()
        (head,) = (module for name, module in named if name.split(".")[-1] == "lm_head")
        hook = head.register_forward_hook(
            lambda _, inputs, output: seen.update(hidden=inputs[0], logits=output)
        )
        loss_fn, self.actor.loss_fn = self.actor.loss_fn, partial(_norms, seen)
        tensordict_utils.assign_non_tensor(data, compute_loss=True, calculate_entropy=False)
        try:
            output = self.actor.infer_batch(data)
        finally:
            self.actor.loss_fn = loss_fn
            hook.remove()
        return output.cpu() if output is not None else None


def _norms(
    seen: dict[str, torch.Tensor], model_output: dict, data: TensorDict, **_: object
) -> tuple[torch.Tensor, dict]:
    """Put the norms in place of what the model gave; verl calls it as a loss."""
    packed = tensordict_utils.get_non_tensor_data(data, key="use_remove_padding", default=True)
    norms = norms_of_microbatch(
        seen["hidden"],
        seen["logits"],
        data["input_ids"],
        data["response_mask"],
        packed=packed,
        temperature=float(tensordict_utils.get(data, "temperature")),
    )
    model_output.clear()
    model_output[NORM_FIELD] = norms
    return torch.zeros((), device=norms.device), {}
