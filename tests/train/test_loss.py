"""Token losses against hand-worked values and autograd."""

import pytest
import torch

from gvmrl.losses import Loss, LossConfig
from gvmrl.train.loss import kl_penalty, token_loss

LOGPROB = torch.tensor([-0.5, -1.0, -2.0])


def gradient(config: LossConfig, ratio: float, advantage: float) -> float:
    """D loss / d logprob of one token whose probability ratio is `ratio`."""
    logprob = torch.tensor([0.0], requires_grad=True)
    old = logprob.detach() - torch.tensor([ratio]).log()
    loss = token_loss(logprob, old, torch.tensor([advantage]), config)
    (grad,) = torch.autograd.grad(loss.sum(), logprob)
    return float(grad)


def test_raft_is_the_negative_log_likelihood_whatever_the_old_policy_was() -> None:
    config = LossConfig(name="raft")
    loss = token_loss(LOGPROB, torch.full((3,), -9.0), torch.tensor([1.0, 1.0, 0.5]), config)
    assert loss.tolist() == pytest.approx([0.5, 1.0, 1.0])


@pytest.mark.parametrize("name", ["raft++", "grpo", "dr_grpo", "rloo"])
def test_on_policy_the_clipped_surrogate_has_the_policy_gradient(name: Loss) -> None:
    # With ratio 1 the gradient is -A grad log pi.
    assert gradient(LossConfig(name=name), 1.0, 2.5) == pytest.approx(-2.5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.29, 1.0, -1.29),  # inside the raised upper bound
        (1.31, 1.0, 0.0),  # clipped above where it would be pushed further up
        (1.31, -1.0, 1.31),  # not clipped where it is pushed back
        (0.79, -1.0, 0.0),  # clipped below where it would be pushed further down
        (0.79, 1.0, -0.79),  # positive advantages ignore the lower bound (RAFT++)
    ],
)
def test_clip_higher_stops_the_gradient_only_outside_its_side(
    ratio: float, advantage: float, expected: float
) -> None:
    config = LossConfig(name="grpo", clip_low=0.2, clip_high=0.3)
    assert gradient(config, ratio, advantage) == pytest.approx(expected, rel=1e-5)


def test_k3_estimates_the_divergence_without_bias_and_is_never_negative() -> None:
    # Over all tokens of a 5-token distribution: E_pi[k3] = KL(pi || reference), to 1e-6.
    generator = torch.Generator().manual_seed(0)
    pi = torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)
    reference = torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)
    penalty = kl_penalty(pi, reference)
    assert (penalty >= 0).all()
    exact = (pi.exp() * (pi - reference)).sum()
    assert float((pi.exp() * penalty).sum()) == pytest.approx(float(exact), abs=1e-12)
