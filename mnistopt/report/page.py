"""One page of words, pictures and tables: a single file that needs no network."""

import base64
import functools
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import jinja2
import vl_convert
from markupsafe import Markup

from mnistopt.charts.export import vegalite_version
from mnistopt.charts.pictures import Picture
from mnistopt.charts.theme import PAGE, WIDTH


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: What is shown.
        order: What the column is sorted by; None where it is no number.
    """

    text: str
    order: float | None = None


class Table(NamedTuple):
    """A table that a click on a column's name sorts.

    Attributes:
        caption: What it shows.
        columns: Their names.
        rows: A list of cells each; the first cell names the row.
        labels: Per row the label of its point, which its first cell chooses; or None.
        folded: Whether only the caption shows at first.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    labels: Sequence[str] | None = None
    folded: bool = False


class Section(NamedTuple):
    """A part of the page under a heading.

    Attributes:
        title: The heading.
        text: Paragraphs in HTML.
        pictures: By name.
        tables: Below the pictures.
    """

    title: str
    text: Markup = Markup("")
    pictures: Mapping[str, Picture] = {}
    tables: Sequence[Table] = ()


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mnistopt.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html")


@functools.cache
def _asset(name: str) -> Markup:
    return Markup(resources.files("mnistopt.report").joinpath(name).read_text())


@functools.cache
def _vega() -> Markup:
    """Returns Vega, Vega-Lite and Vega-Embed, safe inside a script element."""
    bundle = vl_convert.javascript_bundle(vl_version=vegalite_version())  # type: ignore[call-arg]
    return Markup(bundle.replace("</script", "<\\/script"))


def _json(content: Any) -> Markup:
    """Returns JSON that cannot end the script element it stands in."""
    text = json.dumps(content, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _spec(picture: Picture) -> dict[str, Any]:
    """Returns a chart as the page draws it: as wide as there is room, its own title."""
    spec = picture.chart.to_dict()
    for name in ("title", "config", "description", "$schema"):
        spec.pop(name, None)
    return spec | {"width": "container"}


def _still(svg: str) -> str:
    """Returns a picture for readers without JavaScript, as the data URL of a PNG."""
    from PIL import Image

    image = Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=1.25)))
    file = io.BytesIO()
    image.convert("RGB").quantize(64).save(file, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def render(
    title: str,
    lead: str,
    notice: str,
    sections: Sequence[Section],
    stills: Mapping[str, str],
) -> str:
    """Returns the page.

    Args:
        title: Its heading.
        lead: A sentence below it.
        notice: What a reader must know first, or "".
        sections: Its parts.
        stills: Each picture as SVG, by name.
    """
    pictures = {
        name: picture for one in sections for name, picture in one.pictures.items()
    }
    heads = {
        name: (chart["title"]["text"], " ".join(chart["title"].get("subtitle", [])))
        for name, chart in ((n, p.chart.to_dict()) for n, p in pictures.items())
    }
    return _template().render(
        title=title,
        lead=lead,
        notice=notice,
        sections=sections,
        heads=heads,
        alts={name: one.chart.description for name, one in pictures.items()},
        stills={name: _still(svg) for name, svg in stills.items()},
        specs=_json({name: _spec(picture) for name, picture in pictures.items()}),
        config=_json(PAGE | {"padding": 4}),
        style=_asset("page.css"),
        script=_asset("page.js"),
        vega=_vega(),
        width=WIDTH,
    )
