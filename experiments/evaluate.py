"""Restores one replica of a grid and evaluates it.

    python -m experiments.evaluate --workdir=runs/mnist_5k-cnn --trial=best

Prints its accuracy with a 95 % interval, the figures of each class and the confusion
matrix. --trial takes the name of a row of trials.csv, or the beginning of one.
"""

import json
from typing import Any

from absl import flags

from experiments import flags as common
from mnistopt.errors import InputError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("workdir", None, "folder of the study")
    flags.DEFINE_string("trial", "best", "best (by validation), or a trial's name")
    flags.DEFINE_enum(
        "weights",
        "last",
        ["last", "best"],
        "last: after the trial's epochs; best: after its best epoch by validation",
    )
    common.define_data(None)
    common.define_own_data()
    flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "examples")
    flags.DEFINE_bool("json", False, "print JSON, for programs")


def evaluate() -> dict[str, Any]:
    """Returns what is printed, as JSON has it."""
    # JAX and the rest of the library take a second or two to import.
    import mnistopt
    from mnistopt.engine.predict import predict
    from mnistopt.results.stats import proportion_interval
    from mnistopt.study.inputs import load_data, study_data
    from mnistopt.training import metrics

    study = mnistopt.open_study(FLAGS.workdir)
    trial = study.trial(FLAGS.trial)
    there = study.config["data"]
    if FLAGS.data or FLAGS.dataset not in (None, there["dataset"]):
        data = load_data(FLAGS.data, FLAGS.dataset, FLAGS.data_dir, None)
    else:
        data = study_data(study.config, FLAGS.data_dir)
    split = getattr(data, FLAGS.split)
    variables = study.variables(trial["trial"], FLAGS.weights)
    predicted = predict(study.model(trial["trial"]), variables, split.images).classes
    table = metrics.confusion(split.labels, predicted, data.classes)
    correct, count = int(table.trace()), int(table.sum())
    return {
        "workdir": str(study.workdir),
        "trial": trial["trial"],
        "weights": FLAGS.weights,
        "dataset": data.name,
        "same_data": data.fingerprint == there["fingerprint"],
        "split": FLAGS.split,
        "count": count,
        "correct": correct,
        "accuracy": correct / count,
        "accuracy_ci95": list(proportion_interval(correct, count)),
        "per_class": metrics.per_class(table),
        "confusion": table.tolist(),
    }


def main() -> None:
    """Evaluates one replica and prints what was found."""
    if not FLAGS.workdir:
        raise InputError("give the folder of a grid: --workdir=runs/...")
    found = evaluate()
    if FLAGS.json:
        print(json.dumps(found))
    else:
        from experiments import show

        show.evaluation(found)


if __name__ == "__main__":
    define_flags()
    common.run(main, __doc__ or "")
