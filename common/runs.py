"""The run folder: made once and never overwritten, with the arguments, the environment and a row for every epoch.

runs/<experiment>/<YYYYmmdd-HHMMSS>[-name]/
  args.json  environment.json  history.csv  results.json  confusion_matrix.csv  predictions.csv  model.keras  plots/*.png
"""

import contextlib
import importlib.util
import itertools
import os
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path

from common import files, session
from common.cli import InputError

HISTORY_COLUMNS = ("epoch", "phase", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
FLUSH_SECONDS = 1  # history.csv is written whole every time, which epochs of milliseconds should not wait for


def check(args):
    """What can be said against the run flags before anything is read or imported. Raises InputError."""
    parent = args.output_dir
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--output-dir {args.output_dir} can't be made or written to: {parent} is no folder of yours")
    if getattr(args, "augment", False) and args.views == 1 and not args.no_cache:
        raise InputError("--views 1 with --augment keeps the pictures themselves only: give 2 or more, or --no-augment")
    if args.tensorboard and not all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        raise InputError("--tensorboard needs both packages: pip install tensorflow tensorboard, or leave the flag away")


class Run:
    """A started run: its folder, its history and its status: `finished`, `early-stopped` or, after Ctrl-C, `interrupted`."""

    def __init__(self, experiment, args):
        """Import Keras with the run's precision and make the folder; `args` is what the script's parser returned."""
        session.start(args.amp)
        self.experiment, self.args = experiment, args
        self.status, self.started = "finished", time.perf_counter()
        self.folder = _make_folder(args.output_dir / experiment, args.name, args.dry_run)
        (self.folder / "plots").mkdir()
        self._history, self._flushed = [], time.monotonic()
        files.write_json(self.folder / "args.json", vars(args))
        files.write_json(self.folder / "environment.json", session.environment())

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        """Leave no folder behind when the user's input turned out bad, or Ctrl-C came, before anything was learned."""
        if isinstance(error, (InputError, KeyboardInterrupt)) and not self._history:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def verbose(self):
        """For `fit`: Keras's progress bar on a terminal, one line an epoch into a file."""
        return 1 if sys.stdout.isatty() else 2

    @property
    def seconds(self):
        """Seconds since the run was started."""
        return round(time.perf_counter() - self.started, 3)

    @contextlib.contextmanager
    def phase(self, name, *callbacks):
        """Around one `fit`: gives the callbacks to pass, the script's own first, and records history under `name`.

        Ctrl-C ends the block quietly after one whole epoch or more: the callbacks see the end of training (so that
        EarlyStopping restores the best weights; without it the weights stay as they are at that moment) and `status` is
        `interrupted`. Before that, KeyboardInterrupt goes on.
        """
        from common.callbacks import Recorder

        recorder = Recorder(name, self._record)
        callbacks = [*callbacks, recorder]
        if self.args.tensorboard:
            import keras

            callbacks.append(keras.callbacks.TensorBoard(self.folder / "tensorboard" / name.replace(" ", "_")))
        try:
            yield callbacks
        except KeyboardInterrupt:
            self.status = "interrupted"
            if not recorder.epochs:
                raise
            print(f"\ninterrupted after {recorder.epochs} whole epochs of {name}")
            for callback in callbacks:
                callback.on_train_end()
        finally:
            self._flush()

    def rows(self, phase):
        """The rows of history.csv of one phase."""
        return [row for row in self._history if row["phase"] == phase]

    def summary(self, phase, images_per_epoch):
        """For results.json: epochs, the epoch whose weights are kept, its val accuracy, seconds, images per second.

        The kept epoch is the first with the highest val accuracy, as EarlyStopping keeps it, or the last where there is
        no val part.
        """
        rows = self.rows(phase)
        best = max(rows, key=lambda row: row.get("val_accuracy", row["epoch"]))
        seconds = sum(row["seconds"] for row in rows)
        return {
            "epochs": len(rows),
            "best_epoch": best["epoch"],
            "val_accuracy": best.get("val_accuracy"),
            "seconds": round(seconds, 3),
            "images_per_second": round(images_per_epoch * len(rows) / seconds, 1),
        }

    def raise_if_interrupted(self):
        """Between two stages: go on with Ctrl-C where it ended the stage before."""
        if self.status == "interrupted":
            raise KeyboardInterrupt

    def interrupt(self, results):
        """Note a Ctrl-C. Without any results to report KeyboardInterrupt goes on; without a whole epoch the folder goes too."""
        self.status = "interrupted"
        if not self._history:
            shutil.rmtree(self.folder, ignore_errors=True)
        if not results:
            raise KeyboardInterrupt

    def ending(self):
        """For results.json of the whole run: how it ended, its seconds and the most memory its process held, in GiB."""
        memory = None
        if importlib.util.find_spec("resource"):  # not on Windows
            import resource

            unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
            memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)
        return {"status": self.status, "total_seconds": self.seconds, "peak_memory_gib": memory}

    def _record(self, row):
        self._history.append(row)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self):
        others = {column: None for row in self._history for column in row if column not in HISTORY_COLUMNS}
        columns = [*HISTORY_COLUMNS[:-1], *others, HISTORY_COLUMNS[-1]]
        files.write_csv(self.folder / "history.csv", self._history, columns)
        self._flushed = time.monotonic()


def _make_folder(parent, name, dry_run):
    words = [f"{datetime.now():%Y%m%d-%H%M%S}", *([name] if name else []), *(["dry-run"] if dry_run else [])]
    try:
        Path(parent).mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = Path(parent) / "-".join(words + ([str(number)] if number > 1 else []))
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise InputError(f"--output-dir {parent} can't be written to: {error.strerror}") from error
