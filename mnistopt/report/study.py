"""The report of a study: report.html, and its pictures in figures/."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from mnistopt.axes import show
from mnistopt.data.official import DATASETS
from mnistopt.errors import InputError
from mnistopt.files import replacing
from mnistopt.report import words
from mnistopt.report.charts.classes import samples_chart
from mnistopt.report.charts.costs import COSTS
from mnistopt.report.charts.pictures import Picture, study_pictures, write_picture
from mnistopt.report.charts.theme import TOP
from mnistopt.report.page import Cell, Section, Table, glimpse_html, render
from mnistopt.results.config import CONFIG, Config, read_config
from mnistopt.results.labels import point_labels
from mnistopt.results.mistakes import read_mistakes, read_samples
from mnistopt.results.predictions import FOLDER, Predictions, read_predictions
from mnistopt.results.tables import read_table

# In which order, and under which heading, pictures stand.
_GROUPS = {
    "Accuracy": ("seeds", "sweep", "differences"),
    "Learning": ("error", "loss", "gap", "samples"),
    "Cost": tuple(COSTS),
    "Mistakes": ("mistakes", "confusion", "reliability"),
}
# The page stays small; the CSV files have all.
_ROWS = 300
_GLIMPSE = 10


def read_all_predictions(workdir: Path, summary: pd.DataFrame) -> dict:
    """Returns what is kept of the test split, by point, of those that are drawn."""
    found: dict[str, Predictions] = {}
    for point in summary[summary["n"] > 0]["point"].head(TOP):
        try:
            found[point] = read_predictions(workdir, point, "test")
        except InputError:  # a study that is running has none yet
            continue
    return found


def make_pictures(workdir: Path) -> dict[str, Picture]:
    """Returns the pictures of a study, by name.

    Args:
        workdir: Its folder.
    """
    trials, curves, summary = (
        read_table(workdir, name) for name in ("trials", "curves", "summary")
    )
    predictions = read_all_predictions(workdir, summary)
    mistakes = read_mistakes(workdir)
    pictures = study_pictures(trials, curves, summary, predictions, mistakes)
    samples = read_samples(workdir)
    if len(samples):
        pictures["samples"] = Picture.of(samples, samples_chart(samples))
    return pictures


def write_report(workdir: Path, anew: bool = False) -> Path:
    """Writes figures/ and report.html, unless they are newer than what they show.

    Args:
        workdir: Folder of a study, finished or running.
        anew: Whether they are written in any case.

    Returns:
        The path of the page.

    Raises:
        InputError: If it is no workdir.
    """
    path = workdir / "report.html"
    about = read_config(workdir)
    sources = [workdir / f"{name}.csv" for name in ("trials", "curves", "summary")]
    sources += [*workdir.glob(f"{FOLDER}/*"), workdir / CONFIG]
    trials, summary = (read_table(workdir, name) for name in ("trials", "summary"))
    newest = max(source.stat().st_mtime_ns for source in sources)
    if not anew and path.exists() and path.stat().st_mtime_ns > newest:
        return path
    pictures = make_pictures(workdir)
    folder = workdir / "figures"
    stills = {
        name: write_picture(folder, name, picture) for name, picture in pictures.items()
    }
    predictions = read_all_predictions(workdir, summary)
    facts = words.count_facts(about, summary, trials, predictions)
    with replacing(folder / "facts.csv") as partial:
        facts.rename_axis("name").reset_index(name="value").to_csv(partial, index=False)
    names = about.data.class_names
    title, lead = words.headline(about, summary)
    sections = [
        Section("In short", bullets(words.sentences(facts, summary, names))),
        *grouped(pictures, _GROUPS),
        Section("Tables", tables=_tables(summary, trials)),
        Section("How this was made", _provenance(about, facts, workdir)),
    ]
    page = render(title, lead, words.notice(facts), sections, stills)
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def glimpse(workdir: Path) -> str:
    """Returns findings, the best points and their curves as HTML, for a notebook."""
    about = read_config(workdir)
    trials, summary = (read_table(workdir, name) for name in ("trials", "summary"))
    if summary.empty:
        return Markup("<p>{}: nothing has been trained yet.</p>").format(workdir)
    predictions = read_all_predictions(workdir, summary)
    facts = words.count_facts(about, summary, trials, predictions)
    names = about.data.class_names
    title, lead = words.headline(about, summary)
    curves = make_pictures(workdir).get("error")
    return glimpse_html(
        title,
        " ".join(filter(None, (words.notice(facts), lead))),
        bullets(words.sentences(facts, summary, names)),
        _tables(summary.head(_GLIMPSE), trials)[0],
        curves,
    )


def grouped(
    pictures: Mapping[str, Picture], groups: Mapping[str, Sequence[str]]
) -> list[Section]:
    """Returns a section per group that has pictures."""
    sections = []
    for title, names in groups.items():
        mine = {name: pictures[name] for name in names if name in pictures}
        if mine:
            sections.append(Section(title, pictures=mine))
    return sections


def bullets(texts: Sequence[str]) -> Markup:
    """Returns sentences as a list in HTML, escaped."""
    items = Markup("\n").join(Markup("<li>{}</li>").format(text) for text in texts)
    return Markup("<ul>\n{}\n</ul>").format(items)


def _ranged(row: pd.Series, name: str) -> Cell:
    mean, low, high = (row[f"{name}_{end}"] for end in ("mean", "low", "high"))
    if pd.isna(mean):
        return Cell("–")
    text = f"{100 * mean:.2f}"
    if not pd.isna(low):
        text += f" [{100 * low:.2f}, {100 * high:.2f}]"
    return Cell(text, float(mean))


def _tables(summary: pd.DataFrame, trials: pd.DataFrame) -> list[Table]:
    labels = point_labels(summary)
    shown = summary.head(_ROWS)
    by_point = [
        [
            Cell(labels[row["point"]]),
            Cell(str(row["n"]), float(row["n"])),
            Cell(_state(row)),
            *(
                _ranged(row, name)
                for name in (
                    *("validation_accuracy", "test_accuracy", "train_accuracy"),
                    "overfitting",
                )
            ),
            Cell(f"{row['params']:,}", float(row["params"])),
            Cell(f"{row['seconds']:.1f}", float(row["seconds"])),
        ]
        for _, row in shown.iterrows()
    ]
    columns = ("setting", "n", "choice", "validation %", "test %", "train %")
    points = Table(
        f"Settings, best first by validation: means over n seeds with 95 % intervals"
        f"{_left_out(summary, 'summary.csv')}. A click on a setting shows its curves "
        "and mistakes; one on a column's name sorts.",
        (*columns, "train − test", "parameters", "seconds"),
        by_point,
        [labels[point] for point in shown["point"]],
    )
    each = [
        [
            Cell(row["trial"]),
            Cell(labels[row["point"]]),
            Cell(str(row["seed"]), float(row["seed"])),
            Cell(row["status"]),
            *(
                Cell("–" if pd.isna(row[name]) else f"{100 * row[name]:.2f}")
                for name in ("validation_accuracy", "test_accuracy", "train_accuracy")
            ),
            Cell(
                "–"
                if pd.isna(row["convergence_epoch"])
                else str(row["convergence_epoch"])
            ),
        ]
        for _, row in trials.head(_ROWS).iterrows()
    ]
    replicas = Table(
        f"Every replica{_left_out(trials, 'trials.csv')}",
        ("trial", "setting", "seed", "status", *columns[3:], "convergence epoch"),
        each,
        folded=True,
    )
    return [points, replicas]


def _left_out(table: pd.DataFrame, name: str) -> str:
    return f" ({_ROWS} of {len(table)}; {name} has all)" if len(table) > _ROWS else ""


def _state(row: pd.Series) -> str:
    states = [row["choice"]] if row["choice"] else []
    states += [f"{row[s]} {s}" for s in ("diverged", "unfinished") if row[s]]
    return ", ".join(states)


def _provenance(about: Config, facts: pd.Series, workdir: Path) -> Markup:
    """Returns time, machine, versions, and how to do it again, in HTML."""
    versions = ", ".join(f"{name} {v}" for name, v in about.versions.items())
    # Known when a run ends.
    compiling = ""
    if facts["compile_seconds"]:
        compiling = f", and {facts['compile_seconds']:,.1f} s of compiling"
    lines = [
        f"{words.plural(int(facts['trained']), 'replica')} took "
        f"{facts['train_seconds']:,.1f} s of training, evaluation of every epoch "
        f"included ({facts['images_per_second']:,.0f} images/s){compiling}.",
        f"{about.cpu}; devices {', '.join(about.devices)}; Python "
        f"{about.python}, {versions}; commit {about.commit or 'unknown'}.",
        f"Data: {about.data.dataset}, fingerprint {about.data.fingerprint}.",
    ]
    again = "Again, or on from where it stopped:"
    command = rerun_command(about, workdir)
    if not command:
        again += " the Python call that made it, with the same modules and data."
    made = Markup("<p>{}</p>\n<pre>{}</pre>") if command else Markup("<p>{}</p>")
    return bullets(lines) + made.format(again, command)


def rerun_command(about: Config, workdir: Path) -> str:
    """Returns the command that asks for the same again.

    It is "" for modules and data that only Python can give.
    """
    asked, data = dict(about.asked), about.data
    paths = {name: name for name in asked["model"]} | {
        name: one["path"] if one["command"] else ""
        for name, one in about.modules.items()
    }
    asked["model"] = [paths[name] for name in asked["model"]]
    named = data.dataset in DATASETS or about.data_file
    if not named or not all(
        path and not path.startswith("__main__") for path in asked["model"]
    ):
        return ""
    flags = [
        f"--{name}={','.join(show(v) for v in asked[name] if v is not None)}"
        for name in asked
        if name != "seeds" and any(value is not None for value in asked[name])
    ]
    file = about.data_file
    source = f"--data={file}" if file else f"--dataset={data.dataset}"
    flags += [f"--seeds={asked['seeds']}", source]
    if data.image_size:
        flags.append(f"--image_size={show(data.image_size)}")
    if data.train_examples:
        flags.append(f"--train_examples={data.train_examples}")
    if about.data_dir:
        flags.append(f"--data_dir={about.data_dir}")
    flags.append(f"--workdir={workdir}")
    command = shlex.join(["./launch.sh", "grid", *flags])
    lines = textwrap.wrap(command, 72, break_on_hyphens=False, break_long_words=False)
    return " \\\n    ".join(lines)
