"""Another study's networks, which this one's learn from."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mnistopt.data.dataset import Dataset
from mnistopt.errors import InputError
from mnistopt.study.ensemble import mean_probabilities, read_members
from mnistopt.study.examples import count_seen
from mnistopt.study.study import Study


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The networks of a study, as other networks learn from them.

    Attributes:
        workdir: The folder of the study.
        members: How often each of its trials votes.
    """

    workdir: Path
    members: Mapping[str, int]

    @classmethod
    def of(cls, workdir: Path, data: Dataset) -> "Teacher":
        """Returns the networks that vote in a study.

        Args:
            workdir: The folder of the study.
            data: The examples that are to be learned.

        Raises:
            InputError: If it is no study of such images and classes, or has seen what
                the networks that learn are measured on.
        """
        study = Study(workdir)
        about = study.config.data
        if (about.image_shape, about.class_names) != (
            data.image_shape,
            data.class_names,
        ):
            raise InputError(
                f"teacher={workdir} cannot teach: its images have the shape "
                f"{about.image_shape} and {len(about.class_names)} classes "
                f"({', '.join(about.class_names[:3])}, ...), these "
                f"{data.image_shape} and {data.classes}"
            )
        trained = {image.tobytes() for image in data.train.images}
        for name, split in (("validation", data.validation), ("test", data.test)):
            unseen = [image.tobytes() not in trained for image in split.images]
            seen = count_seen(study.config, split.images[unseen])
            if seen:
                raise InputError(
                    f"teacher={workdir} was trained on {seen} of the {name} images, "
                    "and would tell what they are: give a teacher of the same "
                    "dataset and split"
                )
        return cls(study.workdir, read_members(study))

    @property
    def digest(self) -> str:
        """What identifies it: 16 hex digits of a SHA-256 over who votes how often."""
        text = json.dumps(dict(self.members), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def targets(self, images: np.ndarray) -> np.ndarray:
        """Returns what it says of images, float32 [N, K]."""
        return mean_probabilities(Study(self.workdir), self.members, images)
