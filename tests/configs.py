"""A config.json as if a study had been made."""

import dataclasses
from typing import Any

from mnistopt.results.config import Config, DataDescription

DATA = DataDescription(
    dataset="mnist_5k",
    train_examples=None,
    train=90,
    validation=50,
    test=200,
    fingerprint="0123456789abcdef",
    image_shape=(28, 28, 1),
    class_names=tuple("0123456789"),
    image_size=None,
    dark_on_light=False,
)


def make_config(data: dict[str, Any] | DataDescription = DATA, **parts: Any) -> Config:
    """Returns a config with some parts of one's own; of `data` changes are enough."""
    if isinstance(data, dict):
        data = dataclasses.replace(DATA, **data)
    others: dict[str, Any] = {
        "data_dir": None,
        "data_file": None,
        "asked": {"model": ["mlp"], "seeds": 2},
        "modules": {},
        "warnings": [],
        "devices": ["cpu 0"],
        "python": "3",
        "platform": "here",
        "cpu": "some",
        "versions": {},
        "commit": None,
    }
    return Config(data=data, **{**others, **parts})
