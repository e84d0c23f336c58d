"""Trains the paper's five tables with seeds, and judges its claims.

    python -m experiments.paper --scale=quick

The paper: X. Hao, "Research on Optimization of Deep Learning in Handwritten Digit
Recognition" (2025, doi:10.23977/cpcs.2025.090108). --scale=quick trains on 3,500 digits
for a fifth of its epochs, in some ten minutes on two cores; --scale=paper on all of
MNIST for all of them, 10 seeds of the MLPs and 5 of the CNNs. --seeds, --cnn_seeds,
--train_examples and --epochs_scale make it larger or smaller.

--tables=outlook trains what the paper's outlook suggests instead: augmentation, batch
normalization, MobileNet and ShuffleNet, with their robustness and costs.

Results go to --workdir: report.html, paper.md, tables/*.csv, and the evidence that they
are computed from, one row per replica. Only what the evidence lacks is trained, seed by
seed: the same command resumes, also from the published evidence
(--workdir=experiments/results/paper).
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
    "paper": {"dataset": "mnist", "epochs_scale": 1.0, "seeds": 10, "cnn_seeds": 5},
}
_OUTLOOK = ["outlook"]


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_list("tables", ["1", "2", "3", "4", "5"], "tables to make, or outlook")
    flags.DEFINE_enum(
        "scale",
        "quick",
        list(_SCALES),
        "quick: mnist_5k, a fifth of the epochs; paper: mnist, all epochs",
    )
    common.define_count("seeds", None, "seeds [quick: 3, paper: 10]")
    common.define_count(
        "cnn_seeds", None, "number of seeds of the CNNs, if different [paper: 5]"
    )
    flags.DEFINE_float("epochs_scale", None, "multiply the paper's epochs by this")
    common.define_data(None)
    common.define_train_examples()
    common.GROUPS |= {"tables": "What", "workdir": "Run"}
    flags.DEFINE_string(
        "workdir", None, "folder of the results [runs/paper-SCALE, runs/outlook-SCALE]"
    )
    common.define_quiet()
    flags.DEFINE_bool("dry_run", False, "show the plan and stop")


def options() -> dict[str, Any]:
    """Returns what a scale and the flags ask for, `tables` and `paper` among it."""
    paper = "outlook"
    tables: tuple[int, ...] = ()
    if FLAGS.tables != _OUTLOOK:
        try:
            paper, tables = (
                "paper",
                tuple(sorted({int(number) for number in FLAGS.tables})),
            )
        except ValueError:
            tables = ()
        if not tables:
            raise InputError(
                f"--tables={','.join(FLAGS.tables)} is not allowed: expected numbers "
                "of 1 to 5, separated by commas, or outlook"
            )
    asked = dict(_SCALES[FLAGS.scale])
    if FLAGS["seeds"].present:
        asked.pop("cnn_seeds", None)
    names = ("dataset", "epochs_scale", "seeds", "cnn_seeds", "data_dir")
    for name in (*names, "train_examples"):
        if FLAGS[name].value is not None:
            asked[name] = FLAGS[name].value
    if not 0 < asked["epochs_scale"] <= 10:
        raise InputError(
            f"--epochs_scale={asked['epochs_scale']:g} is not allowed: expected a "
            "number above 0, and of at most 10"
        )
    return asked | {"paper": paper, "tables": tables}


def main() -> None:
    """Reproduces the paper, or shows what it would take."""
    asked = options()
    # JAX and the rest of the library take a second or two to import.
    from experiments import show
    from experiments.reproduction.findings import Asked, Findings
    from experiments.reproduction.measure import Measure, Options
    from experiments.reproduction.paper import Paper
    from experiments.reproduction.write import write, write_page

    name, tables = asked.pop("paper"), asked.pop("tables")
    scale = asked.pop("epochs_scale")
    paper = Paper.read(name, scale, tables)
    models = {setting.point.structure.model for setting in paper.trained().values()}
    if FLAGS["cnn_seeds"].present and models == {"mlp"}:
        raise InputError(
            f"--cnn_seeds={FLAGS.cnn_seeds} has no effect, as tables="
            f"{','.join(FLAGS.tables)} has no CNN: leave it out"
        )
    default = Path(f"runs/{name}-{FLAGS.scale}")
    workdir = check_path("workdir", FLAGS.workdir) or default
    if (workdir / "config.json").exists():
        held = Asked.read(workdir).paper
        if held != name:
            raise InputError(
                f"{workdir} holds a reproduction of something else ({held}): give "
                "another workdir"
            )
    measure = Measure(paper, Options(**asked), workdir)
    if FLAGS.dry_run or not FLAGS.quiet:
        show.steps(measure.plan())
    if FLAGS.dry_run:
        return
    numbers = tuple(table.number for table in paper.tables)
    command = shlex.join(["./launch.sh", "paper", *sys.argv[1:]])
    about = Asked(name, numbers, scale, measure.data.fingerprint, command)
    # First, so that `report` can make the tables of a run that was stopped.
    about.write(workdir)
    with show.Bar(FLAGS.quiet) as bar:
        measure.train(on_progress=bar)
    if measure.untimed() and not FLAGS.quiet:
        print("Timing networks, an epoch of each in turn", file=sys.stderr, flush=True)
    measure.time()
    write(Findings.read(workdir), workdir)
    if not FLAGS.quiet:
        text = (workdir / f"{name}.md").read_text(encoding="utf-8")
        show.section(text, "The answer" if name == "paper" else "The claims")
    show.draw(lambda: write_page(workdir), workdir)


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
