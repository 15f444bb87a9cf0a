"""A run and its folder, which is made once and never overwritten.

runs/<experiment>/<YYYYmmdd-HHMMSS>[-name]/
  args.json  environment.json  history.csv  results.json  confusion_matrix.csv  predictions.csv  model.keras  plots/*.png
  checkpoint/    what `--resume` needs; finished.json in it says that the run has come to its end
"""

import importlib.util
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from common import backend, cli, devices, files, hosts
from common.cli import InputError, reason, tell
from common.data import splits
from common.training import folder, resume
from common.training.environment import environment
from common.training.history import History


class Run:
    """A started run: its folder, its history, its status (`finished`, `early-stopped`, or `interrupted` after Ctrl-C)."""

    def __init__(self, experiment, args, dataset, weights=None):
        """Import Keras at the run's precision and make the folder, or reopen it with `--resume`.

        `experiment` is an `Experiment`, `args` what the script's parser returned, `dataset` a `Dataset`, `weights` a `Weights`
        for scripts with a backbone. Raises InputError for a resumed run that was started with something else, or that another
        process is training.
        """
        backend.start(args.amp)
        self.experiment, self.args = replace(experiment, documented=experiment.documented_on(dataset.class_names)), args
        self.experiment = replace(self.experiment, title=self.titled(experiment.title))
        self.status, self.started = "finished", time.perf_counter()
        self.samples_per_epoch, self.passes, self.planned_epochs = {}, {}, {}  # by phase
        made_of = {
            "experiment": experiment.name,
            "script": resume.script_version(experiment.name),
            "data": dataset.fingerprint(),
            "weights": weights and weights.fingerprint(),
            "backend": backend.name(),
        }
        if differing := hosts.differing(resume.stored_form(args) | made_of):
            raise InputError(f"the processes differ in {', '.join(differing)}: give every process the same")
        self.folder = cli.run_folder = folder.agree_on(self._open(made_of) if hosts.is_main() else None)
        self.history = History(self.folder / "history.csv")
        self.checkpoints = self.folder / "checkpoint"
        if weights and weights.results:
            tell(splits.compared(dataset, weights.results))

    def _open(self, made_of):
        """Make the folder, or reopen it with `--resume`, and lock it."""
        args = self.args
        path = args.resume or folder.make(args.output_dir / self.experiment.name, args.name, args.dry_run)
        if args.resume:
            self._lock_file = folder.lock(path)
            resume.reopen(args, made_of, self._lock_file)
            return path
        try:
            (path / "checkpoint").mkdir()
            self._lock_file = folder.lock(path)
            (path / "plots").mkdir()
            files.write_json(path / "checkpoint" / "made_of.json", made_of | {"started_in": str(Path.cwd())})
            files.write_json(path / "environment.json", environment(args.devices))
            files.write_json(path / "args.json", resume.stored_form(args))
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return path

    def __enter__(self):
        """Models are made inside: on all devices."""
        self._scope = devices.scope(self.args.devices)
        self._scope.__enter__()
        return self

    def __exit__(self, kind, error, traceback):
        """Note that the run has come to its end, or remove the folder of one that an error ended before it learned anything."""
        self._scope.__exit__(kind, error, traceback)
        if not self.writes:
            return
        try:
            if error is None and self.status != "interrupted":
                self.history.flush()
                files.write_json(self.checkpoints / "finished.json", resume.finished_form(self.args))
        finally:
            self._lock_file.release()
            if isinstance(error, (Exception, KeyboardInterrupt, cli.Terminated)):
                self._remove_if_nothing_was_learned()

    @property
    def writes(self):
        """Whether this process writes the folder: the main one of several does."""
        return hosts.is_main()

    def titled(self, title):
        """A model's title, which says so in a dry run."""
        return f"{title} (dry run)" if self.args.dry_run else title

    @property
    def verbose(self):
        """`verbose` of `fit`: a progress bar on a terminal, one line per epoch in a file."""
        return 1 if sys.stdout.isatty() else 2

    @property
    def seconds(self):
        """Seconds since the run was started, earlier processes of a resumed run included."""
        return round(time.perf_counter() - self.started, 3)

    def epochs(self, number):
        """`number` of epochs, or 1 at most in a dry run."""
        return min(number, 1) if self.args.dry_run else number

    def batches(self, samples, *, num_samples=None, augmentation=None, passes=1, seed=None):
        """Training batches of `--batch-size`, in an order drawn from `--seed` and the epoch.

        `samples` are `Samples`. `num_samples`, `augmentation` and `passes` are those of `Batches`; `seed` replaces `--seed`.
        """
        from common.data.batches import Batches

        batch_size = self.args.batch_size
        if self.args.dry_run:  # two batches
            batch_size = min(batch_size, -(-len(samples) // 2))
        seed = self.args.seed if seed is None else seed
        return Batches(samples.images, samples.labels, batch_size, seed, passes, num_samples, augmentation)

    def fit(self, phase, model, train, val, *, epochs, callbacks=(), initial_epoch=0):
        """Train a compiled model up to `epochs`, counted as in Keras, and record every epoch; see `common.training.fit`."""
        from common.training.fit import fit

        fit(self, phase, model, train, val, range(initial_epoch, epochs), callbacks)

    def evaluate(self, model, samples):
        """Loss and `weighted_metrics` of a compiled model on `Samples`, a dict by name, in batches of `--batch-size`."""
        from common.training.fit import evaluate

        return evaluate(model, samples, self.args.batch_size)

    def summary(self, *phases, monitor=None):
        """For results.json: epochs, best epoch, val accuracy, seconds, images per second; see `History.summary`."""
        return self.history.summary(phases, self.samples_per_epoch[phases[-1]], monitor or self.experiment.monitor)

    def stopped_early(self, *phases):
        """Whether one of these phases ended before its last epoch."""
        return any(len(self.history.rows(phase)) < self.planned_epochs[phase] for phase in phases)

    def result(self, phase, names=()):
        """What `keep_result` kept of a phase in an earlier process, or None; the phase's history comes back with it.

        It is a dict with all of `names`, whose values are text and numbers.
        """
        path = self.checkpoints / f"{files.stem(phase)}.json"
        if not path.exists():
            return None
        try:
            kept = files.read_json(path)
            rows, result = kept["rows"], {name: kept["result"][name] for name in names}
        except (ValueError, KeyError, TypeError) as error:
            tell(f"{path} is damaged ({reason(error)}): training this phase again")
            return None
        tell(f"{phase}: already done")
        self.history.extend(rows)
        self.history.flush()
        self._drop_checkpoint(phase)
        return result

    def keep_result(self, phase, result):
        """Keep the result of a phase in place of its checkpoints, whose weights are no longer needed."""
        path = self.checkpoints / f"{files.stem(phase)}.json"
        if self.writes:
            files.write_json(path, {"rows": self.history.rows(phase), "result": result})
        self._drop_checkpoint(phase)

    def interrupt(self, results):
        """Note a Ctrl-C, and raise KeyboardInterrupt again if there are no `results` to report.

        A run without a whole epoch loses its folder. Of several processes, the others may be at another step: all end, to be
        resumed.
        """
        self.status = "interrupted"
        self._remove_if_nothing_was_learned()
        if not results or hosts.count() > 1:
            raise KeyboardInterrupt

    def ending(self):
        """For results.json: how the run ended, its seconds, and the peak memory of its process in GiB (None on Windows)."""
        memory = None
        if importlib.util.find_spec("resource"):
            import resource

            unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
            memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)
        return {"status": self.status, "total_seconds": self.seconds, "peak_memory_gib": memory}

    def _drop_checkpoint(self, phase):
        if self.writes:
            (self.checkpoints / f"{files.stem(phase)}.npz").unlink(missing_ok=True)

    def _remove_if_nothing_was_learned(self):
        learned = len(self.history) or any(self.checkpoints.glob("*.npz"))
        if self.writes and not learned and not self.args.resume:
            shutil.rmtree(self.folder, ignore_errors=True)
            cli.run_folder = None  # there is nothing to resume
