"""What `experiments.evaluate` prints."""

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from experiments.console import fits, make_console, make_table
from experiments.program import short_path

_NAMED = 8  # Pictures that are named of those without ink.


def _source(found: dict) -> str:
    """Says what was evaluated, on what."""
    where = f"{found['split']} split of " if found["split"] else ""
    words = (
        f"trial {found['trial']}, {found['weights']} weights, "
        f"{where}{escape(found['dataset'])}"
    )
    if found["same_data"] or not found["split"]:
        return words
    seen = found["trained_on"]
    overlap = f", [bold]{seen:,} of which it was trained on[/bold]" if seen else ""
    return f"{words}\nThese are not the data of the study{overlap}."


def predictions(found: dict) -> None:
    """Prints what `experiments.evaluate` takes images without labels for."""
    console = make_console()
    console.print(_source(found), soft_wrap=True)
    table = make_table()
    table.add_column("image", overflow="fold")
    table.add_column("taken for", justify="right")
    table.add_column("probability %", justify="right")
    for one in found["predictions"]:
        if one["class"] is None:
            table.add_row(Text(one["image"]), "no ink: no digit", "")
            continue
        sure = f"{100 * one['probability']:.1f}"
        table.add_row(Text(one["image"]), Text(one["class"], style="bold"), sure)
    console.print(table)


def robustness(found: dict) -> None:
    """Prints accuracies on corrupted images, a row per corruption."""
    console = make_console()
    known = {(one["corruption"], one["strength"]): one for one in found["corrupted"]}
    clean = known["clean", "0"]
    seeds = f", mean of the {clean['n']} seeds of its point" if clean["n"] > 1 else ""
    console.print(_source(found) + seeds, soft_wrap=True)
    for words, one in (("as they are", clean), ("corrupted", known["all", "mean"])):
        mean, low, high = (100 * one[name] for name in ("accuracy", "low", "high"))
        console.print(
            f"[bold]{mean:.2f} %[/bold] accuracy on images {words} "
            f"(95 % interval {low:.2f} to {high:.2f})"
        )
    table = make_table()
    table.add_column("accuracy %, by strength")
    strengths = ["1", "2", "3", "4", "5", "mean"]
    for strength in strengths:
        table.add_column(strength, justify="right")
    for name in dict.fromkeys(name for name, _ in known if name != "clean"):
        cells = (f"{100 * known[name, one]['accuracy']:.1f}" for one in strengths)
        table.add_row(name, *cells, style="bold" if name == "all" else None)
    console.print(table)
    shown = short_path(found["figure"])
    console.print(f"Picture: {shown}", soft_wrap=True, markup=False)


def evaluation(found: dict) -> None:
    """Prints what `experiments.evaluate` found."""
    console = make_console()
    low, high = (100 * end for end in found["accuracy_ci95"])
    console.print(
        f"[bold]{100 * found['accuracy']:.2f} %[/bold] accuracy "
        f"({found['correct']:,} of {found['count']:,}, 95 % interval "
        f"{low:.2f} to {high:.2f})"
    )
    console.print(_source(found), soft_wrap=True)
    if blank := found.get("without_ink"):
        console.print(
            f"{len(blank)} pictures have no ink, are no digits, and are left out: "
            f"{', '.join(blank[:_NAMED])}{' ...' if blank[_NAMED:] else ''}",
            soft_wrap=True,
            markup=False,
        )
    both = _per_class(found, confusion=True, figures=True)
    if fits(console, both):
        console.print(both)
        return
    counts = _per_class(found, confusion=True, figures=False)
    if fits(console, counts):
        console.print(counts)
    else:
        console.print("\nThe confusion matrix needs more columns; --json has it.")
    console.print(_per_class(found, confusion=False, figures=True))


def _per_class(found: dict, confusion: bool, figures: bool) -> Table:
    """Returns a table with a row per class: what it was taken for, how well it went."""
    table = make_table()
    table.add_column("true \\\npredicted" if confusion else "class", justify="right")
    if confusion:
        for name in found["class_names"]:
            table.add_column(escape(name), justify="right")
    if figures:
        for name in ("precision", "recall", "F1"):
            table.add_column(f"{name} %".replace(" ", "\n"), justify="right")
    for label, counts in enumerate(found["confusion"]):
        cells = [f"[bold]{escape(found['class_names'][label])}[/bold]"]
        if confusion:
            cells += [
                f"[bold]{count}[/bold]" if other == label else str(count or ".")
                for other, count in enumerate(counts)
            ]
        if figures:
            of_class = found["per_class"][label]
            names = ("precision", "recall", "f1")
            cells += [f"{100 * of_class[name]:.1f}" for name in names]
        table.add_row(*cells)
    return table
