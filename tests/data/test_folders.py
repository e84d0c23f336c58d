"""Folders of pictures: every picture is read, or named as skipped."""

import re
import warnings
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from mnistopt.data.dataset import Dataset
from mnistopt.data.folders import find_pictures, read_folder
from mnistopt.data.load import load
from mnistopt.errors import InputError

TEST = load().test
IMAGES, LABELS = TEST.images[:40, ..., 0], TEST.labels[:40] % 3
DIGITS = Dataset.from_arrays(IMAGES, LABELS)


def save(folder, write=lambda image, path: Image.fromarray(image).save(f"{path}.png")):
    """Writes the digits into a folder per class; returns the folder."""
    for i, (image, label) in enumerate(zip(IMAGES, LABELS)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        write(image, place / str(i))
    return folder


def saver(ending, change=lambda image: image, mode=None, **options):
    def write(image, path):
        picture = Image.fromarray(change(image))
        picture = picture.convert(mode) if mode else picture
        picture.save(f"{path}{ending}", **options)

    return write


def turned(image, path):
    exif = Image.Exif()
    exif[0x112] = 6  # orientation: to be turned clockwise by a quarter
    Image.fromarray(np.rot90(image)).save(f"{path}.png", exif=exif)


def white_is_0(image, path):
    path = path.with_suffix(".tif")
    Image.fromarray(~(image.astype(np.uint16) * 257)).save(path)
    # The entry of tag 262: a short, one of it, and its value, which Pillow sets to 1.
    tag = bytes((6, 1, 3, 0, 1, 0, 0, 0))
    content = path.read_bytes()
    assert content.count(tag + b"\1") == 1
    path.write_bytes(content.replace(tag + b"\1", tag + b"\0"))


def drawn_in(level):
    """Ink of one brightness on a clear ground."""

    def change(image):
        return np.dstack([np.full((28, 28, 3), level, np.uint8), image])

    return change


EXACT = {
    "PNG": saver(".png"),
    "PNG in capitals": saver(".PNG"),
    "no ending": saver("", format="PNG"),
    "BMP": saver(".bmp"),
    "GIF": saver(".gif"),
    "TIFF": saver(".tif"),
    "PGM": saver(".pgm"),
    "WebP": saver(".webp", lossless=True),
    "JPEG 2000": saver(".jp2", irreversible=False),
    "a palette": saver(".png", mode="P"),
    "red, green and blue": saver(".png", mode="RGB"),
    "opaque alpha": saver(".png", mode="LA"),
    "cyan to black": saver(".tif", mode="CMYK"),
    "16 bits": saver(".png", lambda image: image.astype(np.uint16) * 257),
    "16 bits, shifted": saver(".tif", lambda image: image.astype(np.uint16) << 8),
    "32 bits": saver(".tif", lambda image: image.astype(np.int32) << 23),
    "floats": saver(".tif", lambda image: image.astype(np.float32) / 255),
    "white on clear": saver(".png", drawn_in(255)),
    "turned as a camera says": turned,
    "16 bits whose 0 is white": white_is_0,
}


@pytest.mark.parametrize("kind", EXACT)
def test_every_format_and_depth_is_the_same_digits(tmp_path, kind):
    found = Dataset.from_file(save(tmp_path / "own", EXACT[kind]))
    assert found.fingerprint == DIGITS.fingerprint
    assert found.class_names == ("0", "1", "2")


def test_dark_ink_on_a_clear_ground_is_dark_on_light(tmp_path):
    found = Dataset.from_file(save(tmp_path / "own", saver(".png", drawn_in(0))))
    ink = {(255 - image).tobytes() for image in found.train.images}
    assert ink <= {image.tobytes() for image in IMAGES}


def test_numbers_in_names_sort_as_numbers(tmp_path):
    for name in ("10", "2", "1", "class 12", "class 3", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGES[0]).save(tmp_path / name / "x.png")
    found = find_pictures(tmp_path).class_names
    assert found == ("1", "2", "10", "b", "class 3", "class 12")


def test_what_is_skipped_is_named_once_with_counts(tmp_path):
    folder = save(tmp_path / "own")
    for name in ("a.heic", "b.heic", "notes.txt", "Thumbs.db", ".DS_Store", "._1.png"):
        (folder / "0" / name).write_bytes(b"x")
    (folder / "empty").mkdir()
    (folder / "__MACOSX" / "0").mkdir(parents=True)
    (folder / "__MACOSX" / "0" / "._1.png").write_bytes(b"x")
    (folder / "3" / "deep").mkdir(parents=True)
    (folder / "3" / "deep" / "a.svg").write_bytes(b"x")
    Image.fromarray(IMAGES[0]).save(folder / "loose.png")
    (folder / "1" / "more" / "and more").mkdir(parents=True)
    Image.fromarray(255 - IMAGES[0]).save(folder / "1" / "more" / "and more" / "x.gif")
    with pytest.warns(UserWarning) as warned:
        found = Dataset.from_file(folder)
    (text,) = (str(one.message) for one in warned)
    for words in (
        "41 pictures are read",
        r"\.heic files: 2 \(0/a.heic, 0/b.heic\)",
        r"\.txt files: 1 ",
        r"\.svg files: 1 \(3/deep/a.svg\)",
        "folders without pictures: 2 .*3, empty",
        "leftovers: 4 ",
        r"pictures beside the folders: 1 \(loose.png\)",
    ):
        assert re.search(words, text), (words, text)
    assert found.class_names == ("0", "1", "2")
    assert (
        len(found.train.labels) + len(found.validation.labels) + len(found.test.labels)
        == len(IMAGES) + 1
    )


def test_several_frames_are_told_of(tmp_path):
    folder = save(tmp_path / "own")
    pages = [Image.fromarray(image) for image in IMAGES[:3]]
    pages[0].save(folder / "0" / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(UserWarning, match="1 .* several frames; .*pages.tif"):
        Dataset.from_file(folder)


def test_sizes_differ_where_image_size_says_what_to_do(tmp_path):
    folder = save(tmp_path / "own")
    large = Image.fromarray(IMAGES[0]).resize((56, 112))
    large.save(folder / "0" / "large.png")
    with pytest.raises(InputError, match="large.png is 112x56, .* 28x28.*`image_size"):
        Dataset.from_file(folder)
    found = Dataset.from_file(folder, image_size=28)
    assert found.image_shape == (28, 28, 1) and found.image_size == (28, 28)
    assert Dataset.from_file(folder, image_size="14x20").image_shape == (14, 20, 1)
    # Sizes that fit stay as they are.
    some = {image.tobytes() for image in found.train.images}
    assert len(some & {image.tobytes() for image in IMAGES}) > 20
    for wrong in (0, "x", (1, 2, 3), 4096):
        with pytest.raises(InputError, match="image_size=.* is not allowed"):
            Dataset.from_file(folder, image_size=wrong)


def test_a_little_colour_makes_all_colour_and_is_told(tmp_path):
    folder = save(tmp_path / "own")
    Image.new("RGB", (28, 28), "red").save(folder / "0" / "red.png")
    with pytest.warns(UserWarning, match="1 of 41 pictures are in colour"):
        assert Dataset.from_file(folder).image_shape == (28, 28, 3)


def test_folders_of_parts_have_both(tmp_path):
    for part in ("Train", "test", "val"):
        save(tmp_path / "own" / part)
    with pytest.warns(UserWarning, match="pictures of other parts.*: 40 "):
        found = Dataset.from_file(tmp_path / "own")
    assert found.class_names == ("0", "1", "2")
    assert len(found.test.labels) == 40
    (tmp_path / "own" / "test" / "0").rename(tmp_path / "own" / "test" / "new")
    with (
        warnings.catch_warnings(),
        pytest.raises(InputError, match="class new, which matches no class"),
    ):
        warnings.simplefilter("ignore")
        Dataset.from_file(tmp_path / "own")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: None, "holds no folders with pictures"),
        (
            lambda f: Image.fromarray(IMAGES[0]).save(f / "x.png"),
            "holds 1 pictures, and",
        ),
        (lambda f: save(f / "digits"), "pictures of one class only, digits"),
        (lambda f: (save(f) / "0" / "x.png").write_text("<html>"), "is a web page"),
        (lambda f: (save(f) / "0" / "x.jpg").write_bytes(b""), "it is empty"),
        (
            lambda f: (save(f) / "0" / "y.png").write_bytes(
                next((f / "0").iterdir()).read_bytes()[:99]
            ),
            "y.png cannot be read as a picture",
        ),
        (
            lambda f: Image.fromarray(np.full((28, 28), 1e6, np.float32)).save(
                save(f) / "0" / "x.tif"
            ),
            "pixels of 1e[+]06",
        ),
    ],
    ids=["nothing", "loose", "below", "web page", "empty", "cut off", "floats"],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(InputError, match=words):
        Dataset.from_file(tmp_path)


