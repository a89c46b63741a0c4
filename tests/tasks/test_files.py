"""Loading problems from small files made here, and from the samples in ../shared/data."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import config as datasets_config

from gvmrl.data import Problem
from gvmrl.errors import InputError
from gvmrl.reward.math import EXTRACTORS, Extractor, plain_number
from gvmrl.tasks.files import load_problems

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path: Path | str, **options: str | int | None) -> tuple[Problem, ...]:
    return load_problems(path, prompt_field="question", answer_field="answer", **options)  # pyright: ignore[reportArgumentType] -- a shorthand of the tests


def test_rows_become_problems_named_by_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.jsonl",
        {"question": "1+1", "answer": "2"},
        {"question": "0.5+0.5", "answer": 1.0, "more": None},
    )
    assert load(path) == (Problem("set:1", "1+1", "2"), Problem("set:2", "0.5+0.5", "1"))


def test_blank_lines_and_a_byte_order_mark_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    row = b'{"question": "q", "answer": 3}\n'
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\n  \n" + row.strip())
    assert [problem.id for problem in load(path)] == ["set:1", "set:4"]


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("  \\frac{1}\n {2} ", "\\frac{1} {2}"),
        (27, "27"),
        (27.0, "27"),
        (-0.25, "-0.25"),
        (1e300, str(10**300 + (int(1e300) - 10**300))),
        (["$69$", 84.0, 1], "$69$\n84\n1"),
    ],
)
def test_answers_may_be_texts_numbers_or_lists(value: object, answer: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"question": "q", "answer": value})
    assert load(path)[0].answer == answer


def test_an_extractor_finds_the_answer_in_a_solution(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"question": "q", "answer": "6*7\n#### 42"},
        {"question": "q", "answer": ["a #### 1", "b #### 2"]},
        {"question": "q", "answer": 5},
    )
    problems = load_problems(
        path, prompt_field="question", answer_field="answer", extract=EXTRACTORS["hash"]
    )
    assert [problem.answer for problem in problems] == ["42", "1\n2", "5"]


def test_ids_come_from_their_field(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": 1, "id": value} for value in ("a/1", 7)]
    problems = load(write(tmp_path / "a.jsonl", *rows), id_field="id")
    assert [problem.id for problem in problems] == ["a/1", "7"]


def test_limit_takes_the_first_rows_and_looks_at_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "q", "answer": 1}\n' * 2 + "not JSON\n")
    assert len(load(path, limit=2)) == 2
    with pytest.raises(ValueError, match="limit must be >= 1 problem, got 0"):
        load(path, limit=0)


def test_parquet_gives_the_same_problems_as_jsonl(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "answer": [str(n), "x"], "id": n} for n in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
    write(tmp_path / "set.jsonl", *rows)
    assert load(tmp_path / "set.parquet") == load(tmp_path / "set.jsonl")
    assert load(tmp_path / "set.parquet", limit=2, id_field="id")[1].id == "1"


GOOD = '{"question": "q", "answer": "1", "id": "x"}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q", "answer": }', r":2: column 29: not JSON \(Expecting value\); each"),
        ('["q", "a"]', r":2: each line must be one JSON object, got list \['q', 'a'\]"),
        ("[" * 100_000, r":2: cannot read the JSON \(maximum recursion depth"),
        ('{"answer": "1" }', r":2: no field 'question'; the fields there are: answer"),
        ("{}", r":2: no field 'question'; the fields there are: none"),
        ('{"question": 5}', r":2: field 'question' must be a text that is not empty, got int 5"),
        ('{"question": " "}', r":2: field 'question' must be a text .*, got str ' '"),
        ('{"question": "q", "id": "y"}', r":2: no field 'answer'; the fields .*: question, id"),
        (
            '{"question": "q", "answer": null, "id": 1}',
            r"'answer' must be .*, got NoneType",
        ),
        (
            '{"question": "q", "answer": true, "id": 1}',
            r"'answer' must be .*, got bool True",
        ),
        ('{"question": "q", "answer": [[1]], "id": 1}', r"'answer' must be .*, got list \[1\]"),
        ('{"question": "q", "answer": {"a": 1}, "id": 1}', r"got dict \{'a': 1\}"),
        ('{"question": "q", "answer": NaN, "id": 1}', r"'answer' must be a finite number, got nan"),
        ('{"question": "q", "answer": "", "id": 1}', r":2: field 'answer' is empty, got str ''"),
        ('{"question": "q", "answer": [], "id": 1}', r":2: field 'answer' is an empty list"),
        ('{"question": "q", "answer": 1, "id": 1.5}', r"'id' must be a text or a whole number"),
        ('{"question": "q", "answer": 1, "id": ""}', r"'id' must be a text .*, got str ''"),
        ('{"question": "q\\ud800", "answer": 1, "id": 1}', r"half a character \(surrogate U\+D800"),
        (GOOD, r"set.jsonl:2: id 'x' is taken by .*set.jsonl:1; make the ids in 'id' unique"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(GOOD + line)
    with pytest.raises(InputError, match=message) as caught:
        load(path, id_field="id")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_solution_without_an_answer_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"question": "q", "answer": "no mark " * 20})
    with pytest.raises(
        InputError, match=r"a.jsonl:1: field 'answer' holds no answer .*mark \.\.\.$"
    ):
        load_problems(
            path, prompt_field="question", answer_field="answer", extract=EXTRACTORS["hash"]
        )


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD.encode() + b'{"question": "\xff"}\n')
    with pytest.raises(InputError, match=r"a.jsonl:2: byte 15 is not UTF-8; save the file"):
        load(path)


def test_a_huge_number_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "q", "answer": ' + "9" * 5000 + "}\n")
    with pytest.raises(InputError, match=r"a.jsonl:1: cannot read the JSON \(Exceeds the limit"):
        load(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_an_empty_file_is_an_input_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.table({"question": pa.array([], pa.string())}), path)
    else:
        path.write_text("\n")
    with pytest.raises(InputError, match=rf"{re.escape(str(path))} holds no rows; give a file"):
        load(path)


def test_a_broken_parquet_file_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("not parquet")
    with pytest.raises(InputError, match=r"a.parquet: not a readable parquet file \("):
        load(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing/train.jsonl", "missing/train.jsonl: no such file; give a .jsonl or .parquet"),
        ("./train", "no such file"),
        ("trian", "trian: no such file; .* hub data set as owner/name:config:split"),
        ("a/b/c", "no such file"),
    ],
)
def test_a_source_that_is_nothing_is_an_input_error(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(source)


def test_a_file_of_another_kind_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("question,answer\n")
    with pytest.raises(InputError, match=r"set.csv: cannot read .csv files; give .jsonl or"):
        load(path)


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in the hub's layout, at ./owner/tiny; what `datasets` caches goes here too."""
    folder = tmp_path / "owner" / "tiny"
    folder.mkdir(parents=True)
    write(folder / "one.jsonl", {"question": "q1", "answer": "a #### 1"})
    write(folder / "two.jsonl", *({"question": f"q{n}", "answer": f"#### {n}"} for n in (2, 3)))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: one.jsonl\n"
        "  - split: test\n    path: two.jsonl\n---\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


