"""How `fit` takes its steps: several in one execution, and on several devices as on one. Importing this imports Keras.

With several in one execution, the device need not wait for the host between them. Keras's `steps_per_execution` does it on
TensorFlow and, from 3.16 on, on JAX. Before, Keras on JAX runs the steps one after the other: there `_fused` is a bridge. On
torch, steps stay single.
"""

import contextlib
import functools
import itertools
import math

import keras

from common import backend, devices
from common.training.checkpoints import leaves

MAX_STEPS = 64
MAX_BYTES = 2**26  # of the stacked batches
# Of all images in an execution, in the largest size that they have in the model. A step over more takes far longer than what
# fusing saves, and Ctrl-C waits for the end of an execution.
MAX_PIXELS = 2**22

KERAS_FUSES = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 16)  # on JAX; there an odd rest takes another program


def num_steps(model, train):
    """How many steps of `fit` on `train`, which are `Batches`, to run in one execution."""
    inputs = [model.input_shape, *(layer.input_shape for layer in model.layers if isinstance(layer, keras.Model))]
    pixels = max(math.prod(shape[1:-1]) for shape in inputs)
    # A CPU takes long for a convolution, and in a loop XLA takes five times as long.
    if backend.name() == "torch" or (pixels > 1 and backend.kind() == "cpu"):
        return 1
    if backend.name() == "tensorflow" and devices.count() > 1:  # MirroredStrategy fails in a loop
        return 1
    return max(1, min(len(train), MAX_STEPS, MAX_BYTES // train.batch_bytes, MAX_PIXELS // (train.batch_size * pixels)))


def fuse(model, steps):
    """Let `fit` and `evaluate` of a compiled model run `steps` steps in one execution; with 1, Keras's usual way."""
    model.steps_per_execution = steps
    model.train_function = model.test_function = None
    if steps > 1 and backend.name() == "jax" and not KERAS_FUSES and not model.run_eagerly:
        model.train_function, model.test_function = _fused(model.train_step, steps), _fused(model.test_step, steps)


def _fused(step, num_steps):
    """`step(state, batch)` as a function `(state, iterator)` that takes `num_steps` batches, or what is left, at once."""
    import jax

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=devices.sharding())
    def run(state, batches, count):
        stacked = jax.tree.map(lambda *parts: jax.numpy.stack(parts), *batches)
        logs = jax.tree.map(lambda log: jax.numpy.zeros(log.shape, log.dtype), jax.eval_shape(step, state, batches[0])[0])
        body = lambda number, carry: step(carry[1], jax.tree.map(lambda part: part[number], stacked))  # noqa: E731
        return jax.lax.fori_loop(0, count, body, (logs, state))

    def function(state, iterator):
        batches = [next(iterator), *itertools.islice(iterator, num_steps - 1)]
        padded = batches + batches[:1] * (num_steps - len(batches))  # one shape: nothing is compiled again
        return run(state, tuple(padded), len(batches))

    return function


@contextlib.contextmanager
def as_on_one_device(model, batch_size):
    """Around the `fit` of a compiled model on `Batches` of this size: several devices take the steps of one.

    On JAX a step is one program over the whole batch: cutting off the padding is all, and XLA divides what is left. On
    TensorFlow batch norm must normalize over the shares of all replicas: else each has statistics of its own, and so its own
    model.
    """
    if devices.count() == 1:
        yield
        return
    with contextlib.ExitStack() as undo:
        if backend.name() == "jax":
            model.train_step = _without_padding(model.train_step, batch_size)
            undo.callback(delattr, model, "train_step")
        else:
            for layer in leaves(model):
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True
                    undo.callback(setattr, layer, "synchronized", False)  # a model saved with it can't be loaded on JAX
        yield


def _without_padding(step, batch_size):
    import jax

    cut = lambda part: jax.lax.with_sharding_constraint(part[:batch_size], devices.sharding("batch"))  # noqa: E731
    return lambda state, data: step(state, jax.tree.map(cut, data))
