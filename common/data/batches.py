"""Training batches in an order that depends on the seed and the epoch alone, on every backend.

With a seed, Keras on TensorFlow repeats one order in every epoch and the backends shuffle differently, so the order is our
own and `fit` is called with `shuffle=False`. Importing this imports Keras.
"""

import math

import keras
import numpy as np

from common.data import augment


class Batches(keras.utils.PyDataset):
    """Batches `(x, y)` of arrays of equal length, newly ordered in each epoch; the last one of a pass may be smaller.

    `x` is an array, or a list of arrays: views of the same samples, of which every pass draws one for each sample. With
    `samples` a pass draws that many at random; with a `preset`, a function of `augment`, `x` are pictures, and every batch
    holds randomly changed copies of them. An epoch is `passes` passes, each in an order of its own. Which epoch it is,
    counted from 0, `fit` tells through the callback `follow_fit`, which belongs into its callbacks: Keras asks for batches
    before the first epoch too, so that counting the epochs here would go wrong.
    """

    def __init__(self, x, y, batch_size, seed, passes=1, samples=None, preset=None):
        super().__init__()
        self.views, self.y, self.batch_size, self.seed, self.passes = (
            x if isinstance(x, list) else [x],
            y,
            batch_size,
            seed,
            passes,
        )
        self.samples = min(samples or len(y), len(y))
        self.preset = preset
        self.epoch = 0
        self._order, self._view, self._order_of = None, None, None

    def __len__(self):
        return self.passes * self._steps_per_pass

    def __getitem__(self, index):
        number, step = divmod(index, self._steps_per_pass)
        place = (self.epoch, number)
        if self._order_of != place:
            random = np.random.default_rng([self.seed, *place])
            self._order = random.permutation(len(self.y))[: self.samples]
            self._view = random.integers(len(self.views), size=self.samples)
            self._order_of = place
        steps = slice(step * self.batch_size, (step + 1) * self.batch_size)
        chosen, view = self._order[steps], self._view[steps]
        x = np.empty((len(chosen), *self.views[0].shape[1:]), self.views[0].dtype)
        for number in np.unique(view):
            x[view == number] = self.views[number][chosen[view == number]]
        if self.preset:
            x = augment.augmented(x, self.preset, [self.seed, *place, step])
        return x, self.y[chosen]

    def follow_fit(self):
        """The callback that tells these batches which epoch it is."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    @property
    def _steps_per_pass(self):
        return math.ceil(self.samples / self.batch_size)
