"""What the plug-in is called in verl's settings."""

from gvmrl.losses import Loss

ESTIMATORS: dict[str, Loss] = {
    "gvmrl_raft": "raft",
    "gvmrl_grpo": "grpo",
    "gvmrl_dr_grpo": "dr_grpo",
    "gvmrl_rloo": "rloo",
}
"""`algorithm.adv_estimator` to the loss whose advantages it has. RAFT++ has those of RAFT: with
`actor.policy_loss.loss_mode=gpg` it is RAFT, with vanilla, the clipped ratio, RAFT++."""

PLANNED_MODE = "gvmrl_planned"
"""`trainer.v1.trainer_mode` that applies the loss weights of a planned file."""

ONLINE_MODE = "gvmrl_online"
"""`trainer.v1.trainer_mode` that decides the counts itself, step by step."""

TRAINER_MODULE = "gvmrl.plugins.verl.trainer"
"""What VERL_USE_EXTERNAL_MODULES must name for either mode."""

NEEDS_COMPANY = frozenset(
    {"grpo", "grpo_vectorized", "grpo_passk", "rloo", "rloo_vectorized"}
    | {name for name, loss in ESTIMATORS.items() if loss != "raft"}
)
"""Estimators that compare the rollouts of a prompt; verl's own give one alone its raw reward."""
