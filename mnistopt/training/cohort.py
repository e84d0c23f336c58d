"""What a replica's program depends on, and what it carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mnistopt.ambient import PRNG
from mnistopt.data.dataset import Dataset
from mnistopt.hparams import Hparams
from mnistopt.models.networks import DIGIT_SHAPE, init, make_network
from mnistopt.points import Point, stages
from mnistopt.training.optimizers import make_optimizer


class TrainState(NamedTuple):
    """All that one replica carries from epoch to epoch.

    Attributes:
        variables: The network's, as flax has them: `params`, and `batch_stats` with
            BatchNorm.
        opt_state: The optimizer's state.
        best: The variables after the best epoch by validation accuracy.
        best_correct: Validation examples they classify rightly, int32 [].
        diverged_at: The step (from 0) that diverged, int32 []; -1 while none has. From
            then on the variables stay as they are.
        average: Moving average of the variables, in the stage "average"; else None.
    """

    variables: Any
    opt_state: Any
    best: Any
    best_correct: jax.Array
    diverged_at: jax.Array
    average: Any = None

    @property
    def evaluated(self) -> Any:
        """The variables that are evaluated and kept: the average, if there is one."""
        return self.variables if self.average is None else self.average


class Cohort(NamedTuple):
    """Replicas with one program: the static part of them, which it depends on.

    Attributes:
        model: The network, a flax module or `Known`.
        optimizer: A name that `make_optimizer` knows.
        batch_size: Examples per update.
        image_shape: The shape of an image, (H, W, C).
        schedule: A name that `learning_rate` knows.
        stages: Parts of a step that not all points have, as `points.stages`.
        within: The least and largest that pixels may be after augmentation.
    """

    model: Any
    optimizer: str
    batch_size: int
    image_shape: tuple[int, ...] = DIGIT_SHAPE
    schedule: str = "constant"
    stages: tuple[str, ...] = ()
    within: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def of(cls, point: Point, dataset: Dataset) -> "Cohort":
        """Returns the static part of a point's replicas on a dataset."""
        return cls(
            model=make_network(point, dataset.classes),
            optimizer=point.recipe.optimizer,
            batch_size=point.recipe.batch_size,
            image_shape=dataset.image_shape,
            schedule=point.recipe.schedule,
            stages=stages(point.hparams),
            within=dataset.pixel_range,
        )


def stream(seed: jax.Array, use: int) -> jax.Array:
    """Returns the key of one use of a seed: 0 weights, 1 batches, 2 steps."""
    return jax.random.fold_in(jax.random.key(seed, impl=PRNG), use)


def init_state(cohort: Cohort, seed: jax.Array) -> TrainState:
    """Returns the state before the first step; the seed alone decides it.

    Args:
        cohort: The static part of the replica.
        seed: Int32 [].
    """
    images = jnp.zeros((1, *cohort.image_shape))
    variables = init(cohort.model, stream(seed, 0), images)
    # An optimizer's first state does not depend on its hyper-parameters.
    nothing = Hparams(*[0.0] * len(Hparams._fields))
    optimizer = make_optimizer(cohort.optimizer, nothing)
    averaged = "average" in cohort.stages
    return TrainState(
        variables=variables,
        opt_state=optimizer.init(variables["params"]),
        best=jax.tree.map(jnp.copy, variables),
        best_correct=jnp.int32(-1),
        diverged_at=jnp.int32(-1),
        average=jax.tree.map(jnp.copy, variables) if averaged else None,
    )
