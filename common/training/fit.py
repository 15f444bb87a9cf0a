"""The one `fit`: what every training phase shares, around Keras's own. Importing this imports Keras.

The script brings what belongs to its recipe: the compiled model, the batches, the callbacks. What belongs to the run is added
here: the order of the batches, validation, history, checkpoints, the epoch to resume at, what Ctrl-C does, and how steps are
taken: on several devices as on one, and several in one execution, so that the device need not wait for the host between them.
Keras's `steps_per_execution` does that on TensorFlow and, from 3.16 on, on JAX. Before, Keras on JAX runs the steps one after
the other: there `_fused` is a bridge. On torch, steps stay single.
"""

import contextlib
import functools
import itertools
import math
import time

import keras

from common import backend, cli, devices, files, hosts
from common.cli import TrainingError, tell
from common.data.batches import balanced, whole_batches
from common.training.callbacks import Recorder
from common.training.checkpoints import Checkpoint, leaves

MAX_STEPS = 64
MAX_BYTES = 2**26  # of the stacked batches
# Of all images in an execution, in the largest size that they have in the model. A step over more takes far longer than what
# fusing saves, and Ctrl-C waits for the end of an execution.
MAX_PIXELS = 2**22

KERAS_FUSES = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 16)  # on JAX; there an odd rest takes another program


def fit(run, phase, model, train, val, epochs, callbacks):
    """Train `model` for a range of `epochs`, counted from 0, and record them as `phase` in history.csv.

    The model is compiled with `weighted_metrics`. `train` are `Batches`; `val` are `Samples`, or None for training without
    validation. `callbacks` are the recipe's; without them and without validation, training is silent. A resumed run continues
    after the newest checkpoint; a phase that is done trains no epoch and gets its weights back.

    Ctrl-C waits for the end of the step. After one whole epoch or more it ends the phase quietly: `run.status` becomes
    `interrupted`, and the callbacks see the end of training, so EarlyStopping restores the best weights. Before that,
    KeyboardInterrupt is raised. A loss that is not a finite number raises TrainingError.
    """
    run.samples_per_epoch[phase] = len(train) * train.batch_size
    run.planned_epochs[phase] = len(epochs)
    recorder = Recorder(phase, run.history.append)
    checkpoint = Checkpoint(
        run.checkpoints, phase, epochs.stop, callbacks, train.seed,
        note=lambda: {"rows": run.history.rows(phase), "elapsed": run.seconds},
    )  # fmt: skip
    epochs_to_do = _epochs_to_do(run, phase, checkpoint, epochs)
    verbose = run.verbose if val is not None or callbacks else 0
    callbacks = [train.follow_fit(), *callbacks, recorder]
    validation = {}
    if val is not None:
        if model.get_compile_config()["metrics"]:
            raise ValueError("compile the model with weighted_metrics: metrics would count the samples that fill up val")
        validation_data, batch_size, factor = whole_batches(val, run.args.batch_size)
        validation = {"validation_data": validation_data, "validation_batch_size": batch_size}
        right_loss = lambda epoch, logs: logs.update(val_loss=logs["val_loss"] * factor)  # noqa: E731
        callbacks.insert(0, keras.callbacks.LambdaCallback(on_epoch_end=right_loss))
        if run.experiment.monitor == "val_balanced_accuracy":

            def score_balanced(epoch, logs):
                scores = evaluate(model, val, run.args.batch_size, balanced(val.labels))
                logs["val_balanced_accuracy"] = scores["accuracy"]  # each class has the same weight

            callbacks.insert(1, keras.callbacks.LambdaCallback(on_epoch_end=score_balanced))
    if run.args.tensorboard and run.writes:
        callbacks.append(keras.callbacks.TensorBoard(run.folder / "tensorboard" / files.phase_filename(phase)))
    callbacks.append(checkpoint)  # last, so that it sees what the others decided
    try:
        with as_on_one_device(model, train.batch_size), cli.ending_steps():
            set_steps_per_execution(model, num_steps(model, train))
            model.fit(
                train,
                epochs=epochs.stop,
                initial_epoch=epochs_to_do.start,
                **validation,
                callbacks=callbacks,
                verbose=verbose,
                shuffle=False,  # Batches has its own order, from seed and epoch alone
            )
    except KeyboardInterrupt:
        if hosts.num_processes() > 1:
            raise  # the others may be at another step: only `--resume` goes on
        run.status = "interrupted"
        if not run.history.rows(phase) or not (recorder.epochs or checkpoint.is_restored):
            run.history.drop(phase)  # the weights of these epochs are not back yet
            raise
        tell("", f"interrupted after {len(run.history.rows(phase))} whole epochs of {phase}")
        for callback in callbacks:
            callback.on_train_end()
    finally:
        set_steps_per_execution(model, 1)
        run.history.flush_or_tell()


