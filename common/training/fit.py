"""The one `fit`: what every training phase shares, around Keras's own. Importing this imports Keras.

The script brings what belongs to its recipe: the compiled model, the batches, the callbacks. What belongs to the run is added
here: the order of the batches, validation, history, checkpoints, the epoch to resume at, and what Ctrl-C does.
"""

import contextlib
import time

import keras

from common import cli, files, hosts
from common.cli import TrainingError, tell
from common.data.batches import whole_batches
from common.training.callbacks import Recorder
from common.training.checkpoints import Checkpoint
from common.training.steps import as_on_one_device, fuse, num_steps


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
    run.passes[phase] = train.passes
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
    if run.args.tensorboard and run.writes:
        callbacks.append(keras.callbacks.TensorBoard(run.folder / "tensorboard" / files.stem(phase)))
    callbacks.append(checkpoint)  # last, so that it sees what the others decided
    try:
        with as_on_one_device(model, train.batch_size), cli.ending_steps():
            fuse(model, num_steps(model, train))
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
        if hosts.count() > 1:
            raise  # the others may be at another step: only `--resume` goes on
        run.status = "interrupted"
        if not run.history.rows(phase) or not (recorder.epochs or checkpoint.is_restored):
            run.history.drop(phase)  # the weights of these epochs are not back yet
            raise
        tell("", f"interrupted after {len(run.history.rows(phase))} whole epochs of {phase}")
        for callback in callbacks:
            callback.on_train_end()
    finally:
        fuse(model, 1)
        run.history.flush_or_tell()


def evaluate(model, samples, batch_size):
    """Loss and `weighted_metrics` of a compiled model on `Samples`, a dict by name."""
    (x, y, weights), batch_size, factor = whole_batches(samples, batch_size)
    scores = model.evaluate(x, y, batch_size=batch_size, sample_weight=weights, verbose=0, return_dict=True)
    return scores | {"loss": scores["loss"] * factor}


@contextlib.contextmanager
def better_of(run, model, before, phase, keep_best):
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
