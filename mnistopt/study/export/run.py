"""Writes trained networks as files for where they are used."""

from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.official import IMAGE_SIZE
from mnistopt.engine.predict import predict
from mnistopt.errors import InputError
from mnistopt.files import replacing
from mnistopt.models.reading import read_graph
from mnistopt.results.calibration import fit_temperature, logits
from mnistopt.study.export.c_file import c_source
from mnistopt.study.export.card import Source, lost, make_card, measured
from mnistopt.study.export.classifier import (
    Classifier,
    choose_refusal,
    sum_shares,
)
from mnistopt.study.export.integers import quantize
from mnistopt.study.export.onnx_file import import_onnx, onnx_bytes
from mnistopt.study.export.packing import pack
from mnistopt.study.export.page import page
from mnistopt.study.export.program import program_bytes
from mnistopt.study.export.saved import FloatClassifier, vote

# Each format's file.
FILES = {
    "onnx": "classifier.onnx",
    "html": "draw.html",
    "c": "digit.c",
    "stablehlo": "classifier.stablehlo.zip",
    "npz": "classifier.npz",
}
# Those that are in whole numbers always.
ALWAYS_INT8 = "html", "c"
# Validation images on which ranges are measured.
_CALIBRATED_ON = 1000


def check_format(format: str, int8: bool) -> None:
    """Raises InputError if there is no such format, or it has no whole numbers."""
    if format not in FILES:
        raise InputError(
            f"format={format} is not known; choose one of {', '.join(FILES)}"
        )
    if int8 and format == "stablehlo":
        raise InputError(
            "int8 has no effect on stablehlo, which is in floats: leave it out. onnx "
            "and npz can be either; c and html are in whole numbers"
        )
    if format == "onnx":
        import_onnx()


def export(source: Source, format: str, int8: bool, path: Path) -> dict[str, Any]:
    """Writes a classifier in a format.

    Args:
        source: What is exported.
        format: One of `FILES`.
        int8: Whether in whole numbers, where both are possible.
        path: The file, which is replaced in one step.

    Returns:
        What is known of it, as it stands in the file; and its `path` and `bytes`.

    Raises:
        InputError: If it cannot be exported in this format, or written; says why.
    """
    content, card = make(source, format, int8)
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); give another `path`"
        ) from error
    return {**card, "path": str(path), "bytes": len(content)}


def make(source: Source, format: str, int8: bool) -> tuple[bytes, dict[str, Any]]:
    """Returns the content of a file, and what is known of it; see `export`."""
    check_format(format, int8)
    whole = int8 or format in ALWAYS_INT8
    _check_images(source, format, whole)
    data, about, shape = source.data, source.about, tuple(source.about.image_shape)
    # Before anything is measured: a network that cannot be exported is refused.
    read = source.networks if format != "stablehlo" else ()
    graphs = tuple(read_graph(*pair, shape) for pair in read)
    validation = _logits(source, data.validation.images)
    labels = data.validation.labels
    # What was trained on says nothing of confidence.
    trained = about.train_on == "all"
    temperatures = tuple(
        1.0 if trained else fit_temperature(logits, labels) for logits in validation
    )
    numbers, command = "int8" if whole else "float32", _command(source, format, int8)
    card = make_card(source, numbers, command)
    chances = vote(_logits(source, data.test.images), temperatures)
    right = chances.argmax(-1) == data.test.labels
    card["test"] = {"float": measured(right)}
    if format == "stablehlo":
        kind = data.test.images.dtype
        return program_bytes(source.networks, temperatures, card, shape, kind), card
    if not whole:
        if format == "onnx":
            pixels = data.test.images.dtype == np.uint8
            return onnx_bytes(graphs, temperatures, card, pixels), card
        names = about.class_names
        return pack(FloatClassifier(graphs, temperatures, names, card)), card
    some = data.validation.images[:_CALIBRATED_ON]
    members = tuple(quantize(g, some, t) for g, t in zip(graphs, temperatures))
    dark = about.dark_on_light
    refusal = choose_refusal(members, data.validation.images, dark)
    classifier = Classifier(members, about.class_names, dark, refusal, card)
    total = sum_shares(members, data.test.images)
    classes, _ = classifier.decide(total, data.test.images)
    said = total.argmax(-1) == data.test.labels
    card["test"] |= {
        "int8": measured(said),
        "lost": lost(right, said),
        "refused": float((classes < 0).mean()),
    }
    if format == "onnx":
        return onnx_bytes(members, temperatures, card, True), card
    if format == "npz":
        return pack(classifier), card
    if format == "c":
        return c_source(classifier).encode(), card
    return page(classifier, _examples(source)).encode(), card


def _check_images(source: Source, format: str, whole: bool) -> None:
    kind, shape = source.data.test.images.dtype, tuple(source.about.image_shape)
    if whole and kind != np.uint8:
        raise InputError(
            f"the study's images are {kind}: whole numbers need images of bytes "
            "(uint8). The formats onnx, npz and stablehlo take floats"
        )
    if format == "html" and shape != (IMAGE_SIZE, IMAGE_SIZE, 1):
        raise InputError(
            f"the study's images have the shape {shape}: the page draws digits of "
            f"{(IMAGE_SIZE, IMAGE_SIZE, 1)}. Other formats take any shape"
        )


def _examples(source: Source) -> list[np.ndarray]:
    """Returns the first validation image of each class, with ink 255."""
    images, labels = source.data.validation
    classes, dark = range(len(source.about.class_names)), source.about.dark_on_light
    firsts = [images[np.argmax(labels == label)] for label in classes]
    return [255 - image if dark else image for image in firsts]


def _command(source: Source, format: str, int8: bool) -> str:
    flags = f"--workdir={source.study} --trial={source.trial} --format={format}"
    return f"python -m experiments.export {flags}{' --int8' * int8}"


def _logits(source: Source, images: np.ndarray) -> list[np.ndarray]:
    """Returns each network's logits, but for a number added to all of an image's."""
    said = [predict(*pair, images).probabilities for pair in source.networks]
    return [logits(chances) for chances in said]
