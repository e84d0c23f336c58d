"""What reading scans leaves behind: a table, marked pages, and a page to type on."""

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mnistopt.files import replacing, write_text
from mnistopt.study.fields.calibrated import CELLS, FREE
from mnistopt.study.fields.reader import Sheet
from mnistopt.study.fields.reject import CONFIDENCE, needed
from mnistopt.study.fields.run import Read, Value

TABLE, TYPING, SUMMARY, PAGES = "fields.csv", "type.html", "summary.txt", "pages"
# Pixels of the width of a marked page, and its quality as JPEG.
WIDTH, QUALITY = 1000, 80
# Blue, green, red, of what is taken over and what is not.
_ACCEPTED, _DOUBTED = (90, 150, 0), (0, 90, 220)


class Folder:
    """The folder that gets what scans say, page by page."""

    def __init__(self, path: Path):
        """Makes it.

        Args:
            path: The folder.
        """
        (path / PAGES).mkdir(parents=True, exist_ok=True)
        self.path = path
        self._pictures: dict[tuple[str, str], str] = {}
        self._pages: dict[str, str] = {}

    def on_page(self, sheet: Sheet, values: Sequence[Value]) -> None:
        """Draws a page, and keeps the pictures of fields that are to be typed."""
        if sheet.page.grey is None:
            return
        name = sheet.page.name.replace("#", " page ")
        with replacing(self.path / PAGES / f"{name}.jpg") as part:
            part.write_bytes(_jpeg(marked(sheet.page.grey, values)))
        if sheet.why:
            # What stands on it a person may still see.
            self._pages[sheet.page.name] = picture_url(_small(sheet.page.grey))
        for value in values:
            if not value.accepted and value.reading:
                picture = picture_url(value.reading.spot.picture)
                self._pictures[value.page, value.field] = picture

    def finish(self, read: Read) -> None:
        """Writes the table, the summary, and the page to type on."""
        table = read.table.assign(probability=read.table["probability"].round(6))
        text = table.to_csv(index=False)
        write_text(self.path / TABLE, text)
        write_text(self.path / SUMMARY, "\n".join(summary(read)) + "\n")
        rows = [
            {
                "page": value.page,
                "field": value.field,
                "value": value.value,
                "accepted": value.accepted,
                "why": value.why,
                "picture": self._pictures.get((value.page, value.field), ""),
            }
            for value in read.values
        ]
        write_text(self.path / TYPING, page("type", rows=rows, pages=self._pages))


def page(name: str, **given: Any) -> str:
    """Returns one of the pages, which needs no network.

    Args:
        name: "type" or "layout".
        given: What its script gets, as JSON has it.
    """
    here = files("mnistopt.study.fields")
    # Nothing that is given may end the script.
    data = json.dumps(given).replace("<", "\\u003c")
    parts = {
        "style": (here / "pages.css").read_text(encoding="utf-8"),
        "script": (here / f"{name}.js").read_text(encoding="utf-8"),
        "data": data,
    }
    text = (here / f"{name}.html").read_text(encoding="utf-8")
    for part, content in parts.items():
        text = text.replace("{{ " + part + " }}", content)
    return text


def marked(grey: np.ndarray, values: Sequence[Value]) -> np.ndarray:
    """Returns a page with its fields marked, green if they are taken over.

    Args:
        grey: uint8 [H, W].
        values: What its fields are taken for.

    Returns:
        Blue, green and red, uint8 [H', W', 3].
    """
    small = _small(grey)
    scale = small.shape[1] / grey.shape[1]
    drawn = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    for value in values:
        if value.reading is None:
            continue
        corners = np.rint(scale * value.reading.spot.corners).astype(np.int32)
        colour = _ACCEPTED if value.accepted else _DOUBTED
        cv2.polylines(drawn, [corners], True, colour, 2, cv2.LINE_AA)
        text = value.value + ("" if value.accepted else " ?")
        x, y = (int(v) for v in corners[0])
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(drawn, text, (x, y - 5), font, 0.6, colour, 2, cv2.LINE_AA)
    return drawn


def _small(grey: np.ndarray) -> np.ndarray:
    """Returns a page, uint8 [H, W], as wide as it is shown."""
    width = min(WIDTH, grey.shape[1])
    height = max(1, round(width / grey.shape[1] * grey.shape[0]))
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)


def _jpeg(pixels: np.ndarray) -> bytes:
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return coded.tobytes()


def picture_url(pixels: np.ndarray) -> str:
    """Returns a picture, uint8 [H, W], as what a page shows without another file."""
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(pixels)).decode()


def summary(read: Read) -> list[str]:
    """Returns what has been read, in words, a line each."""
    count = len(read.values)
    accepted = sum(value.accepted for value in read.values)
    lines = [
        f"{len(read.pages) + len(read.skipped)} pages, {count} fields: {accepted} "
        f"taken over, {count - accepted} to be typed"
    ]
    for kind, claim in read.claims.items():
        lines.append(f"{_KINDS[kind]}: {_claimed(claim, read.max_error)}")
    for name, how in read.pages.items():
        if "turned" in how:
            lines.append(f"{name}: found by {how}")
    lines += [f"{name} was skipped: {why}" for name, why in read.skipped.items()]
    return lines


_KINDS = {CELLS: "fields with cells", FREE: "fields written freely"}


def _claimed(claim: Any, max_error: float) -> str:
    if claim.accepted:
        return (
            f"of {claim.known:,} known fields {claim.accepted:,} would be taken over, "
            f"{claim.wrong} of them wrong; at most {100 * max_error:g} % are, with "
            f"{100 * CONFIDENCE:g} % confidence, of fields like those"
        )
    least = needed(max_error)
    return (
        f"none is taken over: {claim.known:,} known fields do not show that at most "
        f"{100 * max_error:g} % would be wrong, for which it takes at least "
        f"{least:,} without an error among the surest"
    )
