"""A model's forward pass over many images, compiled once and fed while it computes. Importing this imports Keras.

Keras's `predict_on_batch` gathers all variables in every call (814 of ResNet152V2) and waits for the result, and `predict`
often keeps TensorFlow's convolutions on one CPU core.
"""

from collections import deque

import keras
import numpy as np

IN_FLIGHT = 2  # batches: one computes while the next is prepared and sent


class ForwardPass:
    """A model in inference mode, compiled for batches of `batch_size`."""

    def __init__(self, model, batch_size):
        self.batch_size = batch_size
        self._start = _BACKENDS.get(keras.backend.backend(), _plain)(model)

    def over(self, batches):
        """Yield the outputs, NumPy arrays, of an iterable of arrays of up to `batch_size` images, in their order.

        A smaller batch is padded, since another shape would be compiled again.
        """
        run, pending = self._start(), deque()
        for images in batches:
            padded = np.resize(images, (self.batch_size, *images.shape[1:])) if len(images) < self.batch_size else images
            pending.append((run(padded), len(images)))
            if len(pending) == IN_FLIGHT:
                yield _fetch(*pending.popleft())
        while pending:
            yield _fetch(*pending.popleft())

    def __call__(self, images):
        """The outputs of an array of any number of images, as one float32 array."""
        starts = range(0, len(images), self.batch_size)
        batches = (images[start : start + self.batch_size] for start in starts)
        return np.concatenate([np.asarray(outputs, np.float32) for outputs in self.over(batches)])


def _fetch(outputs, count):
    return np.asarray(outputs)[:count]  # waits until they are computed


def _jax(model):
    import jax

    @jax.jit
    def forward(trainable, non_trainable, images):
        return model.stateless_call(trainable, non_trainable, images, training=False)[0]

    def start():  # once for a pass: `fit` and `predict` replace the values
        kinds = model.trainable_variables, model.non_trainable_variables
        values = [[variable.value for variable in kind] for kind in kinds]
        return lambda images: forward(*values, images)

    return start


def _tensorflow(model):
    import tensorflow as tf

    forward = tf.function(lambda images: model(images, training=False), jit_compile=model.jit_compile)
    return lambda: forward


def _plain(model):
    return lambda: model.predict_on_batch


_BACKENDS = {"jax": _jax, "tensorflow": _tensorflow}
