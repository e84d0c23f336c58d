"""Restores one replica of a grid and evaluates it.

    python -m experiments.evaluate --workdir=runs/mnist_5k-cnn --trial=best

Prints its accuracy with a 95 % interval, figures for each class and the confusion
matrix. --trial is the name of a row of trials.csv, or the beginning of one. --images
classifies digits from anywhere; --corrupt measures all seeds of the best point on
images corrupted in seven ways, and draws figures/robustness.png.
"""

import json
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from experiments import flags as common
from experiments.program import run
from mnistopt.errors import InputError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS |= {"workdir": "Which replica", "split": "Which images"}
    flags.DEFINE_string("workdir", None, "folder of the study")
    flags.DEFINE_string("trial", "best", "best (by validation), or a trial's name")
    flags.DEFINE_enum(
        "weights",
        "last",
        ["last", "best"],
        "last: after the trial's epochs; best: after its best epoch by validation",
    )
    common.define_data(None, own=True, more="; or qmnist, its test digits")
    flags.DEFINE_enum(
        "split",
        "test",
        ["train", "validation", "test"],
        "which of the examples: train, validation or test",
    )
    flags.DEFINE_string(
        "images",
        None,
        "digits by other writers, centred and scaled as MNIST's: a folder of pictures "
        "of any size, dark on light or light on dark, a folder with a folder of them "
        "per class, or an .npz file with the array images, and optionally labels",
    )
    flags.DEFINE_bool(
        "corrupt", False, "measure accuracy on images corrupted in seven ways"
    )
    common.GROUPS["ensemble"] = "Votes"
    flags.DEFINE_enum(
        "ensemble",
        None,
        ["greedy", "all"],
        "let networks vote: those of all finished trials that validation chooses "
        "(greedy), or all seeds of the best setting; writes ensemble.json",
    )
    common.define_count(
        "shifts", 0, "pixels by which images are also shifted, in all directions", 0
    )
    common.GROUPS["json"] = "Output"
    flags.DEFINE_bool("json", False, "print JSON, for programs")


class Examples(NamedTuple):
    """What is evaluated.

    Attributes:
        about: Description of the images, as it is printed.
        images: [N, H, W, C].
        labels: int [N], positions in the study's classes, or None.
        names: N names of pictures, or None.
        blank: Names of the pictures without a digit, which are not evaluated.
        parts: Which of them are reported by themselves, too, by name.
    """

    about: dict[str, Any]
    images: Any
    labels: Any
    names: list[str] | None = None
    blank: Sequence[str] = ()
    parts: Mapping[str, slice] = types.MappingProxyType({})


def _examples(study: Any) -> Examples:
    """Returns what is to be evaluated."""
    from mnistopt.data.strangers import read_strangers
    from mnistopt.study.examples import count_seen, evaluated_data, qmnist

    if FLAGS.images:
        if FLAGS.data or FLAGS.dataset or FLAGS.data_dir:
            raise InputError("give either --images, or --data, --dataset, --data_dir")
        if FLAGS["split"].present:
            raise InputError(
                f"--split={FLAGS.split} has no effect with --images: leave it out"
            )
        about = {"dataset": FLAGS.images, "same_data": False, "split": None}
        data = study.config.data
        like = data.class_names, data.image_shape, data.dark_on_light
        strangers = read_strangers(FLAGS.images, *like)
        if strangers.skipped:
            warnings.warn(strangers.skipped, stacklevel=2)
        labels = None if strangers.labels is None else strangers.labels[strangers.ink]
        names = [name for name, ink in zip(strangers.names, strangers.ink) if ink]
        blank = [name for name, ink in zip(strangers.names, strangers.ink) if not ink]
        return Examples(about, strangers.images[strangers.ink], labels, names, blank)
    if FLAGS.dataset == "qmnist":
        if FLAGS.data or FLAGS["split"].present:
            raise InputError(
                "--dataset=qmnist has test digits only: leave --data and --split out"
            )
        split, parts = qmnist(study.config, FLAGS.data_dir)
        about = {"dataset": "qmnist", "same_data": False, "split": "test"}
        about["trained_on"] = count_seen(study.config, split.images)
        return Examples(about, *split, parts=parts)
    asked = (FLAGS.data, FLAGS.dataset, FLAGS.data_dir, FLAGS.split)
    data = evaluated_data(study.config, *asked)
    images, labels = getattr(data, FLAGS.split)
    same = data.fingerprint == study.config.data.fingerprint
    about = {"dataset": data.name, "same_data": same, "split": FLAGS.split}
    if not same:
        about["trained_on"] = count_seen(study.config, images)
    return Examples(about, images, labels)


def _probabilities(study: Any, images: Any, ensemble: Any) -> Any:
    """Returns what the trial, or the vote, says of images, [N, K]."""
    from mnistopt.study.ensemble import probabilities

    if ensemble:
        return ensemble.probabilities(images)
    asked = [FLAGS.trial], {"images": images}, FLAGS.shifts, FLAGS.weights
    return probabilities(study, *asked)["images"][0]


