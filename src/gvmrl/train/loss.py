"""Losses per token, as sums; the caller divides once by a count over the whole update.

Axes: N tokens of all rows of a micro-batch, flat.
"""

from torch import Tensor

from gvmrl.losses import LossConfig


def token_loss(
    logprob_N: Tensor, old_logprob_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> Tensor:
    """Return the [N] loss of each token.

    RAFT is plain log-likelihood, -A log pi. All others are the clipped surrogate
    -min(s A, clip(s, 1 - clip_low, 1 + clip_high) A) with s = pi / pi_old (PPO; RAFT++ has A = 1;
    DAPO's clip-higher is clip_high > clip_low).

    Args:
        logprob_N: Under the policy that is trained; differentiable.
        old_logprob_N: Under the policy that sampled the tokens.
        advantage_N: The advantage of each token's rollout.
        config: The loss and its clip range.
    """
    if config.name == "raft":
        return -advantage_N * logprob_N
    ratio_N = (logprob_N - old_logprob_N).exp()
    clipped_N = ratio_N.clamp(1 - config.clip_low, 1 + config.clip_high)
    return -(ratio_N * advantage_N).minimum(clipped_N * advantage_N)


def kl_penalty(logprob_N: Tensor, reference_N: Tensor) -> Tensor:
    """Return the [N] k3 estimates of KL(pi || reference): r - 1 - ln r >= 0, r = reference / pi.

    Unbiased for tokens drawn from pi (Schulman, "Approximating KL divergence", 2020).
    """
    log_ratio_N = reference_N - logprob_N
    return log_ratio_N.exp() - 1 - log_ratio_N
