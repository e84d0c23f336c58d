"""Charts in a notebook: a still that is always seen, and the live chart if it can be.

Altair's own page loads Vega from a network, and is blank without one, or where a web
view runs no scripts.
"""

import base64
import json
from typing import Any

import altair as alt

from mnistopt.report.charts.pictures import to_png

NAME = "mnistopt"
# What the live chart is drawn by (https://github.com/vega/vega-embed).
_EMBED = "https://cdn.jsdelivr.net/npm/vega-embed@{version}/+esm"
# Alike stills may stand in a page twice: each script takes one that none has taken.
_PAGE = """<div><img alt="{words}" style="max-width: 100%" src="{still}"></div>
<script type="module">
const still = [...document.querySelectorAll('img[src^="{start}"]')]
  .find((image) => image.src === "{still}" && !image.dataset.live);
if (still) {{
  still.dataset.live = "asked";
  try {{
    const {{ default: embed }} = await import("{embed}");
    const place = document.createElement("div");
    await embed(place, {spec}, {{ actions: false }});
    still.replaceWith(place);
  }} catch {{
    // Without a network the still stays.
  }}
}}
</script>
"""


def show_charts_inline() -> None:
    """Lets Altair show charts in this notebook so, unless it was told how to."""
    if alt.renderers.active != "default":
        return
    usual = alt.renderers.get()

    def bundle(spec: dict[str, Any], **options: Any) -> Any:
        # A chart of the user's own may have data that we do not fetch.
        try:
            return _bundle(spec)
        except ValueError:
            return usual(spec, **options) if usual else {}

    alt.renderers.register(NAME, bundle)
    alt.renderers.enable(NAME)


def _bundle(spec: dict[str, Any]) -> dict[str, Any]:
    """Returns what a notebook may show of a chart, by MIME type."""
    png = to_png(spec)
    still = "data:image/png;base64," + base64.b64encode(png).decode()
    words = str(spec.get("description", "")).replace('"', "'").replace("<", "(")
    html = _PAGE.format(
        words=words,
        still=still,
        start=still[:40],
        embed=_EMBED.format(version=alt.VEGAEMBED_VERSION),
        # No text of a study ends the script.
        spec=json.dumps(spec).replace("<", "\\u003c"),
    )
    return {"text/html": html, "image/png": png}
