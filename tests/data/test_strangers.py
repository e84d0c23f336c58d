"""Pictures from anywhere: what is read, in which order, by which labels."""

import numpy as np
import pytest
from PIL import Image

from mnistopt.data.load import load
from mnistopt.data.place import place
from mnistopt.data.strangers import read_strangers
from mnistopt.errors import InputError

DIGITS = [str(k) for k in range(10)]
IMAGES = load().test.images[:6, ..., 0]
LABELS = np.arange(6) // 2
PLACED = np.stack([place(image) for image in IMAGES])


def save(folder, ending="png", prefix="", **how):
    for i, (image, label) in enumerate(zip(IMAGES, LABELS)):
        mine = folder / f"{prefix}{label}"
        mine.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(mine / f"{i}.{ending}", **how)


def test_folders_per_digit_are_labelled(tmp_path):
    save(tmp_path)
    (tmp_path / ".cache").mkdir()
    found = read_strangers(tmp_path, DIGITS)
    np.testing.assert_array_equal(found.images[..., 0], PLACED)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.names == [f"{label}/{i}.png" for i, label in enumerate(LABELS)]


def test_folders_are_called_as_the_studys_classes(tmp_path):
    save(tmp_path / "new", prefix="class ")
    names = [f"class {k}" for k in (2, 1, 0)]
    found = read_strangers(tmp_path / "new", names)
    assert found.labels.tolist() == (2 - LABELS).tolist()
    with pytest.raises(InputError, match="class class 0.* matches no class.*0, 1, 2"):
        read_strangers(tmp_path / "new", ["0", "1", "2"])


def test_a_flat_folder_and_one_picture_have_no_labels(tmp_path):
    save(tmp_path, "JPEG", quality=95)
    found = read_strangers(tmp_path / "1", DIGITS)
    assert found.labels is None and found.names == ["2.JPEG", "3.JPEG"]
    assert np.abs(found.images[..., 0] - PLACED[2:4].astype(float)).mean() < 4
    one = read_strangers(tmp_path / "1" / "3.JPEG", DIGITS)
    np.testing.assert_array_equal(one.images, found.images[1:])


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_pictures_of_any_kind_are_read(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    if mode == "I;16":
        Image.fromarray(IMAGES[0].astype(np.uint16) * 100).save(path)
    else:
        Image.fromarray(IMAGES[0]).convert(mode).save(path)
    (found,) = read_strangers(path, DIGITS).images[..., 0]
    apart = np.abs(found - PLACED[0].astype(float)).sum() / PLACED[0].sum()
    assert apart < (0.6 if mode == "1" else 0.1)


def test_arrays_of_bytes_and_of_floats_of_any_range(tmp_path):
    for name, images in (
        ("bytes", IMAGES),
        ("unit", IMAGES / 255),
        ("sixteen", np.float32(IMAGES / 255 * 16)[..., None]),
    ):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=LABELS)
        found = read_strangers(tmp_path / f"{name}.npz", DIGITS)
        assert np.abs(found.images[..., 0] - PLACED.astype(float)).max() <= 1
        assert found.labels.tolist() == LABELS.tolist() and found.names[-1] == "5"
    np.savez(tmp_path / "alone.npz", images=IMAGES)
    assert read_strangers(tmp_path / "alone.npz", DIGITS).labels is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES, "labels": LABELS[:-1]}, r"labels have shape \(5,\)"),
        ({"images": IMAGES, "labels": LABELS + 8}, "the class 10.*0, 1, 2"),
        ({"images": IMAGES[0]}, r"images have shape \(28, 28\)"),
        ({"images": IMAGES.astype(int) - 1}, "images are int64 of -1"),
        ({"images": np.zeros((2, 8, 8, 5))}, "at most 4 channels"),
        ({"images": np.full((2, 8, 8), np.nan)}, "contain NaN or infinity"),
        ({"x": IMAGES}, "holds x .*; expected is .*the array images"),
        ({"images": np.array([IMAGES[0], "no"], object)}, "cannot be read"),
        ({"images": np.float64(1)}, r"images have shape \(\)"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=words):
        read_strangers(tmp_path / "x.npz", DIGITS)


def test_what_is_not_there_or_no_picture_is_refused(tmp_path):
    (tmp_path / "empty" / "3").mkdir(parents=True)
    (tmp_path / "text.png").write_text("404: Not Found")
    for path, words in (
        ("none", "is not there; expected is a folder of pictures"),
        ("none.npz", "cannot be read"),
        ("empty", "holds no pictures"),
        ("text.png", "cannot be read as a picture"),
    ):
        with pytest.raises(InputError, match=words):
            read_strangers(tmp_path / path, DIGITS)


def test_for_a_study_of_other_images_pictures_are_fitted(tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "x.png")
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "blank.png")
    found = read_strangers(tmp_path, DIGITS, (14, 32, 3))
    assert found.images.shape == (2, 14, 32, 3) and found.ink.tolist() == [False, True]
    assert found.images[1, :, 9:23].any() and not found.images[1, :, :9].any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "shape", [(2, 20, 20), (2, 14, 32), (2, 14, 32, 2), (2, 9, 9, 4)]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_arrays_are_fitted_too(tmp_path, channels, shape, dtype):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    np.savez(tmp_path / "x.npz", images=images if dtype == "uint8" else images / 255)
    found = read_strangers(tmp_path / "x.npz", DIGITS, (14, 32, channels))
    assert found.images.shape == (2, 14, 32, channels) and found.ink.all()


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_that_a_study_has_are_its_own(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, channels), np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    found = read_strangers(tmp_path / "x.npz", DIGITS, (9, 9, channels))
    np.testing.assert_array_equal(found.images, images)
    np.savez(tmp_path / "x.npz", images=images[..., [0, 1, 0]])
    with pytest.raises(InputError, match=f"3 channels; the study's have {channels}"):
        read_strangers(tmp_path / "x.npz", DIGITS, (9, 9, channels))
