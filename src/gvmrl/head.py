"""Whether the logits of a model are a plain linear head on its last hidden state.

Axes: B rows, T positions, V vocabulary, D hidden size.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def head_fault(base: PreTrainedModel, model: nn.Module) -> str | None:
    """Say why the logits are not a linear head on the last hidden state; None if they are.

    The head's output is replaced by a ramp wide enough that a cap or a factor shows, whatever the
    weights are.

    Args:
        base: The causal language model.
        model: What is called for logits: the same, or a peft wrapper of it.
    """
    head = base.get_output_embeddings()
    if type(head) is not nn.Linear:  # exactly: a subclass or wrapper may add to the logits
        return f"its output head is a {type(head)}"
    token_BT = torch.arange(4, device=base.device)[None]
    seen: list[Tensor] = []

    def probe(_: nn.Module, args: tuple[Tensor, ...], logit_BTV: Tensor) -> Tensor:
        ramp_V = torch.linspace(-100, 100, logit_BTV.shape[-1], device=logit_BTV.device)
        seen.extend([args[0], ramp_V.to(logit_BTV.dtype).expand_as(logit_BTV)])
        return seen[1]

    hook = head.register_forward_hook(probe)
    try:
        with torch.no_grad():
            logit_BTV = model(input_ids=token_BT, use_cache=False).logits
            hidden_BTD = base.base_model(input_ids=token_BT, use_cache=False).last_hidden_state
    finally:
        hook.remove()
    if len(seen) != 2 or not _close(hidden_BTD, seen[0]):
        return "its head does not read the base model's last hidden state"
    if not _close(logit_BTV, seen[1]):
        return "its logits are not the head's output but scaled or capped"
    return None


def _close(value: Tensor, wanted: Tensor) -> bool:
    """Tell whether two tensors agree to half of the digits of the coarser type."""
    if value.shape != wanted.shape:
        return False
    tolerance = max(torch.finfo(value.dtype).eps, torch.finfo(wanted.dtype).eps) ** 0.5
    return bool((value - wanted).abs().max() <= tolerance * wanted.abs().max())
