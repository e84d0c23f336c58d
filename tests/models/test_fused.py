"""The C++ of CPUs' convolutions: every vector, every size, and nothing beyond."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mnistopt
from mnistopt.models import conv, forms, fused
from tests.linen import float64

here = pytest.mark.skipif(not fused.LIBRARY, reason="not compiled here")
pytestmark = pytest.mark.usefixtures("quick_compile")
# Floats in a vector: SSE and NEON, AVX2, AVX-512.
WIDTHS = 4, 8, 16
# Batch, height, width, channels, features; whether there is a pool, and a bias.
LAYERS = [
    ((2, 28, 28, 1, 20), True, True),
    ((3, 9, 7, 33, 20), True, True),
    ((2, 7, 8, 20, 33), False, True),
    ((2, 6, 5, 3, 9), False, False),
    ((2, 5, 6, 16, 64), True, False),
    ((0, 4, 4, 5, 6), True, True),
]
by_layer = pytest.mark.parametrize(("sizes", "pool", "bias"), LAYERS, ids=str)


def normal(rng, shape):
    return rng.normal(size=shape).astype(np.float32)


def whole_numbers(rng, shape):
    """Few small whole numbers: sums of them are exact, and maxima often tie."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def inputs_of(sizes, bias, draw, seed=0):
    b, h, w, c, o = sizes
    rng = np.random.default_rng(seed)
    x, kernel = draw(rng, (b, h, w, c)), draw(rng, (3, 3, c, o))
    return x, kernel, draw(rng, (o,)) if bias else None


def by_xla(x, kernel, bias, pool):
    """XLA's own operations, one after the other."""
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = y if bias is None else jax.nn.relu(y + bias)
    window = (1, 2, 2, 1)
    if not pool:
        return y
    return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, window, window, "VALID")


def results(layer, inputs, pool, draw=normal):
    """Output and gradients, flat; in float64 if the inputs are."""
    y, backward = jax.vjp(lambda *all: layer(*all, pool), *map(_given, inputs))
    grad = draw(np.random.default_rng(9), y.shape)
    flat = jax.tree.leaves((y, *backward(jnp.asarray(grad, y.dtype))))
    return [np.asarray(one) for one in flat]


def _given(one):
    return None if one is None else jnp.asarray(one)


def in_double(inputs, pool, draw=normal):
    with float64():
        double = [None if a is None else a.astype(np.float64) for a in inputs]
        return results(by_xla, double, pool, draw)


def test_it_is_compiled_wherever_it_can_be():
    assert fused.LIBRARY or sys.platform not in ("linux", "darwin"), fused.MISSING
    assert forms.form_of("cpu") == (forms.FUSED if fused.LIBRARY else forms.BLOCKS)


def test_what_cannot_be_used_is_not_given_to_xla(tmp_path):
    """It would refuse it, and have no CPU then."""
    library, why = fused._load(tmp_path / "_fused.so")
    assert library is None and "not compiled" in why
    (tmp_path / "_fused.so").write_bytes(b"something else")
    assert "_fused.so cannot be loaded" in fused._load(tmp_path / "_fused.so")[1]
    # Something else indeed, as of another version: nothing of it is called.
    other = Path(np.random.mtrand.__file__)
    assert "cannot be loaded" in fused._load(other)[1]


@here
@pytest.mark.parametrize("version", [(0, 0), (0, fused._TRIED + 1), (1, 1)])
def test_no_interface_is_used_that_was_not_tried(tmp_path, monkeypatch, version):
    header = tmp_path / "xla" / "ffi" / "api" / "c_api.h"
    header.parent.mkdir(parents=True)
    major, minor = version
    header.write_text(
        f"#define XLA_FFI_API_MAJOR {major}\n#define XLA_FFI_API_MINOR {minor}\n"
    )
    monkeypatch.setattr(jax.ffi, "include_dir", lambda: str(tmp_path))
    library, why = fused._load(Path(fused.__file__).with_name("_fused.so"))
    assert library is None and f"not {[major, minor]}" in why


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_a_study_says_that_its_c_plus_plus_is_missing(tmp_path, monkeypatch, model):
    monkeypatch.setitem(forms.OF_PLATFORM, "cpu", forms.BLOCKS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        mnistopt.plan(model=model, workdir=tmp_path)
    assert ["quarter of their speed" in str(one.message) for one in told] == (
        [True] if model == "cnn" else []
    )


@here
@by_layer
def test_it_errs_by_a_few_last_bits(sizes, pool, bias):
    inputs = inputs_of(sizes, bias, normal)
    found = results(fused.conv3x3, inputs, pool)
    for one, truth in zip(found, in_double(inputs, pool), strict=True):
        bound = 2e-6 * np.abs(truth).max(initial=0)
        np.testing.assert_allclose(one, truth, rtol=0, atol=bound)


@here
@by_layer
def test_avx2_and_avx512_give_the_same_bits(sizes, pool, bias):
    inputs = inputs_of(sizes, bias, normal)
    try:
        found = [
            results(fused.conv3x3, inputs, pool)
            for width in WIDTHS[1:]
            if fused.LIBRARY.use_vector_width(width) == width
        ]
    finally:
        fused.LIBRARY.use_vector_width(0)
    if len(found) < 2:
        pytest.skip("no AVX-512 here")
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@here
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("at", [(2, 2), (3, 2), (3, 5)])
def test_what_is_not_finite_comes_through(channels, pool, width, at):
    x, kernel, bias = inputs_of((2, 6, 6, channels, 3), True, whole_numbers)
    x[0][at], x[1, 5, 5] = np.nan, np.inf
    try:
        if fused.LIBRARY.use_vector_width(width) != width:
            pytest.skip("no such instructions here")
        found = np.asarray(conv.conv3x3(x, kernel, bias, pool))
    finally:
        fused.LIBRARY.use_vector_width(0)
    wanted = by_xla(x, kernel, bias, pool)
    # Winograd's transform makes NaN of an infinity's neighbours, too.
    assert np.isnan(found[0]).sum() == np.isnan(wanted[0]).sum() > 0
    assert not np.isfinite(found[1]).all()
    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(wanted[0]))


