"""Trains a recipe, and measures what it comes to on the test digits.

    python -m experiments.recipe small --data_dir=mnist

Without a name, says which there are. The same command resumes. The accuracy of each
seed goes to WORKDIR/recipe.json.
"""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import command, run, short_path
from mnistopt import recipes
from mnistopt.errors import InputError

FLAGS = flags.FLAGS
FILE, TABLE = "recipe.json", "recipes.md"


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS |= {"recipe": "Which", "workdir": "Run"}
    flags.DEFINE_string("recipe", None, ", ".join(recipes.RECIPES))
    common.define_count("seeds", None, "number of seeds [as the recipe says]")
    common.define_data("mnist", own=True)
    flags.DEFINE_string("workdir", None, "folder of the study [runs/recipe-NAME]")
    flags.DEFINE_string("devices", "auto", "number of devices")
    flags.DEFINE_string(
        "results", None, "a folder that gets NAME.json, and the table of all there"
    )
    common.define_quiet()


def main() -> None:
    """Trains and measures a recipe, or lists them."""
    results = Path(FLAGS.results) if FLAGS.results else None
    if FLAGS.recipe is None:
        if results:
            write_table(results)
            return
        for name, make in recipes.RECIPES.items():
            first, _, _ = (inspect.getdoc(make) or "").partition("\n")
            print(f"{name:10}{first}")
        print(f"\nTrain one by {command('recipe', 'NAME')}")
        return
    if FLAGS.recipe not in recipes.RECIPES:
        raise InputError(
            f"recipe={FLAGS.recipe} is not known; choose one of "
            f"{', '.join(recipes.RECIPES)}"
        )
    workdir = Path(FLAGS.workdir or f"runs/recipe-{FLAGS.recipe}")
    answer = follow(FLAGS.recipe, workdir)
    print(sentence(answer))
    print(f"Every seed: {short_path(workdir / FILE)}")
    if results:
        from mnistopt.files import write_text

        write_text(results / f"{FLAGS.recipe}.json", _json(answer))
        write_table(results)


def follow(name: str, workdir: Path) -> dict[str, Any]:
    """Trains a recipe, and measures it.

    Args:
        name: The recipe.
        workdir: Where it is trained.

    Returns:
        What stands in recipe.json.
    """
    import mnistopt
    from experiments import show
    from mnistopt.files import write_text
    from mnistopt.study.recipes import draw, measure

    recipe = recipes.RECIPES[name]()
    default = FLAGS.data and not FLAGS["dataset"].present
    with show.Bar(FLAGS.quiet) as bar:
        for settings, seeds in recipe.runs:
            study = mnistopt.run(
                **settings,
                seeds=FLAGS.seeds or seeds,
                data=FLAGS.data,
                dataset=None if default else FLAGS.dataset,
                data_dir=FLAGS.data_dir,
                devices=FLAGS.devices,
                workdir=workdir,
                on_plan=None if FLAGS.quiet else bar.print_plan,
                on_progress=bar,
            )
    answer = {"recipe": name, **measure(study, recipe, FLAGS.data_dir)}
    write_text(workdir / FILE, _json(answer))
    draw(study, recipe, answer)
    return answer


def _json(answer: dict[str, Any]) -> str:
    return json.dumps(answer, indent=2) + "\n"


def accuracy(found: dict[str, Any], digits: int = 2) -> str:
    """Writes a mean with its interval, in per cent: 99.62 [99.56, 99.68]."""
    if found["low"] is None:
        return f"{found['mean']:.{digits}f}"
    ends = (f"{found[end]:.{digits}f}" for end in ("mean", "low", "high"))
    return "{} [{}, {}]".format(*ends)


def sentence(answer: dict[str, Any]) -> str:
    """Says what a recipe has come to."""
    found = answer["test"]
    words = f"{answer['recipe']}: {accuracy(found)} % of the test images"
    words += f" (n = {found['n']})" if found["n"] > 1 else ""
    if corrupted := answer.get("corrupted"):
        words += f", {accuracy(corrupted, 1)} % of corrupted ones"
    return f"{words}, {answer['params']:,} parameters"


def table(folder: Path) -> str:
    """Returns the table of the recipes that a folder has results of, in Markdown."""
    lines = [
        "| recipe | parameters | test accuracy, 95 % interval | n | corrupted | other "
        "writers | training | published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, recipe, answer in _results(folder):
        others = _mean(answer, "corrupted"), _mean(answer, "uci")
        lines.append(
            f"| `{name}`: {recipe.what} | {answer['params']:,} | "
            f"{accuracy(answer['test'])} % | {_count(recipe, answer)} | "
            f"{' | '.join(others)} | {_time(answer['minutes'])} | {recipe.published} |"
        )
    return "\n".join(lines) + "\n"


def _results(folder: Path) -> Iterator[tuple[str, recipes.Recipe, dict[str, Any]]]:
    """Yields the recipes that a folder has results of."""
    for name, make in recipes.RECIPES.items():
        if (path := folder / f"{name}.json").exists():
            yield name, make(), json.loads(path.read_text(encoding="utf-8"))


def _mean(answer: dict[str, Any], images: str) -> str:
    return f"{answer[images]['mean']:.1f} %" if images in answer else ""


def _count(recipe: recipes.Recipe, answer: dict[str, Any]) -> str:
    if recipe.votes:
        return f"vote of {len(answer['ensemble']['members'])}"
    return str(answer["test"]["n"])


def _time(minutes: float) -> str:
    return f"{minutes:.1f} min" if minutes >= 1 else f"{60 * minutes:.1f} s"


def headline(folder: Path) -> str:
    """Returns the README's table of recipes."""
    lines = ["| recipe | parameters | test accuracy, 95 % interval | corrupted | n |"]
    lines.append("|---|---|---|---|---|")
    for name, recipe, answer in _results(folder):
        lines.append(
            f"| `{name}`: {recipe.what} | {answer['params']:,} | "
            f"{accuracy(answer['test'])} % | {_mean(answer, 'corrupted')} | "
            f"{_count(recipe, answer)} |"
        )
    return "\n".join(lines) + "\n"


def write_table(folder: Path) -> None:
    """Writes recipes.md into a folder of results."""
    from mnistopt.files import write_text

    write_text(folder / TABLE, f"# Recipes\n\n{table(folder)}")


if __name__ == "__main__":
    define_flags()
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"--recipe={sys.argv[1]}"
    run(main, __doc__ or "")
