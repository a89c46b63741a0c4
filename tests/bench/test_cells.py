"""From bundles of flags to the settings of each run, and what is refused before anything runs."""

from pathlib import Path

import pytest

from gvmrl.bench.cells import Cell, make_cells
from gvmrl.bench.config import BenchConfig
from gvmrl.config import LogConfig, RunConfig
from gvmrl.errors import InputError


def bench(**changes: object) -> BenchConfig:
    settings: dict[str, object] = {
        "arms": ("uniform: --allocation.rule uniform", "gvm: --allocation.rule gvm"),
        "sets": ("D: --data.train builtin:arithmetic/D", "mine: --data.train 'my file.jsonl'"),
        "losses": ("grpo: --loss.name grpo", "raft++: --loss.name raft++"),
        "seeds": (3, 5),
        "out": Path("bench"),
        "run": RunConfig(steps=7),
        **changes,
    }
    return BenchConfig(**settings)  # pyright: ignore[reportArgumentType] - fields by name


def names(cells: list[Cell]) -> set[str]:
    return {cell.name for cell in cells}


def test_cells_are_the_product_and_start_with_the_first_seed() -> None:
    cells = make_cells(bench())
    assert len(names(cells)) == len(cells) == 2 * 2 * 2 * 2
    assert [cell.config.seed for cell in cells] == [3] * 8 + [5] * 8
    first = cells[0]
    assert first.name == "D/grpo/uniform/seed3"
    assert first.group == "D, grpo"
    assert first.config.out == Path("bench/D/grpo/uniform/seed3")
    assert {cell.config.data.train for cell in cells} == {"builtin:arithmetic/D", "my file.jsonl"}
    assert {cell.config.steps for cell in cells} == {7}


def test_later_bundles_win_shared_set_loss_arm() -> None:
    config = bench(
        run=RunConfig(log=LogConfig(eval_every=1, eval_rollouts=1)),
        sets=("D: --log.eval-every 2 --steps 2",),
        losses=("grpo: --loss.name grpo --log.eval-every 3 --steps 3",),
        arms=("uniform: --allocation.rule uniform", "long: --log.eval-every 4"),
    )
    found = {cell.arm: cell.config for cell in make_cells(config)}
    assert (found["uniform"].log.eval_every, found["long"].log.eval_every) == (3, 4)
    assert (found["long"].steps, found["long"].log.eval_rollouts) == (3, 1)


def test_only_keeps_an_arm_to_the_places_that_match() -> None:
    cells = make_cells(bench(only=("gvm: D/grpo/* */raft++/5",)))
    assert names([cell for cell in cells if cell.arm == "gvm"]) == {
        *("D/grpo/gvm/seed3", "D/grpo/gvm/seed5", "D/raft++/gvm/seed5", "mine/raft++/gvm/seed5"),
    }
    assert sum(cell.arm == "uniform" for cell in cells) == 8


def test_a_bench_that_is_cut_down_says_which_places_are_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cells = make_cells(
        bench(losses=("grpo: --loss.name grpo",), only=("gvm: D/raft++/* D/grpo/3",))
    )
    assert names([cell for cell in cells if cell.arm == "gvm"]) == {"D/grpo/gvm/seed3"}
    assert "D/raft++/* of gvm match no SET/LOSS/SEED" in caplog.text
    cells = make_cells(bench(only=("gvm: E/*",)))
    assert {cell.arm for cell in cells} == {"uniform"}
    assert "gvm runs nowhere; a SET/LOSS/SEED is D/grpo/3" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ("uniform: --allocation.bugdet 3",)}, "arm uniform: .*--allocation.bugdet"),
        (
            {"arms": ("uniform: --allocation.rule uniform --allocation.lo 99",)},
            "arm uniform: .*too few for 16 prompts",
        ),
        ({"arms": ("uniform: --seed 4",)}, "arm uniform: --out and --seed are set by the bench"),
        ({"arms": ("uniform: --help",)}, "arm uniform: --help is no setting"),
        ({"arms": ("uniform: --data.eval None",)}, "arms are compared on held-out prompts"),
        ({"arms": ("uniform --x",)}, 'arms .uniform --x. must read "NAME: --flag value'),
        ({"arms": ("a/b: --steps 3",)}, "with a NAME of letters"),
        ({"arms": ("uniform: 'a",)}, "has bad quotes: No closing quotation"),
        ({"arms": ("uniform:", "uniform:")}, "arms has two entries named 'uniform'"),
        ({"arms": ("gvm:",)}, "baseline 'uniform' is no arm; there are gvm"),
        ({"headroom": "uniform2"}, "headroom 'uniform2' is no arm"),
        ({"ceiling": "oracle"}, "ceiling 'oracle' is no arm"),
        ({"only": ("oracle: *",)}, "only names 'oracle', which is no arm"),
        ({"only": ("uniform: D/*",)}, "only names the baseline 'uniform'"),
        ({"only": ("gvm:",)}, "only names no SET/LOSS/SEED for gvm, such as D/grpo/3"),
    ],
)
def test_a_bad_bundle_is_named_before_anything_runs(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_cells(bench(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": RunConfig(seed=1)}, "run.out and run.seed are set by the bench"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (1, 1)}, r"seeds must differ, got \(1, 1\)"),
        ({"jobs": -1}, "jobs must be >= 0"),
        ({"threads": 0}, "threads must be >= 1"),
    ],
)
def test_settings_of_the_bench_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bench(**changes)
