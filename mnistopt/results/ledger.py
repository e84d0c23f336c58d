"""What a search has proposed, and what it came to: search.json of its workdir."""

import dataclasses
import itertools
import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mnistopt.errors import InputError, see
from mnistopt.manifest import Manifest

SEARCH = "search.json"
FORMAT = 1
# That have a name: who of a batch of trials goes on.
PRUNERS = ("hyperband", "halving", "median", "none")


@dataclasses.dataclass
class Ledger:
    """The content of search.json.

    Attributes:
        about: What was asked for: the space as a person types it, under "space", the
            sampler, the pruner, their settings, and Optuna's version.
        proposals: What was proposed, in order: `params`, `by` and `attrs` as in
            `sampler.Proposal`, and the `batch` it was part of.
        known: Trials that somebody has made by hand: `params` and `accuracies`.
        trials: What the first proposals have come to, in order: their `point`,
            `accuracies` by epochs, the training `images` of the search by then, the
            `seeds` at the last of them, and their `state`: "complete", "pruned" or
            "diverged".
        lineage: Of population-based training, for each time that members were replaced:
            the `epoch`, and a row per member, see `search.population.Population`.
        chosen: The best trial: its `point`, its `accuracy`, and the fresh `seeds` that
            it is trained with anew; {} before there is one.
    """

    about: dict[str, Any]
    proposals: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    known: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    lineage: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, workdir: Path) -> None:
        """Writes it, if it has changed."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(content, indent=1) + "\n"
        Manifest(workdir).write({SEARCH: text.encode()})


def read_ledger(workdir: Path) -> Ledger | None:
    """Returns the ledger of a workdir; None where there is none.

    Raises:
        InputError: If it cannot be read, or has been changed.
    """
    path = workdir / SEARCH
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if Manifest(workdir).is_altered(SEARCH):
            raise ValueError("its checksum has changed")
        if content.pop("format") != FORMAT:
            raise ValueError("another version of mnistopt has made it")
        return Ledger(**content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged or was changed ({error}): restore it, or move it away "
            "to let the search propose anew; trials that it proposes again are not "
            f"trained again{see('search#files')}"
        ) from error


def opened(workdir: Path, about: Mapping[str, Any]) -> Ledger:
    """Returns the ledger of a workdir for a search, a new one where there is none.

    Args:
        workdir: The folder.
        about: What is asked for now.

    Raises:
        InputError: If there is one of another space.
    """
    ledger = read_ledger(workdir)
    if ledger is None:
        return Ledger(dict(about))
    had, asked = ledger.about["space"], about["space"]
    differ = [
        f"  {name}: {had.get(name, 'not there')} in the search, "
        f"{asked.get(name, 'not there')} requested"
        for name in dict.fromkeys((*had, *asked))
        if had.get(name) != asked.get(name) and name != "epochs"
    ]
    if differ:
        raise InputError(
            f"workdir {workdir} holds a search of another space:\n"
            + "\n".join(differ)
            + "\nGive another `workdir`, or the space it was made with"
        )
    if (version := ledger.about.get("optuna")) != about["optuna"]:
        warnings.warn(
            f"this search was begun with Optuna {version}, and goes on with "
            f"{about['optuna']}, which may propose otherwise",
            stacklevel=2,
        )
    return dataclasses.replace(ledger, about=dict(about))


def search_table(ledger: Ledger) -> pd.DataFrame:
    """Returns a row per trial of a search, in the order in which they were proposed.

    Returns:
        The `trial`'s number, its `batch`, who has proposed it (`by`), a column per
        hyper-parameter of the space, its `state` ("complete", "pruned", "diverged", or
        "waiting" if it has not trained), its `epochs`, the number of its `seeds`, its
        validation `accuracy` after them, in [0, 1], and its `point`.
    """
    names = [name for name in ledger.about["space"] if name != "epochs"]
    rows = []
    results = itertools.chain(ledger.trials, itertools.repeat({}))
    for number, (proposal, found) in enumerate(zip(ledger.proposals, results)):
        by_epochs = {int(k): v for k, v in found.get("accuracies", {}).items()}
        epochs = max(by_epochs, default=0)
        rows.append(
            {
                "trial": number,
                "batch": proposal["batch"],
                "by": proposal["by"],
                **{name: proposal["params"].get(name) for name in names},
                "state": found.get("state", "waiting"),
                "epochs": epochs,
                "seeds": found.get("seeds", 0),
                "accuracy": by_epochs.get(epochs, math.nan),
                "point": found.get("point", ""),
            }
        )
    came_to = ("state", "epochs", "seeds", "accuracy", "point")
    columns = ["trial", "batch", "by", *names, *came_to]
    table = pd.DataFrame(rows, columns=columns)
    # What has one value was not chosen.
    return table.drop(columns=[name for name in names if table[name].isna().all()])
