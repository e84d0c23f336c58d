"""What networks take images from anywhere for."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.data.strangers import make_strangers, read_strangers
from mnistopt.engine.predict import Predictor
from mnistopt.results.config import Config


def classify(
    config: Config, networks: Iterable[tuple[Any, Any]], images: Any
) -> pd.DataFrame:
    """Returns what networks take images for; see `Study.predict`.

    Args:
        config: The study's.
        networks: Models and their variables; the mean of their probabilities counts.
        images: See `Study.predict`.

    Raises:
        InputError: If the images cannot be used.
    """
    data = config.data
    names, shape = data.class_names, tuple(data.image_shape)
    if isinstance(images, (str, Path)):
        found = read_strangers(images, names, shape, data.dark_on_light)
        if found.skipped:
            warnings.warn(found.skipped, stacklevel=3)
    else:
        found = make_strangers(images, shape, data.dark_on_light)
    chances = np.full((len(found.names), len(names)), np.nan)
    likeliest: list[str | None] = [None] * len(found.names)
    if found.ink.any():
        predictor = Predictor({"images": found.images[found.ink]}, config.precision)
        said = [answer["images"].probabilities for answer in predictor(networks)]
        chances[found.ink] = np.mean(said, axis=0, dtype=np.float64)
        for row in np.flatnonzero(np.isfinite(chances).all(axis=1)):
            likeliest[row] = names[int(chances[row].argmax())]
    table = {
        "image": found.names,
        "class": likeliest,
        "probability": chances.max(axis=1),
    }
    # A class may be called as one of these columns.
    headings = [f"p({name})" if name in table else name for name in names]
    return pd.DataFrame(table | dict(zip(headings, chances.T)))
