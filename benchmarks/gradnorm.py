"""Time and check the batched gradient norms beside a loop of one backward pass a sample.

Axes: R sequences, T positions, V vocabulary.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from gvmrl.data import FloatArray, TokenSequence
from gvmrl.gradnorm import Norm, sequence_norms

MODELS = {
    # name: (vocabulary, hidden size, layers, sequences, prompt tokens, completion tokens)
    "0.15 M parameters, vocabulary 20": (20, 64, 3, 256, 12, 30),
    "10 M parameters, vocabulary 32,000": (32_000, 144, 4, 24, 40, 120),
}


def build(vocabulary: int, size: int, layers: int, tied: bool) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=size,
        intermediate_size=5 * size // 2,
        num_hidden_layers=layers,
        num_attention_heads=size // 16,
        max_position_embeddings=8192,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def draw_sequences(num: int, vocabulary: int, prompt: int, completion: int) -> list[TokenSequence]:
    """Draw random tokens, with lengths between half of the given ones and the given ones."""
    rng = np.random.default_rng(0)

    def tokens(longest: int) -> tuple[int, ...]:
        return tuple(
            rng.integers(vocabulary, size=rng.integers(longest // 2, longest + 1)).tolist()
        )

    return [TokenSequence(tokens(prompt), tokens(completion)) for _ in range(num)]


def one_by_one(model: PreTrainedModel, sequences: list[TokenSequence], kind: Norm) -> FloatArray:
    """Return the norms by autograd on the weight itself, one sample at a time."""
    if kind == "all_parameters":
        return sequence_norms(model, sequences, kind=kind)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert head is not None
    weight = (embedding if kind == "input_embedding" else head).get_parameter("weight")
    norm_R = np.zeros(len(sequences))
    for row, (prompt, completion) in enumerate(sequences):
        logit_TV = model(input_ids=torch.tensor([prompt + completion])).logits[0]
        logprob_TV = logit_TV[len(prompt) - 1 : -1].log_softmax(1)
        total = logprob_TV.gather(1, torch.tensor(completion)[:, None]).sum()
        (grad,) = torch.autograd.grad(total, weight)
        norm_R[row] = float(grad.square().sum()) ** 0.5
    return norm_R


def timed(run: Callable[[], FloatArray], repeats: int) -> tuple[FloatArray, float]:
    """Return the result and the least of the wall-clock seconds."""
    best = float("inf")
    norm_R = np.zeros(0)
    for _ in range(repeats):
        start = time.perf_counter()
        norm_R = run()
        best = min(best, time.perf_counter() - start)
    return norm_R, best


def compare(name: str, repeats: int) -> None:
    vocabulary, size, layers, num, prompt, completion = MODELS[name]
    sequences = draw_sequences(num, vocabulary, prompt, completion)
    for tied in (False, True):
        model = build(vocabulary, size, layers, tied)
        print(f"\n{name}, {'tied' if tied else 'untied'} ({model.num_parameters():,} in all)")
        print("each sequence:   loop ms  batched ms  ratio  max relative difference")
        for kind in get_args(Norm):
            loops = 1 if kind == "all_parameters" else repeats
            loop_R, loop_s = timed(lambda m=model, k=kind: one_by_one(m, sequences, k), loops)
            cells = f"{kind:16} {loop_s / num * 1e3:7.2f}"
            if kind == "all_parameters":
                print(f"{cells}           -      -  (the loop is the only way)")
                continue
            batch_R, batch_s = timed(
                lambda m=model, k=kind: sequence_norms(m, sequences, kind=k), repeats
            )
            error = float(np.abs(batch_R / loop_R - 1).max())
            print(f"{cells}  {batch_s / num * 1e3:10.2f}  {loop_s / batch_s:5.1f}  {error:.1e}")


def show_memory(vocabulary: int, length: int) -> None:
    """Print the peak of the process so far, beside the size that whole logits would have."""
    model = build(vocabulary, 32, 1, tied=False)
    sequence = TokenSequence((1,), tuple(range(length)))
    _, seconds = timed(lambda: sequence_norms(model, [sequence], kind="output_head"), 1)
    # macOS counts bytes, Linux KiB.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    whole = length * vocabulary * 4 / 2**20
    print(f"output_head, {length:,} tokens, vocabulary {vocabulary:,}, d = 32: {seconds:.1f} s")
    print(f"peak of the whole process {peak:,.0f} MiB; the logits alone would be {whole:,.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=2, help="runs of each; the fastest counts")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # First, since the peak of a process never falls.
    show_memory(150_000, 4096)
    for name in MODELS:
        compare(name, args.repeats)


if __name__ == "__main__":
    main()
