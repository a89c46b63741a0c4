# pyright: basic, reportMissingImports=false
"""Two modes of verl's V1 trainer: one applies a plan's loss weights, one makes the plans itself.

Loaded with VERL_USE_EXTERNAL_MODULES=gvmrl.plugins.verl.trainer, which fails loudly. Both modes are
verl's synchronous trainer with a few of its methods extended; none is replaced.

Axes: P prompts of a batch, R rollouts.
"""

import logging
from pathlib import Path

import numpy as np
import ray
import torch
import transfer_queue
from omegaconf import DictConfig, OmegaConf
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
from verl.workers.utils.padding import response_from_nested

from gvmrl.errors import InputError
from gvmrl.plugins.verl.advantages import planned_over_even
from gvmrl.plugins.verl.checks import check_registration
from gvmrl.plugins.verl.data import COUNT_COLUMN, WEIGHT_COLUMN
from gvmrl.plugins.verl.dumps import ACCEPTED_SCORE, PADDING_UID
from gvmrl.plugins.verl.history import History
from gvmrl.plugins.verl.names import ESTIMATORS, ONLINE_MODE, PLANNED_MODE
from gvmrl.plugins.verl.online import decide, online_config
from gvmrl.plugins.verl.worker import NORM_FIELD, NormWorker

logger = logging.getLogger(__name__)

HISTORY_FILE = "gvmrl_history.jsonl"
"""What the online mode adds to a checkpoint."""


@register_trainer(PLANNED_MODE)
class PlannedTrainer(PPOTrainerSync):
    """Multiplies advantages by the loss weights that stand in the column `gvmrl_loss_weight`."""

    def __init__(self, config: DictConfig) -> None:
        estimator = config.algorithm.adv_estimator
        if estimator not in ESTIMATORS:
            raise InputError(
                f"algorithm.adv_estimator must be one of {', '.join(ESTIMATORS)} in this trainer "
                f"mode, got {estimator}: the weights are on top of theirs"
            )
        check_registration()
        # verl branches on the name of the mode, and this one is synchronous
        config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        self.weight_of_uid: dict[str, float] = {}

    def _submit_batch_to_rollout(self, batch: TensorDict) -> int:
        if WEIGHT_COLUMN not in batch:
            raise InputError(
                f"the data have no column {WEIGHT_COLUMN}; make them with gvmrl verl compile"
            )
        self.weight_of_uid |= dict(
            zip(_values(batch, "uid"), _values(batch, WEIGHT_COLUMN), strict=True)
        )
        return super()._submit_batch_to_rollout(batch)

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        batch = super()._compute_advantage(batch, metrics)
        data = _get(batch, "uid", "advantages")
        uid_R = _values(data, "uid")
        real_R = np.array([not uid.startswith(PADDING_UID) for uid in uid_R])
        factor_R = np.zeros(len(uid_R))
        weight_R = [self.weight_of_uid.get(uid, 0.0) for uid in uid_R]
        _, prompt_R = np.unique(np.array(uid_R)[real_R], return_inverse=True)
        factor_R[real_R] = planned_over_even(np.array(weight_R)[real_R], prompt_R)
        rows = zip(data["advantages"].unbind(), factor_R.tolist(), strict=True)
        advantage = torch.nested.as_nested_tensor(
            [row_T * factor for row_T, factor in rows], layout=torch.jagged
        )
        self.weight_of_uid.clear()
        return transfer_queue.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict({"advantages": advantage, "returns": advantage}, len(batch)),
        )


