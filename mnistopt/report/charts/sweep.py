"""What the swept hyper-parameters do: a heat map of two, parallel lines of more."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import pandas as pd

from mnistopt.axes import tell_apart
from mnistopt.report.charts.points import rank_colour
from mnistopt.report.charts.theme import (
    HEIGHT,
    PALETTE,
    TOP,
    WIDTH,
    faded,
    finished,
    picked,
    rows,
)
from mnistopt.results.columns import varying_axes


def _measured(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the points that have a mean, with their validation error in per cent."""
    table = summary.assign(error=100 * (1 - summary["validation_accuracy_mean"]))
    return table[table["n"] > 0]


def _text(column: pd.Series) -> pd.Series:
    """Returns the values of a hyper-parameter as text, "none" where it has none."""
    texts = tell_apart(column.dropna())
    return column.map(lambda value: texts.get(value) or "none").astype(str)


def _values(column: pd.Series) -> list[str]:
    """Returns the values of a hyper-parameter as text, ascending, none first."""
    once = column.drop_duplicates()
    if column.dtype.kind in "iuf":
        once = once.sort_values()
    return _text(pd.concat([once[once.isna()], once.dropna()])).tolist()


# Values of a third hyper-parameter that have a panel each.
PANELS = 4


def is_grid(summary: pd.DataFrame) -> bool:
    """Says whether the swept hyper-parameters fit a heat map, or panels of some."""
    axes = _ordered(_measured(summary), varying_axes(summary))
    few = len(axes) == 3 and summary[axes[2]].nunique(dropna=False) <= PANELS
    return len(axes) == 2 or few


def _ordered(table: pd.DataFrame, axes: Iterable[str]) -> list[str]:
    """Returns hyper-parameters of a table of points, those with most values first."""
    return sorted(axes, key=lambda axis: -table[axis].nunique())


def _axes(table: pd.DataFrame, first: str, second: str) -> dict[str, Any]:
    """Returns the encodings of a heat map of two hyper-parameters, x and y."""
    flat = alt.Axis(labelAngle=0, labelOverlap=True)
    return {
        "x": alt.X("x:N", sort=_values(table[first]), title=first, axis=flat),
        "y": alt.Y("y:N", sort=_values(table[second])[::-1], title=second),
    }


def _height(frame: pd.DataFrame) -> int:
    """Returns the height of a heat map."""
    return max(90, 52 * frame["y"].nunique())