@here
def test_two_replica_axes_are_as_good_as_one():
    kernels = normal(np.random.default_rng(1), (2, 3, 3, 3, 4, 5))
    x, _, bias = inputs_of((2, 6, 6, 4, 5), True, normal)

    def loss(kernel, x):
        return (conv.conv3x3(x, kernel, bias, True) ** 2).sum()

    once = jax.grad(loss)
    twice = jax.vmap(jax.vmap(once, (0, None)), (0, None))(kernels, x)
    each = [[once(kernel, x) for kernel in row] for row in kernels]
    np.testing.assert_array_equal(twice, each)


@here
def test_what_does_not_fit_is_refused_before_it_is_computed():
    x, kernel, bias = inputs_of((1, 4, 4, 2, 3), True, normal)
    refused = [
        ((x, kernel[..., :1, :], bias), ValueError),
        ((x, kernel[:2], bias), ValueError),
        ((x[0], kernel, bias), ValueError),
        ((x, kernel, bias[:2]), ValueError),
        ((x, kernel, bias[None]), ValueError),
        ((x.astype(np.float16), kernel, bias), TypeError),
        ((x, kernel.astype(np.int32), bias), TypeError),
        ((np.zeros((1, fused.MOST + 1, 1, 2), np.float32), kernel, bias), ValueError),
    ]
    for arguments, error in refused:
        with pytest.raises(error, match="expected"):
            fused.conv3x3(*arguments, pool=True)


def compare_any(count, seed):
    """Compares layers of any size with XLA's in float64, to the bit."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        sizes = [int(n) for n in rng.integers(1, [4, 20, 20, 70, 70], endpoint=True)]
        sizes[3] = int(rng.choice([1, 2, 3, sizes[3]]))
        pool, bias = bool(rng.random() < 0.6), bool(rng.random() < 0.7)
        inputs = inputs_of(sizes, bias, whole_numbers, int(rng.integers(1 << 30)))
        found = results(fused.conv3x3, inputs, pool, whole_numbers)
        wanted = in_double(inputs, pool, whole_numbers)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other, str((sizes, pool, bias)))


@here
def test_some_sizes():
    compare_any(8, seed=1)


@here
@pytest.mark.full
def test_any_sizes_under_all_instructions():
    try:
        for width in WIDTHS:
            if fused.LIBRARY.use_vector_width(width) == width:
                compare_any(40, seed=width)
    finally:
        fused.LIBRARY.use_vector_width(0)


# A process of its own: its library stands beside the other.
CHECKED = """
import ctypes, sys, jax
from mnistopt.models import fused
fused.LIBRARY = library = ctypes.CDLL(sys.argv[1])
fused._PREFIX = "checked_"
for name in fused._TARGETS:
    handler = jax.ffi.pycapsule(getattr(library, name))
    jax.ffi.register_ffi_target("checked_" + name, handler, platform="cpu")
from tests.models import test_fused
for width in test_fused.WIDTHS:
    if library.use_vector_width(width) == width:
        test_fused.compare_any(20, seed=10 + width)
print("compared")
"""


@here
@pytest.mark.full
def test_sanitizers_find_nothing(tmp_path):
    """Addresses beyond arrays, and what C++ leaves undefined, end the process."""
    compiler = shutil.which("g++")
    if not compiler or sys.platform != "linux":
        pytest.skip("needs GCC's sanitizers")
    source = Path(fused.__file__).with_name("fused.cpp")
    library = tmp_path / "checked.so"
    sanitize = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
    flags = "-std=c++17", "-O1", "-g", "-fPIC", "-shared", "-w", *sanitize
    headers = f"-isystem{jax.ffi.include_dir()}"
    subprocess.run([compiler, *flags, headers, source, "-o", library], check=True)
    # The latter, too, or the former would not find what throws.
    preload = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(preload),
        # Python's own memory is none of its business.
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHECKED, library],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "compared\n", done.stderr[-2000:]