NAMES = st.sampled_from(
    ["a", "B", "é", "0", "10", "2", "x y", "n°1", ".hidden", "__MACOSX", "Thumbs"]
)
ENDINGS = st.sampled_from(
    [".png", ".PNG", ".jpg", ".bmp", ".tif", ".gif", "", ".txt", ".heic", ".npz", ".db"]
)
MODES = st.sampled_from(["L", "1", "P", "RGB", "RGBA", "LA", "I;16"])


@st.composite
def files(draw):
    """Paths of files, up to three folders deep, and what they hold."""
    folders = draw(st.lists(NAMES, min_size=0, max_size=3))
    name = draw(NAMES) + draw(ENDINGS)
    return "/".join([*folders, name]), draw(MODES)


def _write(path, mode):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".txt", ".heic", ".npz", ".db"):
        path.write_bytes(b"no picture")
        return False
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (4, 4), np.uint8)
    picture = Image.fromarray(pixels if mode != "I;16" else pixels.astype(np.uint16))
    picture = picture if mode in ("L", "I;16") else picture.convert(mode)
    kinds = {".jpg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".gif": "GIF"}
    kind = kinds.get(path.suffix.lower(), "PNG")
    if kind != "PNG" and (mode, kind) != ("I;16", "TIFF"):
        picture = picture.convert("RGB" if kind in ("JPEG", "BMP") else "L")
    picture.save(path, format=kind)
    return True


@hypothesis.given(st.lists(files(), min_size=1, max_size=12, unique_by=lambda f: f[0]))
def test_every_picture_is_read_or_named(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("tree")
    written = []
    for name, mode in tree:
        path = folder / name
        if path.is_dir() or any(parent.is_file() for parent in path.parents):
            continue
        _write(path, mode)
        written.append(path)
    found = find_pictures(folder)
    skipped = [path for paths in found.skipped.values() for path in paths]
    for path in written:
        named = [one for one in skipped if one == path]
        above = [one for one in skipped if one in path.parents]
        leftovers = [one for one in above if one in found.skipped["leftovers"]]
        assert found.files.count(path) + len(named) + len(leftovers) == 1, path
    if found.labels is None or len(found.class_names) < 2:
        return
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        arrays = read_folder(folder)
    assert len(arrays["images"]) == len(arrays["labels"]) == len(found.files)
    for file, label in zip(found.files, arrays["labels"]):
        name = arrays["class_names"][label]
        assert file.relative_to(folder).parts[0] == name
    assert all(isinstance(path, Path) for path in skipped)
