"""Images: mistakes, digits that all miss, weights, and a contact sheet."""

from collections import Counter
from typing import Any

import altair as alt
import pandas as pd

from mnistopt.report.charts.theme import chosen_or_best, finished, picked, rows
from mnistopt.results.sheets import MOST, SEPARATOR

COLUMNS = 4
# What no class has in its name; page.js has the same.
BETWEEN = "\x1f"


def _tally(votes: str) -> str:
    """Writes what the seeds say as counts: "7 | 7 | 9" as 7 ×2, 9 ×1."""
    counts = Counter(votes.split(SEPARATOR))
    return ", ".join(f"{name} ×{count}" for name, count in counts.most_common())


def mistakes_chart(frame: pd.DataFrame) -> Any:
    """Draws the most confidently misread images of the chosen point.

    Where the parameter `cell` is set, the names of two classes joined by `BETWEEN`, it
    is those of the first that are taken for the second.

    Args:
        frame: The table from `sheets.read_mistakes`, with `label` and `rank`.
    """
    choice, cell = picked(), alt.param(name="cell", value="")
    cells = frame["true"] + BETWEEN + frame["vote"]
    inside = frame.assign(cell=cells).groupby(["label", "cell"]).cumcount()
    placed = _placed(frame).assign(cell=cells, inside=inside)
    first = placed[(placed["rank"] == 0) & (placed["place"] < MOST)]
    high = len(first) // COLUMNS + (len(first) % COLUMNS > 0) or 1
    chosen = "cell == '' ? datum.place : datum.cell == cell ? datum.inside : 99"
    base = (
        alt.Chart(rows(placed))
        .transform_filter(chosen_or_best(choice))
        .transform_calculate(at=chosen)
        .transform_filter(f"datum.at < {MOST}")
    )
    shown = first["text"].tolist()
    return finished(
        alt.layer(*_images(base, MOST // COLUMNS, "each seed's answer"))
        .properties(height=130 * (MOST // COLUMNS if len(placed) > MOST else high))
        .add_params(choice, cell),
        "Surely wrong",
        [
            "The test images that the seeds' vote misreads with most confidence,",
            "and each seed's answer; of the best or the selected setting.",
        ],
        f"The most confidently misread images of the best setting: {', '.join(shown)}.",
    )


def hardest_chart(frame: pd.DataFrame) -> Any:
    """Draws the images that all points misread.

    Args:
        frame: The rows of `sheets.EVERY` in the table from `sheets.read_mistakes`.
    """
    points = len(frame["votes"].iloc[0].split(SEPARATOR))
    placed = _placed(frame)
    high = -(-len(placed) // COLUMNS)
    base = alt.Chart(rows(placed.assign(label=""))).transform_calculate(
        at="datum.place"
    )
    return finished(
        alt.layer(*_images(base, high, "each setting's answer")).properties(
            height=130 * high
        ),
        "Missed by all",
        [
            f"Test images that the votes of all {points} settings misread: what all",
            "take them for together, and how often each answer was given.",
        ],
        f"{len(placed)} images that all settings misread.",
    )


def doubtful_chart(frame: pd.DataFrame) -> Any:
    """Draws digits whose label is doubtful, with what people and networks say.

    Args:
        frame: The rows of `study.recipes.doubtful_rows`.
    """
    digits = frame.to_dict("records")
    placed = frame.assign(
        at=range(len(digits)),
        text=[f"label {row['label']}, vote {row['vote']}" for row in digits],
        sure=[f"{row['confidence']:.0f} % sure" for row in digits],
        said=[
            ", ".join(
                f"{seen} ×{row[saw]}"
                for seen, saw in (
                    (row["label"], "saw_label"),
                    (row["guess"], "saw_guess"),
                    ("neither", "saw_neither"),
                )
                if row[saw]
            )
            for row in digits
        ],
        votes="",
        label="",
        index=frame["number"],
    )
    high = -(-len(placed) // COLUMNS)
    right = int((frame["vote"] == frame["label"]).sum())
    return finished(
        alt.layer(*_images(alt.Chart(rows(placed)), high, "")).properties(
            height=130 * high
        ),
        "Which is it?",
        [
            "Test digits in which fewer than three of five people saw what the label",
            "says (Northcutt et al. 2021), what the networks take them for, and below",
            "what the five saw.",
        ],
        f"{len(frame)} digits with doubtful labels; the vote is as the label for "
        f"{right} of them.",
    )


def _placed(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns images with the words that stand below them."""
    return frame.assign(
        text=[
            f"{true} read as {vote}" for true, vote in zip(frame["true"], frame["vote"])
        ],
        sure=[f"{confidence:.0f} % sure" for confidence in frame["confidence"]],
        said=frame["votes"].map(_tally),
    )


def _images(base: Any, high: int, whose: str) -> list[Any]:
    """Returns layers of images in `high` rows, by their number `at`."""
    base = base.transform_calculate(
        x=f"datum.at % {COLUMNS}", y=f"floor(datum.at / {COLUMNS})"
    ).encode(
        x=alt.X("x:Q", axis=None).scale(domain=[-0.5, COLUMNS - 0.5], nice=False),
        y=alt.Y("y:Q", axis=None).scale(
            domain=[high - 0.31, -0.31], nice=False, zero=False
        ),
        tooltip=[
            alt.Tooltip("label:N", title="setting"),
            alt.Tooltip("index:Q", title="test image", format="d"),
            alt.Tooltip("votes:N", title=whose),
        ],
    )
    return [
        base.mark_image(width=64, height=64, smooth=False).encode(url="image:N"),
        base.mark_text(dy=43).encode(text="text:N"),
        base.mark_text(style="soft", dy=59, fontSize=11).encode(text="sure:N"),
        base.mark_text(style="soft", dy=73, fontSize=11).encode(text="said:N"),
    ]


def weights_chart(frame: pd.DataFrame) -> Any:
    """Draws the first layer's weights; takes the table of `sheets.read_weights`."""
    columns = 8
    high = -(-len(frame) // columns)
    base = alt.Chart(rows(frame)).transform_calculate(
        x=f"datum.place % {columns}", y=f"floor(datum.place / {columns})"
    )
    kind = frame["kind"].iloc[0]
    what = "units" if kind == "dense" else "filters"
    layer = base.mark_image(width=54, height=54, smooth=False).encode(
        x=alt.X("x:Q", axis=None).scale(domain=[-0.5, columns - 0.5], nice=False),
        y=alt.Y("y:Q", axis=None).scale(domain=[high - 0.5, -0.5], nice=False),
        url="image:N",
    )
    return finished(
        layer.properties(height=62 * high),
        "What the first layer looks for",
        [
            f"Weights of the best replica's {len(frame)} {what} with the largest ones:",
            "blue for ink that excites, orange for ink that inhibits, white for none.",
        ],
        f"Weights of the first layer, {kind}, of {len(frame)} {what}.",
    )


# Pixels of an image on the sheet, and from one to the next.
_SIZE, _STEP = 40, 46


def samples_chart(frame: pd.DataFrame) -> Any:
    """Draws images as they are, and as each setting changes them.

    Args:
        frame: The table from `sheets.read_samples`.
    """
    lines = frame[["row", "draw"]].drop_duplicates().reset_index(drop=True)
    # A setting's draws stand together, a little apart from the next.
    lines["y"] = lines.index * _STEP + 22 * (lines["row"] + 1)
    placed = frame.merge(lines, on=["row", "draw"])
    placed["x"] = placed["place"] * _STEP + _STEP / 2
    heads = placed[(placed["draw"] == 0) & (placed["place"] == 0)]
    wide, high = int(placed["x"].max() + _STEP / 2), int(placed["y"].max() + _STEP)
    x = alt.X("x:Q", axis=None).scale(domain=[0, wide], nice=False)
    y = alt.Y("y:Q", axis=None).scale(domain=[high, 0], nice=False)
    layers = [
        alt.Chart(rows(placed[["x", "y", "image", "setting"]]))
        .mark_image(width=_SIZE, height=_SIZE, smooth=False, baseline="top")
        .encode(x=x, y=y, url="image:N", tooltip="setting:N"),
        alt.Chart(rows(heads[["y", "setting"]]))
        .mark_text(align="left", baseline="bottom", dy=-4)
        .encode(x=alt.value(3), y=y, text="setting:N"),
    ]
    settings = frame["setting"].unique()[1:]
    return finished(
        alt.layer(*layers).properties(width=wide, height=high),
        "What the network sees",
        ["Training images as they are, and two draws of each augmentation."],
        f"Training images changed by: {'; '.join(settings)}.",
    )
