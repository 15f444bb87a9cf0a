"""The run folder: made once and never overwritten, with the arguments, the environment and a row for every epoch.

runs/<experiment>/<YYYYmmdd-HHMMSS>[-name]/
  args.json  environment.json  history.csv  results.json  confusion_matrix.csv  predictions.csv  model.keras  plots/*.png
  checkpoint/    what `--resume` needs
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
from types import SimpleNamespace

from filelock import FileLock, Timeout

from common import backend, files
from common.cli import InputError
from common.training import resume

HISTORY_COLUMNS = ("epoch", "phase", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
FLUSH_SECONDS = 1  # history.csv is written whole every time, which epochs of milliseconds should not wait for


def check(args):
    """What can be said against the run flags before anything is read or imported. Raises InputError, or Finished where
    `--resume` names a run that has come to its end.
    """
    if args.resume:
        resume.check(args)
        return
    parent = args.output_dir
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--output-dir {args.output_dir} can't be made or written to: {parent} is no folder of yours")
    if getattr(args, "augment", False) and getattr(args, "views", 0) == 1 and not args.no_cache:
        raise InputError("--views 1 with --augment keeps the pictures themselves only: give 2 or more, or --no-augment")
    if args.tensorboard and not all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        raise InputError("--tensorboard needs both packages: pip install tensorflow tensorboard, or leave the flag away")


class Run:
    """A started run: its folder, its history and its status: `finished`, `early-stopped` or, after Ctrl-C, `interrupted`."""

    def __init__(self, experiment, args, dataset, found=None):
        """Import Keras with the run's precision and make the folder, or with `--resume` open it again.

        `args` is what the script's parser returned, `dataset` a `data.Dataset`, `found` what `weights.find` returned. Raises
        InputError where a run was made of something else, or is still being trained.
        """
        backend.start(args.amp)
        self.experiment, self.args = experiment, args
        self.status, self.started = "finished", time.perf_counter()
        self._history, self._flushed = [], time.monotonic()
        made_of = {
            "experiment": experiment,
            "script": resume.script_version(experiment),
            "data": dataset.fingerprint(),
            "weights": files.digest(found.path) if found and found.path else None,
            "backend": backend.backend(),
        }
        self.folder = args.resume or _make_folder(args.output_dir / experiment, args.name, args.dry_run)
        self._checkpoints = self.folder / "checkpoint"
        if args.resume:
            self._lock()
            self._reopen(made_of)
            return
        self._checkpoints.mkdir()
        self._lock()
        (self.folder / "plots").mkdir()
        files.write_json(self._checkpoints / "made_of.json", made_of | {"started_in": os.getcwd()})
        files.write_json(self.folder / "environment.json", backend.environment())
        files.write_json(self.folder / "args.json", resume.stored_form(args))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        """Leave no folder behind when the user's input turned out bad, or Ctrl-C came, before anything was learned; nor
        checkpoints that nobody needs after the end.
        """
        if error is None and self.status != "interrupted":
            for path in self._checkpoints.glob("*.previous.npz"):
                path.unlink()
            files.write_json(self._checkpoints / "finished.json", resume.stored_form(self.args))
        self._held.release()
        if isinstance(error, (InputError, KeyboardInterrupt)):
            self._remove_if_nothing_was_learned()

    @property
    def verbose(self):
        """For `fit`: Keras's progress bar on a terminal, one line an epoch into a file."""
        return 1 if sys.stdout.isatty() else 2

    @property
    def seconds(self):
        """Seconds since the run was started."""
        return round(time.perf_counter() - self.started, 3)

    @contextlib.contextmanager
    def phase(self, name, epochs, *callbacks, first_epoch=0):
        """Around one `fit` up to `epochs`: gives `callbacks` and `initial_epoch` to pass to it, and records history as `name`.

        The script's own callbacks come first. In a resumed run `initial_epoch` is the epoch after the newest checkpoint; if
        the phase is over, `fit` trains no epoch and brings its weights back. Else it is `first_epoch`, counted from 0.

        Ctrl-C ends the block quietly after one whole epoch or more: the callbacks see the end of training (so that
        EarlyStopping restores the best weights; without it the weights stay as they are at that moment) and `status` is
        `interrupted`. Before that, KeyboardInterrupt goes on.
        """
        from common.training.callbacks import Recorder
        from common.training.checkpoints import Checkpoint

        checkpoint = Checkpoint(
            self._checkpoints, name, epochs, callbacks, self.args.seed,
            note=lambda: {"rows": self.rows(name), "elapsed": self.seconds},
        )  # fmt: skip
        initial_epoch = self._take_up(name, checkpoint, epochs, first_epoch)
        recorder = Recorder(name, self._record)
        callbacks = [*callbacks, recorder]
        if self.args.tensorboard:
            import keras

            callbacks.append(keras.callbacks.TensorBoard(self.folder / "tensorboard" / files.stem(name)))
        callbacks.append(checkpoint)
        try:
            yield SimpleNamespace(callbacks=callbacks, initial_epoch=initial_epoch)
        except KeyboardInterrupt:
            self.status = "interrupted"
            if not recorder.epochs and not checkpoint.is_restored:
                self._history = [row for row in self._history if row["phase"] != name]  # their weights are not back yet
                raise
            print(f"\ninterrupted after {len(self.rows(name))} whole epochs of {name}")
            for callback in callbacks:
                callback.on_train_end()
        finally:
            self._flush()

    def _take_up(self, name, checkpoint, epochs, first_epoch):
        """The epoch, counted from 0, that a phase begins with, and in a resumed run a line that says so."""
        if not checkpoint.state:
            if self.args.resume:
                print(f"{name}: no checkpoint, begins with epoch {first_epoch + 1}", flush=True)
            return first_epoch
        self._history += checkpoint.state["rows"]
        self.started = min(self.started, time.perf_counter() - checkpoint.state["elapsed"])
        done = checkpoint.state["epochs_done"]
        if checkpoint.is_over:
            print(f"{name}: over, {done} epochs are there", flush=True)
            return epochs
        print(f"{name}: {done} of {epochs} epochs are there, goes on with epoch {done + 1}", flush=True)
        return done

    def result(self, phase):
        """What `keep_result` kept of a phase in an earlier process, None if there is none; the phase's history comes back."""
        path = self._checkpoints / f"{files.stem(phase)}.json"
        if not path.exists():
            return None
        try:
            kept = files.read_json(path)
            rows, result = kept["rows"], kept["result"]
        except (ValueError, KeyError, TypeError) as error:
            print(f"{path} is damaged ({error}): this phase is trained again", flush=True)
            return None
        print(f"{phase}: over, its result is there", flush=True)
        self._history += rows
        self._flush()
        self._drop_checkpoints(phase)
        return result

    def keep_result(self, phase, result):
        """Keep what came out of a phase, and no longer its checkpoints: nobody needs its weights any more."""
        files.write_json(self._checkpoints / f"{files.stem(phase)}.json", {"rows": self.rows(phase), "result": result})
        self._drop_checkpoints(phase)

    def rows(self, *phases):
        """The rows of history.csv of some phases, in the order in which they were trained."""
        return [row for row in self._history if row["phase"] in phases]

    def summary(self, phases, images_per_epoch, monitor="val_accuracy"):
        """For results.json: epochs, the epoch whose weights are kept, its val accuracy, seconds, images per second.

        The kept epoch is the first with the best `monitor`, as EarlyStopping keeps it, or the last where there is no val part.
        `images_per_epoch` are those of the last phase, of which alone the images per second are.
        """
        rows, last = self.rows(*phases), self.rows(phases[-1])
        sign = -1 if monitor.endswith("loss") else 1
        best = max(rows, key=lambda row: sign * row[monitor] if monitor in row else row["epoch"])
        return {
            "epochs": len(rows),
            "best_epoch": best["epoch"],
            "val_accuracy": best.get("val_accuracy"),
            "seconds": round(sum(row["seconds"] for row in rows), 3),
            "images_per_second": round(images_per_epoch * len(last) / sum(row["seconds"] for row in last), 1),
        }

    def raise_if_interrupted(self):
        """Between two stages: go on with Ctrl-C where it ended the stage before."""
        if self.status == "interrupted":
            raise KeyboardInterrupt

    def interrupt(self, results):
        """Note a Ctrl-C. Without any results to report KeyboardInterrupt goes on; without a whole epoch the folder goes too."""
        self.status = "interrupted"
        self._remove_if_nothing_was_learned()
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

    def _drop_checkpoints(self, phase):
        for ending in (".npz", ".previous.npz"):
            (self._checkpoints / f"{files.stem(phase)}{ending}").unlink(missing_ok=True)

    def _remove_if_nothing_was_learned(self):
        if not self._history and not self.args.resume:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _lock(self):
        """One process at a time trains in a folder; the system frees the lock of one that is killed."""
        self._held = FileLock(self._checkpoints / "lock")
        try:
            self._held.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"--resume {self.folder}: another process is training in this folder") from error

    def _reopen(self, made_of):
        """Check that the folder's run was made of the same, note the resumption and remove what a killed process left."""
        before, environment = resume.read_notes(self.folder)
        differ = [name for name in made_of if before[name] != made_of[name]]
        if differ:
            self._held.release()
            shown = f"other {differ[0]}" if differ[0] != "backend" else f"KERAS_BACKEND={before['backend']}"
            raise InputError(
                f"--resume {self.folder}: the run was started with {shown}, so it would not go on as it began; "
                "bring that back, or start a new run"
            )
        now = backend.environment()
        others = [name for name in ("packages", "devices", "processor", "python") if environment.get(name) != now[name]]
        if others:
            print(f"Other {', '.join(others)} than at the start: the numbers will not be those of an unbroken run.")
        if before.get("started_in") != os.getcwd():
            print(f"Started in {before.get('started_in')}: paths like {self.args.cache_dir} now lead from {os.getcwd()}.")
        print(f"Resuming {self.folder}", flush=True)
        for part in self.folder.rglob(".[0-9]*-*"):
            part.unlink()  # a file that was being written
        (self.folder / "plots").mkdir(exist_ok=True)
        files.write_json(self.folder / "args.json", resume.stored_form(self.args))
        (self._checkpoints / "finished.json").unlink(missing_ok=True)
        again = {"command": now["command"], "time": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        environment["resumed"] = [*environment.get("resumed", []), again]
        files.write_json(self.folder / "environment.json", environment)

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
