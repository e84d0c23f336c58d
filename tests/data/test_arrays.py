"""Images of one's own: arrays, files of arrays, and folders of pictures."""

import numpy as np
import pytest
from PIL import Image

from mnistopt.data.dataset import Dataset
from mnistopt.errors import InputError

LABELS = np.arange(60) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 6, 5, 3), np.uint8)


def all_examples(data):
    splits = (data.train, data.validation, data.test)
    return sorted(
        (int(label), image.tobytes())
        for split in splits
        for image, label in zip(*split)
    )


def test_each_example_is_in_one_split_and_classes_are_in_proportion():
    data = Dataset.from_arrays(IMAGES, LABELS)
    wanted = sorted((int(label), one.tobytes()) for one, label in zip(IMAGES, LABELS))
    assert all_examples(data) == wanted
    sizes = [len(s.labels) for s in (data.train, data.validation, data.test)]
    assert sizes == [42, 6, 12] and data.classes == 3
    assert data.image_shape == (6, 5, 3)
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert Dataset.from_arrays(IMAGES, LABELS).fingerprint == data.fingerprint
    assert len(data.with_train_examples(9).train.labels) == 9


def test_test_examples_that_are_given_are_the_test_examples():
    data = Dataset.from_arrays(
        IMAGES[:40], LABELS[:40], test_images=IMAGES[40:], test_labels=LABELS[40:]
    )
    assert {one.tobytes() for one in data.test.images} == {
        one.tobytes() for one in IMAGES[40:]
    }
    assert len(data.train.labels) + len(data.validation.labels) == 40


@pytest.mark.parametrize(
    ("images", "labels", "kind"),
    [
        (IMAGES[..., 0], LABELS.tolist(), np.uint8),
        (IMAGES / 255, LABELS[:, np.newaxis], np.float32),
        (IMAGES, LABELS.astype(float), np.uint8),
    ],
    ids=["grey", "floats", "whole floats"],
)
def test_what_python_has_is_taken(images, labels, kind):
    data = Dataset.from_arrays(images, labels)
    assert data.train.images.dtype == kind and data.train.images.ndim == 4
    assert data.train.labels.dtype == np.int32


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES.reshape(60, -1), LABELS, r"images have shape \(60, 90\)"),
        (IMAGES, np.eye(3)[LABELS], "one-hot.*argmax"),
        (IMAGES, LABELS[:-1], r"labels have shape \(59,\); expected is \(60,\)"),
        (IMAGES, LABELS + 1, "none of 0: number the classes from 0"),
        (IMAGES, LABELS - 1, "labels are -1 to 1"),
        (IMAGES, LABELS * 200, "labels are 0 to 400"),
        (IMAGES, LABELS + 0.5, "expected are whole numbers"),
        (IMAGES, [None] * 60, "expected are whole numbers"),
        ([IMAGES[0], IMAGES[0, 1:]], LABELS[:2], "images are not an array"),
        (IMAGES, [[0], [1, 2]], "labels are not an array"),
        (IMAGES.astype(int) - 1, LABELS, "images are int64 of -1 to 254"),
        (np.where(IMAGES > 9, np.nan, 1.0), LABELS, "contain NaN or infinity"),
        (IMAGES[:9], LABELS[:9], "9 examples are too few.*give 10 or more"),
    ],
)
def test_what_cannot_be_used_is_refused_by_what_was_found(images, labels, words):
    with pytest.raises(InputError, match=words):
        Dataset.from_arrays(images, labels)


def test_files_and_folders_give_the_same_as_arrays(tmp_path):
    np.savez(tmp_path / "toys.npz", images=IMAGES, labels=LABELS)
    for i, (image, label) in enumerate(zip(IMAGES, LABELS)):
        folder = tmp_path / "toys" / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    wanted = all_examples(Dataset.from_arrays(IMAGES, LABELS))
    for name in ("toys.npz", "toys"):
        data = Dataset.from_file(tmp_path / name)
        assert data.name == "toys" and all_examples(data) == wanted


def test_files_that_are_something_else_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=IMAGES)
    np.save(tmp_path / "one.npy", IMAGES)
    (tmp_path / "text.npz").write_text("404: Not Found")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("x.npz", "holds x_train .*; expected is .* the arrays images and labels"),
        ("one.npy", "is one array"),
        ("text.npz", "cannot be read"),
        ("missing.npz", "cannot be read"),
        ("empty", "no folders with pictures"),
    ):
        with pytest.raises(InputError, match=words):
            Dataset.from_file(tmp_path / name)
