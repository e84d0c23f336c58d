"""Counts, and what is read from them, against numpy, scipy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from mnistopt.training.metrics import (
    CONVERGENCE_MARGIN,
    Metrics,
    confusion,
    convergence_epoch,
    measure,
    per_class,
)

pytestmark = pytest.mark.usefixtures("quick_compile")


def make_batch(size=40):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(size, 10), scale=3).astype(np.float32)
    labels = rng.integers(0, 10, size, np.int32)
    labels[::2] = logits[::2].argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("kept", [40, 17, 0])
def test_counts_and_sums_are_those_of_numpy_and_padding_counts_nowhere(kept):
    logits, labels = make_batch()
    # Whatever stands in the padding, even what is no number.
    logits[kept:], labels[kept:] = np.nan, 0
    found = measure(jnp.array(logits), jnp.array(labels), jnp.arange(40) < kept)
    right = logits[:kept].argmax(axis=1) == labels[:kept]
    losses = -log_softmax(logits[:kept].astype(float), axis=1)
    assert found.total == kept and found.correct == right.sum()
    wanted = losses[np.arange(kept), labels[:kept]].sum()
    np.testing.assert_allclose(found.loss_sum, wanted, rtol=1e-5)
    assert [str(leaf.dtype) for leaf in found] == ["int32", "int32", "float32"]


def test_the_mask_may_leave_out_any_examples():
    logits, labels = make_batch()
    mask = np.random.default_rng(1).random(40) < 0.5
    found = measure(logits, labels, mask)
    wanted = measure(logits[mask], labels[mask], np.ones(mask.sum(), bool))
    assert (found.total, found.correct) == (wanted.total, wanted.correct)
    np.testing.assert_allclose(found.loss_sum, wanted.loss_sum, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 16, 39])
def test_sums_do_not_depend_on_how_a_batch_is_split(size):
    logits, labels = make_batch()
    count = jax.jit(measure)
    whole = count(logits, labels, np.ones(40, bool))
    sums = Metrics(0, 0, 0.0)
    for start in range(0, 40, size):
        rows = np.arange(start, start + size)
        taken = np.minimum(rows, 39)
        part = count(logits[taken], labels[taken], rows < 40)
        sums = jax.tree.map(lambda a, b: a + b, sums, part)
    assert (sums.total, sums.correct) == (whole.total, whole.correct)
    np.testing.assert_allclose(sums.loss_sum, whole.loss_sum, rtol=1e-5)


# --- Curves ---


@pytest.mark.parametrize(
    ("curve", "epoch"),
    [
        ([0.5], 1),
        ([0.5, 0.9, 0.95], 3),
        ([0.5, 0.949, 0.95], 2),
        ([0.5, 0.947, 0.95], 3),
        ([0.5, 0.949, 0.1, 0.95], 2),
        ([0.95, 0.2, 0.1], 1),
        ([0.0, 0.0], 1),
    ],
)
def test_convergence_is_the_first_epoch_close_to_the_best(curve, epoch):
    assert convergence_epoch(curve) == epoch


@given(st.lists(st.floats(0, 1), min_size=1))
def test_no_epoch_before_convergence_is_close_to_the_best(curve):
    epoch = convergence_epoch(curve)
    distances = max(curve) - np.array(curve)
    slack = 1e-6  # of rounding: what is exactly at the margin is tested below
    assert distances[epoch - 1] <= CONVERGENCE_MARGIN + slack
    assert (distances[: epoch - 1] > CONVERGENCE_MARGIN - slack).all()


@pytest.mark.parametrize("examples", [500, 1000, 5000])
def test_an_accuracy_exactly_at_the_margin_has_converged(examples):
    """0.2 points are one example of the 500 that mnist_5k validates on."""
    margin = round(CONVERGENCE_MARGIN * examples)
    for best in range(margin, examples + 1):
        curve = [(best - margin) / examples, best / examples]
        assert convergence_epoch(curve) == 1, best


# --- Classes ---

labelled = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 9), min_size=n, max_size=n)] * 2)
)


@given(labelled)
def test_confusion_and_its_figures_are_those_of_scikit_learn(pair):
    labels, predicted = map(np.array, pair)
    table = confusion(labels, predicted, classes=10)
    wanted = confusion_matrix(labels, predicted, labels=range(10))
    np.testing.assert_array_equal(table, wanted)
    assert table.dtype == np.int64

    figures = precision_recall_fscore_support(
        labels, predicted, labels=range(10), zero_division=0
    )
    for name, column in zip(("precision", "recall", "f1"), figures):
        np.testing.assert_allclose([row[name] for row in per_class(table)], column)


def test_confusion_has_as_many_classes_as_asked_for():
    table = confusion(np.array([0, 2]), np.array([2, 2]), classes=3)
    assert table.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert len(per_class(table)) == 3
