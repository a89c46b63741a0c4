"""The prompts of a run: from the data settings to token ids."""

import logging
from typing import get_args

from transformers import PreTrainedTokenizerBase

from gvmrl.config import RunConfig
from gvmrl.data import Problem, Prompt
from gvmrl.errors import InputError
from gvmrl.reward.config import Scorer
from gvmrl.reward.math import EXTRACTORS
from gvmrl.tasks.arithmetic import MixName, Split, make_problems
from gvmrl.tasks.encode import encode
from gvmrl.tasks.files import load_problems

logger = logging.getLogger(__name__)

BUILTIN = "builtin:arithmetic"


def load_prompts(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, scorer: Scorer
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Return the training and the held-out prompts.

    Raises:
        InputError: If a file cannot be used, a right answer could never be matched, or too few
            prompts are left for the steps of one iteration.
    """
    data = config.data
    train = _problems(config, data.train, "train", data.train_limit)
    held_out = _problems(config, data.eval, "heldout", data.eval_limit) if data.eval else ()
    scorer.check((*train, *held_out))
    prompts = _prompts(config, "data.train", train, tokenizer)
    needed = config.prompts_per_step * config.allocation.every
    if len(prompts) < needed:
        raise InputError(
            f"data.train {data.train!r} gives {len(prompts)} prompts, but prompts_per_step x "
            f"allocation.every is {needed}; give more data or lower one of them"
        )
    kept = config.rollouts_per_step // config.group
    if config.allocation.rule == "dapo" and len(prompts) < kept:
        raise InputError(
            f"data.train {data.train!r} gives {len(prompts)} prompts, but allocation.rule dapo "
            f"keeps {kept} groups of {config.group} a step; give more data, lower "
            "rollouts_per_step, or set a larger allocation.group"
        )
    return prompts, _prompts(config, "data.eval", held_out, tokenizer)


def _problems(
    config: RunConfig, source: str, split: Split, limit: int | None
) -> tuple[Problem, ...]:
    if not source.startswith("builtin:"):
        data = config.data
        return load_problems(
            source,
            prompt_field=data.prompt,
            answer_field=data.answer,
            id_field=data.id,
            limit=limit,
            extract=EXTRACTORS[config.reward.gold],
        )
    name, _, mix = source.partition("/")
    for known in get_args(MixName):
        if name == BUILTIN and known == mix and limit is not None:
            return make_problems(limit, mix=known, seed=config.seed, split=split)
    raise InputError(
        f"{source!r} is no built-in data set; there is {BUILTIN}/MIX with MIX one of "
        f"{', '.join(get_args(MixName))}, and it needs a limit"
    )


def _prompts(
    config: RunConfig,
    setting: str,
    problems: tuple[Problem, ...],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Prompt, ...]:
    if not problems:
        return ()
    data = config.data
    encoded = encode(
        problems,
        tokenizer,
        system=data.system,
        template=data.template,
        instruction=data.instruction,
        max_prompt_tokens=data.max_prompt_tokens,
    )
    if encoded.too_long:
        logger.warning(
            "%s: %d of %d prompts are longer than data.max_prompt_tokens (%d) and left out: %s",
            setting,
            len(encoded.too_long),
            len(problems),
            data.max_prompt_tokens,
            ", ".join(encoded.too_long[:5]) + (" ..." if len(encoded.too_long) > 5 else ""),
        )
    return encoded.prompts
