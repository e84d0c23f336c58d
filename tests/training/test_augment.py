"""Changes to training images: strength 0, what is drawn, and pairing across points."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from mnistopt import hparams as declared
from mnistopt.data.dataset import Dataset
from mnistopt.errors import InputError
from mnistopt.hparams import NUMBERS, Hparams
from mnistopt.study.grid import make_point
from mnistopt.training.augment import (
    STAGES,
    THINNEST,
    affine_draws,
    augment,
    elastic_moves,
    uniform,
)

KEY = jax.random.key(3, impl="threefry2x32")
NONE = Hparams(*[0.0] * len(Hparams._fields))
STRENGTHS = {
    **{"shift": 3.0, "rotate": 20.0, "zoom": 0.2, "shear": 10.0, "elastic": 1.0},
    **{"erase": 0.4, "blur": 1.0, "contrast": 0.5, "noise": 0.2},
    **{"aspect": 0.2, "stroke": 2.0},
}


SPARED = 0.7


@functools.cache
def images(count=19, shape=(28, 28, 1)):
    return np.random.default_rng(0).random((count, *shape), np.float32)


change = jax.jit(augment, static_argnums=0)


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 12, 3)], ids=str)
def test_strength_0_is_the_identity_to_the_bit(shape):
    found = change(STAGES, images(shape=shape), NONE._replace(spare=0.5), KEY)
    np.testing.assert_array_equal(found, images(shape=shape))


@pytest.mark.parametrize(("name", "strength"), STRENGTHS.items())
def test_each_strength_changes_images_and_keeps_their_range(name, strength):
    hparams = NONE._replace(**{name: strength})
    found = np.asarray(change(STAGES, images(), hparams, KEY))
    assert found.shape == images().shape and found.dtype == np.float32
    assert (found >= 0).all() and (found <= 1).all()
    # A square of hardly any size covers no pixel.
    changed = [(one != of).any() for one, of in zip(found, images())]
    assert all(changed) or name == "erase" and np.mean(changed) > 0.8
    # By its own stage alone, too.
    (stage,) = [stage for stage in STAGES if stage in _stage_of(name)]
    np.testing.assert_allclose(
        change((stage,), images(), hparams, KEY), found, atol=2e-5
    )


def _stage_of(name):
    affine = "shift", "rotate", "zoom", "shear"
    return ("affine",) if name in affine else (name,)


@pytest.mark.parametrize(("name", "strength"), STRENGTHS.items())
def test_an_image_is_changed_as_without_sparing_or_not_at_all(name, strength):
    many = images(800)
    hparams = NONE._replace(**{name: strength})
    all_changed = np.asarray(change(STAGES, many, hparams, KEY))
    found = np.asarray(change(STAGES, many, hparams._replace(spare=SPARED), KEY))
    spared = (found == many).all(axis=(1, 2, 3))
    np.testing.assert_allclose(found[~spared], all_changed[~spared], atol=1e-6)
    # Squares of hardly any size cover no pixel, so a few more look spared.
    assert abs(spared.mean() - SPARED) < 4 * (0.3 * 0.7 / 800) ** 0.5 + 0.02


def test_what_may_be_spared_is_all_that_changes_images():
    named = {name for name, axis in NUMBERS.items() if axis.stage in STAGES}
    assert {*STRENGTHS} == {*declared.STRENGTHS} == named - {"spare"}


def test_each_change_spares_images_of_its_own():
    many = images(800)
    hparams = NONE._replace(shift=3.0, noise=0.2, spare=SPARED)
    moved, noisy, both = (
        (np.asarray(change(STAGES, many, one, KEY)) != many).any(axis=(1, 2, 3))
        for one in (hparams._replace(noise=0.0), hparams._replace(shift=0.0), hparams)
    )
    np.testing.assert_array_equal(both, moved | noisy)
    assert (moved & noisy).mean() == pytest.approx(0.3 * 0.3, abs=0.04)
    # Also where one sampling does both.
    hparams = NONE._replace(shift=3.0, rotate=20.0, spare=SPARED)
    both = change(("affine", "spare"), many, hparams, KEY)
    spared = (np.asarray(both) == many).all(axis=(1, 2, 3))
    assert spared.mean() == pytest.approx(SPARED**2, abs=0.06)


def test_what_is_drawn_is_uniform_within_the_strengths():
    hparams = NONE._replace(shift=3.0, rotate=20.0, zoom=0.2, shear=10.0, aspect=0.2)
    draws = jax.tree.map(np.asarray, affine_draws(20_000, hparams, KEY))
    widest = {"down": 3, "right": 3, "turn": np.pi / 9, "shear": np.pi / 18}
    assert draws.keys() == {*widest, "zoom", "aspect"}
    around = {name: draws[name] - 1 for name in ("zoom", "aspect")}
    for name, values in (draws | around).items():
        most = widest.get(name, 0.2)
        assert abs(values).max() <= most and abs(values).max() > 0.99 * most
        # The mean of n uniform numbers has the standard deviation most / sqrt(3 n).
        assert abs(values.mean()) < 4 * most / (3 * len(values)) ** 0.5
        assert values.std() == pytest.approx(most / 3**0.5, rel=0.02)
    pairs = np.corrcoef(list(draws.values()))[np.triu_indices(6, 1)]
    assert abs(pairs).max() < 4 / 20_000**0.5


def test_points_of_a_seed_see_the_same_draws_scaled():
    """Half the strength is half the displacement of the same image."""
    stages = tuple(stage for stage in STAGES if stage != "spare")
    strengths = jnp.array([0.0, 5.0, 10.0])

    def of_point(rotate):
        return affine_draws(50, NONE._replace(rotate=rotate), KEY)["turn"]

    none, half, whole = jax.vmap(of_point)(strengths)
    assert not none.any()
    np.testing.assert_allclose(2 * half, whole, rtol=1e-6)
    turned = jax.vmap(
        lambda rotate: augment(stages, images(), NONE._replace(rotate=rotate), KEY)
    )(strengths)
    np.testing.assert_array_equal(turned[0], images())
    alone = change(stages, images(), NONE._replace(rotate=10.0), KEY)
    np.testing.assert_allclose(turned[2], alone, atol=1e-6)


def test_groups_of_images_and_keys_have_draws_of_their_own():
    same = np.repeat(images(1), 16, axis=0)
    found = np.asarray(change(("affine",), same, NONE._replace(shift=3.0), KEY))
    assert len(np.unique(found.reshape(16, -1), axis=0)) == 16
    other = jax.random.key(4, impl="threefry2x32")
    again = change(("affine",), same, NONE._replace(shift=3.0), other)
    assert (again != found).any(axis=(1, 2, 3)).all()


def _draws_of(hparams, batch=8):
    """The draws of a batch of one group."""
    (key,) = jax.random.split(KEY, 1)
    key = dict(zip(STAGES, jax.random.split(key, len(STAGES))))["affine"]
    draws = affine_draws(batch, hparams, key)
    return [dict(zip(draws, one)) for one in np.transpose(list(draws.values()))]


@pytest.mark.parametrize("name", ["shift", "rotate", "zoom", "shear", "aspect"])
def test_deforming_agrees_with_scipy(name):
    hparams = NONE._replace(**{name: STRENGTHS[name]})
    found = change(("affine",), images(8), hparams, KEY)
    for image, ours, by in zip(images(8), found, _draws_of(hparams)):
        turn, middle = by["turn"], np.array([13.5, 13.5])
        turning = np.array(
            [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        )
        shearing = np.array([[1, 0], [np.tan(by["shear"]), 1]])
        # Wider by as much as it is flatter.
        widening = np.diag([by["aspect"], 1 / by["aspect"]])
        matrix = widening @ shearing @ turning / by["zoom"]
        offset = middle - matrix @ (middle + [by["down"], by["right"]])
        wanted = scipy.ndimage.affine_transform(
            np.pad(image[..., 0], 1), matrix, offset + 1 - matrix @ [1, 1], order=1
        )[1:-1, 1:-1]
        np.testing.assert_allclose(ours[..., 0], wanted, atol=2e-4)


def test_an_image_moved_by_whole_pixels_is_the_image_elsewhere():
    hparams = NONE._replace(shift=1.0)
    by = _draws_of(hparams)[0]
    # As strong as makes the first image's move down a whole number.
    strength = 2 / by["down"]
    found = change(("affine",), images(8), NONE._replace(shift=strength), KEY)[0]
    right = strength * by["right"]
    whole = int(np.floor(right))
    part = right - whole
    rolled = scipy.ndimage.shift(images(8)[0, ..., 0], (2, whole), order=0)
    next_one = scipy.ndimage.shift(images(8)[0, ..., 0], (2, whole + 1), order=0)
    wanted = (1 - part) * rolled + part * next_one
    np.testing.assert_allclose(found[..., 0], wanted, atol=1e-4)


def test_elastic_moves_are_smooth_and_of_unit_variance():
    moves = np.asarray(elastic_moves((4000, 28, 28, 1), KEY))
    assert moves.shape == (2, 4000, 28, 28)
    assert abs(moves.mean(axis=1)).max() < 5 / 4000**0.5
    np.testing.assert_allclose(moves.std(axis=1), 1, atol=0.06)
    steps = np.diff(moves, axis=2)
    assert steps.std() < 0.3, "neighbours move nearly alike"
    across = (moves[0] * moves[1]).mean(axis=0)
    assert abs(across).max() < 5 / 4000**0.5


def _strokes(strength, count=8):
    """Images drawn with another pen, and by how many pixels each is wider."""
    (key,) = jax.random.split(KEY, 1)
    key = dict(zip(STAGES, jax.random.split(key, len(STAGES))))["stroke"]
    draws = strength * np.ravel(uniform(key, (count, 1, 1, 1)))
    hparams = NONE._replace(stroke=float(strength))
    return np.asarray(change(("stroke",), images(count), hparams, KEY)), draws


def test_a_pen_is_wider_as_scipys_dilation_has_it():
    cross, square = scipy.ndimage.generate_binary_structure(2, 1), np.ones((3, 3))
    found, draws = _strokes(2.0)
    assert (draws > 0).any() and (draws < 0).any()
    for image, ours, wider in zip(images(8)[..., 0], found[..., 0], draws):
        wanted = image
        for part, footprint in zip((wider, wider - 1), (cross, square)):
            dilated = scipy.ndimage.grey_dilation(wanted, footprint=footprint)
            wanted = wanted + np.clip(part, 0, 1) * (dilated - wanted)
        if wider < 0:
            eroded = scipy.ndimage.grey_erosion(image, footprint=cross)
            share = THINNEST * -wider / 2
            wanted = image + share * (eroded - image)
        np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_a_pen_wider_than_there_is_is_refused():
    with pytest.raises(InputError, match="stroke=4 .* at least 0 and at most 3"):
        make_point(stroke=4)


def test_erased_squares_have_sides_and_places_of_all_kinds():
    ones = np.ones((4000, 28, 28, 1), np.float32)
    found = np.asarray(change(("erase",), ones, NONE._replace(erase=0.5), KEY))
    assert set(np.unique(found)) == {0, 1}
    gone = found[..., 0] == 0
    for one in gone[:200]:
        rows, columns = one.any(axis=1), one.any(axis=0)
        assert one.sum() == rows.sum() * columns.sum(), "a rectangle"
        assert rows.sum() <= 14 and columns.sum() <= 14
    # Half of the side is 7 on average, cut at the edges.
    assert 30 < gone.sum(axis=(1, 2)).mean() < 65
    assert gone.mean(axis=0).min() > 0


def test_blur_keeps_the_sum_and_widens():
    dot = np.zeros((500, 29, 29, 1), np.float32)
    dot[:, 14, 14] = 1
    found = np.asarray(change(("blur",), dot, NONE._replace(blur=2.0), KEY))[..., 0]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, rtol=1e-4)
    away = np.arange(29) - 14
    width = (found.sum(axis=1) * away**2).sum(axis=1) ** 0.5
    assert 1.9 < width.max() <= 2.001 and width.min() < 0.3
    np.testing.assert_allclose(found, np.swapaxes(found, 1, 2), atol=1e-6)


def test_contrast_and_noise_have_the_strength_they_say():
    half = np.full((3000, 28, 28, 1), 0.5, np.float32)
    noisy = np.asarray(change(("noise",), half, NONE._replace(noise=0.1), KEY))
    sizes = noisy.std(axis=(1, 2, 3))
    assert 0.095 < sizes.max() < 0.107 and sizes.min() < 0.005
    assert sizes.mean() == pytest.approx(0.05, abs=0.002)
    assert abs(noisy.mean() - 0.5) < 1e-3
    steps = np.stack([half * 0, half * 0 + 1], axis=0)
    dark, bright = (
        change(("contrast",), one, NONE._replace(contrast=0.4), KEY) for one in steps
    )
    spread = (bright - dark)[:, 0, 0, 0]
    assert spread.min() >= 0.6 and spread.min() < 0.61 and spread.max() > 0.99


def test_floats_beyond_0_and_1_are_not_clipped_to_them():
    pictures = 6 * images() - 3
    within = float(pictures.min()), float(pictures.max())
    for name in ("noise", "contrast"):
        strengths = NONE._replace(**{name: jnp.float32(1e-6)})
        found = augment((name,), pictures, strengths, KEY, within)
        np.testing.assert_allclose(found, pictures, atol=1e-4)
    strong = NONE._replace(noise=jnp.float32(9))
    found = np.asarray(augment(("noise",), pictures, strong, KEY, within))
    assert (found.min(), found.max()) == pytest.approx(within)
    data = Dataset.from_arrays(np.float32(pictures), np.arange(len(pictures)) % 2)
    low, high = data.pixel_range
    assert within[0] <= low < 0 and 1 < high <= within[1]


def test_uniform_numbers_fill_their_range():
    found = np.asarray(uniform(KEY, (100_000,)))
    assert found.min() >= -1 and found.max() < 1
    assert np.histogram(found, 10, (-1, 1))[0] == pytest.approx(10_000, rel=0.05)
