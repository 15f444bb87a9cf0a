"""What a run is, and the run itself, whose folder is made once and never overwritten.

runs/<experiment>/<YYYYmmdd-HHMMSS>[-name]/
  args.json  environment.json  history.csv  results.json  confusion_matrix.csv  predictions.csv  model.keras  plots/*.png
  checkpoint/    what `--resume` needs; finished.json in it says that the run has come to its end
"""

import importlib.util
import shutil
import sys
import time
from dataclasses import dataclass, replace

from common import backend, cli, devices, files, hosts
from common.cli import InputError, blaming, tell
from common.data import CIFAR10, SCENES
from common.data import dataset as data
from common.training import folder
from common.training.history import History
from common.training.resume import stored_form


@dataclass(frozen=True)
class Experiment:
    """The identity of a run, or of one of its models.

    `documented` is the test accuracy in the document, 0 to 1, None where there is none, and `comparable` says whether ours was
    measured on the same terms; `remark` says in a few words what those terms were. `weights` is what training started from.
    `monitor` is the column of history.csv whose best value chooses the epoch that is kept, `trained` says what is trained,
    as in `head`. `folder` is the subfolder of one of several models.
    """

    name: str  # the script's name without train_
    title: str
    weights: str
    documented: float | None
    remark: str
    comparable: bool = False
    monitor: str = "val_accuracy"
    trained: str = "all layers"
    folder: str = ""

    def documented_on(self, class_names):
        """The documented accuracy, None for other classes than all of CIFAR-10's or, of ResNet152V2, its document's scenes."""
        is_scenes = self.name == "resnet152v2" and set(class_names) == set(SCENES)
        return self.documented if set(class_names) == set(CIFAR10) or is_scenes else None


def load_data(args, upscaled_later=False, image_size=None):
    """The Dataset that the data flags and `--seed` ask for; with `--dry-run` two batches of each part. Prints what was done.

    `upscaled_later` is `dataset.load`'s; `image_size` takes the place of the flag. Raises InputError for data that is missing,
    unreadable or too small to split.
    """
    image_size = image_size or args.image_size
    reading = {"how": args.resize, "skip_damaged": args.skip_damaged}
    with blaming(f"--data {args.data}"):
        loaded = data.load(args.data, image_size, args.cache_dir, upscaled_later, **reading)
    train, val = loaded.train, loaded.val
    if args.max_train_samples and args.max_train_samples < len(train):
        with blaming("--max-train-samples"):
            train = train.take(data.choose_samples(train.labels, args.max_train_samples, args.seed))
    if val is None:
        with blaming("--validation-split"):
            share = vars(args).get("validation_split", 0)
            train, val = data.hold_out(train, f"val {args.seed}", share, loaded.class_names)
    loaded = replace(loaded, train=train, val=val)
    tell(*loaded.duplicates())
    if args.dry_run:
        loaded = data.few(loaded, 2 * min(vars(args).get("batch_size", 32), backend.batch_size(image_size)))
    return loaded


class Run:
    """A started run: its folder, its history, its status (`finished`, `early-stopped`, or `interrupted` after Ctrl-C)."""

    def __init__(self, experiment, args, dataset, *weights):
        """Import Keras at the run's precision and make the folder, or reopen it with `--resume`.

        `experiment` is an `Experiment`, `args` what the script's parser returned, `dataset` a `Dataset`, `weights` the
        `Weights` of each backbone. Raises InputError for a resumed run that was started with something else, or that another
        process is training.
        """
        backend.start(args.amp)
        self.args = args
        documented = experiment.documented_on(dataset.class_names)
        self.experiment = replace(experiment, documented=documented, title=self.titled(experiment.title))
        self.status, self.started = "finished", time.perf_counter()
        self.samples_per_epoch, self.planned_epochs = {}, {}  # by phase
        made_of = {
            "experiment": experiment.name,
            "script": folder.script_version(experiment.name),
            "data": dataset.fingerprint(),
            "weights": [one.fingerprint() for one in weights],
            "backend": backend.name(),
        }
        if differing := hosts.differing(stored_form(args) | made_of):
            raise InputError(f"the processes differ in {', '.join(differing)}: give every process the same")
        path = None
        if hosts.is_main():
            path, self._lock = folder.reopen(args, made_of) if args.resume else folder.make(args, experiment.name, made_of)
        self.folder = cli.run_folder = folder.agree_on(path)
        self.history = History(self.folder / "history.csv")
        self.checkpoints = self.folder / "checkpoint"
        if self.writes and dataset.skipped:
            rows = [{"path": cli.printable(path), "reason": cli.printable(why)} for path, why in dataset.skipped]
            files.write_csv(self.folder / "skipped.csv", rows, ("path", "reason"))
        for one in weights:
            if one.results:
                tell(dataset.compared(one.results))

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
                files.write_json(self.checkpoints / "finished.json", folder.finished_form(self.args))
        finally:
            self._lock.release()
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

    def capped(self, number):
        """`number` of epochs, or 1 at most in a dry run."""
        return min(number, 1) if self.args.dry_run else number

    def batches(self, samples, *, num_samples=None, augmentation=None, passes=1):
        """Training batches of `--batch-size`, in an order drawn from `--seed` and the epoch, weighted by `--class-weight`.

        `samples` are `Samples`. `num_samples`, `augmentation` and `passes` are those of `Batches`.
        """
        from common.data.batches import Batches, balanced

        batch_size, y = self.args.batch_size, samples.labels
        if self.args.dry_run:  # two batches
            batch_size = min(batch_size, -(-len(samples) // 2))
        if self.args.class_weight == "balanced":
            y = y, balanced(y)
        return Batches(samples.images, y, batch_size, self.args.seed, passes, num_samples, augmentation)

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

    def interrupt(self, results):
        """Note a Ctrl-C, and raise KeyboardInterrupt again if there are no `results` to report.

        A run without a whole epoch loses its folder. Of several processes, the others may be at another step: all end, to be
        resumed.
        """
        self.status = "interrupted"
        self._remove_if_nothing_was_learned()
        if not results or hosts.num_processes() > 1:
            raise KeyboardInterrupt

    def resources(self):
        """For results.json: how the run ended, its seconds, and the peak memory of its process in GiB (None on Windows)."""
        memory = None
        if importlib.util.find_spec("resource"):
            import resource

            unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
            memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)
        return {"status": self.status, "total_seconds": self.seconds, "peak_memory_gib": memory}

    def _remove_if_nothing_was_learned(self):
        learned = len(self.history) or any(self.checkpoints.glob("*.npz"))
        if self.writes and not learned and not self.args.resume:
            shutil.rmtree(self.folder, ignore_errors=True)
            cli.run_folder = None  # there is nothing to resume
