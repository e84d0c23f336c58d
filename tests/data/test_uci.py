"""The digits of other hands that scikit-learn ships, as MNIST's networks see them."""

import numpy as np
from sklearn.datasets import load_digits

from mnistopt.data.place import place
from mnistopt.data.uci import read_uci


def test_they_are_placed_as_mnists_are():
    found = read_uci()
    assert found.images.shape == (1797, 28, 28, 1) and found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, load_digits().target)
    # The twenty pixels of MNIST's longer side, around the middle of the ink.
    for image in found.images[:50, ..., 0]:
        rows, columns = np.nonzero(image)
        sides = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 18 <= max(sides) <= 22
        centre = np.average(np.argwhere(image), axis=0, weights=image[image > 0])
        assert abs(centre - 13.5).max() < 1.1
    first = np.round(255 / 16 * load_digits().images[0]).astype(np.uint8)
    np.testing.assert_array_equal(found.images[0, ..., 0], place(first))
