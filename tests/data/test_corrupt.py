"""Corruptions: each stronger than the last, and the same whatever the batch."""

import numpy as np
import pytest

from mnistopt.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from mnistopt.data.load import load
from mnistopt.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return load().test.images[:60]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_strength_takes_images_further_from_what_they_were(digits, name):
    apart = [
        np.abs(corrupt(digits, name, strength) - digits.astype(float)).mean()
        for strength in STRENGTHS
    ]
    assert apart[0] > 0.5 and (np.diff(apart) > 0.2).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_by_its_index_alone(digits, name):
    before = digits.copy()
    found = corrupt(digits, name, 3)
    assert found.dtype == np.uint8 and found.shape == digits.shape
    np.testing.assert_array_equal(digits, before)
    np.testing.assert_array_equal(corrupt(digits, name, 3), found)
    np.testing.assert_array_equal(corrupt(digits[:7], name, 3), found[:7])


@pytest.mark.parametrize("name", ["noise", "shift", "rotation", "occlusion"])
def test_what_is_random_differs_between_images_and_not_between_strengths(name):
    same = np.zeros((20, 28, 28, 1), np.uint8)
    same[:, 4:24, 9:19] = 200
    same[:, 4:9, 9:24] = 100
    weak, strong = (corrupt(same, name, k) for k in (2, 4))
    assert len(np.unique(weak.reshape(20, -1), axis=0)) > 1
    # An image is nearer to itself, corrupted more, than to most others.
    apart = np.abs(weak[:, None].astype(float) - strong).mean(axis=(2, 3, 4))
    assert (apart.diagonal() <= np.median(apart, axis=1)).mean() > 0.9


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_any_size_and_colours_are_taken(name):
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 20, 3), np.uint8)
    assert corrupt(images, name, 5).shape == images.shape


def test_it_is_what_its_name_says(digits):
    ink = digits.mean()
    assert corrupt(digits, "thickness", 1).mean() > 1.2 * ink
    assert corrupt(digits, "occlusion", 5).mean() < 0.8 * ink
    assert corrupt(digits, "shift", 2).mean() == pytest.approx(ink, rel=0.01)
    faded = corrupt(digits, "contrast", 5)
    assert np.ptp(faded, axis=(1, 2)).max() < 0.06 * 255
    thick = corrupt(digits, "thickness", 1)
    assert (thick >= digits).all()


@pytest.mark.parametrize(
    ("images", "name", "strength", "words"),
    [
        (np.zeros((2, 8, 8, 1)), "blur", 1, "float64.*uint8"),
        (np.zeros((2, 8, 8), np.uint8), "blur", 1, r"\(2, 8, 8\).*\[N, H, W, C\]"),
        (np.zeros((2, 8, 8, 1), np.uint8), "fog", 1, "'fog'.*noise, blur"),
        (np.zeros((2, 8, 8, 1), np.uint8), "blur", 6, "strength 6.*1 to 5"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(images, name, strength, words):
    with pytest.raises(InputError, match=words):
        corrupt(images, name, strength)
