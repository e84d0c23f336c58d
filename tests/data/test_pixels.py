"""Tables of pixels: by the names of their columns, whatever separates them."""

import warnings

import numpy as np
import pandas as pd
import pytest

from mnistopt.data.arrays import read_csv
from mnistopt.data.dataset import Dataset
from mnistopt.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 4, 4)).astype(np.uint8)
LABELS = np.arange(30) % 3
PIXELS = pd.DataFrame(IMAGES.reshape(30, 16), columns=[f"pixel{i}" for i in range(16)])


def labelled(frame, name="label", place=0, labels=LABELS):
    frame = frame.copy()
    frame.insert(place, name, labels)
    return frame


def renamed(pattern):
    names = [pattern.format(i=i, r=i // 4, c=i % 4) for i in range(16)]
    return PIXELS.set_axis(names, axis=1)


def alphabetic(frame):
    return frame[sorted(frame)]


def shuffled(frame):
    return frame.sample(frac=1, axis=1, random_state=0)


TABLES = {
    "as it is": (labelled(PIXELS), {}),
    "by the alphabet": (labelled(alphabetic(PIXELS)), {}),
    "shuffled": (shuffled(labelled(PIXELS)), {}),
    "rows x columns": (labelled(alphabetic(renamed("{r}x{c}"))), {}),
    "x and y": (labelled(shuffled(renamed("x{c}_y{r}"))), {}),
    "columns and rows": (labelled(shuffled(renamed("col{c}_row{r}"))), {}),
    "semicolons": (labelled(PIXELS), {"sep": ";"}),
    "tabs": (labelled(PIXELS), {"sep": "\t"}),
    "bars": (labelled(PIXELS), {"sep": "|"}),
    "spaces": (labelled(PIXELS), {"sep": " "}),
    "without names": (labelled(PIXELS), {"header": False}),
    "numbers for names": (labelled(PIXELS).set_axis(range(17), axis=1), {}),
    "the label last": (labelled(PIXELS, "class", 16), {}),
    "a mark of byte order": (labelled(PIXELS), {"encoding": "utf-8-sig"}),
    "quoted": (labelled(PIXELS), {"quoting": 1}),
    "16 bits": (labelled(PIXELS.astype(int) * 257), {}),
    "an index and an id": (labelled(labelled(PIXELS), "id"), {"index": True}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_whatever_its_columns_a_table_has_the_same_images(tmp_path, kind):
    frame, options = TABLES[kind]
    frame.to_csv(tmp_path / "t.csv", **{"index": False, **options})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        images, labels = read_csv(tmp_path / "t.csv")
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    words = {"16 bits": "read as 16 bits", "an index and an id": "columns '', id"}
    assert len(warned) == (kind in words)
    assert words.get(kind, "") in "".join(str(one.message) for one in warned)


def test_padded_numbers_are_read(tmp_path):
    table = labelled(PIXELS).to_numpy()
    for separator in (",", ", ", " "):
        np.savetxt(tmp_path / "t.csv", table, fmt="%4d", delimiter=separator)
        images, _ = read_csv(tmp_path / "t.csv")
        np.testing.assert_array_equal(images, IMAGES)


def test_labels_in_words_and_with_gaps_are_names(tmp_path):
    for labels, names in (
        (np.array(["cat", "NA", "dog 10"])[LABELS], ("NA", "cat", "dog 10")),
        (np.array([3, 20, 100])[LABELS], ("3", "20", "100")),
        (LABELS, ("0", "1", "2")),
    ):
        labelled(PIXELS, labels=labels).to_csv(tmp_path / "t.csv", index=False)
        data = Dataset.from_file(tmp_path / "t.csv")
        assert data.class_names == names
        kept = {image.tobytes(): label for image, label in zip(*data.train)}
        for image, label in zip(IMAGES, labels):
            if (found := kept.get(image[..., None].tobytes())) is not None:
                assert names[found] == str(label)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (labelled(PIXELS.rename(columns={"pixel3": "pixel4"})), "column pixel4 twice"),
        (labelled(PIXELS.iloc[:, :-1]), "16 columns; expected are a label and"),
        (labelled(PIXELS, labels=[None, *LABELS[1:]]), "no label in row 0"),
        (labelled(PIXELS, labels=[0, np.inf, *LABELS[2:]]), "no label in row 1"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, frame, words):
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=words):
        read_csv(tmp_path / "t.csv")


def test_parts_of_other_depths_are_refused():
    train, test = IMAGES, IMAGES.astype(np.uint16) * 257
    with pytest.raises(InputError, match="test_images are uint16"):
        Dataset.from_arrays(train, LABELS, test_images=test, test_labels=LABELS)
    deep = Dataset.from_arrays(test, LABELS, test_images=test, test_labels=LABELS)
    assert deep.train.images.max() > 200
