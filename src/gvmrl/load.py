"""Loading a policy: from a folder, the hub, the package itself or a checkpoint."""

import sys
import warnings
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from gvmrl.config import ModelConfig
from gvmrl.errors import InputError
from gvmrl.head import head_fault
from gvmrl.model import Policy

if TYPE_CHECKING:
    from peft import PeftModel


def load_policy(config: ModelConfig, checkpoint_folder: Path | None = None) -> Policy:
    """Load the starting policy, or the one that a checkpoint holds.

    Args:
        config: What to load and how.
        checkpoint_folder: Folder that `Policy.save` wrote; takes the place of `config.path`,
            except that a LoRA adapter is put on top of it.

    Raises:
        InputError: If there is no causal language model at the path, its weights are not finite, or
            its head is not linear.
    """
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    device = torch.device(_device_name(config.device))
    bfloat16 = config.dtype == "bfloat16" or (config.dtype == "auto" and device.type == "cuda")
    lora = config.lora_rank > 0
    source = _resolve_path(config.path) if checkpoint_folder is None or lora else checkpoint_folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        module: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, attn_implementation=config.attention
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.path {config.path!r} cannot be loaded: {str(error).splitlines()[0]}; "
            "give a folder that save_pretrained wrote, or the name of a model on the hub"
        ) from error
    if not all(weight.isfinite().all() for weight in module.parameters()):
        raise InputError(
            f"model.path {config.path!r} holds weights that are not finite; the training that made "
            "it has diverged, take an earlier checkpoint"
        )
    nn.Module.to(module, device)
    module.eval()  # for good: dropout would make the trained policy another one than the sampled
    if config.gradient_checkpointing:
        # transformers renamed it in 5.x and warns about the old name.
        old = module.gradient_checkpointing_enable
        getattr(module, "activation_checkpointing_enable", old)({"use_reentrant": False})
    policy = Policy(
        module=module,
        adapter=_add_lora(module, config, checkpoint_folder) if lora else None,
        tokenizer=tokenizer,
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
    )
    if fault := head_fault(module, module):
        raise InputError(
            f"model.path {config.path!r} is a {type(module).__name__}, which the log-probability "
            f"pass does not know: {fault}; use a model with a plain linear head"
        )
    return policy


def _resolve_path(path: str) -> str:
    """Return the folder behind a builtin: name; any other path or hub name as it is."""
    if not path.startswith("builtin:"):
        return path
    folder = files("gvmrl.tasks") / "builtin" / path.removeprefix("builtin:")
    if not folder.is_dir():
        raise InputError(
            f"model.path {path!r} is not a built-in model; there is builtin:arithmetic"
        )
    return str(folder)


def _device_name(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _add_lora(
    module: PreTrainedModel, config: ModelConfig, checkpoint_folder: Path | None
) -> "PeftModel":
    from peft import LoraConfig, PeftModel, get_peft_model

    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that was changed
        if checkpoint_folder is not None:
            return PeftModel.from_pretrained(module, str(checkpoint_folder), is_trainable=True)
        return get_peft_model(module, settings)
