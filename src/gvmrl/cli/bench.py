"""`gvmrl bench`."""

import os
from typing import Annotated

import tyro

from gvmrl.bench.config import BenchConfig
from gvmrl.errors import InputError


def bench(config: Annotated[BenchConfig, tyro.conf.arg(name="")]) -> None:
    """Compare arms over sets, losses and seeds at equal settings; resumes by itself.

    Writes results.jsonl, table.md and report.html into `out`, beside the folders of the runs. A
    finished run is not run again. Example:
    gvmrl bench @configs/bench-short.toml --seeds 0 1 2 3 4 --out runs/mine
    """
    try:
        from gvmrl.bench.cells import make_cells
        from gvmrl.bench.results import load_runs, speed_table, write_results
        from gvmrl.bench.runner import run_cells
        from gvmrl.bench.summary import compare
    except ImportError as error:
        raise InputError(f"a bench needs {error.name}: pip install gvmrl[hf,report]") from error
    from gvmrl.cli.cells import cell_progress, print_table

    cells = make_cells(config)
    with cell_progress(cells) as show:
        run_cells(
            cells,
            logs=config.out / "logs",
            jobs=config.jobs or os.cpu_count() or 1,
            threads=config.threads,
            show=show,
        )
    runs = load_runs(cells)
    comparisons = compare(runs, config)
    write_results(config, cells, runs, comparisons)
    for comparison in comparisons:
        print_table(speed_table(comparison))
    print(f"The tables: {config.out / 'table.md'}, the page: {config.out / 'report.html'}")
