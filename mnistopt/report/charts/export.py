"""Pictures as files, without a browser."""

from pathlib import Path

import altair as alt
import vl_convert

from mnistopt.files import replacing
from mnistopt.report.charts.pictures import Picture

# Pixels per unit of the chart: 1,160 for its usual width.
SCALE = 2


def vegalite_version() -> str:
    """Returns the version of Vega-Lite that the charts are written in, as "6.4"."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def to_svg(picture: Picture) -> str:
    """Returns a picture as SVG."""
    # None of its data is elsewhere: nothing may be fetched.
    return vl_convert.vegalite_to_svg(
        picture.spec, vl_version=vegalite_version(), allowed_base_urls=[]
    )


def write_picture(folder: Path, name: str, picture: Picture) -> bytes:
    """Writes NAME.png, .svg and .pdf, and its numbers as .csv; returns the PNG.

    Args:
        folder: Where they go.
        name: Of the picture.
        picture: The picture.
    """
    svg = to_svg(picture)
    contents = {
        "svg": svg.encode(),
        "png": vl_convert.svg_to_png(svg, scale=SCALE),
        "pdf": vl_convert.svg_to_pdf(svg),
        "csv": picture.frame.to_csv(index=False).encode(),
    }
    for form, content in contents.items():
        with replacing(folder / f"{name}.{form}") as partial:
            partial.write_bytes(content)
    return contents["png"]
