"""The checkpoint of a training phase: of a whole epoch, written whole or not at all, with everything that resuming needs.

checkpoint/<phase>.npz    the model's variables that training changes (weights, batch norm statistics, random state), the
                          optimizer's, the callbacks' counters and best weights, the rows of history.csv

A frozen backbone is never written. Keras's BackupAndRestore loses the random state, the callbacks' counters and the history.
Importing this imports Keras.
"""

import json
import os
import time

import keras
import numpy as np

from common import backend, cli, files, hosts
from common.cli import reason, tell

# Of EarlyStopping, ReduceLROnPlateau and BestEpoch.
COUNTERS = ("best", "best_loss", "wait", "cooldown_counter", "stopped_epoch", "best_epoch")
SHARE = 0.05  # at most this share of the time is spent writing; where an epoch is short, some get no checkpoint


class Checkpoint(keras.callbacks.Callback):
    """Writes the checkpoint of a phase during `fit`, and restores it when `fit` begins.

    Comes last in the list of callbacks, after `others`, so that it sees what they decided and restores their counters last.
    `note()` returns what else to keep, a dict for JSON. `state` is what the checkpoint of an earlier process says, or None;
    `is_over` is whether the phase was done.
    """

    def __init__(self, folder, phase, epochs, others, seed, note):
        super().__init__()
        self.path = folder / f"{files.phase_filename(phase)}.npz"
        self.phase, self.epochs, self.seed, self.note = phase, epochs, seed, note
        self.others = [callback for callback in others if hasattr(callback, "wait")]
        with hosts.main_first(f"checkpoint of {phase}"):
            self.state, self._arrays = _read(self.path)
        self.is_over = bool(self.state) and (self.state["stopped"] or self.state["epochs_done"] >= epochs)
        self.is_restored = False
        self._write_seconds = 0.0

    def on_train_begin(self, logs=None):
        self.model.optimizer.build(self.model.trainable_variables)
        self._variables = _changing_variables(self.model)
        changing = {id(variable) for variable in self._variables}  # as are the weights at these places of `get_weights`
        self._places = [place for place, weight in enumerate(self.model.weights) if id(weight) in changing]
        if self.state:
            self._restore()
        self._written = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        if keras.backend.backend() == "torch":  # its dropout uses torch's own generator, which is not a variable
            backend.set_seed(self.seed, f"{self.phase}, epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        _raise_if_stopped()

    def on_test_batch_begin(self, batch, logs=None):
        if cli.stopped_by is KeyboardInterrupt:  # val can take minutes; without it the epoch does not count
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        is_last = self.model.stop_training or epoch + 1 == self.epochs
        now = time.perf_counter()
        if hosts.is_main() and (is_last or cli.stopped_by or now - self._written >= self._write_seconds / SHARE):
            self._write_or_tell(epoch + 1)
            self._written = time.perf_counter()
            self._write_seconds = self._written - now
        _raise_if_stopped()

    def _write_or_tell(self, epochs_done):
        try:
            self._write(epochs_done)
        except OSError as error:  # a full disk must not end training
            tell(f"epoch {epochs_done}: no checkpoint could be written to {self.path.parent} ({reason(error)})")

    def _write(self, epochs_done):
        arrays = _arrays("model", self._variables) | _arrays("optimizer", self.model.optimizer.variables)
        counters = []
        for number, callback in enumerate(self.others):
            counters.append({name: getattr(callback, name) for name in COUNTERS if hasattr(callback, name)})
            if getattr(callback, "best_weights", None) is not None and callback.best_epoch != epochs_done - 1:
                arrays |= {f"best/{number}/{place}": np.asarray(callback.best_weights[place]) for place in self._places}
        state = {
            "epochs_done": epochs_done,
            "stopped": bool(self.model.stop_training),
            "counters": counters,
            **self.note(),
        }
        with files.atomic_write(self.path) as part, part.open("wb") as file:
            np.savez(file, state=json.dumps(state, default=float), **arrays)
            file.flush()
            os.fsync(file.fileno())

    def _restore(self):
        _assign(self._variables, self._arrays, "model")
        _assign(self.model.optimizer.variables, self._arrays, "optimizer")
        for number, (callback, counters) in enumerate(zip(self.others, self.state["counters"], strict=True)):
            for name, value in counters.items():
                setattr(callback, name, value)
            if getattr(callback, "restore_best_weights", False):
                callback.best_weights = self.model.get_weights()  # already right if the last epoch was the best
                for place in self._places:
                    callback.best_weights[place] = self._arrays.get(f"best/{number}/{place}", callback.best_weights[place])
        self._arrays = None
        self.is_restored = True


def _raise_if_stopped():
    if cli.stopped_by:
        raise cli.stopped_by


def _read(path):
    """State and arrays of a checkpoint, or None and None where there is none. Says so where it is damaged."""
    if not path.exists():
        return None, None
    try:
        arrays = files.read_arrays(path)
        return json.loads(str(arrays.pop("state"))), arrays
    except (ValueError, KeyError) as error:
        tell(f"{path} is damaged ({reason(error)}): training this phase again from its first epoch")
        return None, None


def _changing_variables(model):
    """The variables that training may change: those of layers that are not frozen, and the state of random layers."""
    variables = {}
    for layer in leaves(model):
        for variable in layer.variables:
            if layer.trainable or "seed_generator" in variable.path:
                variables[id(variable)] = variable
    return list(variables.values())


def leaves(model):
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def _arrays(kind, variables):
    return {f"{kind}/{number}": keras.ops.convert_to_numpy(variable) for number, variable in enumerate(variables)}


def _assign(variables, arrays, kind):
    for number, variable in enumerate(variables):
        variable.assign(arrays[f"{kind}/{number}"])
