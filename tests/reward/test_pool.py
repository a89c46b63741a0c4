"""The pool with functions that hang, die, grow and print (tests/reward/targets.py)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from gvmrl.errors import InputError
from gvmrl.reward.config import RewardConfig, Verdict
from gvmrl.reward.pool import Pool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, limits memory")

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _targets_importable(  # pyright: ignore[reportUnusedFunction] -- pytest runs it
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture
def limits() -> RewardConfig:
    return RewardConfig(timeout_s=0.5, memory_bytes=512 * MIB)


def rewards(verdicts: list[Verdict]) -> list[float]:
    return [verdict.reward for verdict in verdicts]


def pids(verdicts: list[Verdict]) -> list[int]:
    return [int(verdict.detail) for verdict in verdicts]


def exists(pid: int) -> bool:
    """A process that has ended but was not waited for still exists."""
    return Path(f"/proc/{pid}").exists()


def runs(pid: int) -> bool:
    """A process whose parent is gone may stay a zombie: nobody of ours can wait for it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def until_gone(pid: int, patience_s: float) -> bool:
    for _ in range(int(patience_s / 0.05)):
        if not runs(pid):
            return True
        time.sleep(0.05)
    return False


def test_verdicts_keep_the_order_of_the_calls() -> None:
    with Pool("targets:echo", RewardConfig(), quiet=False) as pool:
        calls = [(float(row), 0.02 * (row % 3)) for row in range(20)]
        verdicts = pool.run(calls)
    assert rewards(verdicts) == [row for row, _ in calls]
    assert 1 <= len(set(pids(verdicts))) <= 2


def test_no_calls_need_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Pool("targets:echo", RewardConfig(), quiet=False) as pool:
        assert pool.run([]) == []
        with pytest.raises(FileNotFoundError, match="/nowhere/python"):
            pool.run([(1.0,)])


def test_workers_stay_for_the_next_batch() -> None:
    with Pool("targets:echo", RewardConfig(workers=1), quiet=False) as pool:
        assert pids(pool.run([(1.0,)])) == pids(pool.run([(2.0,)]))


def test_a_call_that_hangs_costs_its_own_verdict_only(limits: RewardConfig) -> None:
    with Pool("targets:hang_at_zero", limits, quiet=False) as pool:
        verdicts = pool.run([(1.0,), (0.0,), (2.0,), (3.0,)])
        assert rewards(verdicts) == [1, 0, 2, 3]
        assert verdicts[1] == Verdict(0.0, "timeout", "no answer within 0.5 s")
        assert rewards(pool.run([(4.0,), (5.0,)])) == [4, 5]


@pytest.mark.parametrize(
    ("deed", "detail"),
    [
        ("raise", "KeyError: 'no such thing'"),
        ("exit", "the worker ended with status 7"),
        ("quit", "SystemExit: enough"),
        ("segfault", "the worker ended with status -11"),
        ("memory", "MemoryError: "),
    ],
)
def test_a_call_that_fails_is_crashed_with_the_cause(
    deed: str, detail: str, limits: RewardConfig
) -> None:
    with Pool("targets:misbehave", limits, quiet=True) as pool:
        verdicts = pool.run([("behave",), (deed,), ("behave",)])
    assert verdicts[1] == Verdict(0.0, "crashed", detail)
    assert rewards(verdicts) == [1, 0, 1]


def test_endless_recursion_is_crashed(limits: RewardConfig) -> None:
    with Pool("targets:misbehave", limits, quiet=True) as pool:
        (verdict,) = pool.run([("recursion",)])
    assert verdict.status == "crashed"
    assert "RecursionError" in verdict.detail


def test_what_a_function_prints_does_not_disturb(limits: RewardConfig) -> None:
    with Pool("targets:misbehave", limits, quiet=True) as pool:
        assert rewards(pool.run([("print",), ("behave",)])) == [1, 1]


