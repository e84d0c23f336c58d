"""The report of a study: report.html, and its pictures in figures/."""

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from mnistopt.axes import plural, show
from mnistopt.data.official import DATASETS
from mnistopt.manifest import FIGURES, OF_FIGURES, PAGE, Manifest
from mnistopt.report import words
from mnistopt.report.charts.curves import curves_frame, error_chart
from mnistopt.report.charts.pictures import (
    COST,
    Picture,
    Results,
    keep_picture,
    study_pictures,
)
from mnistopt.report.page import Section, Table, image, render
from mnistopt.results.config import Config
from mnistopt.results.ledger import PRUNERS, Ledger

_WORDS = (
    "Setting: one combination of the hyper-parameters that were swept. Replica: one "
    "training of a setting; its seed decides initial weights, batches, dropout and "
    "augmentation, and is shared by all settings.",
    "Validation images choose, test images are measured once, at the end.",
    "Interval: where the mean over seeds lies with 95 % confidence, for these images; "
    "it takes at least three seeds.",
    "Best: the highest mean validation accuracy. Tied: not shown to be below the best; "
    "the intervals of all differences hold together at 95 % (Tukey's method).",
    "Vote: the class with the highest probability in the mean over a setting's seeds.",
    "Points are percentage points. Overfitting: training minus test accuracy.",
)
# The page stays small; the CSV files have all.
_ROWS = 300
_GLIMPSE = 10


def make_pictures(workdir: Path) -> dict[str, Picture]:
    """Returns the pictures of a study, by name; raises InputError if it is none."""
    return study_pictures(Results.read(workdir))


def write_page(workdir: Path, of: str) -> Path:
    """Writes figures/ and report.html.

    Args:
        workdir: Folder of a study.
        of: The digest of what they are made of.
    """
    manifest, results = Manifest(workdir, OF_FIGURES), Results.read(workdir)
    pictures = study_pictures(results)
    stills = {
        name: keep_picture(workdir, name, picture) for name, picture in pictures.items()
    }
    facts = words.count_facts(results)
    table = facts.rename_axis("name").reset_index(name="value").to_csv(index=False)
    manifest.write({f"{FIGURES}/facts.csv": table.encode()}, of)
    title, lead = words.headline(results.config, results.summary, results.ledger)
    groups: dict[str, dict[str, Picture]] = {}
    for name, picture in pictures.items():
        groups.setdefault(picture.group, {})[name] = picture
    sections = [
        Section("In short", bullets(words.sentences(facts, results))),
        *(
            Section(group, pictures=some, one_at_a_time=group == COST and len(some) > 1)
            for group, some in groups.items()
        ),
        Section("Tables", tables=_tables(results.summary, results.trials)),
        Section("Words", bullets(_WORDS)),
        Section("How this was made", _provenance(results, facts, workdir)),
    ]
    page = render(title, lead, words.notice(facts), sections, stills)
    manifest.write({PAGE: page.encode()}, of)
    return workdir / PAGE


def findings(workdir: Path) -> list[str]:
    """Returns the sentences of the report; raises InputError if it is not a workdir."""
    results = Results.read(workdir)
    if results.summary.empty:
        return []
    return words.sentences(words.count_facts(results), results)


def glimpse(workdir: Path) -> str:
    """Returns findings, the best points and their curves as HTML, for a notebook."""
    results = Results.read(workdir)
    config, trials, curves, summary, *_ = results
    if summary.empty:
        return Markup("<p>{}: nothing has been trained yet.</p>").format(workdir)
    facts = words.count_facts(results)
    title, lead = words.headline(config, summary, results.ledger)
    points = _tables(summary.head(_GLIMPSE), trials)[0]
    with pd.option_context("display.max_colwidth", None):
        table = points.frame.to_html(index=False)
    parts = [
        Markup("<h3>{}</h3>").format(title),
        Markup("<p>{}</p>").format(" ".join(filter(None, (words.notice(facts), lead)))),
        bullets(words.sentences(facts, results)),
        Markup(table),
    ]
    frame = curves_frame(curves, trials, summary)
    if len(frame):
        parts.append(image(Picture.of(frame, error_chart(frame))))
    return Markup("<div>\n{}\n</div>").format(Markup("\n").join(parts))


def bullets(texts: Sequence[str]) -> Markup:
    """Returns sentences as a list in HTML, escaped."""
    items = Markup("\n").join(Markup("<li>{}</li>").format(text) for text in texts)
    return Markup("<ul>\n{}\n</ul>").format(items)


_PER_CENT = {
    "validation %": "validation_accuracy",
    "test %": "test_accuracy",
    "train %": "train_accuracy",
}


def _per_cent(values: pd.Series) -> pd.Series:
    return (100 * values).map("{:.2f}".format).where(values.notna(), "–")


def _ranged(summary: pd.DataFrame, name: str) -> pd.Series:
    mean, low, high = (
        _per_cent(summary[f"{name}_{end}"]) for end in ("mean", "low", "high")
    )
    return mean.where(low == "–", mean + " [" + low + ", " + high + "]")


