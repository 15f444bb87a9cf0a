"""What a head on a backbone is trained on: cached features, or images that go through the backbone in every epoch.

Importing this imports Keras.
"""

import keras

from common.models import features


class Inputs:
    """`train`, `val` and `test` as they are fed to `fit`, `Samples`, for a head on an extractor.

    A frozen backbone runs once: they are features then (`are_features`), and the head alone is trained. With `--no-cache` and
    `--unfreeze-last` they are images, for the whole model; `augmentation`, a function of `common.data.augment`, is then what
    happens to train images in every epoch, and None for features, which were augmented before. `extraction` is what computing
    the features took, for results.json.
    """

    def __init__(self, extractor, dataset, args, augmentation=None):
        self.extractor = extractor
        inputs, self.extraction = features.of_dataset(extractor, dataset, args, augmentation)
        self.train, self.val, self.test = inputs.train, inputs.val, inputs.test
        self.are_features = bool(self.extraction)
        self.augmentation = None if self.are_features else augmentation

    def join(self, head):
        """The whole model, extractor and head, and the part of it that is trained: the head on features, else all of it."""
        model = keras.Model(self.extractor.input, head(self.extractor.output))
        return model, head if self.are_features else model
