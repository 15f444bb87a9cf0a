"""Training batches in an order that depends on the seed and the epoch alone, on every backend.

With a seed, Keras on TensorFlow repeats one order in every epoch, and backends shuffle differently. So the order is ours, and
`fit` is called with `shuffle=False`. Importing this imports Keras.
"""

import math

import keras
import numpy as np

from common.data.augment import augment


class Batches(keras.utils.PyDataset):
    """Batches `(x, y)` from arrays of equal length, in a new order in each epoch; the last batch of a pass may be smaller.

    `x` is an array, or a list of arrays: views of the same samples, of which each pass draws one per sample. `samples` limits a
    pass to that many, drawn at random. With an `augmentation`, a function of `common.data.augment`, `x` are images and batches
    hold augmented copies of them. An epoch is `passes` passes, each in its own order.

    `fit` needs the callback `follow_fit` to tell the batches which epoch it is. Keras asks for batches before the first epoch
    too, so they can't count epochs themselves.
    """

    def __init__(self, x, y, batch_size, seed, passes=1, samples=None, augmentation=None):
        super().__init__()
        self.views, self.y = x if isinstance(x, list) else [x], y
        self.batch_size, self.seed, self.passes = batch_size, seed, passes
        self.samples = min(samples or len(y), len(y))
        self.augmentation = augmentation
        self.epoch = 0  # counted from 0
        self._order, self._view, self._order_key = None, None, None

    def __len__(self):
        return self.passes * self._steps_per_pass

    def __getitem__(self, index):
        pass_number, step = divmod(index, self._steps_per_pass)
        key = (self.epoch, pass_number)
        if self._order_key != key:
            random = np.random.default_rng([self.seed, *key])
            self._order = random.permutation(len(self.y))[: self.samples]
            self._view = random.integers(len(self.views), size=self.samples)
            self._order_key = key
        steps = slice(step * self.batch_size, (step + 1) * self.batch_size)
        chosen, view = self._order[steps], self._view[steps]
        x = np.empty((len(chosen), *self.views[0].shape[1:]), self.views[0].dtype)
        for number in np.unique(view):
            x[view == number] = self.views[number][chosen[view == number]]
        if self.augmentation:
            x = augment(x, self.augmentation, [self.seed, *key, step])
        return x, self.y[chosen]

    def follow_fit(self):
        """The callback that tells these batches which epoch it is."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    @property
    def _steps_per_pass(self):
        return math.ceil(self.samples / self.batch_size)
