"""The Python process: Keras imported without its noise, precision, seeds, and what it all runs on.

Keras is imported here and nowhere before, after a script has checked its arguments: the import takes seconds.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "scikit-learn")


def import_keras():
    """Import Keras for the backend that `KERAS_BACKEND` or keras.json names (TensorFlow by default) and return it.

    TensorFlow's start-up messages (oneDNN, no CUDA driver ...) go to the file descriptor, not to Python, and no setting
    silences all of them; they are held back during the import and shown only if it fails.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # 3 would hide real errors too
        # Else TensorFlow computes whole epochs of convolutions on one core of two, every now and then.
        os.environ.setdefault("TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD", "1")
        with _held_back_stderr():
            import absl.logging
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.config.list_physical_devices()  # looks for a GPU now, while its messages are held back
                tf.get_logger().setLevel("ERROR")
            absl.logging.set_verbosity("error")  # Keras would warn at every .h5 that the format is old
    return sys.modules["keras"]


def start(amp):
    """Import Keras and set the precision: mixed bfloat16 with `amp`, which needs no loss scaling, else float32."""
    keras = import_keras()
    keras.config.set_dtype_policy("mixed_bfloat16" if amp else "float32")
    return keras


def set_seed(seed, stage):
    """Seed Python, NumPy and the backend for one stage of a run (a word that names it).

    Each stage has random numbers of its own, so none depends on what ran before it.
    """
    derived = int.from_bytes(hashlib.sha256(f"{seed}/{stage}".encode()).digest()[:4]) >> 1
    import_keras().utils.set_random_seed(derived)


def backend():
    """The name of the backend that Keras computes with: tensorflow, jax or torch."""
    return import_keras().backend.backend()


def devices():
    """Names of the devices that the backend computes on, as a person would say them: `NVIDIA H200`, or `CPU (2 cores)`."""
    names = []
    if backend() == "tensorflow":
        import tensorflow as tf

        for device in tf.config.list_physical_devices("GPU"):
            names.append(tf.config.experimental.get_device_details(device).get("device_name", device.name))
    elif backend() == "jax":
        import jax

        names = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    elif backend() == "torch":
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return names or [f"CPU ({_num_cores()} cores)"]


def environment():
    """What a reader needs to judge a number or repeat it: devices, versions, precision, git commit, the command."""
    keras = import_keras()
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "devices": devices(),
        "backend": backend(),
        "precision": keras.config.dtype_policy().name,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": _num_cores(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git_commit": _git_commit(),
    }


@contextlib.contextmanager
def _held_back_stderr():
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(before, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


def _num_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor():
    with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo") as lines:
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor()


def _version(package):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def _git_commit():
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
