"""A classifier as a program of XLA's, in StableHLO, for CPUs, GPUs and TPUs.

Any network can be exported so, modules of one's own among them. JAX keeps such programs
readable for years (https://docs.jax.dev/en/latest/export/export.html).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from mnistopt.ambient import fixed
from mnistopt.models import forms
from mnistopt.models.networks import apply
from mnistopt.study.export.packing import zipped
from mnistopt.training.metrics import pixels

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, CARD = "program.bin", "card.json"


@fixed()
def program_bytes(
    members: Sequence[tuple[Any, Any]],
    temperatures: Sequence[float],
    card: Mapping[str, Any],
    shape: Sequence[int],
    kind: Any,
) -> bytes:
    """Returns a zip file with a program and its card.

    The program takes images [B, H, W, C] for any B, and returns the mean of the
    networks' probabilities, float32 [B, K].

    Args:
        members: Networks, each a model and its variables.
        temperatures: What each one's logits are divided by.
        card: What is known of it.
        shape: (H, W, C).
        kind: The dtype of images.
    """

    def classify(images):
        with forms.laid_out(forms.PLAIN):
            found = [
                jax.nn.softmax(apply(model, variables, pixels(images)) / temperature)
                for (model, variables), temperature in zip(members, temperatures)
            ]
        return jnp.mean(jnp.stack(found), axis=0)

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape), kind)
    exported = export.export(jax.jit(classify), platforms=PLATFORMS)(images)
    text = json.dumps(dict(card), indent=1).encode()
    return zipped({PROGRAM: bytes(exported.serialize()), CARD: text})
