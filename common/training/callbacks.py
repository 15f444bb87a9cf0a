"""What Keras lacks for a recipe, a warm-up before a cosine and the best epoch kept, and the callback that records epochs.

Importing this imports Keras.
"""

import math
import time

import keras

from common.cli import TrainingError


def cosine(learning_rate, steps, warmup_steps=0):
    """A Keras schedule that falls from `learning_rate` along half a cosine to zero, reached after `steps` in all.

    Before, in the first `warmup_steps`, fewer than `steps`, it rises in a straight line from a tenth of the rate. Loshchilov &
    Hutter 2017 (SGDR, without restarts), Goyal et al. 2017 (the warm-up).
    """
    warmup_steps = min(warmup_steps, steps - 1)
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    warm_up = {"warmup_target": learning_rate, "warmup_steps": warmup_steps}
    return keras.optimizers.schedules.CosineDecay(learning_rate / 10, steps - warmup_steps, **warm_up)


class BestEpoch(keras.callbacks.EarlyStopping):
    """Ends training after `patience` epochs without a better val accuracy, and restores the weights of the best epoch.

    The best epoch is the one with the best val accuracy, or `monitor`; of epochs with the same one it is that with the lowest
    val loss, and of these the first (`history.rank`). A lower val loss alone changes the weights that are kept, not the count
    of epochs.
    """

    def __init__(self, patience, monitor="val_accuracy"):
        super().__init__(monitor, mode="max", patience=patience, restore_best_weights=True)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.best_loss = math.inf  # the val loss of the best epoch

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        accuracy, loss = logs[self.monitor], logs["val_loss"]
        if self.best_epoch == epoch:
            self.best_loss = loss
        elif accuracy == self.best and loss < self.best_loss:
            self.best_epoch, self.best_loss, self.best_weights = epoch, loss, self.model.get_weights()


class Recorder(keras.callbacks.Callback):
    """Passes a row of history.csv to `write` after every epoch; raises TrainingError when a metric is not finite.

    Comes after the recipe's callbacks, so that it sees what they add to the logs and the time they take.
    """

    def __init__(self, phase, write):
        super().__init__()
        self.phase, self.write, self.epochs = phase, write, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()
        # stored in float32: 0.001, not 0.0010000000474974513
        self._learning_rate = float(f"{float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)):.7g}")

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        for name, value in logs.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} became {value} in epoch {epoch + 1} of {self.phase}: "
                    f"try a lower learning rate than {self._learning_rate:g}"
                )
        row = {"epoch": epoch + 1, "phase": self.phase, **logs, "learning_rate": self._learning_rate}
        self.write(row | {"seconds": round(time.perf_counter() - self._started, 3)})
        self.epochs += 1
