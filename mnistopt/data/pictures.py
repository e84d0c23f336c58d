"""Reads a picture, in any format and of any depth, as pixels."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.content import why_unreadable
from mnistopt.errors import InputError

# Formats that Pillow knows, and reads only with a program of somebody else's.
_NOT_READ = {"EPS", "MPEG"}
# Of an animation or a document each frame may be another digit; of a photograph, the
# others are previews.
_PREVIEWS = {"MPO", "ICO", "ICNS"}
_PHOTOMETRIC = 262  # The tag of TIFF that says whether 0 is black.


@functools.cache
def suffixes() -> frozenset[str]:
    """Returns how names of files that Pillow reads end."""
    from PIL import Image, ImageFile

    Image.init()
    stubs = {
        name
        for name, (factory, _) in Image.OPEN.items()
        if isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    }
    formats = set(Image.OPEN) - stubs - _NOT_READ
    endings = Image.registered_extensions().items()
    return frozenset(ending for ending, name in endings if name in formats)


def is_picture(file: Path) -> bool:
    """Says whether Pillow reads a file, whatever it is called."""
    from PIL import Image

    try:
        with Image.open(file):
            return True
    except Exception:  # noqa: BLE001 - whatever a format's reader stumbles over
        return False


def read_picture(file: Path, frames: list[Path] | None = None) -> np.ndarray:
    """Returns a picture's pixels as a viewer shows them: turned, on an opaque ground.

    What can be seen through is black where what is drawn is light, and else white, so
    that ink stays visible.

    Args:
        file: Path of a file in any format that Pillow reads.
        frames: Gets the file if it has more frames than the first.

    Returns:
        Grey [H, W], or red, green and blue [H, W, 3] where there is colour: uint8; of
        more bits uint16, int32 or float64, of grey pictures only.

    Raises:
        InputError: If it cannot be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            several = getattr(opened, "n_frames", 1) > 1
            if frames is not None and several and opened.format not in _PREVIEWS:
                frames.append(file)
            kind = opened.format
            picture = ImageOps.exif_transpose(opened)
            if picture.mode[0] not in "IF":
                return opaque(np.asarray(in_colours(picture)))
            deep = _deep(np.asarray(picture), picture.mode, kind)
            # Pillow turns pixels round whose 0 is white, but not deep ones.
            if kind == "TIFF" and getattr(opened, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
                deep = deep.max() - deep if deep.dtype == float else ~deep
            clear = picture.info.get("transparency")
            if isinstance(clear, int):  # the one value that stands for no colour
                grey = as_bytes(deep, file)
                shown = np.where(deep == clear, 0, 255).astype(np.uint8)
                return opaque(np.stack([grey, shown], axis=-1))
            return deep
    except Exception as error:  # whatever a format's reader stumbles over
        unknown = isinstance(error, UnidentifiedImageError)
        why = why_unreadable(file, error, "a picture" if unknown else "")
        raise InputError(f"{file} cannot be read as a picture ({why})") from error


def _deep(values: np.ndarray, mode: str, kind: str | None) -> np.ndarray:
    """Returns grey pixels of more than 8 bits: uint16, int32, or floats.

    A mode "I" has 16 bits in PNG and PPM, and up to 31 in others.
    """
    if mode == "F":
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are NaN or infinite")
        return values.astype(float)
    if values.min() < 0:
        raise ValueError(f"it has negative pixels, {values.min()} the least")
    return values if mode == "I" and kind not in ("PNG", "PPM") else values.astype("u2")


def in_colours(picture: Any) -> Any:
    """Returns a picture of 8 bits in grey, RGB or RGBA."""
    if picture.mode == "La":  # grey is multiplied by alpha
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def opaque(pixels: np.ndarray) -> np.ndarray:
    """Returns uint8 pixels on a ground, [H, W] where there is no colour.

    Args:
        pixels: uint8 [H, W] or [H, W, C]: grey, grey and alpha, red, green and blue, or
            those and alpha.
    """
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        return pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[-1] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    if pixels.ndim == 3 and pixels.shape[-1] == 4:
        shares = pixels[..., 3:] / 255
        colours = pixels[..., :3]
        drawn = (luma(colours) * shares[..., 0]).sum() / max(shares.sum(), 1e-9)
        ground = 255 if drawn < 128 else 0
        pixels = np.rint(colours * shares + ground * (1 - shares)).astype(np.uint8)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return np.array(pixels)


def luma(colours: np.ndarray) -> np.ndarray:
    """Returns the brightness of red, green and blue [..., 3] by ITU-R BT.601."""
    return colours @ np.array([0.299, 0.587, 0.114])


def as_bytes(pixels: np.ndarray, file: Path, most: float | None = None) -> np.ndarray:
    """Returns pixels of any depth as uint8: of 16 bits, the upper eight.

    Args:
        pixels: The pixels, from `read_picture`.
        file: Path of the file, for error messages.
        most: The largest pixel of a whole folder; None for that of this picture. White
            is the smallest of 1 (for floats), 8, 16 and 31 bits that reaches it.

    Raises:
        InputError: If they are floats below 0 or beyond 16 bits.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    low, high = pixels.min(), pixels.max() if most is None else most
    if pixels.dtype.kind in "iu":
        shift = 0 if high < 2**8 else 8 if high < 2**16 else 23
        return (pixels >> shift).astype(np.uint8)
    white = next((level for level in (1, 255, 65535) if high <= level), 0)
    if low < 0 or not white:
        raise InputError(
            f"{file} has pixels of {low:g} to {high:g}; expected are floats of 0 to 1, "
            "or whole numbers"
        )
    return np.rint(pixels * (255 / white)).astype(np.uint8)


def as_unit(values: np.ndarray) -> np.ndarray:
    """Returns pixels, for `place`, in [0, 1]: uint8, and floats in it, as they are.

    Others by their largest, as 12 bits are stored in 16; where some are negative, from
    their least to their largest.
    """
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    if low < 0:
        return (values - low) / max(high - low, 1e-9)
    if values.dtype.kind in "iu" or high > 1:
        return values / max(high, 1e-9)
    return values


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns [H, W, C] of a uint8 picture [H, W] or [H, W, 3]."""
    if image.ndim == 3 and channels == 1:
        image = np.rint(luma(image)).astype(np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[..., np.newaxis], channels, axis=-1)
    return image


def fitted(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Returns a picture fitted into a size, its aspect kept.

    Its longer side fills the size, anti-aliased; beside the other one is what most of
    its border shows.

    Args:
        image: uint8 [H, W] or [H, W, C].
        size: (H, W), or None for as it is.
    """
    from PIL import Image

    if size is None or image.shape[:2] == size:
        return image
    share = min(wanted / side for wanted, side in zip(size, image.shape))
    height, width = (
        min(wanted, max(1, round(share * side)))
        for wanted, side in zip(size, image.shape)
    )
    picture = Image.fromarray(image)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    border = [image[0], image[-1], image[:, 0], image[:, -1]]
    ground = np.median(np.concatenate(border), axis=0).astype(np.uint8)
    canvas = np.empty((*size, *image.shape[2:]), np.uint8)
    canvas[:] = ground
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = resized
    return canvas
