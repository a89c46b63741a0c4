"""Parquet is read without threads: one that is left at the exit can abort the whole process."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

THREADS = Path("/proc/self/task")

READERS = {
    "statistics": "from gvmrl.tables import read_stats; read_stats(path)",
    "verl's data": "from gvmrl.plugins.verl.data import read_data; read_data(path)",
    "problems": (
        "from gvmrl.tasks.files import load_problems; "
        "load_problems(str(path), prompt_field='prompt', answer_field='answer')"
    ),
}


@pytest.mark.skipif(not THREADS.exists(), reason="counts threads under /proc")
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_reader_leaves_no_thread_behind(tmp_path: Path, reader: str) -> None:
    columns = {"id": ["a", "b"], "prompt": ["1+1=", "1+2="], "answer": ["2", "3"]}
    table = pa.table(columns | {"trials": [8, 8], "successes": [1, 2]})
    pq.write_table(table, tmp_path / "rows.parquet")
    code = (
        "import pyarrow.parquet, gvmrl.tables, gvmrl.plugins.verl.data, gvmrl.tasks.files\n"
        "from pathlib import Path\n"
        "path, count = Path('rows.parquet'), lambda: len(list(Path('/proc/self/task').iterdir()))\n"
        f"before = count()\n{reader}\nassert count() == before, count() - before\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
