"""Keras 3 on JAX, and plain flax with a replica axis, doing the same updates.

Each is made in a process of its own.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE, layers_of


def make_keras(
    axes: Mapping[str, Any], batch: int, images: Any, labels: Any
) -> Callable[[], None]:
    """Returns a function that trains one epoch, by `Model.fit`.

    Args:
        axes: The network's axes, as in `networks.NETWORKS`.
        batch: Examples per update.
        images: uint8 [N, 28, 28, 1].
        labels: int [N].
    """
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras import layers

    channels, hidden = layers_of(axes)
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for i, features in enumerate(channels):
        model.add(layers.Conv2D(features, 3, padding="same", activation="relu"))
        if i < 2:
            model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    for units in hidden:
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


def _plain(axes: Mapping[str, Any]) -> Any:
    """Returns the network as anybody would write it in `flax.linen`."""
    import flax.linen as nn

    channels, hidden = layers_of(axes)

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x: Any, training: bool) -> Any:
            for i, features in enumerate(channels):
                x = nn.relu(nn.Conv(features, (3, 3))(x))
                x = nn.max_pool(x, (2, 2), (2, 2)) if i < 2 else x
            x = x.reshape(len(x), -1)
            for units in hidden:
                x = nn.relu(nn.Dense(units)(x))
                x = nn.Dropout(DROPOUT, deterministic=not training)(x)
            return nn.Dense(10)(x)

    return Plain()


def flax_update(axes: Mapping[str, Any]) -> tuple[Any, Any]:
    """Returns plain flax's first states, and its update of all of them, vmapped.

    Args:
        axes: See `make_keras`.

    Returns:
        A function from keys [replicas] to states; and one from states, keys, images
        float32 [N, 28, 28, 1], labels and the rows of a batch to states.
    """
    import jax
    import jax.numpy as jnp
    import optax
    from flax.training.train_state import TrainState

    model = _plain(axes)

    def create(key: Any) -> TrainState:
        params = model.init(key, jnp.zeros((1, 28, 28, 1)), training=False)["params"]
        adam = optax.adam(LEARNING_RATE)
        return TrainState.create(apply_fn=model.apply, params=params, tx=adam)

    def update(state: Any, key: Any, x: Any, y: Any, rows: Any) -> Any:
        def loss_of(params: Any) -> Any:
            rngs = {"dropout": jax.random.fold_in(key, state.step)}
            logits = state.apply_fn(
                {"params": params}, x[rows], training=True, rngs=rngs
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows])
            return losses.mean()

        return state.apply_gradients(grads=jax.grad(loss_of)(state.params))

    return jax.vmap(create), jax.vmap(update, in_axes=(0, 0, None, None, None))


def make_flax(
    scanned: bool,
    replicas: int,
    axes: Mapping[str, Any],
    batch: int,
    images: Any,
    labels: Any,
) -> Callable[[], None]:
    """Returns a function that trains one epoch, by `jax.vmap` over `flax.linen`.

    Args:
        scanned: Whether an epoch is one call (`lax.scan` inside `jit`), or each step
            one from Python: a vmapped `TrainState`, the way of flax's guide to
            ensembles and of TurbaNet.
        replicas: How many are trained side by side.
        axes: See `make_keras`.
        batch: See `make_keras`.
        images: See `make_keras`.
        labels: See `make_keras`.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    create, update = flax_update(axes)
    x, y = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels)
    keys = jax.random.split(jax.random.key(0), replicas)
    states = create(keys)

    def one_step(states: Any, rows: Any) -> Any:
        return update(states, keys, x, y, rows)

    def all_steps(states: Any, order: Any) -> Any:
        step = lambda states, rows: (one_step(states, rows), None)  # noqa: E731
        return jax.lax.scan(step, states, order)[0]

    compiled = jax.jit(all_steps if scanned else one_step, donate_argnums=0)
    rng = np.random.default_rng(0)

    def epoch() -> None:
        nonlocal states
        order = rng.permutation(len(y))[: len(y) // batch * batch].reshape(-1, batch)
        if scanned:
            states = compiled(states, order)
        else:
            for rows in order:
                states = compiled(states, rows)
        jax.block_until_ready(states)

    return epoch
