"""Benchmarks by name: their formats in files made here, and in the samples of ../shared/data."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from datasets import config as datasets_config

from gvmrl.data import Completion, Prompt
from gvmrl.errors import InputError
from gvmrl.evals.benchmarks import BENCHMARKS, Benchmark, load_benchmark, parse_benchmarks
from gvmrl.reward.config import RewardConfig
from gvmrl.reward.math import split_golds
from gvmrl.reward.scorer import make_reward

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_list_of_names_reads_sources_where_they_are_given() -> None:
    found = parse_benchmarks("math500, gsm8k=test.jsonl,mine=a.jsonl,", "exact")
    assert list(found) == ["math500", "gsm8k", "mine"]
    assert found["math500"] == BENCHMARKS["math500"]
    assert found["gsm8k"].source == "test.jsonl"
    assert found["gsm8k"].gold == "hash"
    assert found["mine"] == Benchmark(source="a.jsonl")
    assert parse_benchmarks("mine=a.jsonl", "boxed")["mine"].gold == "boxed"


@pytest.mark.parametrize(
    ("text", "gold", "message"),
    [
        ("maths", "exact", r"no benchmark 'maths'; there are math500, .* as maths=FILE.jsonl"),
        ("gsm8k,gsm8k=a.jsonl", "exact", r"'gsm8k=a.jsonl' must be named once"),
        ("a/b=a.jsonl", "exact", r"'a/b=a.jsonl' must be named once, in letters"),
        (" ,", "exact", r"benchmarks names none; there are math500"),
        ("math500", "hash", r"reward.gold = hash is for sets of your own; math500 say themselves"),
    ],
)
def test_a_bad_list_is_named(text: str, gold: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_benchmarks(text, gold)  # pyright: ignore[reportArgumentType] -- a parameter's text


def load(path: Path, name: str) -> list[tuple[str, str, str]]:
    (benchmark,) = parse_benchmarks(f"{name}={path}", "exact").values()
    return [(p.id, p.question, p.answer) for p in load_benchmark(name, benchmark)]


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("math500", {"problem": "q", "answer": "x", "unique_id": "u"}, ("u", "q", "x")),
        ("amc23", {"question": "q", "answer": 27.0, "id": 3}, ("3", "q", "27")),
        ("aime24", {"problem": "q", "question": "no", "answer": "025"}, ("b:1", "q", "025")),
        ("minerva_math", {"problem": "q", "answer": r"so \boxed{4}", "idx": 0}, ("0", "q", "4")),
        ("minerva_math", {"problem": "q", "solution": r"\boxed{4}"}, ("b:1", "q", "4")),
        (
            "olympiad_bench",
            {"question": "q", "final_answer": ["1", "2"], "context": "Let.", "id": 1},
            ("1", "Let.\nq", "1\n2"),
        ),
        ("olympiad_bench", {"problem": "q", "answer": ["1"], "context": None}, ("b:1", "q", "1")),
        ("gsm8k", {"question": "q", "answer": "so\n#### 7"}, ("b:1", "q", "7")),
        ("mine", {"prompt": "q", "answer": "7"}, ("b:1", "q", "7")),
    ],
)
def test_each_benchmark_reads_the_forms_it_goes_round_in(
    name: str, row: object, expected: tuple[str, str, str], tmp_path: Path
) -> None:
    assert load(write(tmp_path / "b.jsonl", row), name) == [expected]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "q", "answer": "1"}, r"^math500: .*b.jsonl has no field problem or question or "),
        ({"problem": "q", "label": "1"}, r"no field answer; the fields .* are: problem, label"),
        ({"problem": 5, "answer": "1"}, r"b.jsonl:1: field 'problem' must be a text .*, got int 5"),
        ({"problem": "q", "answer": {}}, r"b.jsonl:1: field 'answer' must be a text, a number or"),
    ],
)
def test_a_bad_row_is_named_by_benchmark_or_file_and_line(
    row: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load(write(tmp_path / "b.jsonl", row), "math500")


def test_a_context_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "b.jsonl", {"problem": "q", "answer": "1", "context": 5})
    with pytest.raises(InputError, match=r"b.jsonl:1: field 'context' must be a text or nothing"):
        load(path, "olympiad_bench")


def test_an_empty_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b.jsonl holds no rows"):
        load(write(tmp_path / "b.jsonl"), "math500")


def test_the_hubs_own_source_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a folder in the hub's layout under the benchmark's name; what `datasets` caches goes here too
    folder = tmp_path / "HuggingFaceH4" / "MATH-500"
    folder.mkdir(parents=True)
    write(folder / "test.jsonl", {"problem": "q", "answer": "x", "unique_id": "u"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", tmp_path / "cache")
    problems = load_benchmark("math500", BENCHMARKS["math500"])
    assert [(p.id, p.question, p.answer) for p in problems] == [("u", "q", "x")]
    with pytest.raises(InputError, match=r"cannot load data set math-ai/amc23 .* the network"):
        load_benchmark("amc23", BENCHMARKS["amc23"])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no ../shared/data/benchmarks here")
@pytest.mark.parametrize(
    ("name", "num_rows"),
    [
        ("math500", 500),
        ("minerva_math", 20),
        ("olympiad_bench", 20),
        ("aime24", 10),
        ("amc23", 10),
    ],
)
def test_every_gold_answer_in_a_box_is_judged_correct(
    name: str, num_rows: int, record_property: Callable[[str, object], None]
) -> None:
    # tests/reward/test_verify.py shows it for the parser alone, without the shortcut for equal
    # texts; this is the whole way from the file to the verdict
    (path,) = SAMPLES.glob(f"{name}*.jsonl")
    (benchmark,) = parse_benchmarks(f"{name}={path}", "exact").values()
    problems = load_benchmark(name, benchmark)
    assert len(problems) == num_rows
    with closing(make_reward(RewardConfig())) as scorer:
        faults = scorer.faults(problems)
        texts = [", ".join(split_golds(problem.answer)) for problem in problems]
        verdicts = scorer.score(
            [Prompt(problem.id, (1,), problem.answer) for problem in problems],
            [
                Completion(
                    text=rf"so $\boxed{{{text}}}$", token_ids=(1,), logprobs=(0.0,), truncated=False
                )
                for text in texts
            ],
        )
    wrong = {
        problem.id: verdict.status
        for problem, verdict in zip(problems, verdicts, strict=True)
        if verdict.status != "correct"
    }
    record_property("share", 1 - len(wrong) / num_rows)
    print(f"{name}: {num_rows - len(wrong)} of {num_rows} correct", wrong, faults)  # noqa: T201
    assert not wrong
    assert not faults