def grid_frame(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point of a study that sweeps two or three hyper-parameters.

    Returns:
        `label` and `rank`; `x`, `y` and, of three, `panel`, their values as text, of
        which x has most; and `error`, the mean validation error in per cent, of `n`
        seeds.
    """
    table = _measured(summary)
    columns = {name: table[name] for name in ("label", "rank", "error", "n")}
    axes = _ordered(table, varying_axes(summary))
    texts = {
        place: _text(table[axis]) for place, axis in zip(("x", "y", "panel"), axes)
    }
    if "panel" in texts:
        texts["panel"] = f"{axes[2]} " + texts["panel"]
    return pd.DataFrame(columns | texts)


def grid_chart(frame: pd.DataFrame, summary: pd.DataFrame) -> Any:
    """Draws the validation error over the hyper-parameters of a `grid_frame`."""
    choice = picked()
    table = _measured(summary)
    first, second, *third = _ordered(table, varying_axes(summary))
    base = (alt.Chart() if third else alt.Chart(rows(frame))).encode(
        **_axes(table, first, second),
        tooltip=[
            alt.Tooltip("label:N", title="setting"),
            alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
            alt.Tooltip("n:Q", title="seeds"),
        ],
    )
    cells, numbers = _cells(base, frame, faded(choice))
    best_cell = base.transform_filter("datum.rank == 0").mark_rect(
        style="frame", filled=False, strokeWidth=4, cornerRadius=3
    )
    layers = [cells, best_cell, numbers]
    best = frame.sort_values("rank").iloc[0]
    height = _height(frame)
    if third:
        panels = [f"{third[0]} {value}" for value in _values(table[third[0]])]
        width = max(120, min(54 * frame["x"].nunique(), WIDTH))
        facet = alt.Facet("panel:N", sort=panels, title=None)
        layered = alt.layer(*layers, data=rows(frame)).add_params(choice)
        layered = layered.properties(width=width, height=height)
        chart = layered.facet(facet, columns=max(1, WIDTH // width))
    else:
        chart = alt.layer(*layers).properties(height=height).add_params(choice)
    names = [first, second, *third]
    return finished(
        chart,
        " × ".join(names),
        ["Mean validation error in per cent; the best setting is framed."],
        f"Validation error by {', '.join(names)}; least, {best['error']:.2f} %, at "
        f"{best['label']}.",
    )


def pair_frame(summary: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Returns a row per pair of values of two hyper-parameters.

    Returns:
        `x` and `y`, the values as text, of which x has more; and `error`, the mean
        validation error in per cent of the `n` points that have them.
    """
    table = _measured(summary).dropna(subset=[first, second])
    first, second = _ordered(table, (first, second))
    texts = table.assign(x=_text(table[first]), y=_text(table[second]))
    means = texts.groupby(["x", "y"], sort=False)["error"].agg(["mean", "size"])
    return means.reset_index().rename(columns={"mean": "error", "size": "n"})


def pair_chart(frame: pd.DataFrame, summary: pd.DataFrame, *axes: str) -> Any:
    """Draws how the effect of one axis depends on another; takes a `pair_frame`."""
    table = _measured(summary).dropna(subset=list(axes))
    first, second = _ordered(table, axes)
    base = alt.Chart(rows(frame)).encode(
        **_axes(table, first, second),
        tooltip=[
            alt.Tooltip("x:N", title=first),
            alt.Tooltip("y:N", title=second),
            alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
            alt.Tooltip("n:Q", title="settings"),
        ],
    )
    best = frame.sort_values("error").iloc[0]
    return finished(
        alt.layer(*_cells(base, frame)).properties(height=_height(frame)),
        f"{first} × {second}: they depend on each other",
        ["Mean validation error in per cent, over all other settings and seeds."],
        f"Validation error by {first} and {second}; least, {best['error']:.2f} %, at "
        f"{first} {best['x']}, {second} {best['y']}.",
    )


def _cells(base: Any, frame: pd.DataFrame, opacity: Any = alt.Undefined) -> list[Any]:
    """Returns layers of the cells of a heat map, and of their numbers."""
    positive = (frame["error"] > 0).all()
    scale = alt.Scale(scheme="viridis", type="log" if positive else "linear")
    middle = (frame["error"].min() * frame["error"].max()) ** 0.5
    colour = alt.Color("error:Q", scale=scale, legend=None)
    return [
        base.mark_rect(cornerRadius=3).encode(color=colour, opacity=opacity),
        base.mark_text(fontSize=14).encode(
            text=alt.Text("error:Q", format=".2f"),
            color=alt.when(f"datum.error > {middle:.6g}")
            .then(alt.value("black"))
            .otherwise(alt.value("white")),
        ),
    ]


def parallel_frame(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point and swept hyper-parameter, and one for its error.

    Returns:
        `label` and `rank`; `axis`, and its `order` from the left; `value` as text, and
        its `position` on the axis from 0 (bottom, the least) to 1; `error`, the
        point's mean validation error in per cent.
    """
    table = _measured(summary).head(TOP)
    axes = varying_axes(summary)
    low, high = table["error"].min(), table["error"].max()
    frames = []
    for order, axis in enumerate([*axes, "error %"]):
        part = table[["label", "rank", "error"]].assign(axis=axis, order=order)
        if axis in axes:
            values = _values(table[axis])
            part["value"] = _text(table[axis])
            part["position"] = [
                values.index(text) / max(1, len(values) - 1) for text in part["value"]
            ]
        else:
            part["value"] = [f"{error:.2f}" for error in part["error"]]
            part["position"] = (part["error"] - low) / max(high - low, 1e-9)
        frames.append(part)
    return pd.concat(frames, ignore_index=True)


def parallel_axes(names: Sequence[str]) -> tuple[Any, Any]:
    """Returns the encodings of parallel coordinates, an axis for each name."""
    x = alt.X(
        "axis:N",
        sort=names,
        title=None,
        axis=alt.Axis(labelAngle=0, grid=True, orient="top", domain=False),
        scale=alt.Scale(type="point", padding=0.3),
    )
    return x, alt.Y("position:Q", axis=None, scale=alt.Scale(padding=10))


def parallel_chart(frame: pd.DataFrame) -> Any:
    """Draws a line per point through its hyper-parameters to its error."""
    choice = picked()
    names = frame.drop_duplicates("axis")["axis"].tolist()
    x, y = parallel_axes(names)
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
    ]
    base = alt.Chart(rows(frame)).encode(x=x, y=y, detail="label:N")
    ticks = frame.drop_duplicates(["axis", "value"])
    last = ticks["axis"] == names[-1]
    ends = ticks[last].sort_values("error").iloc[[0, -1]] if last.any() else ticks[:0]
    labels = alt.Chart(rows(pd.concat([ticks[~last], ends]))).encode(x=x, y=y)
    layers = [
        base.transform_filter(f"datum.rank < {len(PALETTE)}")
        .mark_line(strokeWidth=2.5)
        .encode(color=rank_colour(), opacity=faded(choice), tooltip=tooltip),
        base.mark_point(filled=True, size=120, opacity=0).encode(tooltip=tooltip),
        *(
            labels.mark_text(style=style, align="left", dx=7, dy=-7).encode(
                text="value:N"
            )
            for style in ("halo", "ink")
        ),
    ]
    if frame["label"].nunique() > len(PALETTE):
        others = base.transform_filter(f"datum.rank >= {len(PALETTE)}")
        lines = others.mark_line(style="others", strokeWidth=1.2)
        layers.insert(0, lines.encode(opacity=faded(choice, 0.5), tooltip=tooltip))
    best = frame[frame["rank"] == frame["rank"].min()].iloc[0]
    return finished(
        alt.layer(*layers).properties(height=HEIGHT).add_params(choice),
        "All hyper-parameters",
        [f"One line per setting; coloured: the best {len(PALETTE)} by validation."],
        f"Parallel coordinates of {frame['label'].nunique()} settings; the best is "
        f"{best['label']} with {best['error']:.2f} % validation error.",
    )
