"""Trains a recipe, and measures what it comes to on the test digits.

    python -m experiments.recipe small --data_dir=mnist

Without a name, says which there are and what they reach. What others vote with or learn
from is trained first, into a folder beside --workdir. The same command resumes. The
accuracy of each seed goes to WORKDIR/recipe.json.
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import command, run, short_path
from mnistopt import recipes
from mnistopt.errors import InputError

FLAGS = flags.FLAGS
FILE = "recipe.json"


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS |= {"recipe": "Which", "workdir": "Run"}
    flags.DEFINE_string("recipe", None, ", ".join(recipes.RECIPES))
    common.define_count("seeds", None, "number of seeds [as the recipe says]")
    common.define_data("mnist", own=True)
    flags.DEFINE_string("workdir", None, "folder of the study [runs/recipe-NAME]")
    flags.DEFINE_string("devices", "auto", "number of devices")
    common.define_quiet()


def main() -> None:
    """Trains and measures a recipe, or lists them."""
    if FLAGS.recipe is None:
        for name, make in recipes.RECIPES.items():
            first, _, _ = inspect.getdoc(make).partition("\n")  # type: ignore
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


def follow(name: str, workdir: Path) -> dict[str, Any]:
    """Trains a recipe, and those that it needs, and measures it.

    Args:
        name: The recipe.
        workdir: Where it is trained; those that it needs are beside it.

    Returns:
        What stands in recipe.json.
    """
    import mnistopt
    from experiments import show
    from mnistopt.files import write_text
    from mnistopt.study.recipes import measure

    recipe = recipes.RECIPES[name]()
    more: dict[str, Any] = {}
    if recipe.teacher:
        folder = workdir.with_name(f"recipe-{recipe.teacher}")
        follow(recipe.teacher, folder)
        more["teacher"] = folder
    default = FLAGS.data and not FLAGS["dataset"].present
    with show.Bar(FLAGS.quiet) as bar:
        study = mnistopt.run(
            **recipe.settings,
            **more,
            seeds=FLAGS.seeds or recipe.seeds,
            data=FLAGS.data,
            dataset=None if default else FLAGS.dataset,
            data_dir=FLAGS.data_dir,
            devices=FLAGS.devices,
            workdir=workdir,
            on_plan=None if FLAGS.quiet else bar.print_plan,
            on_progress=bar,
        )
    answer = {"recipe": name, **measure(study, recipe, FLAGS.data_dir)}
    write_text(workdir / FILE, json.dumps(answer, indent=2) + "\n")
    return answer


def sentence(answer: dict[str, Any]) -> str:
    """Says what a recipe has come to."""
    found = answer["test"]
    ends = "" if found["low"] is None else " [{low:.2f}, {high:.2f}]".format(**found)
    n = f" (n = {found['n']})" if found["n"] > 1 else ""
    words = f"{answer['recipe']}: {found['mean']:.2f}{ends} % of the test images{n}"
    if corrupted := answer.get("corrupted"):
        words += f", {corrupted['mean']:.1f} % of corrupted ones"
    return f"{words}, {answer['params']:,} parameters"


if __name__ == "__main__":
    define_flags()
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"--recipe={sys.argv[1]}"
    run(main, __doc__ or "")
