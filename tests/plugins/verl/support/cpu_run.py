# pyright: basic
"""Settings under which stock verl trains the tiny model on a CPU, and the call that does it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SUPPORT = Path(__file__).parent

SETTINGS: dict[str, object] = {
    "data.train_batch_size": 4,
    "data.shuffle": False,
    "data.max_prompt_length": 64,
    "data.max_response_length": 16,
    "data.dataloader_num_workers": 0,
    "actor_rollout_ref.model.use_remove_padding": False,
    "+actor_rollout_ref.model.override_config.attn_implementation": "eager",
    "actor_rollout_ref.model.enable_gradient_checkpointing": False,
    "actor_rollout_ref.actor.strategy": "fsdp2",
    "actor_rollout_ref.actor.ppo_mini_batch_size": 4,
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 4,
    "actor_rollout_ref.actor.use_torch_compile": False,
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile": False,
    "actor_rollout_ref.actor.optim.lr": 1e-3,
    "actor_rollout_ref.rollout.name": "transformers_cpu",
    "actor_rollout_ref.rollout.n": 4,
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 4,
    "actor_rollout_ref.rollout.free_cache_engine": False,
    "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
    "actor_rollout_ref.rollout.agent.num_workers": 1,
    "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes": 16,
    "reward.num_workers": 1,
    "reward.custom_reward_function.path": SUPPORT / "digits_reward.py",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    "trainer.n_gpus_per_node": 1,
    "trainer.nnodes": 1,
    "trainer.device": "cpu",
    "trainer.logger": "[file]",
    "trainer.val_before_train": False,
    "trainer.test_freq": -1,
    "ray_kwargs.ray_init.num_cpus": 8,
    "+ray_kwargs.ray_init.include_dashboard": False,
    "+ray_kwargs.ray_init.object_store_memory": 500_000_000,
}


def flags(settings: dict[str, object]) -> list[str]:
    """Return settings as verl's command line takes them, with one logical GPU for each rank."""
    ranks = settings.get("trainer.n_gpus_per_node", 1)
    settings = SETTINGS | {"+ray_kwargs.ray_init.num_gpus": ranks} | settings
    return [f"{name}={value}" for name, value in settings.items()]


def environment(metrics: Path, *modules: str) -> dict[str, str]:
    """Return the environment of a run that writes its metrics to a file."""
    return os.environ | {
        "PYTHONPATH": str(SUPPORT),
        "VERL_USE_EXTERNAL_MODULES": ",".join(["cpu_platform", "cpu_rollout", *modules]),
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
        "VERL_FILE_LOGGER_PATH": str(metrics),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }


def train(folder: Path, settings: dict[str, object], *modules: str) -> str:
    """Run stock verl in a folder; return what it printed, and put its metrics in metrics.jsonl."""
    with tempfile.TemporaryDirectory(prefix="ray") as ray:  # sockets need a short path
        settings = settings | {"+ray_kwargs.ray_init._temp_dir": ray}
        done = subprocess.run(
            [sys.executable, "-m", "verl.trainer.main_ppo", *flags(settings)],
            cwd=folder,
            env=environment(folder / "metrics.jsonl", *modules),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout
