"""Classifiers in whole numbers: in NumPy, in C, and beside floats."""

import math
import subprocess

import numpy as np
import pytest

from mnistopt.models.graph import Conv, Graph, Window
from mnistopt.study.export.c_file import c_source
from mnistopt.study.export.classifier import Classifier, Refusal
from mnistopt.study.export.integers import WHOLE, quantize, shares
from mnistopt.study.export.memory import arrange
from tests import cortex
from tests.exporting import (
    COMPILERS,
    SETTINGS,
    STRICT,
    answers,
    asked,
    classifier,
    compiled,
    digits,
    graph,
)

COUNT = 200
compilers = pytest.mark.skipif(not COMPILERS, reason="no C compiler found")


@compilers
@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda i: str(i))
def test_c_says_what_numpy_says_to_the_bit(number, tmp_path):
    found = classifier(number)
    images = digits().test.images[:COUNT]
    classes, confidence = found(images)
    told = asked(compiled(c_source(found), tmp_path), images)
    np.testing.assert_array_equal(told[0], classes)
    np.testing.assert_array_equal(told[1], confidence)
    assert (classes < 0).any() and (classes >= 0).any()


@compilers
def test_networks_that_vote_do_so_in_c_too(tmp_path):
    found = classifier(0, 3)
    images = digits().test.images[:COUNT]
    told = asked(compiled(c_source(found), tmp_path), images)
    np.testing.assert_array_equal(told[1], found(images)[1])
    one = classifier(0)(images)[1]
    assert (one != told[1]).any()


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_c_file_compiles_without_a_warning_and_does_nothing_undefined(
    compiler, tmp_path
):
    found, images = classifier(6), digits().test.images[:20]
    flags = ("-fsanitize=undefined", "-fno-sanitize-recover")
    try:
        program = compiled(c_source(found), tmp_path, compiler, flags)
    except subprocess.CalledProcessError as error:
        if "ubsan" not in error.stderr:
            raise
        pytest.skip(f"{compiler} has no sanitizer here")
    np.testing.assert_array_equal(asked(program, images)[1], found(images)[1])


@compilers
@pytest.mark.parametrize("flags", [("-m32",), ("-std=gnu11",)], ids=str)
def test_the_c_file_is_the_same_elsewhere(flags, tmp_path):
    """With 32 bits, and beside all names of a system's own headers."""
    found, images = classifier(6), digits().test.images[:20]
    try:
        program = compiled(c_source(found), tmp_path, flags=flags)
    except subprocess.CalledProcessError as error:
        if flags != ("-m32",) or "bits/" not in error.stderr:
            raise
        pytest.skip("no headers for 32 bits found")
    np.testing.assert_array_equal(asked(program, images)[1], found(images)[1])


@pytest.mark.full
@pytest.mark.skipif(bool(cortex.MISSING), reason=f"{cortex.MISSING} not found")
@pytest.mark.parametrize("number", [2, 6])
def test_a_cortex_m4_says_the_same_to_the_bit(number, tmp_path):
    found, images = classifier(number), digits().test.images[:50]
    told = answers(cortex.run(c_source(found), images, tmp_path, STRICT))
    for theirs, ours in zip(told, found(images)):
        np.testing.assert_array_equal(theirs, ours)


@compilers
def test_a_c_program_reads_pictures_and_refuses_what_is_none(tmp_path):
    found, image = classifier(0), digits().test.images[7:8]
    program = compiled(c_source(found), tmp_path)
    picture = tmp_path / "seven.pgm"
    picture.write_bytes(b"P5\n28 28\n255\n" + image.tobytes())
    told = subprocess.run([program, picture], capture_output=True, text=True)
    assert told.stdout.split()[1:] == list(map(str, found(image)[1][0]))
    for content, words in (
        (b"P5\n27 28\n255\n" + image.tobytes(), "expected a PGM"),
        (b"P5\n28 28\n65535\n" + image.tobytes(), "expected a PGM"),
        (image.tobytes()[:-1], "28 x 28"),
    ):
        picture.write_bytes(content)
        told = subprocess.run([program, picture], capture_output=True, text=True)
        assert (told.returncode, told.stdout) == (2, "")
        assert words in told.stderr


@compilers
def test_a_damaged_c_file_says_so(tmp_path):
    text = c_source(classifier(0))
    start = text.index("KERNEL_0_1[")
    at = text.index("\n", start) + 3
    damaged = text[:at] + "99" + text[text.index(",", at) :]
    program = compiled(damaged, tmp_path)
    told = subprocess.run([program], input=b"", capture_output=True, text=False)
    assert told.returncode == 2 and b"damaged" in told.stderr


@compilers
def test_the_classifier_alone_is_a_library(tmp_path):
    (tmp_path / "digit.c").write_text(c_source(classifier(0)))
    (tmp_path / "use.c").write_text(
        "#include <stdint.h>\n"
        "int digit_classify(const uint8_t image[784], uint8_t confidence[10]);\n"
        "int main(void) { static uint8_t image[784]; uint8_t confidence[10];\n"
        "  return digit_classify(image, confidence) != -1; }\n"
    )
    command = [COMPILERS[0], "-std=c99", "-DDIGIT_NO_MAIN", "digit.c", "use.c"]
    subprocess.run([*command, "-o", "use"], cwd=tmp_path, check=True)
    # A blank image is no digit.
    assert subprocess.run([tmp_path / "use"]).returncode == 0
    objects = [COMPILERS[0], "-c", "-DDIGIT_NO_MAIN", "digit.c", "-o", "digit.o"]
    subprocess.run(objects, cwd=tmp_path, check=True)
    undefined = subprocess.run(
        ["nm", "-u", tmp_path / "digit.o"], capture_output=True, text=True
    )
    assert undefined.stdout.split() == []  # no malloc, no libm


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda i: str(i))
def test_whole_numbers_are_near_the_floats(number):
    images = digits().test.images[:COUNT]
    network = quantize(graph(number), digits().validation.images[:64])
    floats, wholes = graph(number)(images / np.float32(255)), network(images) / 1024
    spread = floats.std()
    assert abs(floats - wholes).mean() < 0.1 * spread
    assert np.corrcoef(floats.ravel(), wholes.ravel())[0, 1] > 0.99


def test_what_is_between_layers_is_bytes_and_sums_have_32_bits():
    for number in range(len(SETTINGS)):
        for whole in classifier(number).members[0].layers[:-1]:
            assert 0 <= whole.low <= whole.high <= 255
            assert abs(whole.multiplier).max() < 2**15
            assert (abs(whole.offset) < 2**52).all()
        for whole in classifier(number).members[0].layers:
            if whole.kernel is not None:
                sums = abs(whole.kernel.astype(int)).sum((0, 1, 2)) * 255
                assert sums.max() < 2**31


def graph_of(kernel, bias, shape=(4, 4, 1), **more):
    """Two layers: a convolution of one pixel, and the mean of what it makes."""
    size = kernel.shape[-1]
    conv = Conv(
        "first", (0,), (*shape[:2], size), shape, kernel, bias, Window((1, 1)), **more
    )
    ones = np.ones((*shape[:2], 1, size), np.float32) / 16
    last = Conv(
        "last", (1,), (1, 1, size), conv.shape, ones, np.zeros(size, np.float32),
        Window(shape[:2]), groups=size,
    )  # fmt: skip
    return Graph(shape, (conv, last))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1, 1e3, 1e6])
def test_layers_of_any_size_are_rescaled(scale):
    rng = np.random.default_rng(0)
    kernel = (scale * rng.normal(size=(1, 1, 1, 3))).astype(np.float32)
    bias = (scale * rng.normal(size=3)).astype(np.float32)
    images = rng.integers(0, 256, (50, 4, 4, 1), np.uint8)
    made = graph_of(kernel, bias)
    network = quantize(made, images, scale)
    floats, wholes = made(images / np.float32(255)) / scale, network(images) / 1024
    np.testing.assert_allclose(wholes, floats, atol=0.03)


def test_a_channel_of_zeros_and_a_layer_that_makes_nothing_are_no_trouble():
    kernel = np.zeros((1, 1, 1, 3), np.float32)
    kernel[..., 1] = 1
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), np.uint8)
    made = graph_of(kernel, np.array([0, -2, 0], np.float32), low=0.0)
    assert (quantize(made, images)(images) == 0).all()


def test_limits_hold_for_images_beyond_those_that_ranges_were_measured_on():
    kernel = np.full((1, 1, 1, 1), 10, np.float32)
    made = graph_of(kernel, np.zeros(1, np.float32), low=0.0, high=6.0)
    dark, light = np.zeros((1, 4, 4, 1), np.uint8), np.full((1, 4, 4, 1), 255, np.uint8)
    network = quantize(made, np.concatenate([dark, light]))
    assert math.isclose(network(light)[0, 0] / 1024, 6, abs_tol=0.03)


def test_shares_are_a_softmax():
    logits = np.random.default_rng(0).normal(size=(100, 10)) * 3
    exact = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = shares(np.round(1024 * logits).astype(np.int64)) / WHOLE
    np.testing.assert_allclose(found, exact, atol=0.005)
    far = np.array([[0, -(2**31), 2**20]])
    np.testing.assert_array_equal(shares(far), [[0, 0, WHOLE]])


def test_images_without_ink_or_with_too_much_are_no_digits():
    found = classifier(0)
    everything = Refusal(1000, 2000, 0)
    eager = Classifier(found.members, found.class_names, False, everything, {})
    images = np.zeros((4, 28, 28, 1), np.uint8)
    images.reshape(4, -1)[1:, 0] = 250
    images.reshape(4, -1)[2:, 1:8] = 200
    images.reshape(4, -1)[3:, 8:20] = 200
    assert [label >= 0 for label in eager(images)[0]] == [False, False, True, False]
    dark = Classifier(found.members, found.class_names, True, everything, {})
    assert [label >= 0 for label in dark(255 - images)[0]] == [
        *(False, False, True, False)
    ]


def test_places_of_what_is_between_layers_do_not_overlap_while_both_are_needed():
    for number in range(len(SETTINGS)):
        read = graph(number)
        starts, length = arrange(read)
        sizes = [math.prod(shape) for shape in read.shapes]
        last = {n: i for i, layer in enumerate(read.layers, 1) for n in layer.inputs}
        for now in range(1, len(read.layers)):
            taken = np.zeros(length, int)
            for n in (n for n in starts if n <= now <= last[n]):
                taken[starts[n] : starts[n] + sizes[n]] += 1
            assert taken.max() <= 1
        assert length <= sum(sizes[1:])