def evaluate(model, samples, batch_size, weights=None):
    """Loss and `weighted_metrics` of a compiled model on `Samples`, of equal weights if none are given, a dict by name."""
    data, batch_size, factor = whole_batches(samples, batch_size, weights)
    x, y, weights = data if isinstance(data, tuple) else (data, None, None)
    scores = model.evaluate(x, y, batch_size=batch_size, sample_weight=weights, verbose=0, return_dict=True)
    return scores | {"loss": scores["loss"] * factor}


@contextlib.contextmanager
def keeping_better_phase(run, model, before, phase, keep_best):
    """Around the `fit` of a second phase: the model ends with the weights of the phase with the lower val loss.

    `before` and `phase` name the two; `keep_best` is the second phase's EarlyStopping. A second phase that diverges, or that
    Ctrl-C ends in its first epoch, leaves the weights of the first. Without a first phase TrainingError and KeyboardInterrupt
    are raised as usual.
    """
    weights = model.get_weights()
    try:
        yield
    except KeyboardInterrupt:
        run.interrupt(run.history.rows(before))
    except TrainingError as error:
        if not run.history.rows(before, phase):
            raise
        tell(f"{error}; the best weights so far are kept")
        run.status = "early-stopped"
        keep_best.on_train_end()
    if run.history.lowest(before, "val_loss") <= run.history.lowest(phase, "val_loss"):
        model.set_weights(weights)


def _epochs_to_do(run, phase, checkpoint, epochs):
    """Those of `epochs`, a range, that no earlier process has done; a resumed run also says so."""
    if not checkpoint.state:
        if run.args.resume:
            tell(f"{phase}: no checkpoint, starting at epoch {epochs.start + 1}")
        return epochs
    run.history.extend(checkpoint.state["rows"])
    run.started = min(run.started, time.perf_counter() - checkpoint.state["elapsed"])
    done = checkpoint.state["epochs_done"]
    if checkpoint.is_over:
        tell(f"{phase}: already done, {done} epochs")
        return range(epochs.stop, epochs.stop)
    tell(f"{phase}: {done} of {epochs.stop} epochs done, resuming at epoch {done + 1}")
    return range(done, epochs.stop)


def num_steps(model, train):
    """How many steps of `fit` on `train`, which are `Batches`, to run in one execution."""
    inputs = [model.input_shape, *(layer.input_shape for layer in model.layers if isinstance(layer, keras.Model))]
    pixels = max(math.prod(shape[1:-1]) for shape in inputs)
    # A CPU takes long for a convolution, and in a loop XLA takes five times as long.
    if backend.name() == "torch" or (pixels > 1 and backend.kind() == "cpu"):
        return 1
    if backend.name() == "tensorflow" and devices.num_replicas() > 1:  # MirroredStrategy fails in a loop
        return 1
    return max(1, min(len(train), MAX_STEPS, MAX_BYTES // train.batch_bytes, MAX_PIXELS // (train.batch_size * pixels)))


def set_steps_per_execution(model, steps):
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
    if devices.num_replicas() == 1:
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
