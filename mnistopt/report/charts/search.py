"""What a search found, and how: its way, who went on, and the schedule of the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from mnistopt.report.charts.theme import (
    HEIGHT,
    PALETTE,
    WIDTH,
    finished,
    positive_scale,
    rows,
)
from mnistopt.results.ledger import Ledger

_STATES = {"complete": PALETTE[0], "pruned": "#8A929B", "diverged": PALETTE[1]}


def way_frame(ledger: Ledger) -> pd.DataFrame:
    """Returns a row per trial that was trained to the end.

    Returns:
        `trial`, `by`, the training `images` that the search had gone through by then,
        in millions, the trial's validation `error` in per cent, and `best`, the least
        so far.
    """
    found = []
    for number, trial in enumerate(ledger.trials):
        images = {int(epochs): count for epochs, count in trial["images"].items()}
        last = max(images, default=0)
        if last == ledger.about["epochs"]:
            accuracy = trial["accuracies"].get(str(last), trial["accuracies"].get(last))
            found.append(
                {
                    "trial": number,
                    "by": ledger.proposals[number]["by"],
                    "images": images[last] / 1e6,
                    "error": 100 * (1 - accuracy),
                }
            )
    table = pd.DataFrame(found, columns=["trial", "by", "images", "error"])
    table = table.sort_values(["images", "error"], ignore_index=True)
    return table.assign(best=table["error"].cummin())


def way_chart(frame: pd.DataFrame) -> Any:
    """Draws the least error so far against training images; takes a `way_frame`."""
    scale = positive_scale(frame["error"], padding=8)
    x = alt.X("images:Q", title="training images of the search, in millions")
    x = x.scale(nice=False, padding=12)
    y = alt.Y("error:Q", title="error (%)", scale=scale).axis(format="~g", tickCount=5)
    base = alt.Chart(rows(frame)).encode(x=x)
    tooltip = [
        alt.Tooltip("trial:Q", format="d"),
        alt.Tooltip("by:N", title="proposed by"),
        alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
    ]
    colour = alt.Color("by:N", legend=alt.Legend(title="proposed by", symbolOpacity=1))
    layers = [
        base.mark_line(interpolate="step-after", style="ink", strokeWidth=2).encode(
            y=alt.Y("best:Q", title="error (%)", scale=scale)
        ),
        base.mark_point(filled=True, size=70, opacity=0.85).encode(
            y=y, color=colour, tooltip=tooltip
        ),
    ]
    best = frame.sort_values("error").iloc[0]
    return finished(
        alt.layer(*layers).properties(height=HEIGHT),
        "The search",
        [
            "Validation error of each trial that was trained to the end, and the least",
            "so far. The best of many is lucky, too: fresh seeds say what it is worth.",
        ],
        f"The least error of {len(frame)} trials, {best['error']:.2f} %, is trial "
        f"{best['trial']:.0f}.",
    )


def curves_frame(ledger: Ledger) -> pd.DataFrame:
    """Returns a row per trial and rung: `trial`, `state`, `epoch` and `error` in %."""
    found = [
        {
            "trial": number,
            "state": trial["state"],
            "epoch": int(epochs),
            "error": 100 * (1 - accuracy),
        }
        for number, trial in enumerate(ledger.trials)
        for epochs, accuracy in trial["accuracies"].items()
    ]
    table = pd.DataFrame(found, columns=["trial", "state", "epoch", "error"])
    # Without rungs there is nothing to follow.
    return table if table["epoch"].nunique() > 1 else table[:0]


def curves_chart(frame: pd.DataFrame) -> Any:
    """Draws each trial until it was stopped; takes a `curves_frame`."""
    epochs = sorted(frame["epoch"].unique().tolist())
    ends = frame.sort_values("epoch").groupby("trial").tail(1)
    x = alt.X(
        "epoch:Q", title="epoch", scale=alt.Scale(type="log", nice=False, padding=12)
    ).axis(values=epochs, format="d")
    scale = positive_scale(frame["error"], padding=8)
    y = alt.Y("error:Q", title="error (%)", scale=scale).axis(format="~g", tickCount=6)
    colour = state_colour(frame)
    tooltip = [
        alt.Tooltip("trial:Q", format="d"),
        alt.Tooltip("state:N"),
        alt.Tooltip("epoch:Q", format="d"),
        alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
    ]
    lines = alt.Chart(rows(frame)).encode(x=x, y=y, color=colour, detail="trial:N")
    layers = [
        lines.mark_line(strokeWidth=1.5, opacity=0.6),
        alt.Chart(rows(ends))
        .mark_point(filled=True, size=55)
        .encode(x=x, y=y, color=colour, tooltip=tooltip),
    ]
    counts = ends["state"].value_counts()
    words = ", ".join(f"{count} {state}" for state, count in counts.items())
    return finished(
        alt.layer(*layers).properties(height=HEIGHT),
        "Who went on",
        ["Validation error of each trial at its rungs; a line ends where it stopped."],
        f"Validation error by epoch of {len(ends)} trials: {words}.",
    )


def state_colour(frame: pd.DataFrame) -> alt.Color:
    """Returns the colours of the states that there are."""
    there = {
        state: colour
        for state, colour in _STATES.items()
        if state in set(frame["state"])
    }
    scale = alt.Scale(domain=list(there), range=list(there.values()))
    return alt.Color(
        "state:N", scale=scale, legend=alt.Legend(title=None, symbolOpacity=1)
    )


def schedule_frame(ledger: Ledger) -> pd.DataFrame:
    """Returns the numbers of the members of a population, epoch by epoch.

    Returns:
        A row per member at the end, number and epoch: `member`, `chosen` (0 or 1),
        `axis`, `epoch` (those done before) and the `value` from there on.
    """
    columns = ["member", "chosen", "axis", "epoch", "value"]
    if not ledger.lineage:
        return pd.DataFrame(columns=columns)
    found = []
    for member in range(len(ledger.lineage[-1]["members"])):
        place, numbers = member, []
        for step in reversed(ledger.lineage):
            numbers.append(step["members"][place]["numbers"])
            place = step["members"][place]["from"]
        starts = [0, *(step["epoch"] for step in ledger.lineage)]
        for start, values in zip(starts, reversed(numbers)):
            for name, value in values.items():
                mine = int(member == ledger.chosen.get("number"))
                found.append((member, mine, name, start, value))
        for name, value in numbers[0].items():
            end = ledger.lineage[-1]["epoch"]
            mine = int(member == ledger.chosen.get("number"))
            found.append((member, mine, name, end, value))
    return pd.DataFrame(found, columns=columns)


def schedule_chart(frame: pd.DataFrame, space: Mapping[str, str]) -> Any:
    """Draws the schedule that a population has found; takes a `schedule_frame`."""
    names: Sequence[str] = frame["axis"].unique().tolist()
    panels = []
    for name in names:
        part = frame[frame["axis"] == name]
        log = space[name].startswith("log:")
        more: dict[str, Any] = {"type": "log"} if log else {"zero": False}
        scale = alt.Scale(padding=6, **more)
        base = alt.Chart(rows(part)).encode(
            x=alt.X("epoch:Q", title="epoch").axis(tickMinStep=1, format="d"),
            y=alt.Y("value:Q", title=name, scale=scale),
            detail="member:N",
        )
        others = base.transform_filter("datum.chosen == 0")
        mine = base.transform_filter("datum.chosen == 1")
        panels.append(
            alt.layer(
                others.mark_line(
                    style="others", strokeWidth=1.2, interpolate="step-after"
                ),
                mine.mark_line(style="first", strokeWidth=3, interpolate="step-after"),
            ).properties(width=WIDTH, height=120)
        )
    chosen = frame[frame["chosen"] == 1]
    words = [
        f"{name} from {some.iloc[0]:.4g} to {some.iloc[-1]:.4g}"
        for name, some in chosen.groupby("axis", sort=False)["value"]
    ]
    return finished(
        alt.vconcat(*panels),
        "The schedule that was found",
        ["Numbers of the best member, and of those that were there at the end."],
        f"Of the best member: {', '.join(words)}.",
    )