@register_trainer(ONLINE_MODE)
class OnlineTrainer(PlannedTrainer):
    """Hands each batch's rollouts out from what earlier steps and perhaps pilots have shown."""

    def __init__(self, config: DictConfig) -> None:
        settings = OmegaConf.to_container(OmegaConf.create(config.get("gvmrl", {})), resolve=True)
        self.online = online_config(settings)
        self.history = History(decay=self.online.decay)
        self.id_of_uid: dict[str, str] = {}
        self.plan_metrics: dict[str, int] = {}
        super().__init__(config)

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        if self.online.norm == "output_head":
            for role in (Role.ActorRollout, Role.ActorRolloutRef):
                if role in self.role_worker_mapping:
                    self.role_worker_mapping[role] = ray.remote(NormWorker)

    def prepare_step(self) -> dict[str, int]:
        """Start the step's rollouts; return the figures of its plan."""
        self._add_batch_to_generate()
        return self.plan_metrics

    def _add_batch_to_generate(self) -> None:
        batch = self._next_train_batch()
        ids = _ids(batch)
        if self.online.pilots:
            self._draw_pilots(batch, ids)
        stats = self.history.stats(ids)
        rollout_n = self.config.actor_rollout_ref.rollout.n
        plan = decide(self.online, stats, rollout_n, self.global_steps)
        batch[COUNT_COLUMN] = NonTensorStack(*plan.count_P.tolist())
        batch[WEIGHT_COLUMN] = NonTensorStack(*plan.loss_weight_P.tolist())
        self.id_of_uid = dict(zip(_values(batch, "uid"), ids, strict=True))
        self.plan_metrics = {
            "gvmrl/pilot_rollouts": self.online.pilots * len(ids),
            "gvmrl/unseen_prompts": int((~stats.seen_P).sum()),
            "gvmrl/prompts_left_out": int((plan.count_P == 0).sum()),
            "gvmrl/largest_count": int(plan.count_P.max()),
        }
        for note in plan.notes:
            logger.info("step %s: %s", self.global_steps, note)
        self._submit_batch_to_rollout(batch)

    def _draw_pilots(self, batch: TensorDict, ids: list[str]) -> None:
        """Sample, score and perhaps measure pilots; they enter the history and are dropped."""
        pilots = batch.clone()
        uids = [f"pilot-{uid}" for uid in _values(batch, "uid")]
        pilots["uid"] = NonTensorStack(*uids)
        pilots[COUNT_COLUMN] = NonTensorStack(*[self.online.pilots] * len(uids))
        super(PlannedTrainer, self)._submit_batch_to_rollout(pilots)
        drawn, _ = self.replay_buffer.sample(
            global_steps=self.global_steps, partition_id="train", batch_size=len(uids)
        )
        if self.online.norm != "none":
            # as before any training pass: the engine gives its memory back and later returns
            self.checkpoint_manager.sleep_replicas()
            drawn.extra_info["temperature"] = self.config.actor_rollout_ref.rollout.temperature
            drawn = self._balance_batch(drawn, metrics={})
            self._ask_for_norms(drawn)
            if self.online.norm == "logits":
                drawn = super()._compute_old_log_prob(drawn, metrics={})
            self.checkpoint_manager.update_weights(self.global_steps - 1)
        self._remember(drawn, dict(zip(uids, ids, strict=True)))
        transfer_queue.kv_clear(keys=drawn.keys, partition_id="train")

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        self._ask_for_norms(batch)
        batch = super()._compute_old_log_prob(batch, metrics)
        self._remember(batch, self.id_of_uid)
        return batch

    def _ask_for_norms(self, batch: KVBatchMeta) -> None:
        """Have the norms measured: now, or in the log-prob pass that follows."""
        if self.online.norm == "logits":
            batch.extra_info["calculate_sum_pi_squared"] = True
        elif self.online.norm == "output_head":
            self.actor_rollout_wg.gvmrl_head_norm(batch)

    def _remember(self, batch: KVBatchMeta, id_of_uid: dict[str, str]) -> None:
        """Add a batch's rewards and norms to the history."""
        uid_R = _values(_get(batch, "uid"), "uid")
        reward_R = np.array([float(row.sum()) for row in _get(batch, "rm_scores")["rm_scores"]])
        norm_R = self._norms(batch)
        row_K = [row for row, uid in enumerate(uid_R) if uid in id_of_uid]
        self.history.add(
            [id_of_uid[uid_R[row]] for row in row_K],
            (reward_R[row_K] >= ACCEPTED_SCORE).astype(np.float64),
            None if norm_R is None else norm_R[row_K],
        )

    def _norms(self, batch: KVBatchMeta) -> np.ndarray | None:
        """Return [R] norms, or None where none were asked for."""
        if self.online.norm == "none":
            return None
        if self.online.norm == "output_head":
            return np.array([float(row.sum()) for row in _get(batch, NORM_FIELD)[NORM_FIELD]])
        data = _get(batch, "old_log_probs", "sum_pi_squared", "response_mask")
        squares = response_from_nested(data["sum_pi_squared"], data["response_mask"])
        rows = (data["old_log_probs"].unbind(), squares.unbind(), data["response_mask"].unbind())
        norms = []
        for logprob_T, square_T, mask_T in zip(*rows, strict=True):
            # |d log pi(y) / d logits|^2 of each token
            token_T = 1 - 2 * logprob_T.exp() + square_T
            norms.append(float(token_T[mask_T.bool()].clamp(min=0).sum().sqrt()))
        return np.array(norms)

    def _save_checkpoint(self) -> None:
        folder = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        self.history.save(folder / HISTORY_FILE)
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.global_steps == 0:
            return
        trainer = self.config.trainer
        folder = Path(trainer.default_local_dir) / f"global_step_{self.global_steps}"
        if trainer.resume_mode == "resume_path":
            folder = Path(trainer.resume_from_path)
        if not (folder / HISTORY_FILE).exists():
            logger.warning("%s has no %s: no prompt has a history yet", folder, HISTORY_FILE)
        self.history.load(folder / HISTORY_FILE)


def _get(batch: KVBatchMeta, *fields: str) -> TensorDict:
    """Return fields of a batch's rollouts."""
    return transfer_queue.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=list(fields)
    )


def _values(data: TensorDict, field: str) -> list:
    """Return a field's values as a list of Python objects."""
    return list(data[field].tolist() if hasattr(data[field], "tolist") else data[field])


def _ids(batch: TensorDict) -> list[str]:
    """Return the prompts' ids, from the column `id` or from `extra_info.id`, as text."""
    if "id" in batch:
        return [str(value) for value in _values(batch, "id")]
    ids = [info.get("id") for info in _values(batch, "extra_info")]
    if None in ids:
        raise InputError(
            "the data have neither a column id nor extra_info.id; history is kept by id, so give "
            "each row one"
        )
    return [str(value) for value in ids]
