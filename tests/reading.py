"""A reader that is soon trained."""

import mnistopt
from experiments.paperwork import practice
from mnistopt.data.load import load
from mnistopt.study.fields.reader import Reader

# A small network that others train, too.
SETTINGS = {"model": "cnn", "channels": (8, 16), "dense": 32, "lr": 3e-3}


def a_reader(folder):
    """Returns a reader that has practised on the digits of mnist_5k.

    Args:
        folder: Gets its study, as `folder / "reader"`.
    """
    train = load().train
    images, labels = practice.practise(train.images[..., 0], train.labels, 0, 1, 1)
    data = mnistopt.Dataset.from_arrays(images, labels, class_names=practice.CLASSES)
    study = mnistopt.run(
        **SETTINGS,
        data=data,
        epochs=6,
        seeds=1,
        workdir=folder / "reader",
    )
    return Reader(study)
