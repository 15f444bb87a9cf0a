"""The checkpoint of a training phase: of a whole epoch, written whole or not at all, with everything that resuming needs.

checkpoint/<phase>.npz    the model's variables that training changes (weights, batch norm statistics, random state), the
                          optimizer's, the callbacks' counters and best weights, the rows of history.csv
checkpoint/<phase>.json   replaces it once the phase's result is known and its weights are no longer needed

A frozen backbone is never written. Keras's BackupAndRestore loses the random state, the callbacks' counters and the history.
Importing this imports Keras.
"""

import json
import os
import time

import keras
import numpy as np

from common import backend, cli, files, hosts
from common.cli import InputError, reason, tell

BEST = ("best", "best_loss")  # of EarlyStopping, ReduceLROnPlateau and BestEpoch, as the following
COUNTERS = (*BEST, "wait", "cooldown_counter", "stopped_epoch", "best_epoch")
SHARE = 0.05  # at most this share of the time is spent writing; where an epoch is short, some get no checkpoint


class Checkpoint(keras.callbacks.Callback):
    """Writes the checkpoint of a phase during `fit`, and restores it when `fit` begins.

    Comes last in the list of callbacks, after `others`, so that it sees what they decided and restores their counters last.
    `note()` returns what else to keep, a dict for JSON. `state` is what the checkpoint of an earlier process says, or None;
    `is_over` is whether the phase was done.
    """

    def __init__(self, folder, phase, epochs, others, seed, note):
        super().__init__()
        self.path = folder / f"{files.stem(phase)}.npz"
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
            values = {name: getattr(callback, name) for name in COUNTERS if hasattr(callback, name)}
            counters.append({name: None if value is None else float(value) for name, value in values.items()})
            if getattr(callback, "best_weights", None) is not None and callback.best_epoch != epochs_done - 1:
                kept = [weight for weight, mask in zip(callback.best_weights, self._is_kept(), strict=True) if mask]
                arrays |= {f"best/{number}/{index}": np.asarray(weight) for index, weight in enumerate(kept)}
        state = {
            "epochs_done": epochs_done,
            "stopped": bool(self.model.stop_training),
            "counters": counters,
            "arrays": len(arrays),
            **self.note(),
        }
        with files.whole(self.path) as part, part.open("wb") as file:
            np.savez(file, state=json.dumps(state), **arrays)
            file.flush()
            os.fsync(file.fileno())

    def _restore(self):
        _assign(self._variables, self._arrays, "model")
        _assign(self.model.optimizer.variables, self._arrays, "optimizer")
        if len(self.state["counters"]) != len(self.others):
            raise InputError("--resume: the checkpoint does not fit the callbacks that this script has")
        for number, (callback, counters) in enumerate(zip(self.others, self.state["counters"], strict=True)):
            for name, value in counters.items():
                setattr(callback, name, value if value is None or name in BEST else int(value))
            if getattr(callback, "restore_best_weights", False):
                callback.best_weights = self.model.get_weights()  # already right if the last epoch was the best
                places = [place for place, mask in enumerate(self._is_kept()) if mask]
                for index, place in enumerate(places):
                    weight = self._arrays.get(f"best/{number}/{index}", callback.best_weights[place])
                    _check_shapes([weight], [callback.best_weights[place]], "model")
                    callback.best_weights[place] = weight
        self._arrays = None
        self.is_restored = True

    def _is_kept(self):
        """For each of the model's weights, in the order of `get_weights`, whether training changes it."""
        changing = {id(variable) for variable in self._variables}
        return [id(weight) in changing for weight in self.model.weights]


def _raise_if_stopped():
    if cli.stopped_by:
        raise cli.stopped_by


def _read(path):
    """State and arrays of a checkpoint, or None and None where there is none. Says so where it is damaged."""
    if not path.exists():
        return None, None
    try:
        arrays = files.read_arrays(path)
        state = json.loads(str(arrays.pop("state")))
        if len(arrays) != state["arrays"]:
            raise ValueError("it is incomplete")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        tell(f"{path} is damaged ({reason(error)}): training this phase again from its first epoch")
        return None, None
    return state, arrays


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
    values = [arrays.get(f"{kind}/{number}") for number in range(sum(name.startswith(f"{kind}/") for name in arrays))]
    _check_shapes(values, variables, kind)
    for variable, array in zip(variables, values, strict=True):
        variable.assign(array)


def _check_shapes(arrays, variables, kind):
    if [getattr(array, "shape", None) for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise InputError(f"--resume: the checkpoint does not fit the {kind} that this script builds")
