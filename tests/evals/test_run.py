"""An evaluation of the built-in model from settings to files: resume, keys, bad input."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gvmrl.config import ModelConfig, SamplerConfig
from gvmrl.errors import InputError
from gvmrl.evals.config import EvalConfig, PromptConfig
from gvmrl.evals.run import RESULTS, evaluate, fingerprint
from gvmrl.files import read_json_lines
from gvmrl.load import load_policy
from gvmrl.model import Policy
from gvmrl.reward.config import RewardConfig
from gvmrl.tasks.arithmetic import make_problems

PLAIN = PromptConfig(instruction="")
TOTAL = RewardConfig(extract="total")


@pytest.fixture
def config(tmp_path: Path) -> EvalConfig:
    """Twelve problems of the embedded task, four completions each, five problems a batch."""
    rows = [{"question": p.question, "answer": p.answer} for p in make_problems(12, seed=5)]
    data = tmp_path / "sums.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return EvalConfig(
        out=tmp_path / "out",
        benchmarks=f"sums={data}",
        k=4,
        data=PLAIN,
        reward=TOTAL,
        sampler=SamplerConfig(rows_per_batch=20),
    )


def quiet(name: str, done: int, total: int) -> None:
    """Show nothing."""


def completions(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*.jsonl"))


def test_an_evaluation_writes_figures_settings_and_every_completion(config: EvalConfig) -> None:
    seen: list[tuple[int, int]] = []
    results = evaluate(config, lambda _, done, total: seen.append((done, total)))
    assert seen == [(0, 12), (5, 12), (10, 12), (12, 12)]
    written = json.loads((config.out / RESULTS).read_text())
    assert written["settings"]["sampler"]["temperature"] == 1.0
    assert written["settings"]["benchmarks"] == config.benchmarks
    assert len(written["model_sha256"]) == 64
    figures = written["benchmarks"]["sums"]
    assert figures["problems"] == 12
    names = ["avg@4", "pass@1", "pass@2", "pass@4", "maj@4", "truncated_rate", "mean_tokens"]
    assert list(figures["scores"]) == names
    rows = read_json_lines(config.out / figures["completions"])
    rewards = [float(str(row["reward"])) for row in rows]
    assert len(rows) == 48
    assert figures["scores"]["avg@4"]["value"] == pytest.approx(sum(rewards) / 48)
    assert 0 < sum(rewards) < 48
    assert figures["statuses"]["correct"] == sum(rewards)
    assert results["sums"].scores["avg@4"].value == figures["scores"]["avg@4"]["value"]


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(config: EvalConfig) -> None:
    whole = evaluate(config, quiet)
    (path,) = completions(config.out)
    complete = path.read_text()
    # cut in the middle of a line of the third problem
    path.write_text(complete[: len("".join(complete.splitlines(keepends=True)[:9])) + 20])
    seen: list[int] = []
    assert evaluate(config, lambda _, done, __: seen.append(done)) == whole
    assert seen[0] == 2
    assert sorted(path.read_text().splitlines()) == sorted(complete.splitlines())


def test_a_finished_evaluation_is_not_sampled_again(config: EvalConfig) -> None:
    whole = evaluate(config, quiet)
    seen: list[int] = []
    assert evaluate(config, lambda _, done, __: seen.append(done)) == whole
    assert seen == [12]


def test_every_setting_and_the_data_are_in_the_key(config: EvalConfig) -> None:
    data = config.benchmarks.partition("=")[2]
    changed = [
        config,
        replace(config, k=2),
        replace(config, seed=1),
        replace(config, sampler=replace(config.sampler, temperature=0.5)),
        replace(config, sampler=replace(config.sampler, max_new_tokens=31)),
        replace(config, reward=replace(TOTAL, max_answer_chars=99)),
        replace(config, benchmarks=f"other={data}"),
        replace(config, limit=12),
        replace(config, model=ModelConfig(attention="eager")),
    ]
    for number, each in enumerate(changed):
        evaluate(each, quiet)
        assert len(completions(config.out)) == number + 1
    Path(data).write_text(Path(data).read_text() + '{"question": "1+1=", "answer": "2"}\n')
    evaluate(config, quiet)
    assert len(completions(config.out)) == len(changed) + 1


def test_the_weights_are_in_the_key_and_not_their_place(
    config: EvalConfig, policy: Policy, tmp_path: Path
) -> None:
    with torch.no_grad():
        policy.save(tmp_path / "same")
        policy.parameters[-1][0, 0] += 1e-3
        policy.save(tmp_path / "changed")
    shipped, same, changed = (
        fingerprint(load_policy(ModelConfig(path=str(path))))
        for path in ("builtin:arithmetic", tmp_path / "same", tmp_path / "changed")
    )
    assert shipped == same != changed
    path = str(tmp_path / "model")
    for folder in ("same", "changed"):
        (tmp_path / folder).rename(path)
        evaluate(replace(config, model=ModelConfig(path=path)), quiet)
        Path(path).rename(tmp_path / folder)
    assert len(completions(config.out)) == 2


def test_a_lora_checkpoint_is_evaluated_with_its_adapter(
    config: EvalConfig, tmp_path: Path
) -> None:
    policy = load_policy(ModelConfig(lora_rank=2))
    with torch.no_grad():
        for weight in policy.parameters:
            weight.add_(0.05)
    policy.save(tmp_path / "adapter")
    loaded = load_policy(ModelConfig(path=str(tmp_path / "adapter")))
    token_BT = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        found, wanted = (each.module(token_BT).logits for each in (loaded, policy))
        plain = load_policy(ModelConfig()).module(token_BT).logits
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, plain)
    evaluate(replace(config, model=ModelConfig(path=str(tmp_path / "adapter"))), quiet)


def test_an_answer_that_cannot_be_matched_is_reported_and_its_problem_counts(
    config: EvalConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "sums.jsonl"
    data.write_text(data.read_text() + '{"question": "1+1=", "answer": "\u00bd"}\n')
    results = evaluate(config, quiet)
    assert results["sums"].problems == 13
    assert results["sums"].faults == {"sums:13": "is '\u00bd' (bad_gold)"}
    assert "sums: the right answer of sums:13 cannot be matched: it is '\u00bd'" in caplog.text


def test_a_prompt_that_is_too_long_is_an_error_and_not_left_out(config: EvalConfig) -> None:
    short = replace(config, data=PromptConfig(instruction="", max_prompt_tokens=10))
    with pytest.raises(InputError, match=r"sums: \d+ of 12 prompts are longer than data.max_"):
        evaluate(short, quiet)
    assert not config.out.exists()


def test_a_policy_that_is_not_finite_is_named(
    config: EvalConfig, policy: Policy, tmp_path: Path
) -> None:
    with torch.no_grad():
        policy.head.get_parameter("weight").fill_(3e38)  # finite, but its products are not
    policy.save(tmp_path / "huge")
    broken = replace(config, model=ModelConfig(path=str(tmp_path / "huge")))
    with pytest.raises(InputError, match=r"huge' cannot be evaluated: the policy's logits are not"):
        evaluate(broken, quiet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, r"k must be >= 1, got 0"),
        ({"limit": 0}, r"limit must be >= 1, got 0"),
        ({"seed": -1}, r"seed must be >= 0, got -1"),
        ({"benchmarks": "maths"}, r"no benchmark 'maths'"),
    ],
)
def test_bad_settings_are_named(config: EvalConfig, change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **change)
    with pytest.raises(ValueError, match=r"data.max_prompt_tokens must be >= 1, got 0"):
        PromptConfig(max_prompt_tokens=0)