def _predict(study: Any, examples: Examples, ensemble: Any) -> dict[str, Any]:
    """Returns what images are taken for, and how often that is right."""
    from mnistopt.training import metrics

    class_names = study.class_names
    answer: dict[str, Any] = {"class_names": list(class_names)}
    if examples.names is not None:
        # Not every picture is of a digit.
        nothing = {"class": None, "probability": None}
        answer["predictions"] = [{"image": name, **nothing} for name in examples.blank]
        answer["without_ink"] = list(examples.blank)
    if not len(examples.images):
        return answer
    probabilities = _probabilities(study, examples.images, ensemble)
    classes = probabilities.argmax(axis=-1)
    if examples.names is not None:
        answer["predictions"] += [
            {
                "image": name,
                "class": class_names[label],
                "probability": float(chances[label]),
            }
            for name, label, chances in zip(examples.names, classes, probabilities)
        ]
    if examples.labels is None:
        return answer
    table = metrics.confusion(examples.labels, classes, len(class_names))
    right = classes == examples.labels
    parts = {name: _accuracy(right[which]) for name, which in examples.parts.items()}
    return {
        **answer,
        **_accuracy(right),
        "parts": parts,
        "per_class": metrics.per_class(table),
        "confusion": table.tolist(),
    }


def _accuracy(right: Any) -> dict[str, Any]:
    """Returns how often answers are right, and the interval over images."""
    from mnistopt.results.stats import share_right

    found = share_right(right)
    about = {name: found[name] for name in ("correct", "accuracy")}
    return {**about, "accuracy_ci95": [found["low"], found["high"]]}


def _corrupt(study: Any, examples: Examples) -> dict[str, Any]:
    """Returns accuracies on corrupted images, written into the workdir too."""
    from mnistopt.data.splits import Split
    from mnistopt.study import evaluation
    from mnistopt.study.workdir import make_writable

    if examples.labels is None or not len(examples.images):
        raise InputError(
            f"--corrupt measures accuracy, and {FLAGS.images} has no labels: give a "
            "folder with a folder per class, or an .npz file with labels"
        )
    # Before it measures: that takes minutes.
    make_writable(study.workdir)
    about, split = examples.about, Split(examples.images, examples.labels)
    trials = evaluation.trials_of(study, FLAGS.trial)
    rows = evaluation.robustness(study, split, trials, FLAGS.weights)
    table = rows.assign(dataset=about["dataset"], split=about["split"])
    figure = evaluation.write_robustness(study.workdir, table, split)
    table = evaluation.summarise(rows)
    return {"corrupted": table.to_dict("records"), "figure": str(figure)}


def evaluate() -> dict[str, Any]:
    """Returns what is printed, as JSON has it."""
    # JAX and the rest of the library take a second or two to import.
    import mnistopt

    study = mnistopt.open_study(FLAGS.workdir)
    trial = study.trial(FLAGS.trial)["trial"]
    ensemble = _ensemble(study)
    examples = _examples(study)
    answer = {"workdir": str(study.workdir), "trial": trial, "weights": FLAGS.weights}
    if ensemble:
        answer |= {"trial": f"{FLAGS.ensemble} vote", "ensemble": ensemble.to_json()}
    answer |= {**examples.about, "count": len(examples.images)}
    if FLAGS.corrupt:
        if FLAGS.shifts:
            raise InputError(
                "--shifts has no effect with --corrupt, which asks about each image "
                "once: leave it out"
            )
        return answer | _corrupt(study, examples)
    return answer | _predict(study, examples, ensemble)


def _ensemble(study: Any) -> Any:
    """Returns the networks that are to vote, written into the workdir; or None."""
    if not FLAGS.ensemble:
        return None
    given = [name for name in ("trial", "weights", "corrupt") if FLAGS[name].present]
    if given:
        raise InputError(
            f"--{given[0]} has no effect with --ensemble, which takes the last weights "
            "of several trials: leave it out"
        )
    from mnistopt.study.examples import own_data
    from mnistopt.study.workdir import make_writable

    make_writable(study.workdir)
    asked = FLAGS.data, FLAGS.dataset, FLAGS.data_dir
    ensemble = study.ensemble(
        FLAGS.ensemble, FLAGS.shifts, own_data(study.config, *asked)
    )
    ensemble.write()
    return ensemble


def main() -> None:
    """Evaluates one replica and prints what was found."""
    if not FLAGS.workdir:
        raise InputError("give the folder of a grid: --workdir=runs/...")
    answer = evaluate()
    if FLAGS.json:
        print(json.dumps(answer))
        return
    from experiments import show_results

    if "ensemble" in answer:
        show_results.ensemble(answer)
    if FLAGS.corrupt:
        show_results.robustness(answer)
    elif "accuracy" in answer:
        show_results.evaluation(answer)
    else:
        show_results.predictions(answer)


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
