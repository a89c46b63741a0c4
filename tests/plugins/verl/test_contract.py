# pyright: basic, reportMissingImports=false
"""What the plug-in takes for granted of verl, tried on the installed one. No Ray, no GPU."""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("verl", reason="verl has an environment of its own: make .venv-verl/ready")

from omegaconf import DictConfig, OmegaConf
from verl.protocol import DataProto
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.utils import tensordict_utils

from gvmrl.errors import InputError
from gvmrl.plugins.verl.advantages import even_advantages
from gvmrl.plugins.verl.checks import check_registration, check_run, compose
from gvmrl.plugins.verl.data import COUNT_COLUMN, WEIGHT_COLUMN, read_data, write_planned
from gvmrl.plugins.verl.dumps import problems_of
from gvmrl.plugins.verl.installed import verl_folder
from gvmrl.plugins.verl.loop import VerlRunConfig, load_tokenizer, run_iterations
from gvmrl.plugins.verl.names import ESTIMATORS, TRAINER_MODULE
from gvmrl.plugins.verl.plans import BatchShape, PlanRows, lay_out

COUNTS = [6, 2, 1, 7, 3, 5, 4, 4]


@pytest.fixture(scope="module")
def planned(tiny: Path) -> Path:
    """A planned file of two batches."""
    path = tiny / "planned.parquet"
    data = read_data(tiny / "train.parquet")
    plan = PlanRows(ids=data.ids, count_P=np.array(COUNTS), loss_weight_P=np.array(COUNTS) / 4)
    write_planned(path, data, lay_out(plan, BatchShape(train_batch_size=4, rollout_n=4)))
    return path


def overrides(tiny: Path, planned: Path) -> dict[str, object]:
    return {
        "data.train_files": planned,
        "data.val_files": tiny / "train.parquet",
        "data.train_batch_size": 4,
        "data.shuffle": False,
        "data.dataloader_num_workers": 0,
        "actor_rollout_ref.model.path": tiny / "model",
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.n": 4,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 4,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 1,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 1,
        "trainer.n_gpus_per_node": 1,
        "algorithm.adv_estimator": "gvmrl_raft",
    }


def flags(settings: dict[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in settings.items()]


def config_of(tiny: Path, planned: Path) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(verl_folder() / "trainer" / "config"), version_base=None):
        return hydra_compose("ppo_trainer", overrides=flags(overrides(tiny, planned)))


def test_the_entry_point_registers_every_estimator() -> None:
    check_registration()
    assert ESTIMATORS.keys() <= ADV_ESTIMATOR_REGISTRY.keys()


def test_a_plug_in_that_was_not_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ADV_ESTIMATOR_REGISTRY, "gvmrl_raft")
    with pytest.raises(InputError, match=r"verl did not load gvmrl's plug-in \(gvmrl_raft\)"):
        check_registration()


def test_counts_survive_from_the_file_to_the_batch_and_a_resume(tiny: Path, planned: Path) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader
    from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
    from verl.utils.dataset.rl_dataset import collate_fn

    data = config_of(tiny, planned).data
    rows = create_rl_dataset(data.train_files, data, load_tokenizer(str(tiny / "model")), None)

    def loader() -> StatefulDataLoader:
        sampler = create_rl_sampler(data, rows)
        return StatefulDataLoader(
            rows, batch_size=4, collate_fn=collate_fn, drop_last=True, sampler=sampler
        )

    first = loader()
    batch = next(iter(first))
    batch["uid"] = np.array([f"u{row}" for row in range(4)], dtype=object)
    tensors = tensordict_utils.get_tensordict(batch)
    counts = [int(count) for count in tensors[COUNT_COLUMN]]
    assert sum(counts) == 16
    assert [int(n) for chunk in tensors.chunk(2) for n in chunk[COUNT_COLUMN]] == counts
    weight = [float(weight) for weight in tensors[WEIGHT_COLUMN]]
    assert weight == [count / 4 for count in counts]
    second = loader()
    second.load_state_dict(first.state_dict())
    rest = [int(count) for count in next(iter(second))[COUNT_COLUMN]]
    assert sorted(counts + rest) == sorted(COUNTS)


