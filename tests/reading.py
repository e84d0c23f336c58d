"""A reader that needs no study, and forms to read."""

import functools

import numpy as np

from experiments.paperwork import practice
from mnistopt.data.load import load
from mnistopt.study.fields.lattice import WEIGHTS
from mnistopt.study.fields.reader import Reader


class Trees(Reader):
    """Reads by scikit-learn's trees instead of networks."""

    def __init__(self):
        self.class_names = list(practice.CLASSES)
        self.temperature, self.weights = 1.0, WEIGHTS
        self._trees = _grown()

    def probabilities(self, images):
        if not len(images):
            return np.zeros((0, len(self.class_names)))
        return self._trees.predict_proba(images.reshape(len(images), -1))


@functools.cache
def _grown():
    from sklearn.ensemble import ExtraTreesClassifier

    train = load().train
    digits = train.images[:2000, ..., 0], train.labels[:2000]
    images, labels = practice.practise(*digits, 0, 1, 1)
    trees = ExtraTreesClassifier(40, min_samples_leaf=2, random_state=0, n_jobs=1)
    return trees.fit(images.reshape(len(images), -1), labels)
