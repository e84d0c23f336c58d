"""How all charts look, and what they share: rows, titles, and the choice of a point."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

# Okabe and Ito's palette, distinct for colour-blind readers too
# (https://jfly.uni-koeln.de/color/), without its yellow, which is faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# More points than this cannot be read in a picture; the tables have all.
TOP = 60
WIDTH, HEIGHT = 560, 320


def _config(ink: str, soft: str, line: str, paper: str, palette: Sequence[str]):
    """Returns a Vega-Lite config: colours of text, of lesser text, of lines, below."""
    text = {"labelFontSize": 13, "titleFontSize": 14, "labelColor": ink}
    text |= {"titleColor": ink, "titleFontWeight": "normal", "labelLimit": 340}
    title = {"anchor": "start", "frame": "group", "fontSize": 18, "offset": 14}
    title |= {"subtitleFontSize": 13, "subtitlePadding": 6, "color": ink}
    axis = {"gridColor": line, "domainColor": soft, "tickColor": soft, **text}
    return {
        "background": paper,
        "padding": 10,
        "font": "Helvetica, Arial, sans-serif",
        "view": {
            "continuousWidth": WIDTH,
            "continuousHeight": HEIGHT,
            "discreteWidth": WIDTH,
            "stroke": None,
        },
        "title": title | {"subtitleColor": soft},
        "axis": axis,
        "axisY": {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "start"}
        | {"titleY": -10, "titleX": 0},
        "legend": {"orient": "bottom", "columns": 1, "symbolStrokeWidth": 3, **text}
        | {"titleFontSize": 13, "titleLimit": 0, "titleColor": soft, "labelLimit": 540},
        "header": {"labelFontSize": 13, "labelColor": ink, "titleColor": ink},
        "mark": {"color": soft},
        "text": {"color": ink, "fontSize": 13},
        "range": {"category": list(palette)},
        # Marks take their colours from here, so that a page can set others.
        "style": {
            "ink": {"color": ink},
            "soft": {"color": soft},
            "first": {"color": palette[0]},
            "second": {"color": palette[1]},
            "others": {"color": soft, "opacity": 0.5},
            "reference": {"color": soft, "strokeDash": [4, 4]},
            "frame": {"color": "#E69F00"},
            "halo": {"color": paper, "stroke": paper, "strokeWidth": 5},
        },
    }


# On white, for files and notebooks; and in the colours that a page's style sheet sets.
LIGHT = _config("#1B1F24", "#5A626C", "#E3E6EA", "#FFFFFF", PALETTE)
_VARIABLES = [f"var(--colour-{i})" for i in range(1, len(PALETTE) + 1)]
PAGE = _config("var(--ink)", "var(--soft)", "var(--line)", "var(--card)", _VARIABLES)


def rows(frame: pd.DataFrame) -> alt.InlineData:
    """Returns a frame as a chart's data: CSV, a third of JSON's size, six digits."""
    kinds = {"f": "number", "i": "number", "u": "number", "b": "boolean"}
    parse = {
        name: kinds.get(dtype.kind, "string") for name, dtype in frame.dtypes.items()
    }
    # As text "False" would be true.
    flags = frame.select_dtypes(bool).astype(int)
    text = frame.assign(**flags).to_csv(index=False, float_format="%.6g")
    return alt.InlineData(values=text, format={"type": "csv", "parse": parse})


def picked(legend: bool = False, clicked: bool = True) -> alt.Parameter:
    """Returns the choice of a point by a click on it, shared by the charts of a page.

    Args:
        legend: Whether the chart has a legend of points to click on.
        clicked: Whether a click on a mark chooses its point.
    """
    bind: dict[str, Any] = {"bind": "legend"} if legend else {}
    on = "click" if clicked else "click[false]"
    return alt.selection_point(name="picked", fields=["label"], on=on, **bind)


def faded(choice: alt.Parameter, full: float = 1.0) -> Any:
    """Returns an opacity that is low for what is not chosen, where anything is."""
    return alt.when(choice).then(alt.value(full)).otherwise(alt.value(0.08 * full))


def chosen_or_best(choice: alt.Parameter, rank: int = 0) -> Any:
    """Returns a filter of the rows of the point that is chosen.

    Args:
        choice: The choice from `picked`.
        rank: The rank of the point whose rows are shown where none is chosen.
    """
    none_chosen = f"!length(data('picked_store')) && datum.rank == {rank}"
    return alt.LogicalOrPredicate(
        **{"or": [{"param": choice.name, "empty": False}, none_chosen]}
    )


def positive_scale(values: pd.Series, **more: Any) -> alt.Scale:
    """Returns an axis, logarithmic where all values are positive."""
    kind: Any = {"type": "log"} if (values > 0).all() else {"zero": False}
    return alt.Scale(nice=False, **kind, **more)


def finished(chart: Any, title: str, subtitle: Sequence[str], alt_text: str) -> Any:
    """Returns a chart with its title, its words for those who cannot see, its look.

    Args:
        chart: The chart.
        title: The chart's title.
        subtitle: How to read it, in lines of at most 80 characters.
        alt_text: A description for those who cannot see it.
    """
    return chart.properties(
        title=alt.TitleParams(title, subtitle=list(subtitle)), description=alt_text
    ).configure(**LIGHT)


def row_words(base: Any) -> Any:
    """Returns a layer that writes the column `choice` at the end of each row."""
    words = base.transform_filter("datum.choice")
    return words.mark_text(style="soft", align="left", dx=8).encode(
        x=alt.value("width"), text="choice:N"
    )


def legend() -> alt.Legend:
    """Returns the legend of points."""
    title = "best first, by validation"
    return alt.Legend(title=title, symbolOpacity=1, symbolType="circle")


def rows_high(frame: pd.DataFrame) -> int:
    """Returns the height of a chart with a row per label."""
    return max(60, 26 * frame["label"].nunique())
