"""A training step on several devices that is the step of one device, to within rounding. Importing this imports Keras.

The padding that lets a batch divide evenly must not be in the loss, nor in the statistics of batch norm. On JAX a step is one
program over the whole batch, so cutting the padding off is all. On TensorFlow each replica takes a step of its own on its
share, and Keras adds up: it averages the means of unequal shares, clips the gradient of each share, and normalizes each share
alone.
"""

import contextlib

import keras
from keras import tree

from common import backend, devices
from common.training.checkpoints import leaves


@contextlib.contextmanager
def as_on_one_device(model, batch_size):
    """Around the `fit` of a compiled model on `Batches` of this size: its training steps are those of one device."""
    if devices.count() == 1:
        yield
        return
    if backend.name() == "jax":
        model.train_step = _without_padding(model.train_step, batch_size)
        try:
            yield
        finally:
            del model.train_step
        return
    batch_norms = [layer for layer in leaves(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in batch_norms:
        layer.synchronized = True
    model.train_step = _mirrored_step(model, batch_size)
    model.optimizer._all_reduce_sum_gradients = lambda pairs: pairs  # the step does it, before they are clipped
    try:
        yield
    finally:
        del model.train_step, model.optimizer._all_reduce_sum_gradients
        for layer in batch_norms:
            layer.synchronized = False  # a model saved with it can't be loaded on JAX


def _without_padding(step, batch_size):
    """Keras's step on JAX, without the padding. XLA divides what is left, also where it does not divide evenly."""
    import jax

    def train_step(state, data):
        cut = lambda part: jax.lax.with_sharding_constraint(part[:batch_size], devices.batch_sharding())  # noqa: E731
        return step(state, tree.map_structure(cut, data))

    return train_step


def _mirrored_step(model, batch_size):
    """Keras's step on TensorFlow, with the gradient of the whole batch, which is then clipped."""
    import tensorflow as tf

    sizes = [len(share) for share in devices.shares(batch_size)]

    def train_step(data):
        replica = tf.distribute.get_replica_context()
        size = sizes[tf.get_static_value(replica.replica_id_in_sync_group)]
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tree.map_structure(lambda part: part[:size], data))
        with tf.GradientTape() as tape:
            predicted = model(x, training=True)
            loss = model.compute_loss(x, y, predicted, weights) * len(sizes)  # Keras divides the mean by the replicas
            share_of_loss = loss * (size / batch_size)
        model._loss_tracker.update_state(loss, sample_weight=size)
        gradients = tape.gradient(share_of_loss, model.trainable_weights)
        model.optimizer.apply(replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients), model.trainable_weights)
        return model.compute_metrics(x, y, predicted, weights)

    return train_step
