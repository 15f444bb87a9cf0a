"""Trained models: loaded from files that may come from anyone, taken apart, and run over many images.

A model of this collection is a feature extractor and a head, or one chain of layers (the A/B split's). Importing this imports
Keras.
"""

import functools
from collections import deque

import h5py
import keras
import numpy as np

from common import devices
from common.models import upscale  # noqa: F401  registers the resize with Keras, which models call by its name

IN_FLIGHT = 2  # batches: one computes while the next is prepared and sent


def load_model(path):
    """The uncompiled model in a .keras or .h5 file, or None if that holds weights alone.

    Nothing in the file is executed and no other file is read because of it: that is Keras's `safe_mode`. What it raises of a
    damaged or foreign file can be anything.
    """
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                return None
    return keras.models.load_model(path, compile=False, safe_mode=True)


def split_model(model):
    """The feature extractor and the head of a model whose last layer is a head: images to features, features to probabilities.

    Raises ValueError for a model without such a head.
    """
    head = model.layers[-1]
    if not isinstance(head, keras.Sequential):
        raise ValueError("its last layer is not a head, which is a Sequential")
    before, *earlier = model.operations[-2::-1]
    # A backbone's own output belongs to its own graph: call it on what comes before it.
    output = before(earlier[0].output) if isinstance(before, keras.Model) else before.output
    return keras.Model(model.input, output), head


def feature_extractor(model):
    """The part of a model that ends at its backbone's features or, without a head of its own, before its last layer."""
    try:
        return split_model(model)[0]
    except ValueError:
        return before_last_layer(model)


def before_last_layer(model):
    """The part of a model that ends before its last layer, which turns features into probabilities.

    Raises ValueError for a model that ends otherwise.
    """
    if isinstance(model, keras.Sequential):
        inputs = keras.Input(model.input_shape[1:])
        return keras.Sequential([inputs, *model.layers[:-1]]) if len(model.layers) > 1 else keras.Model(inputs, inputs)
    if isinstance(model.layers[-1], keras.Sequential):
        extractor, head = split_model(model)
        return keras.Model(extractor.input, before_last_layer(head)(extractor.output))
    before = model.layers[-1].input if not isinstance(model.layers[-1], keras.Model) else None
    if isinstance(before, list) or before is None:
        raise ValueError(f"its last layer, {model.layers[-1].name}, is not one that turns features into probabilities")
    return keras.Model(model.input, before)


class ForwardPass:
    """A model in inference mode, compiled for batches of `batch_size` images a device.

    Keras's `predict_on_batch` gathers all variables in every call (814 of ResNet152V2) and waits for the result, and `predict`
    often keeps TensorFlow's convolutions on one CPU core. Of several processes, each gives all images, computes its share and
    gets all outputs.
    """

    def __init__(self, model, batch_size):
        self.batch_size = batch_size * devices.num_replicas()
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

    everywhere = devices.sharding()

    @functools.partial(jax.jit, out_shardings=everywhere)
    def forward(trainable, non_trainable, images):
        return model.stateless_call(trainable, non_trainable, images, training=False)[0]

    def start():  # once for a pass: `fit` and `predict` replace the values
        kinds = model.trainable_variables, model.non_trainable_variables
        values = [[variable.value for variable in kind] for kind in kinds]
        return lambda images: forward(*values, devices.spread(images) if everywhere else images)

    return start


def _tensorflow(model):
    import tensorflow as tf

    forward = tf.function(lambda images: model(images, training=False), autograph=False, jit_compile=model.jit_compile)
    strategy, count = tf.distribute.get_strategy(), devices.num_replicas()
    if count == 1:
        return lambda: forward
    on_all = tf.function(lambda shares: strategy.run(forward, (shares,)))

    def run(images):
        shares = np.split(images, count)
        shares = strategy.experimental_distribute_values_from_function(
            lambda replica: tf.constant(shares[replica.replica_id_in_sync_group])
        )
        return tf.concat(strategy.experimental_local_results(on_all(shares)), axis=0)

    return lambda: run


def _plain(model):
    return lambda: model.predict_on_batch


_BACKENDS = {"jax": _jax, "tensorflow": _tensorflow}
