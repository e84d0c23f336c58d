"""Trains the paper's five tables as replicas with seeds, and judges its claims.

    python -m experiments.paper --scale=quick

The paper: X. Hao, "Research on Optimization of Deep Learning in Handwritten Digit
Recognition" (2025, doi:10.23977/cpcs.2025.090108). --scale=quick trains on 3,500 digits
for a fifth of its epochs, in some ten minutes on two cores; --scale=paper on all of
MNIST for all of them. In between, --train_examples and --epochs_scale; CNNs may have
fewer seeds and examples than MLPs.

--tables=outlook does what the paper's outlook names instead: augmentation, batch
normalization, MobileNet and ShuffleNet, with what they bear and what they cost.

Results go to --workdir: report.html, paper.md, tables/*.csv, and a study for each part.
The same command again goes on where the last one stopped, or shows what is there. A
notes.md written there becomes part of the report (python -m experiments.report).
"""

import shlex
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import run
from mnistopt.errors import InputError
from mnistopt.files import check_path

FLAGS = flags.FLAGS

# What a scale stands for, unless a flag says otherwise.
_SCALES: dict[str, dict[str, Any]] = {
    "quick": {"dataset": "mnist_5k", "epochs_scale": 0.2, "seeds": 3},
    "paper": {"dataset": "mnist", "epochs_scale": 1.0, "seeds": 5},
}


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_list("tables", ["1", "2", "3", "4", "5"], "tables to make, or outlook")
    flags.DEFINE_enum(
        "scale",
        "quick",
        list(_SCALES),
        "quick: mnist_5k, a fifth of the epochs; paper: mnist, all epochs",
    )
    common.define_count("seeds", None, "seeds [quick: 3, paper: 5]")
    common.define_count("cnn_seeds", None, "seeds of the CNNs, if others")
    common.define_count(
        "best_seeds",
        0,
        "seeds of the paper's best CNN on as many examples as the MLPs have",
        least=0,
    )
    flags.DEFINE_float("epochs_scale", None, "factor to the paper's epochs")
    common.define_data(None)
    common.define_train_examples()
    common.define_count(
        "cnn_train_examples",
        None,
        "training examples of the CNNs, if others; the MLP of Table 1 is then "
        "compared with the CNN on as many",
    )
    common.GROUPS |= {"tables": "What", "workdir": "Run"}
    flags.DEFINE_string(
        "workdir", None, "folder of the results [runs/paper-SCALE, runs/outlook-SCALE]"
    )
    common.define_quiet()
    flags.DEFINE_bool("dry_run", False, "show the plan and stop")


_OUTLOOK = ["outlook"]


def options() -> dict[str, Any]:
    """Returns the flags as arguments of `mnistopt.paper.plan.Options`."""
    if FLAGS.tables == _OUTLOOK:
        return _outlook_options()
    try:
        tables = tuple(sorted({int(number) for number in FLAGS.tables}))
    except ValueError as error:
        raise InputError(
            f"--tables={','.join(FLAGS.tables)} is not allowed: expected numbers of 1 "
            "to 5, separated by commas, or outlook"
        ) from error
    found = dict(_SCALES[FLAGS.scale])
    for name in ("dataset", "epochs_scale", "seeds"):
        if FLAGS[name].value is not None:
            found[name] = FLAGS[name].value
    names = ("data_dir", "train_examples", "cnn_seeds", "cnn_train_examples")
    found |= {name: FLAGS[name].value for name in (*names, "best_seeds")}
    return found | {"tables": tables}


def _outlook_options() -> dict[str, Any]:
    """Returns the flags as arguments of `mnistopt.paper.outlook.rows.Options`."""
    for name in ("cnn_seeds", "cnn_train_examples", "best_seeds"):
        if FLAGS[name].value:
            raise InputError(
                f"--{name}={FLAGS[name].value} has no effect with --tables=outlook, "
                "whose rows are trained alike: leave it out"
            )
    names = ("dataset", "data_dir", "seeds", "train_examples", "epochs_scale")
    given = {name: FLAGS[name].value for name in names}
    return _SCALES[FLAGS.scale] | {k: v for k, v in given.items() if v is not None}


def main() -> None:
    """Reproduces the paper, or shows what it would take."""
    arguments = options()
    command = shlex.join(["./launch.sh", "paper", *sys.argv[1:]])
    if FLAGS.tables == _OUTLOOK:
        _outlook(arguments, command)
    else:
        _tables(arguments, command)


def _outlook(arguments: dict[str, Any], command: str) -> None:
    from experiments import show
    from mnistopt.paper.outlook.conclude import conclude
    from mnistopt.paper.outlook.measure import measure, plan
    from mnistopt.paper.outlook.page import write_page
    from mnistopt.paper.outlook.rows import Options

    asked = Options(**arguments)
    default = Path(f"runs/outlook-{FLAGS.scale}")
    workdir = check_path("workdir", FLAGS.workdir) or default
    if FLAGS.dry_run:
        show.plan(plan(asked, workdir))
        return
    with show.Bar(FLAGS.quiet) as bar:
        on_plan = None if FLAGS.quiet else show.plan
        measure(asked, workdir, command, on_plan, bar)
    conclude(workdir)
    if not FLAGS.quiet:
        show.section((workdir / "outlook.md").read_text(encoding="utf-8"), "The claims")
    show.draw(lambda: write_page(workdir), workdir)


def _tables(arguments: dict[str, Any], command: str) -> None:
    # JAX and the rest of the library take a second or two to import.
    from experiments import show
    from mnistopt.paper.page import write_page
    from mnistopt.paper.plan import Options
    from mnistopt.paper.reproduce import plan, reproduce

    asked = Options(**arguments)
    default = Path(f"runs/paper-{FLAGS.scale}")
    workdir = check_path("workdir", FLAGS.workdir) or default
    if FLAGS.dry_run:
        show.plans(plan(asked, workdir))
        return
    with show.Bar(FLAGS.quiet) as bar:
        on_plan = None if FLAGS.quiet else show.plans
        reproduce(asked, workdir, command, on_plan, bar)
    if not FLAGS.quiet:
        show.section((workdir / "paper.md").read_text(encoding="utf-8"), "The answer")
    show.draw(lambda: write_page(workdir), workdir)


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
