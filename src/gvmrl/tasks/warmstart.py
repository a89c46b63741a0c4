"""The model of the embedded task: a small Llama whose pass rates spread over [0, 1].

Supervised training in two parts. First to mastery, on right demonstrations. Then on
demonstrations that forget carries, at a rate that depends on the operation, so that reinforcement
learning finds prompts of every pass rate and skills that it can bring back.

Axes: B rows, T tokens, P prompts.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gvmrl.data import FloatArray, Problem
from gvmrl.files import replacing
from gvmrl.reward.math import final_total
from gvmrl.tasks.arithmetic import (
    ALPHABET,
    MAX_TERMS,
    MODULUS,
    Chain,
    carries,
    draw_chains,
    write_totals,
)

PAD_ID = 0
EOS_ID = 1
NUM_ROWS = 128
"""Chains drawn for a step, held-out ones included, which are left out; twice as many to forget."""
_TOKEN_IDS = {character: number for number, character in enumerate(ALPHABET, start=2)}
_MAX_COMPLETION = 3 * MAX_TERMS + 1
_IGNORED = -100

Progress = Callable[[int, float], None]
"""Called after every step with the steps done and the step's loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One part of the training: a demonstrator and a schedule."""

    steps: int
    lr: float
    weight_decay: float
    warmup: int
    hold: float
    """Share of the steps before the learning rate falls linearly to 0."""
    curriculum: tuple[tuple[float, int], ...]
    """Share of the steps at which each stage ends, and its largest number of terms."""
    forgets: bool

    def lr_at(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warmup)
        return self.lr * rise * min(1.0, (1 - step / self.steps) / (1 - self.hold))

    def max_terms_at(self, step: int) -> int:
        return next(terms for end, terms in self.curriculum if step < end * self.steps)


def forget_rate(term: int) -> float:
    """Return how often a demonstration forgets the carry that this signed term needs.

    From .2 for +1 to .97 for +99, and from .6 for -1 to .97 for -99, linear in between.
    """
    size = (abs(term) - 1) / (MODULUS - 2)
    lowest = 0.2 if term > 0 else 0.6
    return lowest + (0.97 - lowest) * size


def forget_carry(total: int, term: int) -> int:
    """Return the next total if the carry is forgotten.

    A sum loses the ten (27+5 gives 22). A difference takes the smaller unit from the larger one
    and borrows nothing (52-8 gives 56), so that two slips seldom cancel.
    """
    tens, units = total // 10 + int(term / 10), total % 10
    units = (units + term) % 10 if term > 0 else -term % 10 - units
    return (10 * tens + units) % MODULUS


def demonstrate(chain: Chain, rng: np.random.Generator | None = None) -> str:
    """Return a demonstration: the right one, or one that forgets carries at random if `rng`.

    A forgetful one goes on from its wrong totals, and never errs where nothing is carried.
    """
    if rng is None:
        return write_totals(chain.totals)
    total, totals = chain.start, list[int]()
    for term in chain.terms:
        forgets = carries(total, term) and rng.random() < forget_rate(term)
        total = forget_carry(total, term) if forgets else (total + term) % MODULUS
        totals.append(total)
    return write_totals(tuple(totals))


