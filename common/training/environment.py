"""What a run runs on, for environment.json."""

import contextlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from common import backend, devices, hosts

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "scikit-learn")


def environment(wanted_devices):
    """What it takes to judge or repeat a number: when, by which command, on which devices, versions, commit."""
    keras = backend.import_keras()
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),  # an instant, in whatever time zone
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "devices": devices.names(wanted_devices),
        "processes": hosts.count(),
        "backend": backend.name(),
        "precision": keras.config.dtype_policy().name,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": backend.num_cores(),
        "packages": {package: version for package in PACKAGES if (version := _version(package))},
        "git_commit": _git_commit(),
    }


def _processor():
    with contextlib.suppress(OSError, StopIteration), Path("/proc/cpuinfo").open() as lines:
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor()


def _version(package):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def _git_commit():
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