def _tables(summary: pd.DataFrame, trials: pd.DataFrame) -> list[Table]:
    labels = dict(zip(summary["point"], summary["label"]))
    shown, each = summary.head(_ROWS), trials.head(_ROWS)
    points = {
        "setting": shown["label"],
        "n": shown["n"],
        "choice": [_state(row) for _, row in shown.iterrows()],
        **{column: _ranged(shown, name) for column, name in _PER_CENT.items()},
        "train − test": _ranged(shown, "overfitting"),
        "parameters": shown["params"].map("{:,}".format),
        "seconds": shown["seconds"].map("{:.1f}".format),
    }
    replicas = {
        "trial": each["trial"],
        "setting": each["point"].map(labels).fillna(""),
        "seed": each["seed"],
        "status": each["status"],
        **{column: _per_cent(each[name]) for column, name in _PER_CENT.items()},
        "convergence epoch": each["convergence_epoch"].astype("string").fillna("–"),
    }
    return [
        Table(
            "Settings, best first by validation: means over n seeds with 95 % intervals"
            f"{_left_out(summary, 'summary.csv')}. Click a setting to see its "
            "curves and mistakes, or a column's name to sort.",
            pd.DataFrame(points),
            shown["label"].tolist(),
            name="settings",
        ),
        Table(
            f"Every replica{_left_out(trials, 'trials.csv')}",
            pd.DataFrame(replicas),
            folded=True,
            name="replicas",
        ),
    ]


def _left_out(table: pd.DataFrame, name: str) -> str:
    return (
        f" ({_ROWS} of {len(table)}; all are in {name})" if len(table) > _ROWS else ""
    )


def _state(row: pd.Series) -> str:
    states = [row["choice"]] if row["choice"] else []
    states += [f"{row[s]} {s}" for s in ("diverged", "unfinished") if row[s]]
    return ", ".join(states)


def _provenance(results: Results, facts: pd.Series, workdir: Path) -> Markup:
    """Returns time, machine, versions, and how to do it again, in HTML."""
    about = results.config
    versions = ", ".join(f"{name} {v}" for name, v in about.versions.items())
    # Known when a run ends.
    compiling = ""
    if facts["compile_seconds"]:
        compiling = f", and {facts['compile_seconds']:,.1f} s of compiling"
    lines = [
        f"{plural(int(facts['trained']), 'replica')} took "
        f"{facts['train_seconds']:,.1f} s of training, evaluation of every epoch "
        f"included ({facts['images_per_second']:,.0f} images/s){compiling}.",
        f"{about.cpu}; devices {', '.join(about.devices)}; Python "
        f"{about.python}, {versions}; commit {about.commit or 'unknown'}.",
        f"Data: {about.data.dataset}, fingerprint {about.data.fingerprint}.",
    ]
    again = "To repeat or resume it:"
    command = rerun_command(about, workdir, results.ledger)
    if not command:
        again += " the Python call that made it, with the same modules and data."
    made = Markup("<p>{}</p>\n<pre>{}</pre>") if command else Markup("<p>{}</p>")
    return bullets(lines) + made.format(again, command)


def rerun_command(about: Config, workdir: Path, ledger: Ledger | None = None) -> str:
    """Returns the command that asks for the same again.

    It is "" for modules, data and schedulers that only Python can give.
    """
    asked, data = dict(about.asked), about.data
    paths = {name: name for name in asked["model"]} | {
        name: module["path"] if module["command"] else ""
        for name, module in about.modules.items()
    }
    program = "grid"
    if ledger and ledger.about["pruner"] not in PRUNERS and not ledger.about["pbt"]:
        return ""
    if ledger:
        program, asked = "search", _searched(ledger)
    asked["model"] = [paths.get(name, name) for name in asked["model"]]
    named = data.dataset in DATASETS or about.data_file
    counted = isinstance(asked["seeds"], int)
    if (
        not named
        or not counted
        or not all(path and not path.startswith("__main__") for path in asked["model"])
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
    if data.train_on != "train":
        flags.append(f"--train_on={data.train_on}")
    if about.data_dir:
        flags.append(f"--data_dir={about.data_dir}")
    if about.teacher:
        flags.append(f"--teacher={about.teacher['workdir']}")
    flags.append(f"--workdir={workdir}")
    command = shlex.join(["./launch.sh", program, *flags])
    lines = textwrap.wrap(command, 72, break_on_hyphens=False, break_long_words=False)
    return " \\\n    ".join(lines)


def _searched(ledger: Ledger) -> dict[str, Any]:
    """Returns what a search was asked for, as `Config.asked` has it of a grid."""
    about, whole = ledger.about, ledger.about["seeds"]
    named = {name: about[name] for name in ("trials", "sampler", "pruner", "confirm")}
    more = {name: about[name] for name in ("images", "timeout", "pbt")}
    more |= {"at_a_time": about["width"]}
    more |= {"search_seed": about["seed"] or None}
    if about["pbt"]:
        del named["pruner"]
    values = {name: of.split(",") for name, of in about["space"].items()}
    counted = whole == list(range(len(whole)))
    asked = {**values, **{name: [value] for name, value in (named | more).items()}}
    return asked | {"seeds": len(whole) if counted else whole}
