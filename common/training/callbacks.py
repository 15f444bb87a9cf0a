"""The Keras callback that a run adds to the recipe's own. Importing this imports Keras."""

import math
import time

import keras

from common.cli import TrainingError


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
        seconds = round(time.perf_counter() - self._started, 3)
        row = {"epoch": epoch + 1, "phase": self.phase, **logs, "learning_rate": self._learning_rate, "seconds": seconds}
        self.write(row)
        self.epochs += 1