def test_a_prompt_gets_as_many_rollouts_as_its_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import verl.trainer.ppo.v1.agent_loop_tq as agent_loop

    worker_class = agent_loop.AgentLoopWorkerTQ.__ray_metadata__.modified_class
    worker = object.__new__(worker_class)
    rollout = {"n": 4, "val_kwargs": {"n": 1}}
    worker.config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}})
    calls: list[str] = []
    finished: list[str] = []

    async def put(key, partition_id, tag):  # noqa: ANN001, ANN202, ARG001
        finished.extend([key] if tag["status"] == "finished" else [])

    async def one(*_, uid, **rest):  # noqa: ANN001, ANN002, ANN003, ANN202
        assert COUNT_COLUMN not in rest
        calls.append(uid)

    monkeypatch.setattr(agent_loop.tq, "async_kv_put", put)
    monkeypatch.setattr(worker, "_run_agent_loop", one, raising=False)

    async def every_prompt() -> None:
        for row, count in enumerate([3, 1, 0, None]):
            prompt = {"uid": f"u{row}"} | ({} if count is None else {COUNT_COLUMN: count})
            await worker._run_prompt(prompt, {}, {"validate": False})

    asyncio.run(every_prompt())
    assert Counter(calls) == {"u0": 3, "u1": 1, "u3": 4}
    assert finished == ["u0", "u1", "u2", "u3"]


@pytest.mark.parametrize("name", [*ESTIMATORS, "grpo"])
def test_verl_computes_our_advantages_on_ragged_groups(
    tiny: Path, planned: Path, name: str
) -> None:
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    generator = np.random.default_rng(0)
    prompt_R = generator.permutation(np.repeat(np.arange(4), [6, 2, 1, 7]))
    reward_R = generator.integers(0, 2, 16).astype(float)
    mask_RT = torch.ones(18, 5)
    mask_RT[16:] = 0  # two rows as verl adds to fill a batch
    reward_RT = torch.zeros(18, 5)
    reward_RT[:16, 2] = torch.from_numpy(reward_R).float()
    uid_R = np.array([f"u{row}" for row in prompt_R] + ["pad"] * 2, dtype=object)
    data = DataProto.from_single_dict(
        {
            "token_level_rewards": reward_RT,
            "response_mask": mask_RT,
            "responses": torch.zeros(18, 5, dtype=torch.long),
            "uid": uid_R,
        }
    )
    data = compute_advantage_for_multi_trajectories(
        data,
        batch_keys=[f"{uid}_{row}_0" for row, uid in enumerate(uid_R)],
        adv_estimator=name,
        num_repeat=4,
        config=config_of(tiny, planned).algorithm,
    )
    advantage_RT = data.batch["advantages"].numpy()
    if name == "grpo":  # verl's own, whose formula ours follows; 1 alone is its raw reward
        even_R = even_advantages("grpo", reward_R, prompt_R)
        mean = 16 / 4
        own_R = even_R * np.bincount(prompt_R)[prompt_R] / mean
        used_R = np.bincount(prompt_R)[prompt_R] > 1
        assert np.allclose(advantage_RT[:16][used_R, 0], own_R[used_R], atol=1e-5)
        return
    expected_R = np.append(even_advantages(ESTIMATORS[name], reward_R, prompt_R), [0, 0])
    assert np.allclose(advantage_RT, expected_R[:, None] * mask_RT.numpy(), atol=1e-6)


def test_both_trainer_modes_register() -> None:
    from verl.trainer.ppo.v1 import get_trainer_cls

    from gvmrl.plugins.verl.trainer import OnlineTrainer, PlannedTrainer

    assert get_trainer_cls("gvmrl_planned") is PlannedTrainer
    assert get_trainer_cls("gvmrl_online") is OnlineTrainer


