"""Keras 3 on JAX doing the same updates, by `Model.fit`."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE


def make(
    axes: Mapping[str, Any], batch: int, images: Any, labels: Any
) -> Callable[[], None]:
    """Returns a function that trains one epoch; runs in a process of its own.

    Args:
        axes: Of the network, as in `networks.NETWORKS`.
        batch: Examples per update.
        images: uint8 [N, 28, 28, 1].
        labels: int [N].
    """
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((28, 28, 1))])
    for i, features in enumerate(axes.get("channels", ())):
        model.add(layers.Conv2D(features, 3, padding="same", activation="relu"))
        if i < 2:
            model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    for units in axes.get("hidden", (axes.get("dense"),)):
        model.add(layers.Dense(units, activation="relu"))
        model.add(layers.Dropout(DROPOUT))
    model.add(layers.Dense(10))
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=16,
    )
    x = images.astype("float32") / 255

    def epoch() -> None:
        model.fit(x, labels, batch_size=batch, epochs=1, verbose=0)

    return epoch
