import base64
import io

import numpy as np
from PIL import Image

from mnistopt.results.predictions import MOST, Predictions, find_mistakes


def test_the_most_confident_mistakes_come_first_with_their_images():
    rng = np.random.default_rng(0)
    n = 60
    labels = rng.integers(0, 10, n).astype(np.uint8)
    vote = ((labels + (np.arange(n) % 2)) % 10).astype(np.uint8)  # every second wrong
    probabilities = np.zeros((n, 10), np.float16)
    sure = rng.random(n)
    probabilities[np.arange(n), vote] = sure
    classes = np.stack([vote, labels])
    images = rng.integers(0, 256, (n, 28, 28, 1)).astype(np.uint8)
    names = tuple("abcdefghij")
    predictions = Predictions(np.arange(2), labels, classes, probabilities, vote, names)
    found = find_mistakes(predictions, images)
    wrong = [i for i in range(n) if i % 2]
    wanted = sorted(wrong, key=lambda i: -np.float16(sure[i]))[:MOST]
    assert list(found["index"]) == wanted
    assert list(found["place"]) == list(range(MOST))
    for _, row in found.iterrows():
        i = row["index"]
        assert (row["true"], row["vote"]) == (names[labels[i]], names[vote[i]])
        assert row["votes"] == f"{names[vote[i]]} | {names[labels[i]]}"
        png = base64.b64decode(row["image"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        np.testing.assert_array_equal(255 - pixels, images[i, :, :, 0])
    assert find_mistakes(predictions._replace(vote=labels), images).empty
