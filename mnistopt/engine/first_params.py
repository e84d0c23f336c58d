"""Parameters of the first studies, whose checkpoints have arrays for each replica."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def load_first_params(
    group: Path, epoch: int, replicas: Sequence[str], which: str, shapes: Any
) -> dict[str, Any]:
    """Reads parameters as the first studies kept them.

    Args:
        group: Folder of the group.
        epoch: Epochs done.
        replicas: Their identities.
        which: "last" or "best".
        shapes: The parameters', as flax has them.
    """
    target = {"weights": {replica: {which: shapes} for replica in replicas}}
    numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    args = ocp.args.PyTreeRestore(
        target,
        restore_args=jax.tree.map(lambda _: numpy, target),
        partial_restore=True,
    )
    with ocp.CheckpointManager(group) as manager:
        restored = manager.restore(epoch, args=ocp.args.Composite(state=args))
    weights = restored["state"]["weights"]
    return {replica: weights[replica][which] for replica in replicas}
