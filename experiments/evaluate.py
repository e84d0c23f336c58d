"""Restores one replica of a grid and evaluates it.

    python -m experiments.evaluate --workdir=runs/mnist_5k-cnn --trial=best

Prints its accuracy with a 95 % interval, the figures of each class and the confusion
matrix. --trial takes the name of a row of trials.csv, or the beginning of one. --images
reads digits from anywhere, and prints what it takes each for; --corrupt corrupts images
in seven ways, with all seeds of the best point, and draws figures/robustness.png.
"""

import json
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import run
from mnistopt.errors import InputError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS |= {"workdir": "Which replica", "split": "Which images"}
    common.define_path("workdir", None, "folder of the study")
    flags.DEFINE_string("trial", "best", "best (by validation), or a trial's name")
    flags.DEFINE_enum(
        "weights",
        "last",
        ["last", "best"],
        "last: after the trial's epochs; best: after its best epoch by validation",
    )
    common.define_data(None)
    common.define_own_data()
    flags.DEFINE_enum(
        "split",
        "test",
        ["train", "validation", "test"],
        "which of the examples: train, validation or test",
    )
    flags.DEFINE_string(
        "images",
        None,
        "instead of --dataset, a stranger's digits of any size, dark on light or light "
        "on dark, placed as MNIST's: a folder of pictures, or of folders 0 to 9 of "
        "them, or an .npz file with the array images, and perhaps labels",
    )
    flags.DEFINE_bool(
        "corrupt", False, "measure accuracy on images corrupted in seven ways"
    )
    common.GROUPS["json"] = "Output"
    flags.DEFINE_bool("json", False, "print JSON, for programs")


def _examples(study: Any) -> tuple[dict[str, Any], Any, Any, list[str] | None]:
    """Returns what examples they are; images; labels, or None; and names, or None."""
    from mnistopt.study.inputs import count_seen, evaluated_data, read_images

    if FLAGS.images:
        if FLAGS.data or FLAGS.dataset or FLAGS.data_dir:
            raise InputError("give either --images, or --data, --dataset, --data_dir")
        if FLAGS["split"].present:
            raise InputError(
                f"--split={FLAGS.split} has no effect with --images, which are no "
                "split: leave it out"
            )
        about = {"dataset": FLAGS.images, "same_data": False, "split": None}
        return about, *read_images(study.config, FLAGS.images)
    asked = (FLAGS.data, FLAGS.dataset, FLAGS.data_dir, FLAGS.split)
    data = evaluated_data(study.config, *asked)
    images, labels = getattr(data, FLAGS.split)
    same = data.fingerprint == study.config["data"]["fingerprint"]
    about = {"dataset": data.name, "same_data": same, "split": FLAGS.split}
    if not same:
        about["trained_on"] = count_seen(study.config, images)
    return about, images, labels, None


def _predict(study: Any, images: Any, labels: Any, names: Any) -> dict[str, Any]:
    """Returns what the trial takes images for, and how often it is right."""
    from mnistopt.engine.predict import predict
    from mnistopt.results.stats import proportion_interval
    from mnistopt.training import metrics

    variables = study.variables(FLAGS.trial, FLAGS.weights)
    classes, probabilities = predict(study.model(FLAGS.trial), variables, images)
    found: dict[str, Any] = {}
    if names:
        found["predictions"] = [
            {"image": name, "class": int(one), "probability": float(chances[one])}
            for name, one, chances in zip(names, classes, probabilities)
        ]
    if labels is None:
        return found
    table = metrics.confusion(labels, classes, probabilities.shape[1])
    correct, count = int(table.trace()), int(table.sum())
    return found | {
        "correct": correct,
        "accuracy": correct / count,
        "accuracy_ci95": list(proportion_interval(correct, count)),
        "per_class": metrics.per_class(table),
        "confusion": table.tolist(),
    }


def _corrupt(study: Any, about: Any, images: Any, labels: Any) -> dict[str, Any]:
    """Returns accuracies on corrupted images, written into the workdir too."""
    from mnistopt.data.splits import Split
    from mnistopt.study import robustness

    if labels is None:
        raise InputError(
            f"--corrupt measures accuracy, and {FLAGS.images} has no labels: give a "
            "folder with a folder per class, or an .npz file with labels"
        )
    examples = Split(images, labels)
    trials = robustness.trials_of(study, FLAGS.trial)
    rows = robustness.robustness(study, examples, trials, FLAGS.weights)
    told = rows.assign(dataset=about["dataset"], split=about["split"])
    figure = robustness.write_robustness(study.workdir, told, examples)
    table = robustness.summarise(rows)
    return {"corrupted": table.to_dict("records"), "figure": str(figure)}


def evaluate() -> dict[str, Any]:
    """Returns what is printed, as JSON has it."""
    # JAX and the rest of the library take a second or two to import.
    import mnistopt

    study = mnistopt.open_study(FLAGS.workdir)
    trial = study.trial(FLAGS.trial)["trial"]
    about, images, labels, names = _examples(study)
    found = {"workdir": str(study.workdir), "trial": trial, "weights": FLAGS.weights}
    found |= {**about, "count": len(images)}
    if FLAGS.corrupt:
        return found | _corrupt(study, about, images, labels)
    return found | _predict(study, images, labels, names)


def main() -> None:
    """Evaluates one replica and prints what was found."""
    if not FLAGS.workdir:
        raise InputError("give the folder of a grid: --workdir=runs/...")
    found = evaluate()
    if FLAGS.json:
        print(json.dumps(found))
        return
    from experiments import show_digits

    if FLAGS.corrupt:
        show_digits.robustness(found)
    elif "accuracy" in found:
        show_digits.evaluation(found)
    else:
        show_digits.predictions(found)


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
