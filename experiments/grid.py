"""Trains a grid of small digit classifiers as parallel replicas.

    python -m experiments.grid --lr=1e-4,1e-3,1e-2

A comma separates swept values, x joins layers, and every axis multiplies:

    python -m experiments.grid --model=mlp --hidden=128x128,256 --dropout=0,0.3

Results go to --workdir: tables, charts and report.html. The same command again resumes
an interrupted run, or shows its results; more values, seeds or epochs train only what
is new. --rerun=WORKDIR/config.json repeats a study, here or on another machine, and
reports whether the numbers agree.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import run
from mnistopt.errors import InputError
from mnistopt.study.grid import grid, product

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines this program's flags."""
    common.define_axes()
    common.define_run("runs/DATASET-MODEL")
    flags.DEFINE_string(
        "rerun", None, "config.json of a study: run all of it again, and compare"
    )
    flags.DEFINE_bool("fail_fast", False, "stop when the first replica diverges")


def settings() -> dict[str, Any]:
    """Returns the flags as arguments of `mnistopt.run`."""
    axes = common.axes()
    product(axes, FLAGS.seeds)  # Before slow imports: a mistake should show at once.
    return {**axes, **common.run_settings(), "fail_fast": FLAGS.fail_fast}


def _board() -> contextlib.AbstractContextManager:
    """Returns a context with what writes TensorBoard events, None unless asked for."""
    if not FLAGS.tensorboard:
        return contextlib.nullcontext()
    from mnistopt import TensorBoard
    from mnistopt.study.request import default_workdir

    name = Path(FLAGS.data).stem if FLAGS.data else FLAGS.dataset
    folder = default_workdir(name, grid(**common.axes()))
    return TensorBoard(FLAGS.workdir or folder)


def _rerun() -> None:
    """Runs a study again, and reports whether its numbers agree."""
    given = [name for name in common.axes() if FLAGS[name].present]
    others = ["seeds", "lanes", "train_examples", "image_size", "fail_fast"]
    others += ["train_on", "teacher"]
    others += ["tensorboard", "dry_run"]
    given += [name for name in others if FLAGS[name].present]
    if given:
        raise InputError(
            f"--rerun runs a study as it was: leave out --{', --'.join(given)}"
        )
    import mnistopt
    from experiments import show

    data = {name: FLAGS[name].value for name in ("data", "data_dir", "dataset")}
    settings = {name: value for name, value in data.items() if FLAGS[name].present}
    settings |= {name: FLAGS[name].value for name in common.COMPUTING}
    with show.Bar(FLAGS.quiet) as bar:
        on_plan = None if FLAGS.quiet else bar.print_plan
        agreement = mnistopt.rerun(
            FLAGS.rerun, FLAGS.workdir, on_plan=on_plan, on_progress=bar, **settings
        )
    print(show.agreement(agreement))
    if not agreement.holds:
        sys.exit(1)


def main() -> None:
    """Runs the grid, or shows its plan, or runs one again."""
    if FLAGS.rerun:
        _rerun()
        return
    arguments = settings()
    # JAX and the rest of the library take a second or two to import.
    import mnistopt
    from experiments import show, show_results

    if FLAGS.dry_run:
        show.plan(mnistopt.plan(**arguments))
        return
    with _board() as board, show.Bar(FLAGS.quiet) as bar:
        on_plan = None if FLAGS.quiet else show.plan
        study = mnistopt.run(
            on_plan=on_plan, on_progress=bar, on_epoch=board, **arguments
        )
    if not FLAGS.quiet:
        show_results.results(study)
    show_results.end(study, board, FLAGS.quiet)


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