@pytest.mark.parametrize("packed", [True, False])
def test_the_norm_by_the_output_head_is_that_of_autograd(packed: bool) -> None:
    from gvmrl.plugins.verl.worker import norms_of_microbatch

    torch.manual_seed(0)
    lengths, responses, temperature = [7, 4], [3, 2], 0.7
    weight_Vd = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    hidden = [torch.randn(length, 5, dtype=torch.float64) for length in lengths]
    tokens = [torch.randint(0, 11, (length,)) for length in lengths]
    masks = [torch.tensor([1, 0, 1]), torch.tensor([1, 1])]  # a tool's token is not sampled
    expected = []
    for hidden_Sd, token_S, many, mask_T in zip(hidden, tokens, responses, masks, strict=True):
        logprob_SV = (hidden_Sd @ weight_Vd.T / temperature).log_softmax(-1)
        logprob_T = logprob_SV[:-1].gather(1, token_S[1:, None])[-many:, 0]
        (grad_Vd,) = torch.autograd.grad((logprob_T * mask_T).sum(), weight_Vd)
        expected.append(float(grad_Vd.norm()))
    padded_BSd = torch.nn.utils.rnn.pad_sequence(hidden, batch_first=True)
    shaped = torch.cat(hidden)[None] if packed else padded_BSd
    found = norms_of_microbatch(
        shaped.float(),
        (shaped @ weight_Vd.detach().T).float(),
        torch.nested.as_nested_tensor(tokens, layout=torch.jagged),
        torch.nested.as_nested_tensor(masks, layout=torch.jagged),
        packed=packed,
        temperature=temperature,
    )
    assert torch.allclose(found.values(), torch.tensor(expected), rtol=1e-5)


def test_prompts_are_rendered_as_verl_does(tiny: Path) -> None:
    texts = problems_of(read_data(tiny / "train.parquet"), load_tokenizer(str(tiny / "model")), {})
    assert texts[3] == ("user\n3+3=\nassistant\n", "6")  # as in a dump of the run below


def test_the_right_settings_pass_and_verl_itself_takes_them(tiny: Path, planned: Path) -> None:
    from verl.utils.config import validate_config

    found = check_run(flags(overrides(tiny, planned)))
    assert found is not None
    assert found.count_R.sum() == 32
    validate_config(config_of(tiny, planned), use_reference_policy=False, use_critic=False)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data.shuffle", True, "data.shuffle=True would take the packed batches apart"),
        ("data.filter_overlong_prompts", True, "set data.filter_overlong_prompts=False"),
        ("data.train_batch_size", 8, "8 x actor_rollout_ref.rollout.n 4 is not the 4 x 4"),
        ("actor_rollout_ref.rollout.n", 8, "4 x actor_rollout_ref.rollout.n 8 is not the 4 x 4"),
        ("trainer.use_v1", False, "trainer.use_v1=False runs verl's old trainer"),
        ("trainer.v1.trainer_mode", "colocate_async", "must be one of sync, gvmrl_planned"),
        ("trainer.v1.trainer_mode", "gvmrl_planned", f"EXTERNAL_MODULES={TRAINER_MODULE}"),
        ("algorithm.adv_estimator", "gvmrl_grop", "there is no algorithm.adv_estimator gvmrl_grop"),
        ("algorithm.adv_estimator", "gvmrl_rloo", "1 prompts have one rollout"),
        ("algorithm.use_kl_in_reward", True, "takes the KL from the reward"),
        ("data.train_files", "[a.parquet,b.parquet]", "must be one planned file, got 2"),
        ("data.trian_files", "a", "verl refuses the settings"),
    ],
)
def test_each_mistake_is_an_error_before_ray(
    tiny: Path, planned: Path, name: str, value: object, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_run(flags(overrides(tiny, planned) | {name: value}))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["+gvmrl.rul=gvm"], r"no setting gvmrl.rul; did you mean gvmrl.rule"),
        (["+gvmrl.pilots=-1"], "gvmrl.pilots must be >= 0, got -1"),
        (["algorithm.adv_estimator=gvmrl_rloo"], r"set \+gvmrl.group_min=2"),
        (["algorithm.adv_estimator=grpo"], "needs algorithm.adv_estimator to be one of"),
        (
            ["+gvmrl.norm=logits", "actor_rollout_ref.model.use_fused_kernels=True"],
            "fused kernels never form",
        ),
        (
            ["+gvmrl.norm=output_head", "actor_rollout_ref.actor.ulysses_sequence_parallel_size=2"],
            "needs whole sequences",
        ),
        (
            ["+gvmrl.norm=logits", "algorithm.rollout_correction.bypass_mode=True"],
            "which bypass_mode leaves out",
        ),
        (["+gvmrl.norm=output_head", "actor_rollout_ref.actor.strategy=veomni"], "fsdp or fsdp2"),
        (
            ["+gvmrl.pilots=2", "reward.reward_model.enable=True"],
            "set reward.reward_model.enable_resource_pool=True",
        ),
    ],
)
def test_settings_of_the_online_mode_are_checked(
    tiny: Path, planned: Path, monkeypatch: pytest.MonkeyPatch, extra: list[str], words: str
) -> None:
    monkeypatch.setenv("VERL_USE_EXTERNAL_MODULES", TRAINER_MODULE)
    mode = {"trainer.v1.trainer_mode": "gvmrl_online", "data.train_files": tiny / "train.parquet"}
    settings = flags(overrides(tiny, planned) | mode)
    assert check_run([*settings, "+gvmrl.norm=logits", "+gvmrl.pilots=4"]) is None
    with pytest.raises(InputError, match=words):
        check_run([*settings, *extra])


