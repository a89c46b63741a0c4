"""Files are whole or absent."""

from pathlib import Path

import pytest

from gvmrl.files import json_line, read_json_lines, replacing, write_json_lines, write_text


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_is_removed(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / "file").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_json_lines_round_trip_and_a_half_line_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows: list[dict[str, object]] = [{"a": 0.1}, {"b": [1, 2]}]
    write_json_lines(path, rows)
    with path.open("a") as file:
        file.write('{"c": ')
    assert read_json_lines(path) == rows
    assert read_json_lines(tmp_path / "missing") == []


def test_a_nan_is_refused_since_other_readers_refuse_it() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line({"a": float("nan")})
