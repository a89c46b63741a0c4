# pyright: basic, reportMissingImports=false
"""What verl loads through the entry point `verl.plugins`: advantages for ragged groups.

Light on purpose, since every process that imports verl runs it. verl swallows errors in here; so
`gvmrl.plugins.verl.checks.check_registration` looks whether it worked.
"""

from functools import partial

import numpy as np
import torch
from verl.trainer.ppo.core_algos import register_adv_est

from gvmrl.losses import Loss
from gvmrl.plugins.verl.advantages import even_advantages
from gvmrl.plugins.verl.names import ESTIMATORS


def estimate(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    *,
    loss: Loss,
    index: np.ndarray | None = None,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return verl's [R, T] advantages and returns, which are equal.

    Rows without a response token, which verl adds to fill a batch, get 0 and count nowhere.

    Args:
        token_level_rewards: [R, T] rewards; their sum is the rollout's.
        response_mask: [R, T] 1 at response tokens.
        loss: Whose advantages.
        index: [R] uid of each rollout's prompt.

    Raises:
        ValueError: If verl gives no uids.
    """
    if index is None:
        raise ValueError(f"gvmrl_{loss} needs the uid of each rollout's prompt, and verl gave none")
    real_R = response_mask.bool().any(-1).cpu().numpy()
    reward_R = token_level_rewards.sum(-1).double().cpu().numpy()
    advantage_R = np.zeros(reward_R.size)
    if real_R.any():
        prompt_R = np.unique(np.asarray(index)[real_R].astype(str), return_inverse=True)[1]
        advantage_R[real_R] = even_advantages(loss, reward_R[real_R], prompt_R)
    column_R1 = torch.from_numpy(advantage_R).to(token_level_rewards)[:, None]
    advantage_RT = column_R1 * response_mask
    return advantage_RT, advantage_RT


for name, estimator_loss in ESTIMATORS.items():
    register_adv_est(name)(partial(estimate, loss=estimator_loss))
