"""Measure the gradients of a pool of rollouts, one prompt at a time.

Whole at any time are one rollout's gradient and the four sums of one prompt; of all prompts only
the sums are kept, 4 P vectors, which a sketch makes as short as is wanted. A completion that a
prompt got several times is measured once.

Axes: P prompts, H = 2 halves of the pool, K rollouts of a prompt in one half, S = 2P sides (see
`half`), X = 2 sides of one prompt, U different rollouts, D parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gvmrl.data import BoolArray, FloatArray, Rollouts, TokenSequence
from gvmrl.errors import InputError
from gvmrl.gradnorm import sequence_norms
from gvmrl.losses import LossConfig
from gvmrl.probe.gradients import Scores, sketch
from gvmrl.probe.half import Half, Sums

MAX_BYTES = 2**31
"""Largest memory for the sums of all prompts."""
COLUMNS = 2**16
"""Columns of the sums that are multiplied at once, in float64."""

Show = Callable[[str, int, int], None]
"""Told the name of a part of the work, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a pool of rollouts shows."""

    halves: tuple[Half, Half]
    """Two independent halves of the rollouts."""
    num_parameters: int
    """D, the length of a gradient."""
    num_different: int
    """Different rollouts among all of them: the backward passes that were made."""


def measure(
    scores: Scores, rollouts: Rollouts, loss: LossConfig, *, size: int, seed: int, show: Show
) -> Measured:
    """Measure a pool with an equal and even number of rollouts of each prompt.

    Args:
        scores: How a gradient is taken.
        rollouts: The pool, scored with 0 and 1.
        loss: Decides whether a score is divided by its length.
        size: Entries of a sketch; 0 keeps whole gradients.
        seed: Of the sketch.
        show: Told of the progress, in prompts.

    Raises:
        InputError: If a reward is not 0 or 1, whole gradients would take too much memory, or the
            model is one whose cheap gradient norms cannot be measured.
    """
    check_rewards(rollouts)
    num_prompts = len(rollouts.prompts)
    num_parameters = sum(weight.numel() for weight in scores.policy.parameters)
    _check_memory(num_prompts, num_parameters, size)
    sequences = rollouts.sequences
    different = list(dict.fromkeys(sequences))
    place = {sequence: row for row, sequence in enumerate(different)}
    place_PHK = np.array([place[each] for each in sequences]).reshape(num_prompts, 2, -1)
    accepted_PHK = rollouts.accepted_R.reshape(place_PHK.shape)
    scale_U = score_scale(different, loss)
    norm_U = {name: scale_U * each_U for name, each_U in _cheap_norms(scores, different).items()}
    full_U = norm_U["all_parameters"] = np.zeros(len(different))
    kept_HSD = torch.zeros(2, 2 * num_prompts, size or num_parameters)
    length_HS = np.zeros((2, 2 * num_prompts))
    for row in range(num_prompts):
        total_HXD = torch.zeros(2, 2, num_parameters)
        for found in np.unique(place_PHK[row]).tolist():
            gradient_D = scores.gradient([different[found]], scale_U[[found]]).cpu()
            full_U[found] = float(gradient_D.square().sum()) ** 0.5
            here_HK = place_PHK[row] == found
            _add(total_HXD, gradient_D, here_HK & accepted_PHK[row], here_HK & ~accepted_PHK[row])
        for half, side in np.ndindex(2, 2):
            where, total_D = side * num_prompts + row, total_HXD[half, side]
            length_HS[half, where] = float(total_D.square().sum())
            kept_HSD[half, where] = sketch(total_D, size, seed) if size else total_D
        show("gradients", row + 1, num_prompts)
    halves = [
        _half(
            rollouts,
            accepted_PHK[:, half],
            {name: each_U[place_PHK[:, half]] for name, each_U in norm_U.items()},
            length_HS[half],
            kept_HSD[half],
        )
        for half in range(2)
    ]
    return Measured(
        halves=(halves[0], halves[1]),
        num_parameters=num_parameters,
        num_different=len(different),
    )


def _add(total_HXD: Tensor, gradient_D: Tensor, *chosen_HK: BoolArray) -> None:
    """Add a gradient to the sums of each half and side, as often as it was drawn there."""
    for side, times_H in enumerate(chosen.sum(axis=1).tolist() for chosen in chosen_HK):
        for half, times in enumerate(times_H):
            if times:
                total_HXD[half, side].add_(gradient_D, alpha=times)


def check_rewards(rollouts: Rollouts) -> None:
    """Refuse rewards other than 0 and 1: the update's variance is known for those alone.

    Raises:
        InputError: If there is one.
    """
    other_R = ~np.isin(rollouts.reward_R, (0.0, 1.0))
    if other_R.any():
        row = int(other_R.argmax())
        raise InputError(
            f"the probe needs rewards of 0 and 1, got {rollouts.reward_R[row]:g} for prompt "
            f"{rollouts.prompts[rollouts.prompt_R[row]].id!r}; round them in reward.callable"
        )


def score_scale(sequences: Sequence[TokenSequence], loss: LossConfig) -> FloatArray:
    """Return what multiplies each sequence's score: 1 / length for `sequence_mean`, else 1.

    The other aggregations divide the whole update by one number, which changes no figure here.
    """
    if loss.resolved_aggregation != "sequence_mean":
        return np.ones(len(sequences))
    return np.array([1 / len(sequence.completion_ids) for sequence in sequences])


def _cheap_norms(scores: Scores, sequences: list[TokenSequence]) -> dict[str, FloatArray]:
    """Return the norms that need no backward pass a rollout, by kind."""
    try:
        norms = {
            kind: sequence_norms(
                scores.policy.module,
                sequences,
                kind=kind,
                temperature=scores.temperature,
                tokens_per_batch=scores.tokens_per_microbatch,
            )
            for kind in ("input_embedding", "output_head")
        }
    except ValueError as error:
        raise InputError(f"the probe cannot measure this model: {error}") from error
    return norms | {"free": scores.free_norms(sequences)}


def _half(
    rollouts: Rollouts,
    accepted_PK: BoolArray,
    norm_PK: dict[str, FloatArray],
    length_S: FloatArray,
    kept_SD: Tensor,
) -> Half:
    """Turn sums into moments."""
    chosen_SK = np.concatenate([accepted_PK, ~accepted_PK])
    square_SK = np.tile(norm_PK["all_parameters"] ** 2, (2, 1))
    sums = Sums(
        count_S=chosen_SK.sum(axis=1),
        square_S=(square_SK * chosen_SK).sum(axis=1),
        length_S=length_S,
        product_SS=_products(kept_SD),
    )
    gram_SS, variance_S = sums.moments()
    return Half(
        ids=tuple(prompt.id for prompt in rollouts.prompts),
        accepted_PK=accepted_PK,
        norm_PK=norm_PK,
        gram_SS=gram_SS,
        variance_S=variance_S,
    )


def _products(kept_SD: Tensor) -> FloatArray:
    """Return the [S, S] inner products of the rows, in float64."""
    product_SS = np.zeros((len(kept_SD), len(kept_SD)))
    for part in kept_SD.split(COLUMNS, dim=1):
        wide = part.double().numpy()
        product_SS += wide @ wide.T
    return product_SS


def _check_memory(num_prompts: int, num_parameters: int, size: int) -> None:
    """Refuse sums that would not fit.

    Raises:
        InputError: With the sketch that would.
    """
    needed = 16 * num_prompts * (size or num_parameters)
    if needed > MAX_BYTES:
        fits = 2 ** int(np.log2(MAX_BYTES / (16 * num_prompts)))
        raise InputError(
            f"the gradients of {num_prompts} prompts take {needed / 2**30:.1f} GiB, more than "
            f"{MAX_BYTES / 2**30:g}; set sketch to {min(fits, 2**16)}, or take fewer prompts"
        )