def test_settings_are_composed_as_verl_does(tiny: Path, planned: Path) -> None:
    setting = compose(verl_folder(), flags(overrides(tiny, planned)), "ppo_trainer")
    assert setting("data.train_batch_size") == 4
    assert setting("no.such.setting") is None


def test_every_setting_of_the_page_is_one_of_verl() -> None:
    page = Path(__file__).parents[3] / "docs" / "verl.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:4] == "    "]
    words = [
        word for line in lines for word in line.split() if re.match(r"\+?[a-z_]+\.[\w.]+=", word)
    ]
    assert len(words) > 8
    compose(verl_folder(), words, "ppo_trainer")


def loop_config(tiny: Path, out: Path, **changed: object) -> VerlRunConfig:
    base = VerlRunConfig(
        data=tiny / "train.parquet",
        model=str(tiny / "model"),
        out=out,
        train_batch_size=4,
        rollout_n=4,
        verl=("data.shuffle=True",),
    )
    return replace(base, **changed)  # pyright: ignore[reportArgumentType]


def test_the_loop_refuses_what_cannot_work_before_it_starts_verl(
    tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="an iteration takes 3 x 4 prompts, and the data have 8"):
        run_iterations(loop_config(tiny, tmp_path / "a", steps=3))
    with pytest.raises(InputError, match="verl refuses the settings"):
        run_iterations(loop_config(tiny, tmp_path / "b", verl=("data.shufle=True",)))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text('{"steps": 7}')
    with pytest.raises(InputError, match=r"is a run with other settings: .*steps was 7, is 1"):
        run_iterations(loop_config(tiny, tmp_path / "c"))
    # the loop's own settings win over the user's; this one verl is asked for, and refused
    mode = ("trainer.v1.trainer_mode=colocate_async",)
    with pytest.raises(InputError, match="must be one of sync"):
        run_iterations(loop_config(tiny, tmp_path / "d", verl=mode))
    assert (tmp_path / "d" / "iteration-1" / "planned.parquet").exists()
    assert not (tmp_path / "d" / "iteration-1" / "verl.log").exists()
