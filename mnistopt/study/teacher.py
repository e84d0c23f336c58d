"""Another study's networks, which this one's learn from."""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.check import dark_on_light
from mnistopt.data.dataset import Dataset
from mnistopt.errors import InputError
from mnistopt.results.config import Config
from mnistopt.study.ensemble import mean_probabilities, read_members
from mnistopt.study.examples import count_seen
from mnistopt.study.study import Study

# A teacher that is right about fewer of the training images is one of other classes.
_RIGHT = 0.5


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The networks of a study, as other networks learn from them.

    Attributes:
        workdir: The folder of the study, absolute.
        members: How often each of its trials votes.
    """

    workdir: Path
    members: Mapping[str, int]

    @classmethod
    def of(cls, workdir: Path, data: Dataset, known: Config | None) -> "Teacher":
        """Returns the networks that vote in a study.

        Args:
            workdir: The folder of the study.
            data: The examples that are to be learned.
            known: The config of the study that learns, if it has begun: the networks
                that it has learned from stay its teacher.

        Raises:
            InputError: If it is no study of such images and classes, or was trained on
                what the networks that learn are measured on.
        """
        before = known.teacher if known else None
        if before and before["workdir"] == str(workdir.absolute()):
            return cls(Path(before["workdir"]), before["members"])
        study = Study(workdir)
        about = study.config.data
        theirs = about.image_shape, about.class_names, about.dark_on_light
        dark = dark_on_light(data.train.images)
        if theirs != (data.image_shape, data.class_names, dark):
            raise InputError(
                f"teacher={workdir} cannot teach: its images have the shape "
                f"{about.image_shape}, {'dark' if theirs[2] else 'light'} ink and the "
                f"classes {_some(about.class_names)}; these {data.image_shape}, "
                f"{'dark' if dark else 'light'} ink and {_some(data.class_names)}"
            )
        _check_unseen(study, data)
        return cls(study.workdir, read_members(study))

    @property
    def digest(self) -> str:
        """What identifies it: 16 hex digits of a SHA-256 over who votes how often."""
        text = json.dumps(dict(self.members), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Returns what config.json keeps of it."""
        return {"workdir": str(self.workdir), "members": dict(self.members)}

    def targets(self, data: Dataset) -> np.ndarray:
        """Returns what it says of the training images, float32 [N, K]."""
        images, labels = data.train
        said = mean_probabilities(Study(self.workdir), self.members, images)
        right = (said.argmax(axis=-1) == labels).mean()
        if right < _RIGHT:
            warnings.warn(
                f"teacher={self.workdir} is right about {100 * right:.0f} % of the "
                "training images: are these other classes than those it has learned?",
                stacklevel=2,
            )
        return said


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _check_unseen(study: Study, data: Dataset) -> None:
    """Checks that a teacher was not trained on what its pupils are measured on.

    What its pupils are trained on, too, it may have seen.
    """
    trained = {image.tobytes() for image in data.train.images}
    for name, split in (("validation", data.validation), ("test", data.test)):
        unseen = [image.tobytes() not in trained for image in split.images]
        seen = count_seen(study.config, split.images[unseen])
        if seen is None and study.config.data.fingerprint != data.fingerprint:
            warnings.warn(
                f"it is not known what teacher={study.workdir} was trained on: where "
                f"that is some of the {name} images, their accuracy says nothing",
                stacklevel=4,
            )
        if seen:
            raise InputError(
                f"teacher={study.workdir} was trained on {seen} of the {name} images: "
                "what is learned from it cannot be measured on these. Give a teacher "
                "of the same dataset and split"
            )
