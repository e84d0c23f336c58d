"""Plain flax: a replica axis by `jax.vmap` over `flax.linen`'s own layers."""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE


def make(
    scanned: bool,
    replicas: int,
    axes: Mapping[str, Any],
    batch: int,
    images: Any,
    labels: Any,
) -> Callable[[], None]:
    """Returns a function that trains one epoch; runs in a process of its own.

    Args:
        scanned: Whether an epoch is one call (`lax.scan` inside `jit`), or each step
            one from Python: a vmapped `TrainState`, the way of flax's guide to
            ensembles and of TurbaNet.
        replicas: How many are trained side by side.
        axes: Of the network, as in `networks.NETWORKS`.
        batch: Examples per update.
        images: uint8 [N, 28, 28, 1].
        labels: int [N].
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from flax.training.train_state import TrainState

    model = _network(axes)
    x, y = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels)
    update = _make_update(x, y)

    def create(key: Any) -> TrainState:
        params = model.init(key, x[:1], training=False)["params"]
        adam = optax.adam(LEARNING_RATE)
        return TrainState.create(apply_fn=model.apply, params=params, tx=adam)

    keys = jax.random.split(jax.random.key(0), replicas)
    states = jax.vmap(create)(keys)
    one_step = jax.vmap(update, in_axes=(0, 0, None))

    def all_steps(states: Any, order: Any) -> Any:
        step = lambda states, rows: (one_step(states, keys, rows), None)  # noqa: E731
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
                states = compiled(states, keys, rows)
        jax.block_until_ready(states)

    return epoch


def _make_update(x: Any, y: Any) -> Callable:
    """Returns the update of one model: state, key and rows of x and y to a state."""
    import jax
    import optax

    def update(state: Any, key: Any, rows: Any) -> Any:
        def loss_of(params: Any) -> Any:
            rngs = {"dropout": jax.random.fold_in(key, state.step)}
            logits = state.apply_fn(
                {"params": params}, x[rows], training=True, rngs=rngs
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows])
            return losses.mean()

        return state.apply_gradients(grads=jax.grad(loss_of)(state.params))

    return update


def _network(axes: Mapping[str, Any]) -> Any:
    import flax.linen as nn

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x: Any, training: bool) -> Any:
            for i, features in enumerate(axes.get("channels", ())):
                x = nn.relu(nn.Conv(features, (3, 3))(x))
                x = nn.max_pool(x, (2, 2), (2, 2)) if i < 2 else x
            x = x.reshape(len(x), -1)
            for units in axes.get("hidden", (axes.get("dense"),)):
                x = nn.relu(nn.Dense(units)(x))
                x = nn.Dropout(DROPOUT, deterministic=not training)(x)
            return nn.Dense(10)(x)

    return Plain()
