"""Checks of a run's settings before Ray starts, so that a mistake costs seconds.

Axes: R rows of a planned file.
"""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from gvmrl.errors import InputError
from gvmrl.plugins.verl.data import PlannedFile, read_planned
from gvmrl.plugins.verl.installed import verl_folder
from gvmrl.plugins.verl.names import (
    ESTIMATORS,
    NEEDS_COMPANY,
    ONLINE_MODE,
    PLANNED_MODE,
    TRAINER_MODULE,
)
from gvmrl.plugins.verl.online import online_config

Settings = Callable[[str], object]
"""verl's resolved settings: from a dotted name to the value; None where there is none."""


def check_run(overrides: Sequence[str], config_name: str = "ppo_trainer") -> PlannedFile | None:
    """Check the settings of `python -m verl.trainer.main_ppo` as they would be given.

    Args:
        overrides: The settings, such as data.shuffle=False.
        config_name: verl's own settings that they override.

    Returns:
        The planned file that is trained on; None for a run that plans online.

    Raises:
        InputError: Saying what is wrong and what to set instead.
    """
    setting = compose(verl_folder(), overrides, config_name)
    _check_trainer(setting)
    planned = None
    if setting("trainer.v1.trainer_mode") != ONLINE_MODE:
        planned = read_planned(Path(_one_file(setting)))
        check_planned(planned, setting)
    check_registration()
    return planned


def compose(folder: Path, overrides: Sequence[str], config_name: str) -> Settings:
    """Compose verl's settings as verl would.

    Raises:
        InputError: If verl would refuse them.
    """
    hydra = importlib.import_module("hydra")
    omegaconf = importlib.import_module("omegaconf")
    errors = importlib.import_module("hydra.errors").HydraException
    configs = str(folder / "trainer" / "config")
    try:
        with hydra.initialize_config_dir(configs, version_base=None):
            config = hydra.compose(config_name, overrides=list(overrides))
    except (errors, omegaconf.errors.OmegaConfBaseException) as error:
        raise InputError(f"verl refuses the settings: {error}") from error

    def setting(name: str) -> object:
        value = omegaconf.OmegaConf.select(config, name)
        if omegaconf.OmegaConf.is_config(value):
            return omegaconf.OmegaConf.to_container(value, resolve=True)
        return value

    return setting


def check_planned(planned: PlannedFile, setting: Settings) -> None:
    """Check that verl will form the batches that the file was packed for.

    Raises:
        InputError: Naming the setting.
    """
    shape = planned.shape
    size, rollout_n = setting("data.train_batch_size"), setting("actor_rollout_ref.rollout.n")
    if (size, rollout_n) != (shape.train_batch_size, shape.rollout_n):
        raise InputError(
            f"data.train_batch_size {size} x actor_rollout_ref.rollout.n {rollout_n} is not the "
            f"{shape.train_batch_size} x {shape.rollout_n} that the file was packed for; verl "
            "would pad batches and take other updates: set both as packed, or compile again"
        )
    wanted: dict[str, tuple[object, ...]] = {
        "data.shuffle": (False,),
        "data.filter_overlong_prompts": (False,),
        "data.train_max_samples": (-1, None),
        "data.gen_batch_size": (None, size),
        "algorithm.filter_groups.enable": (False, None),
        "trainer.v1.sampler.sync_refill_failed_groups": (False, None),
    }
    for name, values in wanted.items():
        if setting(name) not in values:
            raise InputError(
                f"{name}={setting(name)} would take the packed batches apart; set {name}="
                f"{values[0] if values[0] is not None else 'null'}"
            )
    total_K = planned.count_R.reshape(-1, shape.train_batch_size).sum(1)
    if not (total_K == shape.rollouts).all():
        batch = int((total_K != shape.rollouts).argmax())
        raise InputError(
            f"batch {batch} of the planned file has {total_K[batch]} rollouts, not "
            f"{shape.rollouts}: rows were moved since it was compiled; compile again"
        )
    single = int((planned.count_R == 1).sum())
    if single and setting("algorithm.adv_estimator") in NEEDS_COMPANY:
        raise InputError(
            f"{single} prompts have one rollout, whose advantage "
            f"{setting('algorithm.adv_estimator')} cannot compute; plan with --group-min 2"
        )


def check_registration() -> None:
    """Check that verl has loaded the plug-in; verl itself says nothing where it has not.

    Raises:
        InputError: With what stood in the way.
    """
    registry = importlib.import_module("verl.trainer.ppo.core_algos").ADV_ESTIMATOR_REGISTRY
    missing = [name for name in ESTIMATORS if name not in registry]
    if not missing:
        return
    reason = "VERL_USE_EXTERNAL_PLUGINS must be auto (or unset) and gvmrl installed beside verl"
    try:
        importlib.import_module("gvmrl.plugins.verl.estimators")
    except ImportError as error:
        reason = str(error)
    raise InputError(f"verl did not load gvmrl's plug-in ({', '.join(missing)}): {reason}")


