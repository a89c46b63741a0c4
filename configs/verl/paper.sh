#!/usr/bin/env bash
# The paper's runs on verl: Qwen2.5-Math, 1024 prompts a step, 8 rollouts a prompt on average.
#   configs/verl/paper.sh SIZE LOSS RULE [verl settings ...]
#     SIZE  1.5b | 7b
#     LOSS  raft++ | grpo
#     RULE  uniform | gvm | gvm-paper-8x-updates
#   PRINT=1 prints the settings instead of training.
# uniform and gvm take 4 updates of 2048 rollouts in each step. gvm-paper-8x-updates is what the
# paper's public scripts do: there the GVM arm alone takes 32 updates of 256 rollouts in a step, so
# it is NOT comparable with the other two; it is here to see how much of the paper's gain it is.
# TRAIN and VAL name parquet files in verl's form with extra_info.id (docs/verl.md); GPUS a node.
set -euo pipefail
size=$1 loss=$2 rule=$3
shift 3
mini_batch=256 group_min=1
case $size in
  1.5b) model=Qwen/Qwen2.5-Math-1.5B tensor_parallel=1 ;;
  7b) model=Qwen/Qwen2.5-Math-7B tensor_parallel=2 ;;
  *) echo "SIZE must be 1.5b or 7b, got $size" >&2; exit 2 ;;
esac
case $loss in
  raft++) estimator=gvmrl_raft update=raft ;;
  grpo) estimator=gvmrl_grpo update=grpo group_min=2 ;;
  *) echo "LOSS must be raft++ or grpo, got $loss" >&2; exit 2 ;;
esac
case $rule in
  uniform) planning=(+gvmrl.rule=uniform) ;;
  gvm) planning=(+gvmrl.rule=gvm +gvmrl.pilots=8 +gvmrl.norm=logits) ;;
  gvm-paper-8x-updates)
    planning=(+gvmrl.rule=gvm +gvmrl.pilots=8 +gvmrl.norm=logits) mini_batch=32 ;;
  *) echo "RULE must be uniform, gvm or gvm-paper-8x-updates, got $rule" >&2; exit 2 ;;
esac
name=qwen2.5-math-$size-$loss-$rule
settings=(
  trainer.v1.trainer_mode=gvmrl_online
  "${planning[@]}"
  +gvmrl.estimator="$update"
  +gvmrl.group_min=$group_min
  algorithm.adv_estimator=$estimator
  data.train_files="${TRAIN:-numina_math.parquet}"
  data.val_files="${VAL:-math500.parquet}"
  data.train_batch_size=1024
  data.max_prompt_length=1024
  data.max_response_length=3072
  actor_rollout_ref.model.path=$model
  actor_rollout_ref.model.enable_gradient_checkpointing=True
  actor_rollout_ref.actor.strategy=fsdp2
  actor_rollout_ref.actor.ppo_mini_batch_size=$mini_batch
  actor_rollout_ref.actor.use_dynamic_bsz=True
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384
  actor_rollout_ref.actor.optim.lr=1e-6
  actor_rollout_ref.actor.use_kl_loss=True
  actor_rollout_ref.actor.kl_loss_coef=0.001
  actor_rollout_ref.rollout.name=vllm
  actor_rollout_ref.rollout.n=8
  actor_rollout_ref.rollout.temperature=1.0
  actor_rollout_ref.rollout.tensor_model_parallel_size=$tensor_parallel
  actor_rollout_ref.rollout.val_kwargs.n=8
  actor_rollout_ref.rollout.val_kwargs.temperature=1.0
  actor_rollout_ref.rollout.val_kwargs.do_sample=True
  trainer.n_gpus_per_node="${GPUS:-8}"
  trainer.nnodes=1
  trainer.project_name=gvmrl
  trainer.experiment_name="$name"
  trainer.default_local_dir="runs/$name/checkpoints"
  trainer.rollout_data_dir="runs/$name/dumps"
  trainer.save_freq=20
  trainer.test_freq=10
  trainer.total_training_steps=100
  "$@"
)
if [[ -n ${PRINT:-} ]]; then
  printf '%s\n' "${settings[@]}"
  exit
fi
export VERL_USE_EXTERNAL_MODULES=gvmrl.plugins.verl.trainer
gvmrl verl check "${settings[@]}"
exec python -m verl.trainer.main_ppo "${settings[@]}"
