"""Training batches in an order that depends on the seed and the epoch alone, on every backend.

With a seed, Keras on TensorFlow repeats one order in every epoch and the backends shuffle differently, so the order is our
own and `fit` is called with `shuffle=False`. Importing this imports Keras.
"""

import math

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Batches `(x, y)` of arrays of equal length, newly ordered in each epoch; the last one of a pass may be smaller.

    An epoch is `passes` passes over the arrays, each in an order of its own. Which epoch it is, counted from 0, `fit` tells
    through the callback `follow_fit`, which belongs into its callbacks: Keras asks for batches before the first epoch too,
    so that counting the epochs here would go wrong.
    """

    def __init__(self, x, y, batch_size, seed, passes=1):
        super().__init__()
        self.x, self.y, self.batch_size, self.seed, self.passes = x, y, batch_size, seed, passes
        self.epoch = 0
        self._order, self._order_of = None, None

    def __len__(self):
        return self.passes * self._steps_per_pass

    def __getitem__(self, index):
        number, step = divmod(index, self._steps_per_pass)
        place = (self.epoch, number)
        if self._order_of != place:
            self._order = np.random.default_rng([self.seed, *place]).permutation(len(self.y))
            self._order_of = place
        chosen = self._order[step * self.batch_size : (step + 1) * self.batch_size]
        return self.x[chosen], self.y[chosen]

    def follow_fit(self):
        """The callback that tells these batches which epoch it is."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    @property
    def _steps_per_pass(self):
        return math.ceil(len(self.y) / self.batch_size)
