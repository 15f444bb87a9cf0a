"""The run folder on disk: checked before anything is read, made once with what the run runs on, reopened by `--resume`."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import itertools
import platform
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from common import backend, devices, files, hosts
from common.cli import Finished, InputError, reason, tell
from common.training.resume import stored_form

ROOT = Path(__file__).parents[2]
MADE_OF = Path("checkpoint", "made_of.json")
PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "scikit-learn")


def check(args):
    """Check the run flags before anything is read.

    Connects the processes where there are several. Raises InputError for flags that can't work, and Finished where `--resume`
    names a finished run.
    """
    backend.keep_compiled_programs(args.cache_dir)  # reading the data may import Keras
    if args.resume:
        check_resumed(args)
    else:
        files.need_writable(args.output_dir, "--output-dir")
    if args.tensorboard and not all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        raise InputError("--tensorboard needs both packages: pip install tensorflow tensorboard, or leave the flag out")
    devices.start(args)


def check_resumed(args):
    """Raise Finished if the run to resume is finished, and InputError if this code can't resume it."""
    folder = args.resume
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not finished, or damaged: training ends it again
        if files.read_json(folder / "checkpoint" / "finished.json") == finished_form(args):
            results = files.read_json(folder / "results.json")
            raise Finished(f"{folder} is finished: test accuracy {results['test_accuracy']:.4f}, {results['epochs']} epochs")
    files.need_writable(folder / "checkpoint", "--resume")
    made_of, started_on = _read_notes(folder)
    if made_of["script"] != script_version(made_of["experiment"]):
        commit = f", at commit {started_on['git_commit']}" if started_on.get("git_commit") else ""
        raise InputError(
            f"--resume {folder}: train_{made_of['experiment']}.py or common/ has changed since the run was started{commit}: "
            "check that version out to resume the run, or start a new one"
        )


def make(args, experiment, made_of):
    """Make `<output-dir>/<experiment>/<YYYYmmdd-HHMMSS>[-name][-dry-run][-N]`, with what is known at the start.

    Returns its path and its lock. Raises InputError where that is impossible.
    """
    parent = args.output_dir / experiment
    parts = [f"{datetime.now():%Y%m%d-%H%M%S}", *[args.name] * bool(args.name), *["dry-run"] * args.dry_run]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = parent / "-".join(parts + [str(number)] * (number > 1))
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise InputError(f"--output-dir {parent} can't be written to: {reason(error)}") from error
    try:
        (folder / "checkpoint").mkdir()
        lock = _lock(folder)
        (folder / "plots").mkdir()
        files.write_json(folder / MADE_OF, made_of)
        files.write_json(folder / "environment.json", environment(args.devices))
        files.write_json(folder / "args.json", stored_form(args))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, lock


def reopen(args, made_of):
    """Open the folder of a resumed run: check what it was made of, note the resumption, remove what a kill left half written.

    Returns its path and its lock. Raises InputError where the run was started with other data, weights or another backend.
    """
    folder = args.resume
    lock = _lock(folder)
    before, started_on = _read_notes(folder)
    if differing := [name for name in made_of if before[name] != made_of[name]]:
        lock.release()
        cause = f"other {differing[0]}" if differing[0] != "backend" else f"KERAS_BACKEND={before['backend']}"
        raise InputError(
            f"--resume {folder}: the run was started with {cause}, so it would not continue as it began; "
            "restore that, or start a new run"
        )
    now = environment(args.devices)
    changed = [name for name in ("packages", "devices", "processor", "python") if started_on.get(name) != now[name]]
    if changed == ["devices"]:
        tell("Other devices than at the start: the numbers will differ from those of an unbroken run by rounding.")
    elif changed:
        tell(f"Different {', '.join(changed)} since the start: the numbers will not be those of an unbroken run.")
    tell(f"Resuming {folder}")
    for path in sorted(folder.rglob(".[0-9]*-*"), reverse=True):
        files.remove(path)  # what was being written: a file, or the folder of an export
    (folder / "plots").mkdir(exist_ok=True)
    files.write_json(folder / "args.json", stored_form(args))
    (folder / "checkpoint" / "finished.json").unlink(missing_ok=True)
    again = {name: now[name] for name in ("command", "devices", "processes")} | {"time": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
    files.write_json(folder / "environment.json", started_on | {"resumed": [*started_on.get("resumed", []), again]})
    return folder, lock


def agree_on(folder):
    """Collective: the folder that the main process made or reopened; the others give None.

    Raises InputError in a process that can't see the folder.
    """
    folder = Path(hosts.broadcast_text(str(folder)))
    if not folder.is_dir():
        raise InputError(f"the first process writes to {folder}, which is not here: share --output-dir between all")
    return folder


def finished_form(args):
    """The arguments that finished.json holds: without where the data were, and on which devices."""
    return stored_form(args) | {"devices": 1, "data": ""}


def script_version(experiment):
    """A hash of the code that a run's numbers depend on: its script, and `common/` without figures, pages and tables."""
    digest = hashlib.sha256()
    modules = [path for path in (ROOT / "common").rglob("*.py") if path.parent.name not in ("figures", "results")]
    scores = [ROOT / "common" / "results" / name for name in ("metrics.py", "predictions.py", "sweep.py")]
    for path in (ROOT / f"train_{experiment}.py", *sorted(modules), *scores):
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def environment(wanted_devices):
    """What it takes to judge or repeat a number: when, by which command, on which devices, versions, commit."""
    keras = backend.import_keras()
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),  # an instant, in whatever time zone
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "devices": devices.names(wanted_devices),
        "processes": hosts.num_processes(),
        "backend": backend.name(),
        "precision": keras.config.dtype_policy().name,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": backend.num_cores(),
        "packages": {package: version for package in PACKAGES if (version := _version(package))},
        "git_commit": _git_commit(),
    }


def _lock(folder):
    """Keep other runs out of a folder; the system frees the lock of a process that is killed. Raises InputError."""
    file = FileLock(folder / "checkpoint" / "lock")
    try:
        file.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"--resume {folder}: another process is training in this folder") from error
    return file


def _read_notes(folder):
    """What a run was made of, and its environment, two dicts. Raises InputError if they can't be read."""
    try:
        made_of, started_on = (files.read_json(path := folder / name) for name in (MADE_OF, "environment.json"))
        if not made_of.keys() >= {"experiment", "script", "data", "weights", "backend"} or not isinstance(started_on, dict):
            raise ValueError("it is incomplete")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"--resume {folder}: can't resume, {path} can't be read ({reason(error)}); start a new run") from error
    return made_of, started_on


def _processor():
    with contextlib.suppress(OSError, StopIteration), Path("/proc/cpuinfo").open() as lines:
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor()


def _version(package):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def _git_commit():
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