def _check_trainer(setting: Settings) -> None:
    """Check the choice of trainer and estimator.

    Raises:
        InputError: Naming the setting.
    """
    if not setting("trainer.use_v1"):
        raise InputError(
            "trainer.use_v1=False runs verl's old trainer, which ignores counts per prompt; "
            "set trainer.use_v1=True"
        )
    mode, estimator = setting("trainer.v1.trainer_mode"), setting("algorithm.adv_estimator")
    modes = ("sync", PLANNED_MODE, ONLINE_MODE)
    if mode not in modes:
        raise InputError(f"trainer.v1.trainer_mode must be one of {', '.join(modes)}, got {mode}")
    if str(estimator).startswith("gvmrl") and estimator not in ESTIMATORS:
        raise InputError(
            f"there is no algorithm.adv_estimator {estimator}; there are {', '.join(ESTIMATORS)}"
        )
    if estimator == "gvmrl_raft" and setting("algorithm.use_kl_in_reward"):
        raise InputError(
            "algorithm.use_kl_in_reward=True takes the KL from the reward, and gvmrl_raft accepts "
            "rewards of 1 or more; set actor_rollout_ref.actor.use_kl_loss=True instead"
        )
    if mode == "sync":
        return
    if estimator not in ESTIMATORS:
        raise InputError(
            f"trainer.v1.trainer_mode={mode} needs algorithm.adv_estimator to be one of "
            f"{', '.join(ESTIMATORS)}, got {estimator}"
        )
    if TRAINER_MODULE not in os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(","):
        raise InputError(
            f"trainer.v1.trainer_mode={mode} needs VERL_USE_EXTERNAL_MODULES={TRAINER_MODULE} in "
            "the environment"
        )
    if mode == ONLINE_MODE:
        _check_online(setting)


def _check_online(setting: Settings) -> None:
    """Check the settings of a run that plans online.

    Raises:
        InputError: Naming the setting.
    """
    settings = setting("gvmrl")
    online = online_config(
        cast("Mapping[str, object]", settings) if isinstance(settings, dict) else {}
    )
    estimator = setting("algorithm.adv_estimator")
    if online.group_min < 2 and estimator in NEEDS_COMPANY:
        raise InputError(f"{estimator} needs groups of two or more; set +gvmrl.group_min=2")
    _check_norm(setting, online.norm)
    model = "reward.reward_model"
    own_pool = setting(f"{model}.enable_resource_pool")
    if online.pilots and setting(f"{model}.enable") and not own_pool:
        raise InputError(
            f"pilots must be scored as they are drawn; set {model}.enable_resource_pool=True"
        )


def _check_norm(setting: Settings, norm: str) -> None:
    """Check that verl computes what a gradient norm is made of.

    Raises:
        InputError: Naming the setting.
    """
    if norm != "none" and setting("actor_rollout_ref.model.use_fused_kernels"):
        raise InputError(
            f"gvmrl.norm={norm} reads the logits, which fused kernels never form; set "
            "actor_rollout_ref.model.use_fused_kernels=False or +gvmrl.norm=none"
        )
    if norm == "logits" and setting("algorithm.rollout_correction.bypass_mode"):
        raise InputError(
            "gvmrl.norm=logits comes from the log-prob pass, which bypass_mode leaves out; set "
            "algorithm.rollout_correction.bypass_mode=False or +gvmrl.norm=output_head"
        )
    if norm == "output_head":
        names = [
            "actor_rollout_ref.actor.ulysses_sequence_parallel_size",
            "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size",
        ]
        if any(size not in (None, 1) for size in map(setting, names)):
            raise InputError("gvmrl.norm=output_head needs whole sequences; set " + names[0] + "=1")
        strategy = setting("actor_rollout_ref.actor.strategy")
        if strategy not in ("fsdp", "fsdp2"):
            raise InputError(f"gvmrl.norm=output_head needs fsdp or fsdp2, got {strategy}")


def _one_file(setting: Settings) -> str:
    """Return the training file.

    Raises:
        InputError: If there are several: verl would put their batches together.
    """
    files = setting("data.train_files")
    names = files if isinstance(files, list) else [files]
    if len(names) != 1:
        raise InputError(f"data.train_files must be one planned file, got {len(names)}: {names}")
    return str(names[0])
