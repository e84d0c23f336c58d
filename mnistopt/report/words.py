"""What a study found, in plain words."""

import numpy as np
import pandas as pd

from mnistopt.axes import plural, show
from mnistopt.models.registry import NETWORKS
from mnistopt.report.charts.pictures import Results
from mnistopt.results.columns import axes_of, varying_axes
from mnistopt.results.config import Config
from mnistopt.results.effects import ascending, effects_in_words
from mnistopt.results.ledger import Ledger
from mnistopt.results.stats import proportion_interval

# More names than this do not fit into a sentence.
_NAMES = 4


def percent(value: float) -> str:
    """Writes a fraction as per cent: 0.98765 as 98.77 %."""
    return f"{100 * value:.2f} %"


def listed(names: list[str]) -> str:
    """Writes names as a sentence does, the last ones as a count."""
    shown = names[:_NAMES]
    if len(names) > _NAMES:
        shown.append(f"{len(names) - _NAMES} more")
    if len(shown) < 3:
        return " and ".join(shown)
    # Names have commas of their own.
    return f"{'; '.join(shown[:-1])}; and {shown[-1]}"


def count_facts(results: Results) -> pd.Series:
    """Returns the numbers of the report's text by name (facts.csv)."""
    config, trials, _, summary, predictions, *_ = results
    best = summary.iloc[0]
    by_replica = trials.groupby("replica")
    images = by_replica["epochs_done"].max().sum() * config.data.train
    seconds = by_replica["seconds"].max().sum()
    facts = {
        "points": len(summary),
        "seeds": config.seeds,
        "train_examples": config.data.train,
        "validation_examples": config.data.validation,
        "test_examples": config.data.test,
        "finished": int((trials["status"] == "finished").sum()),
        "diverged": int(summary["diverged"].sum()),
        "unfinished": int(summary["unfinished"].sum()),
        "trained": trials[trials["epochs_done"] > 0]["replica"].nunique(),
        "tied": int((summary["choice"] == "tied").sum()),
        "fewer_seeds": int((summary["choice"] == "fewer seeds").sum()),
        "best_n": best["n"],
        "train_seconds": seconds,
        "images_per_second": images / seconds if seconds else 0.0,
        "compile_seconds": sum(config.compile_seconds.values()),
    }
    for name in ("validation_accuracy", "test_accuracy", "train_accuracy"):
        for end in ("mean", "low", "high"):
            facts[f"best_{name}_{end}"] = best[f"{name}_{end}"]
    facts["best_overfitting_mean"] = best["overfitting_mean"]
    if best["n"]:
        count = facts["test_examples"]
        ends = proportion_interval(best["test_accuracy_mean"] * count, count)
        facts["other_images_half_width"] = (ends[1] - ends[0]) / 2
    if best["point"] in predictions:
        predicted = predictions[best["point"]]
        facts["best_vote_accuracy"] = float(np.mean(predicted.vote == predicted.labels))
        wrong = predicted.confusion()
        np.fill_diagonal(wrong, 0)
        true, taken = np.unravel_index(int(wrong.argmax()), wrong.shape)
        facts["most_confused_class"], facts["most_confused_with"] = true, taken
        facts["most_confused_count"] = wrong.max()
    return pd.Series(facts, dtype=float)


def _plural_of(words: str) -> str:
    """Returns MLPs for MLP, and MobileNet v1 as it is."""
    return words if words[-1].isdecimal() else f"{words}s"


def headline(
    config: Config, summary: pd.DataFrame, ledger: Ledger | None = None
) -> tuple[str, str]:
    """Returns the title of a study's report, and the grid or the search in words."""
    asked, data = config.asked, config.data
    if ledger:
        return _searched(ledger, config)
    models = " and ".join(
        _plural_of(NETWORKS[name].words) if name in NETWORKS else name
        for name in asked["model"]
    )
    title = f"{plural(len(summary), 'setting')} of {models} on {data.dataset}"
    swept = varying_axes(summary)
    axes = "; ".join(
        f"{axis} {', '.join(map(show, ascending(summary[axis])))}"
        for axis in axes_of(summary)
        if axis in swept
    )
    lead = f"Grid: {axes}. " if axes else ""
    epochs = ", ".join(map(str, sorted(set(summary["epochs"]))))
    lead += (
        f"Trained on {data.train:,} images for {epochs} epochs with "
        f"{plural(config.seeds, 'seed')}; {data.parts}."
    )
    return title, lead


def _searched(ledger: Ledger, config: Config) -> tuple[str, str]:
    """Returns the title of a search's report, and the space in words."""
    about, data = ledger.about, config.data
    trials = len(ledger.trials)
    title = f"A search of {plural(trials, 'trial')} on {data.dataset}"
    axes = "; ".join(
        f"{name} {values.replace(',', ', ')}" for name, values in about["space"].items()
    )
    lead = (
        f"Space: {axes}. Proposed by {about['sampler']}, pruner {about['pruner']}. "
        f"Trained on {data.train:,} images; {data.parts}."
    )
    return title, lead


