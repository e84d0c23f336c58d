"""What stands on paper beside handwriting, and what scanners and cameras do to it.

All of it is drawn as darkness, float32 [H, W] in [0, 1].
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Letters and signs that look like no digit.
LETTERS = "ABCDEFHJKLMNPRTUVWXYadefhkmnprtuvwxyk@#%&?+=*ÄÜ€$§"
WORDS = ("Name", "Datum", "Note", "EUR", "Punkte", "Konto", "Summe", "Betrag", "Nr.")


def line(dark: np.ndarray, start, end, width: float, level: float) -> None:
    """Draws a straight line between two points (x, y), at a level of darkness."""
    canvas = np.zeros(dark.shape, np.uint8)
    fixed = [tuple(int(round(16 * v)) for v in point) for point in (start, end)]
    cv2.line(canvas, *fixed, 255, max(1, round(width)), cv2.LINE_AA, 4)
    np.maximum(dark, level * canvas.astype(np.float32) / 255, out=dark)


def leader(dark: np.ndarray, start, end, step: float, width: float, level: float):
    """Draws dots from one point (x, y) to another."""
    canvas = np.zeros(dark.shape, np.uint8)
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    for share in np.arange(0, 1, step / max(length, step)):
        x, y = ((1 - share) * a + share * b for a, b in zip(start, end))
        centre = round(16 * x), round(16 * y)
        cv2.circle(canvas, centre, round(8 * width), 255, -1, cv2.LINE_AA, 4)
    np.maximum(dark, level * canvas.astype(np.float32) / 255, out=dark)


def text(words: str, height: float) -> np.ndarray:
    """Returns printed words, of about a height in pixels, cropped."""
    font = ImageFont.load_default(max(6.0, 1.35 * height))
    left, top, right, bottom = font.getbbox(words)
    picture = Image.new("L", (round(right - left) + 2, round(bottom - top) + 2))
    ImageDraw.Draw(picture).text((1 - left, 1 - top), words, 255, font)
    return np.asarray(picture, np.float32) / 255


def put(dark: np.ndarray, ink: np.ndarray, left: float, top: float) -> None:
    """Puts ink at a place, as far as it is on the page."""
    x, y = round(left), round(top)
    rows = slice(max(0, y), max(0, min(dark.shape[0], y + ink.shape[0])))
    columns = slice(max(0, x), max(0, min(dark.shape[1], x + ink.shape[1])))
    part = ink[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    if part.size:
        np.maximum(dark[rows, columns], part, out=dark[rows, columns])


def scribble(rng: np.random.Generator, height: float) -> np.ndarray:
    """Returns a mark that means nothing: a dash, a squiggle, a tick."""
    count = int(rng.integers(2, 7))
    points = np.cumsum(rng.normal(0, 0.3, (count, 2)), axis=0) * height
    points += np.linspace(0, rng.uniform(0, 1.2) * height, count)[:, None] * [1, 0]
    points = np.stack(
        [np.interp(np.linspace(0, count - 1, 40), range(count), p) for p in points.T], 1
    )
    points = cv2.blur(points, (1, 7), borderType=cv2.BORDER_REPLICATE)
    points -= points.min(axis=0)
    size = np.ceil(points.max(axis=0)).astype(int)[::-1] + 8
    canvas = np.zeros(size, np.uint8)
    fixed = np.rint((points + 4) * 16).astype(np.int32).reshape(-1, 1, 2)
    width = max(1, round(rng.uniform(0.06, 0.15) * height))
    cv2.polylines(canvas, [fixed], False, 255, width, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def letter(rng: np.random.Generator, height: float) -> np.ndarray:
    """Returns a letter as somebody may write it: thick, thin, leaning."""
    ink = text(str(rng.choice(list(LETTERS))), 2 * height)
    ink = np.pad(ink, round(0.5 * height))
    side = int(rng.integers(1, max(2, round(0.12 * height))))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * side + 1, 2 * side + 1))
    ink = cv2.dilate(ink, disk) if rng.random() < 0.5 else ink
    centre = ink.shape[1] / 2, ink.shape[0] / 2
    matrix = cv2.getRotationMatrix2D(centre, rng.normal(0, 12), 0.5)
    matrix[0, 1] += rng.normal(0, 0.15)
    return cv2.warpAffine(ink, matrix, ink.shape[::-1])


def stamp(rng: np.random.Generator, height: float) -> np.ndarray:
    """Returns a part of an office's stamp: a ring with words in it, inked unevenly."""
    side = round(rng.uniform(2.5, 5) * height)
    ring = np.zeros((side, side), np.uint8)
    centre = side // 2
    width = max(1, round(0.04 * height))
    cv2.circle(ring, (centre, centre), centre - width - 1, 255, width, cv2.LINE_AA)
    cv2.circle(ring, (centre, centre), round(0.75 * centre), 255, 1, cv2.LINE_AA)
    ink = ring.astype(np.float32) / 255
    words = text(str(rng.choice(WORDS)), 0.35 * height)
    put(ink, words, centre - words.shape[1] / 2, centre - words.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D((centre, centre), rng.uniform(-40, 40), 1)
    ink = cv2.warpAffine(ink, matrix, (side, side))
    uneven = cv2.GaussianBlur(rng.random((side, side)).astype(np.float32), (0, 0), 4)
    uneven = (uneven - uneven.min()) / max(np.ptp(uneven), 1e-6)
    return ink * np.clip(0.3 + uneven, 0, 1)


def photographed(
    rng: np.random.Generator, dark: np.ndarray, roughness: float = 1.0
) -> np.ndarray:
    """Returns what a scanner or camera makes of darkness: grey, uint8 [H, W].

    Paper's grain, a shadow, blur, noise and JPEG, each now and then.

    Args:
        rng: Draws what happens.
        dark: The page, 1 black.
        roughness: How bad it is, 1 as usual.
    """
    height, width = dark.shape
    paper = rng.uniform(0.75, 1.0)
    light = np.full(dark.shape, paper, np.float32)
    if rng.random() < 0.5 * roughness:
        # A shadow falls slowly over the page, or has an edge.
        angle, where = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8)
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        along = x * np.cos(angle) + y * np.sin(angle)
        along = (along - along.min()) / max(np.ptp(along), 1e-6)
        soft = rng.uniform(0.05, 0.8)
        depth = rng.uniform(0.05, 0.35) * roughness
        shadow = 1 - depth / (1 + np.exp(-(along - where) / soft * 8))
        light *= shadow.astype(np.float32)
    grain = rng.normal(0, 0.012 * roughness, (height // 2 + 1, width // 2 + 1))
    grain = cv2.resize(grain.astype(np.float32), (width, height))
    grey = light * (1 - dark) * (1 + grain)
    if rng.random() < 0.7:
        grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.1) * roughness + 1e-3)
    noise = rng.normal(0, rng.uniform(0.002, 0.02) * roughness, dark.shape)
    grey = np.clip(255 * (grey + noise.astype(np.float32)), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = int(rng.integers(45, 92))
        coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        grey = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    return grey
