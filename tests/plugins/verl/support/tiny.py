# pyright: basic
"""A random two-layer Qwen2 with a byte-level tokenizer, and prompts for it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

TEMPLATE = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)


def save_model(folder: Path, tied: bool = True) -> None:
    """Write the model and its tokenizer, about 0.1 M parameters in float32."""
    torch.manual_seed(0)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + special
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=288,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        pad_token_id=vocabulary["<|endoftext|>"],
        eos_token_id=vocabulary["<|im_end|>"],
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).float().save_pretrained(folder)


def save_prompts(path: Path, num_prompts: int) -> None:
    """Write verl's parquet: sums to complete, with the id of each in `extra_info.id`."""
    rows = [
        {
            "data_source": "sums",
            "prompt": [{"role": "user", "content": f"{number}+{number}="}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(2 * number)},
            "extra_info": {"index": number, "id": f"sum-{number}"},
        }
        for number in range(num_prompts)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
