"""`gvmrl report`."""

import sys
from pathlib import Path

import tyro

from gvmrl.errors import InputError


def report(runs: tyro.conf.Positional[tuple[Path, ...]], out: Path = Path("report.html")) -> None:
    """Write one self-contained page with the curves of finished or running runs.

    Runs on the same data with the same loss share a section; runs that differ only in their seed
    share a curve.

    Args:
        runs: Folders that `gvmrl train` or `gvmrl bench` wrote.
        out: The page.
    """
    if not runs:
        raise InputError("no run is named; give the out folders of one or more runs")
    try:
        from gvmrl.report.page import sections_of, write_page
    except ImportError as error:
        raise InputError(f"the page needs {error.name}: pip install gvmrl[report]") from error
    from gvmrl.report.runs import load_run, tell_apart

    records = tell_apart([load_run(run) for run in runs])
    write_page(out, list(sections_of(records)), title="gvmrl runs")
    print(f"wrote {out}", file=sys.stderr)
