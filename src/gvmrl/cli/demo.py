"""`gvmrl demo`."""

import os
from pathlib import Path

from gvmrl.errors import InputError
from gvmrl.files import write_text


def demo(out: Path = Path("runs/demo"), steps: int = 80, seeds: int = 3, jobs: int = 0) -> None:
    """Train the built-in model four ways at equal updates and write a page of curves.

    The arms are uniform and GVM allocation, each with RAFT++ and GRPO. A finished arm is not run
    again, and an interrupted one goes on where it stopped.

    Args:
        out: Folder of the runs, of report.html and of one file of curves for each loss.
        steps: Steps of each run.
        seeds: Seeds of each arm.
        jobs: Runs at once, one thread each; 0 takes as many as there are cores.
    """
    try:
        from gvmrl.bench.results import load_runs
        from gvmrl.bench.runner import run_cells
        from gvmrl.demo import describe, make_cells
        from gvmrl.report.page import sections_of, write_page
        from gvmrl.report.plots import curves
        from gvmrl.report.table import cost_table
    except ImportError as error:
        raise InputError(f"the demo needs {error.name}: pip install gvmrl[hf,report]") from error
    from gvmrl.cli.cells import cell_progress, print_table

    cells = make_cells(out, steps=steps, num_seeds=seeds)
    with cell_progress(cells) as show:
        jobs = jobs or os.cpu_count() or 1
        run_cells(cells, logs=out / "logs", jobs=jobs, threads=1, show=show)
    runs = load_runs(cells)
    verdict = describe(runs)
    write_page(out / "report.html", list(sections_of(runs)), title="gvmrl demo", verdict=[verdict])
    for group in dict.fromkeys(run.group for run in runs):
        same = [run for run in runs if run.group == group]
        write_text(out / f"curves-{same[0].settings['loss.name']}.svg", curves(same))
        print_table(cost_table(same, title=group))
    print(verdict)
    print(f"The page: {out / 'report.html'}")