@pytest.mark.usefixtures("hub_folder")
@pytest.mark.parametrize(
    ("source", "ids"),
    [
        ("owner/tiny", ["tiny/train:1"]),
        ("owner/tiny:main", ["tiny/main/train:1"]),
        ("owner/tiny:main:test", ["tiny/main/test:1", "tiny/main/test:2"]),
    ],
)
def test_a_hub_data_set_is_named_by_config_and_split(source: str, ids: Sequence[str]) -> None:
    problems = load_problems(
        source, prompt_field="question", answer_field="answer", extract=EXTRACTORS["hash"]
    )
    assert [problem.id for problem in problems] == ids
    assert problems[-1].answer == str(len(problems) + (len(problems) > 1))


@pytest.mark.usefixtures("hub_folder")
def test_a_missing_split_is_an_input_error() -> None:
    message = r"cannot load data set owner/tiny \(config main, split dev\): .*; check the name"
    with pytest.raises(InputError, match=message):
        load("owner/tiny:main:dev")


def test_a_hub_data_set_that_cannot_be_reached_is_an_input_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(InputError, match=r"cannot load data set nobody/nothing .* the network"):
        load("nobody/nothing")


@pytest.mark.skipif(not (SHARED / "gsm8k").is_dir(), reason="no ../shared/data/gsm8k here")
@pytest.mark.parametrize(("split", "num_rows"), [("train", 7473), ("test", 1319)])
def test_every_gsm8k_answer_is_a_plain_number(split: str, num_rows: int) -> None:
    problems = load_problems(
        SHARED / "gsm8k" / f"{split}.jsonl",
        prompt_field="question",
        answer_field="answer",
        extract=EXTRACTORS["hash"],
    )
    assert len(problems) == num_rows
    numbers = [plain_number(problem.answer) for problem in problems]
    assert all(number is not None and math.isfinite(number) for number in numbers)


@pytest.mark.skipif(not (SHARED / "benchmarks").is_dir(), reason="no ../shared/data/benchmarks")
@pytest.mark.parametrize(
    ("name", "id_field", "extract", "last"),
    [
        ("aime24.sample", "id", None, "116"),
        ("amc23.sample", "id", None, "4"),
        ("math500", "unique_id", None, None),
        ("minerva_math.sample", "idx", EXTRACTORS["boxed"], "10"),
        ("olympiad_bench.sample", "id", None, "$\\frac{3 m}{2}-1$"),
    ],
)
def test_the_benchmarks_formats_load(
    name: str, id_field: str, extract: Extractor | None, last: str | None
) -> None:
    problems = load_problems(
        SHARED / "benchmarks" / f"{name}.jsonl",
        prompt_field="problem",
        answer_field="answer",
        id_field=id_field,
        extract=extract,
    )
    assert last is None or problems[-1].answer == last
    assert all(len(problem.answer) < 200 for problem in problems)
