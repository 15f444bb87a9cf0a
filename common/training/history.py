"""history.csv: a row for every epoch of every phase, written while training goes on."""

import math
import time

from common import files, hosts
from common.cli import reason, tell

COLUMNS = ("epoch", "phase", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
FLUSH_SECONDS = 1  # the whole file is rewritten each time, which should not slow down epochs of milliseconds


def rank(row, monitor="val_accuracy"):
    """The sort key of an epoch, a row or a summary: `max` by it finds the epoch to keep, the first of equal ones.

    `monitor` decides. Between equal accuracies the lower val loss wins. Without a val part the last epoch wins.
    """
    if monitor not in row:
        return (row["epoch"],)
    return (-row[monitor],) if monitor.endswith("loss") else (row[monitor], -row["val_loss"])


class History:
    """The rows of history.csv, dicts by column name, in the order of training."""

    def __init__(self, path):
        self.path, self._rows, self._flushed = path, [], time.monotonic()

    def __len__(self):
        return len(self._rows)

    def rows(self, *phases):
        """The rows of these phases, in the order of training."""
        return [row for row in self._rows if row["phase"] in phases]

    def append(self, row):
        """Add the row of an epoch; it is on disk after a second at most, or at the next `flush`."""
        self._rows.append(row)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush_or_tell()

    def extend(self, rows):
        """Add the rows that an earlier process recorded."""
        self._rows += rows

    def drop(self, phase):
        """Forget the rows of a phase."""
        self._rows = [row for row in self._rows if row["phase"] != phase]

    def lowest(self, phase, column):
        """The lowest value of a column in a phase, infinite for a phase that was not trained."""
        return min((row[column] for row in self.rows(phase)), default=math.inf)

    def flush_or_tell(self):
        """Write history.csv if that is possible: a full disk must not end training, and the next time may succeed."""
        try:
            self.flush()
        except OSError as error:
            tell(f"{self.path} could not be written ({reason(error)})")
            self._flushed = time.monotonic()

    def flush(self):
        """Write history.csv, in the main process. Metrics beyond `COLUMNS` get columns of their own, before the seconds."""
        if not hosts.is_main():
            return
        extra = {column: None for row in self._rows for column in row if column not in COLUMNS}
        files.write_csv(self.path, self._rows, [*COLUMNS[:-1], *extra, COLUMNS[-1]])
        self._flushed = time.monotonic()

    def summary(self, phases, samples_per_epoch, monitor):
        """For results.json: epochs, the epoch whose weights are kept, its scores on val, seconds, images per second.

        `rank` says which epoch is kept: as `callbacks.BestEpoch` does for val accuracy, `keras.callbacks.EarlyStopping` for val
        loss. Images per second are those of the last phase, with `samples_per_epoch` images an epoch.
        """
        rows, last_phase = self.rows(*phases), self.rows(phases[-1])
        best = max(rows, key=lambda row: rank(row, monitor))
        rate = samples_per_epoch * len(last_phase) / sum(row["seconds"] for row in last_phase)
        return {
            "epochs": len(rows),
            "best_epoch": best["epoch"],
            "val_accuracy": best.get("val_accuracy"),
            "val_loss": best.get("val_loss"),
            monitor: best.get(monitor),
            "seconds": round(sum(row["seconds"] for row in rows), 3),
            "images_per_second": round(rate, 1),
        }