def build_model(seed: int) -> LlamaForCausalLM:
    """Return the untrained model, 0.15 M parameters, initialised from the seed."""
    config = LlamaConfig(
        vocab_size=len(_TOKEN_IDS) + 2,
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        # the usual .02 suits wide layers; here it leaves the loss on a plateau
        initializer_range=0.1,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer: a token a character, `<pad>` and `<eos>`, nothing added to a text.

    A character that is not in the alphabet is an error.
    """
    vocabulary = {"<pad>": PAD_ID, "<eos>": EOS_ID} | _TOKEN_IDS
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
        # without it, transformers 4 adds token types, which the model does not take
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=64,
        clean_up_tokenization_spaces=False,
    )


def encode_demonstrations(demonstrations: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """Return [B, T] int64 tokens and targets of (question, completion) pairs.

    Targets are the tokens of the completion and its end; elsewhere -100, which no loss counts.
    """
    length = max(len(question) + len(text) for question, text in demonstrations) + 1
    token_BT = torch.full((len(demonstrations), length), PAD_ID)
    target_BT = torch.full_like(token_BT, _IGNORED)
    for row, (question, text) in enumerate(demonstrations):
        ids = torch.tensor([*(_TOKEN_IDS[character] for character in question + text), EOS_ID])
        token_BT[row, : len(ids)] = ids
        target_BT[row, len(question) : len(ids)] = ids[len(question) :]
    return token_BT, target_BT


def train_model(
    seed: int, *, mastery_steps: int, forget_steps: int, progress: Progress
) -> LlamaForCausalLM:
    """Train the model from scratch; the held-out questions are never shown.

    The same arguments give the same weights, bit for bit, on the same machine with the same
    number of threads.

    Args:
        seed: Decides the initial weights and the demonstrations.
        mastery_steps: Steps on right demonstrations; >= 1.
        forget_steps: Steps on demonstrations that forget carries; >= 1.
        progress: Called after every step.
    """
    model = build_model(seed)
    rng = np.random.default_rng(seed)
    all_terms = ((1.0, MAX_TERMS),)
    mastery = _Part(
        steps=mastery_steps,
        lr=4e-3,
        weight_decay=0.1,
        warmup=100,
        hold=0.65,
        # single steps first: with long chains only, the skill comes much later
        curriculum=((0.06, 1), (0.22, 3), *all_terms),
        forgets=False,
    )
    forgetting = _Part(
        steps=forget_steps,
        lr=1e-3,
        weight_decay=0.0,
        warmup=20,
        hold=0.3,
        curriculum=all_terms,
        forgets=True,
    )
    _train_part(model, mastery, NUM_ROWS, rng, progress)
    _train_part(
        model,
        forgetting,
        2 * NUM_ROWS,
        rng,
        lambda step, loss: progress(mastery_steps + step, loss),
    )
    return model.eval()


def _train_part(
    model: LlamaForCausalLM,
    part: _Part,
    num_rows: int,
    rng: np.random.Generator,
    progress: Progress,
) -> None:
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=part.lr, betas=(0.9, 0.98), weight_decay=part.weight_decay
    )
    for step in range(part.steps):
        # chains of one length share a step, which leaves little padding
        num_terms = int(rng.integers(1, part.max_terms_at(step) + 1))
        drawn = draw_chains(rng, num_rows, (num_terms,))
        chains = [chain for chain in drawn if not chain.heldout]
        token_BT, target_BT = encode_demonstrations(
            [
                (chain.question, demonstrate(chain, rng if part.forgets else None))
                for chain in chains
            ]
        )
        for group in optimizer.param_groups:
            group["lr"] = part.lr_at(step)
        logit_BTV = model(input_ids=token_BT, use_cache=False).logits[:, :-1]
        loss = cross_entropy(logit_BTV.transpose(1, 2), target_BT[:, 1:], ignore_index=_IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress(step + 1, loss.item())


def measure_pass_rates(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    num_samples: int,
    seed: int,
) -> FloatArray:
    """Sample each problem at temperature 1 and return how often the answer is right.

    Args:
        model: A model that answers in running totals.
        tokenizer: Its tokenizer; it pads on the left.
        problems: What to ask.
        num_samples: Completions of each problem.
        seed: Decides the samples.

    Returns:
        [P] shares of right answers, in the order of the problems.
    """
    inputs = tokenizer(
        [problem.question for problem in problems], return_tensors="pt", padding=True
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # transformers declares generate for a protocol that its own models do not meet
        token_BT = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            **inputs,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=num_samples,
            max_new_tokens=_MAX_COMPLETION + 1,
        )
    texts = tokenizer.batch_decode(
        token_BT[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    right_B = np.array(
        [final_total(text) == problems[row // num_samples].answer for row, text in enumerate(texts)]
    )
    return right_B.reshape(len(problems), num_samples).mean(axis=1)


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write model and tokenizer as a Hugging Face folder, whole or not at all."""
    with replacing(folder) as temporary:
        model.save_pretrained(temporary)
        build_tokenizer().save_pretrained(temporary)
        _name_tokenizer_class(temporary / "tokenizer_config.json")


def _name_tokenizer_class(path: Path) -> None:
    # transformers 5 writes a class name that transformers 4 does not know; both know this one
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
