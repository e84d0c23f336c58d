"""The pages of scans: pictures, folders of them, and PDF files."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnistopt.data import pictures
from mnistopt.data.classes import natural
from mnistopt.errors import InputError
from mnistopt.files import check_path

# Dots per inch of a PDF's pages: digits of 4 mm are 31 pixels high.
DPI = 200
_EXPECTED = "a picture, a PDF file, or a folder of them"


class Page(NamedTuple):
    """A page.

    Attributes:
        name: Its file, and its number in it where there are several.
        grey: uint8 [H, W]; None if it cannot be read.
        why: Why it cannot be read, in words, or "".
    """

    name: str
    grey: np.ndarray | None
    why: str = ""


def find(path: str | Path) -> list[Path]:
    """Returns the files of scans at a path, by name.

    Raises:
        InputError: If there are none.
    """
    path = check_path("images", path) or Path()
    if not path.exists():
        raise InputError(f"images={path} is not there; expected {_EXPECTED}")
    if not path.is_dir():
        return [path]
    endings = pictures.suffixes() | {".pdf"}
    files = [
        file
        for file in path.iterdir()
        if file.is_file()
        and file.suffix.lower() in endings
        and not file.name.startswith(".")
    ]
    if not files:
        raise InputError(f"images={path} holds no scans; expected {_EXPECTED}")
    return sorted(files, key=lambda file: natural(file.name))


def read(file: Path) -> Iterator[Page]:
    """Yields the pages of a file; one that cannot be read, with why."""
    if file.suffix.lower() == ".pdf":
        yield from _read_pdf(file)
        return
    count = 1
    try:
        pixels = pictures.read_picture(file)
        count = _frames(file)
        name = f"{file.name}#1" if count > 1 else file.name
        yield Page(name, _grey(pictures.as_bytes(pixels, file)))
    except (InputError, OSError, ValueError) as error:
        yield Page(file.name, None, str(error))
    except MemoryError:
        yield Page(file.name, None, "it is too large for the memory")
    for number in range(1, count):
        name = f"{file.name}#{number + 1}"
        try:
            yield Page(name, _frame(file, number))
        except (OSError, ValueError, EOFError, MemoryError) as error:
            yield Page(name, None, f"page {number + 1} of {file} ({error})")


def _grey(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        pixels = np.rint(pictures.luma(pixels)).astype(np.uint8)
    return pixels


def _frames(file: Path) -> int:
    """Returns how many pages a TIFF has; of other pictures frames are no pages."""
    from PIL import Image

    with Image.open(file) as opened:
        return getattr(opened, "n_frames", 1) if opened.format == "TIFF" else 1


def _frame(file: Path, number: int) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as opened:
        opened.seek(number)
        pixels = np.asarray(opened)
        if pixels.dtype == np.uint16:
            return (pixels >> 8).astype(np.uint8)
        return np.asarray(opened.convert("L"))


def _read_pdf(file: Path) -> Iterator[Page]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
    except (pypdfium2.PdfiumError, OSError) as error:
        yield Page(file.name, None, f"{file} cannot be read as PDF ({error})")
        return
    with document:
        for number in range(len(document)):
            name = f"{file.name}#{number + 1}"
            try:
                page = document[number]
                bitmap = page.render(scale=DPI / 72, grayscale=True)
                pixels = np.array(bitmap.to_numpy())
                yield Page(name, pixels.reshape(pixels.shape[:2]))
                page.close()
            except pypdfium2.PdfiumError as error:
                yield Page(name, None, f"page {number + 1} of {file} ({error})")