def test_a_worker_that_has_grown_is_replaced_and_its_verdict_counts() -> None:
    limits = RewardConfig(workers=1, memory_bytes=512 * MIB)
    with Pool("targets:grow", limits, quiet=False) as pool:
        verdicts = pool.run([(1,), (300 * MIB,), (1,)])
    assert rewards(verdicts) == [1, 1, 1]
    first, second, third = pids(verdicts)
    assert first == second != third


def test_a_worker_that_dies_between_batches_is_replaced() -> None:
    with Pool("targets:echo", RewardConfig(workers=1), quiet=False) as pool:
        (old,) = pids(pool.run([(1.0,)]))
        os.kill(old, signal.SIGKILL)
        assert until_gone(old, 5)
        (verdict,) = pool.run([(2.0,)])
        assert verdict.reward == 2
        assert pids([verdict]) != [old]
        assert not exists(old)


def test_close_leaves_no_process_and_the_pool_can_start_again() -> None:
    pool = Pool("targets:echo", RewardConfig(), quiet=False)
    old = pids(pool.run([(float(row), 0.05) for row in range(8)]))
    pool.close()
    assert not any(exists(pid) for pid in old)
    assert rewards(pool.run([(1.0,)])) == [1]
    pool.close()


def test_replaced_workers_are_no_zombies(limits: RewardConfig, tmp_path: Path) -> None:
    with Pool("targets:hang_and_tell", limits, quiet=False) as pool:
        pool.run([(str(tmp_path / "a"),), (str(tmp_path / "b"),)])
        assert not any(exists(int((tmp_path / name).read_text())) for name in "ab")


@pytest.fixture
def interrupt_soon() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("interrupt_soon")
def test_ctrl_c_in_a_batch_leaves_no_old_answers() -> None:
    with Pool("targets:echo", RewardConfig(timeout_s=30), quiet=False) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.run([(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)])
        assert rewards(pool.run([(4.0,), (5.0,)])) == [4, 5]


def test_workers_lead_their_own_session_and_import_nothing_heavy() -> None:
    # a session of its own: the terminal's Ctrl-C reaches the parent alone
    with Pool("targets:whereabouts", RewardConfig(), quiet=False) as pool:
        assert pool.run([()]) == [Verdict(1.0, "scored", "")]


def test_a_program_that_a_reward_started_ends_with_its_time(
    limits: RewardConfig, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    with Pool("targets:start_program", limits, quiet=False) as pool:
        (verdict,) = pool.run([(str(pid_file),)])
    assert verdict.status == "timeout"
    assert until_gone(int(pid_file.read_text()), 5)


def test_a_hanging_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from gvmrl.reward.config import RewardConfig\n"
        "from gvmrl.reward.pool import Pool\n"
        "pool = Pool('targets:hang_and_tell', RewardConfig(timeout_s=1.0), quiet=False)\n"
        f"pool.run([({str(pid_file)!r},)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        while not (pid_file.exists() and pid_file.read_text()):
            assert parent.poll() is None
            time.sleep(0.01)
        parent.kill()
    assert until_gone(int(pid_file.read_text()), 20)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_such_module:f", r"no_such_module:f cannot be used: ModuleNotFoundError"),
        ("targets:no_such", r"targets:no_such cannot be used: AttributeError"),
        ("targets:NOT_A_FUNCTION", r"TypeError: NOT_A_FUNCTION is a int, not a function"),
    ],
)
def test_a_function_that_cannot_be_had_is_an_input_error(function: str, message: str) -> None:
    with Pool(function, RewardConfig(), quiet=False) as pool:
        with pytest.raises(InputError, match=message):
            pool.start()
        with pytest.raises(InputError, match=message):
            pool.run([(1.0,)])


def test_a_module_that_ends_the_process_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "suicidal.py").write_text("import os\nos._exit(9)\n")
    sys.path.append(str(tmp_path))
    try:
        with (
            Pool("suicidal:f", RewardConfig(), quiet=False) as pool,
            pytest.raises(InputError, match=r"suicidal:f ended with status 9 before it was ready"),
        ):
            pool.start()
    finally:
        sys.path.remove(str(tmp_path))
