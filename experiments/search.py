"""Searches for the best setting: a sampler proposes, a pruner stops the worse ones.

    python -m experiments.search --lr=log:1e-5..1e-1 --dropout=0..0.6 --batch_size=32,64

A range is LOW..HIGH, or log:LOW..HIGH for orders of magnitude; a comma separates
values, as in a grid. Settings are proposed by Optuna in batches that train together.
The best one, by validation accuracy, is trained anew with fresh seeds, and only that is
measured on the test split. The same command resumes a search; more --trials or --epochs
extend it.
"""

import contextlib
import re
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import run
from mnistopt.axes import Typed
from mnistopt.errors import InputError
from mnistopt.study.search.brackets import PRUNERS
from mnistopt.study.search.run import make_space

FLAGS = flags.FLAGS
_ASSIGNED = re.compile(r"\s*(\w+)=(\S+)")


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS["trials"] = "Search"
    common.define_count("trials", 32, "settings to try")
    flags.DEFINE_string(
        "sampler", "tpe", "who proposes them: tpe, random, sobol or cmaes"
    )
    flags.DEFINE_string("pruner", "hyperband", f"who stops early: {', '.join(PRUNERS)}")
    common.define_count(
        "pbt",
        None,
        "in place of a pruner, population-based training: after so many epochs the "
        "worst quarter goes on from the best, with perturbed numbers",
    )
    common.define_count(
        "confirm", 5, "fresh seeds that the best setting is trained with anew"
    )
    common.define_count("images", None, "training images to go through at most")
    flags.DEFINE_float("timeout", None, "seconds of training at most")
    flags.DEFINE_string(
        "enqueue",
        None,
        "settings to begin with, as in 'lr=1e-3 dropout=0.2; lr=1e-2'",
    )
    common.define_count(
        "at_a_time", None, "trials to begin at a time [those of a bracket, or 16]"
    )
    common.define_count("search_seed", 0, "of the sampler's random numbers", least=0)
    common.define_axes()
    common.define_run("runs/DATASET-MODEL-search")


def _enqueued() -> list[dict[str, Any]]:
    """Returns the settings of --enqueue."""
    settings = []
    for text in (FLAGS.enqueue or "").split(";"):
        if not text.strip():
            continue
        if _ASSIGNED.sub("", text).strip():
            raise InputError(
                f"--enqueue={FLAGS.enqueue} is not allowed: expected settings as in "
                "lr=1e-3 dropout=0.2, and ; between two of them"
            )
        pairs = _ASSIGNED.findall(text)
        settings.append({name: v if name == "model" else Typed(v) for name, v in pairs})
    return settings


def main() -> None:
    """Searches, or shows what would be done."""
    axes = common.axes()
    make_space(axes)  # Before slow imports: a mistake should show at once.
    names = ["trials", "sampler", "pruner", "confirm", "images", "timeout"]
    names += ["at_a_time", "search_seed", "pbt"]
    arguments: dict[str, Any] = {name: FLAGS[name].value for name in names}
    arguments |= {"enqueue": _enqueued(), **axes, **common.run_settings()}
    import mnistopt
    from experiments import show, show_results, show_search
    from mnistopt.study.search.run import prepare

    if FLAGS.dry_run:
        show_search.plan(prepare(**arguments))
        return
    quiet, board = FLAGS.quiet, None
    if FLAGS.tensorboard:
        board = mnistopt.TensorBoard(prepare(**arguments).request.workdir)
    with board or contextlib.nullcontext(), show.Bar(quiet) as bar:
        study = mnistopt.search(
            on_search=None if quiet else show_search.plan,
            on_batch=None if quiet else show_search.batch,
            on_progress=bar,
            on_epoch=board,
            **arguments,
        )
    if not quiet:
        show_search.results(study)
    show_results.end(study, board, FLAGS.quiet)


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
