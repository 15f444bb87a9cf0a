"""Training batches in an order that depends on seed and epoch alone, on every backend; validation data in whole batches.

With a seed, Keras on TensorFlow repeats one order in every epoch, and backends shuffle differently. So the order is ours, and
`fit` is called with `shuffle=False`. Importing this imports Keras.
"""

import functools
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from common import backend, devices, hosts
from common.data.augment import augment
from common.data.rows import Rows

MAX_AHEAD = 16  # batches that are made before they are asked for,
MAX_AHEAD_BYTES = 2**26  # and the memory that they may take

_THREADS = ThreadPoolExecutor(min(8, backend.num_cores()), "batches")


class Batches(keras.utils.PyDataset):
    """Batches `(x, y)` of one size from arrays of equal length, in a new order in each pass over them.

    `y` are labels, or a pair of labels and sample weights: then batches are `(x, y, sample_weight)`.

    `x` is an array, or a list of arrays: views of the same samples. Each pass draws one view per sample. `num_samples` limits a
    pass to that many samples, drawn at random. With an `augmentation`, a function of `common.data.augment`, `x` are images and
    batches hold augmented copies of them.

    An epoch is as many batches as `passes` passes fill, rounded. A batch that one pass does not fill is filled up from the
    next, and the next epoch goes on where this one ends: all batches have one shape, and no sample is left out or preferred.

    Threads make the next batches while a step is computed. `fit` needs the callback `follow_fit`, since Keras asks for batches
    before the first epoch too. With several devices a batch holds padding too, and with several processes this one's share.
    """

    def __init__(self, x, y, batch_size, seed, passes=1, num_samples=None, augmentation=None):
        super().__init__()
        self.views = x if isinstance(x, list) else [x]
        self.y, *self.weights = y if isinstance(y, tuple) else [y]
        self.num_samples = min(num_samples or len(self.y), len(self.y))
        self.batch_size, self.seed, self.passes = min(batch_size, self.num_samples), seed, passes
        self.augmentation = augmentation
        self.epoch = 0  # counted from 0
        self._rows = devices.rows(self.batch_size)
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)
        self._ahead, self._lock = {}, threading.Lock()

    def __len__(self):
        return max(1, round(self.passes * self.num_samples / self.batch_size))

    def __getitem__(self, index):
        step = self.epoch * len(self) + index
        with self._lock:
            steps = range(step, step + 1 + self._num_ahead)
            self._ahead = {step: self._ahead.get(step) or _THREADS.submit(self._make, step) for step in steps}
            batch = self._ahead[step]
        return batch.result()

    def follow_fit(self):
        """The callback that tells these batches which epoch it is."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    @property
    def batch_bytes(self):
        """Bytes of the images or features in a batch."""
        return self.batch_size * self.views[0][:1].nbytes

    @property
    def _num_ahead(self):
        return min(MAX_AHEAD, MAX_AHEAD_BYTES // self.batch_bytes)

    def _make(self, step):
        """The batch of a step, counted from the first epoch on."""
        number, start = divmod(step * self.batch_size, self.num_samples)
        order, views = self._order(number)
        if start + self.batch_size > self.num_samples:
            order, views = (np.concatenate(parts) for parts in zip((order, views), self._order(number + 1), strict=True))
        chosen, view = order[start : start + self.batch_size], views[start : start + self.batch_size]
        x = np.empty((self.batch_size, *self.views[0].shape[1:]), self.views[0].dtype)
        for number_of_view in np.unique(view):
            x[view == number_of_view] = self.views[number_of_view][chosen[view == number_of_view]]
        if self.augmentation:
            x = augment(x, self.augmentation, [self.seed, *divmod(number, self.passes), start // self.batch_size])
        batch = (x, *(part[chosen] for part in (self.y, *self.weights)))
        return batch if self._rows is None else tuple(part[self._rows] for part in batch)

    def _draw_order(self, number):
        """The samples of a pass, counted from the first epoch on, in their order, and the view of each."""
        random = np.random.default_rng([self.seed, *divmod(number, self.passes)])
        order = random.permutation(len(self.y))[: self.num_samples]
        return order, random.integers(len(self.views), size=self.num_samples)


class WeightedBatches(keras.utils.PyDataset):
    """Whole batches `(x, y, sample_weight)` of `Rows`, which are read from disk as they are asked for."""

    def __init__(self, x, y, weights, batch_size):
        super().__init__()
        self.parts, self.batch_size = (x, y, weights), batch_size

    def __len__(self):
        return len(self.parts[0]) // self.batch_size

    def __getitem__(self, index):
        return tuple(part[index * self.batch_size : (index + 1) * self.batch_size] for part in self.parts)


def balanced(labels):
    """Sample weights float32 `(n,)`, inverse to how many samples have the label, with mean 1: scikit-learn's "balanced"."""
    from sklearn.utils.class_weight import compute_sample_weight

    return compute_sample_weight("balanced", labels if labels.ndim == 1 else labels.argmax(axis=1)).astype(np.float32)


def whole_batches(samples, batch_size, weights=None):
    """`Samples` as `(x, y, sample_weight)` in whole batches, the batch size, and the factor that corrects the loss.

    `Rows` become `WeightedBatches`. The last batch is filled up with samples of weight 0; the others have their `weights`,
    `(n,)`, or 1. This keeps `weighted_metrics` exact, but Keras divides the loss by the number of all samples, with padding:
    multiply it by the factor. The batch size is rounded up to a multiple of the devices. Each of several processes gets its
    share.
    """
    count = len(samples)
    batch_size = devices.round_up(min(batch_size, count))
    batches = np.arange(math.ceil(count / batch_size) * batch_size).reshape(-1, batch_size)
    chosen = np.concatenate([devices.of_this_process(batch) for batch in batches])
    weights = np.ones(count, np.float32) if weights is None else weights
    weights, batch_size = weights[chosen % count] * (chosen < count), batch_size // hosts.num_processes()
    if len(chosen) != count:
        samples = samples.take(chosen % count)
    data = samples.images, samples.labels, weights
    data = WeightedBatches(*data, batch_size) if isinstance(samples.images, Rows) else data
    return data, batch_size, batches.size / count