def search_sentences(results: Results) -> list[str]:
    """Returns what a search found; nothing of a grid."""
    ledger, summary = results.ledger, results.summary
    if ledger is None or not ledger.trials:
        return []
    states = pd.Series([trial["state"] for trial in ledger.trials]).value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    images = max(
        count for trial in ledger.trials for count in (0, *trial["images"].values())
    )
    texts = [
        f"Of {plural(len(ledger.trials), 'trial')} ({counts}), {images:,} training "
        "images in all, the best one was trained anew."
    ]
    rows = summary[summary["point"] == ledger.chosen.get("point")]
    if len(rows) and rows["n"].iloc[0]:
        row = rows.iloc[0]
        seen, fresh = ledger.chosen["accuracy"], row["validation_accuracy_mean"]
        lucky = f": {100 * (seen - fresh):.2f} points were luck" if seen > fresh else ""
        texts.append(
            f"In the search it had {percent(seen)} of the validation images right, "
            f"with {plural(int(row['n']), 'fresh seed')} {percent(fresh)}{lucky}."
        )
    return texts


def notice(facts: pd.Series) -> str:
    """Returns what a reader must know first: that a study is not finished."""
    if not facts["unfinished"]:
        return ""
    return (
        f"This study is not finished: {plural(int(facts['unfinished']), 'replica')} "
        f"still {'has' if facts['unfinished'] == 1 else 'have'} epochs to train, "
        f"{facts['finished']:.0f} {'has' if facts['finished'] == 1 else 'have'} "
        "finished. The same command resumes it; this page shows the results so far."
    )


def sentences(facts: pd.Series, results: Results) -> list[str]:
    """Returns the findings, a sentence or two each.

    Args:
        facts: The numbers from `count_facts`.
        results: The study's.
    """
    summary, class_names = results.summary, results.config.data.class_names
    if not facts["best_n"]:
        return ["No setting has finished yet."]
    texts = search_sentences(results) + effects_in_words(results.effects)
    texts += [_best(facts, summary["label"].iloc[0]), _ties(summary)]
    texts.append(
        f"It classifies {percent(facts['best_train_accuracy_mean'])} of the training "
        f"images correctly, {100 * facts['best_overfitting_mean']:.2f} points more "
        "than of the test images (overfitting)."
    )
    if facts.get("most_confused_count", 0) > 0:
        places = facts["most_confused_class"], facts["most_confused_with"]
        true, taken = (_class(class_names[int(place)]) for place in places)
        vote = ""
        if facts["best_n"] > 1:
            vote = (
                f"The vote of its seeds is right on "
                f"{percent(facts['best_vote_accuracy'])}. "
            )
        texts.append(
            f"{vote}Most often {true} is taken for {taken}: "
            f"{facts['most_confused_count']:.3g} times"
            f"{' per seed on average' if facts['best_n'] > 1 else ''}."
        )
    if facts["diverged"]:
        names = summary[summary["diverged"] > 0]["label"].tolist()
        texts.append(
            f"{plural(int(facts['diverged']), 'replica')} diverged and "
            f"{'was' if facts['diverged'] == 1 else 'were'} stopped: {listed(names)}."
        )
    texts.append(_sureness(facts))
    return [sentence for sentence in texts if sentence]


def _class(name: str) -> str:
    """Writes the name of a class as a sentence does: an 8, or cat."""
    if not name.isdecimal():
        return name
    return f"{'an' if name.startswith('8') or name in ('11', '18') else 'a'} {name}"


def _best(facts: pd.Series, label: str) -> str:
    several = facts["points"] > 1
    name = f"The best setting by validation is {label}. " if several else ""
    right = percent(facts["best_test_accuracy_mean"])
    n, how = int(facts["best_n"]), "with one seed"
    if n > 1:
        low, high = facts["best_test_accuracy_low"], facts["best_test_accuracy_high"]
        how = f"mean of {n} seeds"
        if low < high:
            how += f", 95 % interval {100 * low:.2f} to {percent(high)}"
    return f"{name}It classifies {right} of the test images correctly ({how})."


def _ties(summary: pd.DataFrame) -> str:
    if len(summary) < 2:
        return ""
    if summary["n"].max() < 2:
        return (
            "With one seed per setting the ranking may be chance: with five seeds "
            "the study can show which settings are worse."
        )
    tied = summary[summary["choice"] == "tied"]["label"].tolist()
    fewer = summary[summary["choice"] == "fewer seeds"]
    extra = ""
    if len(fewer):
        extra = (
            f" {plural(len(fewer), 'setting')} with fewer finished seeds "
            f"{'is' if len(fewer) == 1 else 'are'} not compared."
        )
    if tied:
        which = "This setting" if len(tied) == 1 else "These settings"
        return (
            f"{which} cannot be distinguished from it at 5 %: {listed(tied)}. More "
            f"seeds would separate more.{extra}"
        )
    if not (summary["choice"] == "best").any():
        return extra.strip()
    return f"All others are below it at 5 %.{extra}"


def _sureness(facts: pd.Series) -> str:
    half = 100 * facts["other_images_half_width"]
    over = "Intervals describe the variation between seeds. "
    if facts["best_n"] < 2:
        over = "One seed does not show how results vary with others. "
    return (
        f"{over}On another {facts['test_examples']:,.0f} test images the accuracy "
        f"could differ by a further ± {half:.2f} points (Wilson's 95 % interval). The "
        "test images were used for no choice."
    )
