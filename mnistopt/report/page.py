"""One page of words, pictures and tables: a single file that needs no network."""

import base64
import contextlib
import functools
import gzip
import importlib.metadata
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
import vl_convert
from markupsafe import Markup

from mnistopt.data.load import CACHE_DIR
from mnistopt.files import replacing
from mnistopt.report.charts.pictures import (
    Picture,
    check_drawing,
    to_svg,
    vegalite_version,
)
from mnistopt.report.charts.theme import LIGHT, PAGE

# Room for half of a number at the end of an axis.
_PADDING = {"left": 4, "top": 4, "right": 16, "bottom": 4}


class Table(NamedTuple):
    """A table that a click on a column's name sorts.

    Attributes:
        caption: The table's caption.
        frame: The cells, of text or whole numbers; the first column names the rows.
        labels: Per row the label of its point, which its first cell chooses; or None.
        folded: Whether only the caption shows at first.
        name: The name of the file that it is saved as, without its ending.
    """

    caption: str
    frame: pd.DataFrame
    labels: Sequence[str] | None = None
    folded: bool = False
    name: str = "table"


class Section(NamedTuple):
    """A part of the page under a heading.

    Attributes:
        title: The heading.
        text: Paragraphs in HTML.
        pictures: The pictures by name.
        tables: Below the pictures.
        one_at_a_time: Whether a menu chooses the picture that is shown.
    """

    title: str
    text: Markup = Markup("")
    pictures: Mapping[str, Picture] = {}
    tables: Sequence[Table] = ()
    one_at_a_time: bool = False


@functools.cache
def _vega() -> Markup:
    """Returns Vega, Vega-Lite and Vega-Embed, safe inside a script element.

    Bundling them takes over a second, so the bundle is kept.
    """
    name = (
        f"vega-{vegalite_version()}-{importlib.metadata.version('vl-convert-python')}"
    )
    # Packed, as a packed file shows whether it is whole.
    path = Path(CACHE_DIR).expanduser() / f"{name}.js.gz"
    with contextlib.suppress(OSError, EOFError, ValueError, zlib.error):
        if text := gzip.decompress(path.read_bytes()).decode():
            return Markup(text)
    check_drawing()
    bundle = vl_convert.javascript_bundle(vl_version=vegalite_version())  # type: ignore[call-arg]
    text = bundle.replace("</script", "<\\/script")
    with contextlib.suppress(OSError), replacing(path) as partial:
        partial.write_bytes(gzip.compress(text.encode()))
    return Markup(text)


def _packed(content: Any) -> Markup:
    """Returns JSON, compressed to a tenth, as text."""
    text = json.dumps(content, separators=(",", ":"))
    return Markup(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode())


def _spec(picture: Picture) -> dict[str, Any]:
    """Returns a chart as the page draws it: as wide as there is room, its own title."""
    left_out = ("title", "config", "description", "$schema")
    spec = {name: part for name, part in picture.spec.items() if name not in left_out}
    # Which points it has, for a choice made elsewhere; and its title, for a file.
    labels = picture.frame.get("label", pd.Series(dtype=str)).unique().tolist()
    about = {"labels": labels, "title": picture.spec["title"]}
    # Panels have widths of their own.
    panels = {"facet", "hconcat", "vconcat", "concat"} & set(spec)
    wide = {} if panels else {"width": "container"}
    return spec | wide | {"usermeta": about}


def _still(png: bytes) -> str:
    """Returns a picture for readers without JavaScript, as a small data URL."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.resize((image.width * 5 // 8, image.height * 5 // 8))
    file = io.BytesIO()
    # Other methods lose the lines' colours to the shades of their bands.
    few = image.quantize(64, method=Image.Quantize.FASTOCTREE)
    few.save(file, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def image(picture: Picture) -> Markup:
    """Returns a still picture as HTML."""
    url = _still(vl_convert.svg_to_png(to_svg(picture), scale=2))
    tag = Markup('<img src="{}" alt="{}" style="max-width: 100%">')
    return tag.format(url, picture.spec["description"])


def render(
    title: str,
    lead: str,
    notice: str,
    sections: Sequence[Section],
    stills: Mapping[str, bytes],
) -> str:
    """Returns the page.

    Args:
        title: The page's heading.
        lead: A sentence below it.
        notice: A notice to show first, or "".
        sections: The parts of the page.
        stills: Each picture as PNG, by name.
    """
    pictures = {
        name: picture
        for section in sections
        for name, picture in section.pictures.items()
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mnistopt.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(
        title=title,
        lead=lead,
        notice=notice,
        sections=sections,
        stills={name: _still(png) for name, png in stills.items()},
        specs=_packed({name: _spec(picture) for name, picture in pictures.items()}),
        config={"page": PAGE | {"padding": _PADDING}, "file": LIGHT},
        vega=_vega(),
    )
