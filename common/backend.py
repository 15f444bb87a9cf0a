"""Keras and what it computes on: its quiet import, precision, seeds and devices.

Importing Keras takes seconds, so scripts check their arguments first and then import it here.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

BACKBONE_BATCH_SIZE = {"cpu": 16, "gpu": 256}  # at 224x224; on a CPU, larger ones are no faster

_is_set_up = False


def import_keras():
    """Import Keras for the backend that `KERAS_BACKEND` or keras.json names (TensorFlow by default) and return it.

    What else a user's keras.json and variables ask for is overruled: it would change the network, its numbers or its epochs.

    TensorFlow writes its start-up messages (oneDNN, no CUDA driver ...) straight to file descriptor 2, and no setting silences
    all of them. They are held back during the import and shown only if it fails.
    """
    global _is_set_up
    if not _is_set_up:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # 3 would also hide real errors
        # Without it TensorFlow sometimes runs the convolutions of a whole epoch on one core of two.
        os.environ.setdefault("TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD", "1")
        with held_back_stderr():
            import absl.logging
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.config.list_physical_devices()  # look for a GPU now, while messages are held back
                tf.get_logger().setLevel("ERROR")
            elif keras.backend.backend() == "jax":
                import jax

                jax.config.update("jax_enable_x64", False)
            keras.config.set_image_data_format("channels_last")
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")
            keras.config.set_epsilon(1e-7)
            keras.config.set_max_epochs(None)
            keras.config.set_max_steps_per_epoch(None)
            absl.logging.set_verbosity("error")  # otherwise Keras warns about every .h5 file
        _is_set_up = True
    return sys.modules["keras"]


def lazy(name):
    """The module of this name, which is imported when something in it is first used: `--help` is answered at once."""
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def start(amp):
    """Import Keras and set the precision: mixed bfloat16 with `amp`, which needs no loss scaling, else float32."""
    keras = import_keras()
    keras.config.set_dtype_policy("mixed_bfloat16" if amp else "float32")
    return keras


def keep_compiled_programs(cache_dir):
    """Have compiled programs kept under `cache_dir` for later runs: JAX's, and XLA's, which TensorFlow uses on a GPU only.

    Comes before anything imports Keras: JAX and TensorFlow then read these variables. Those that the user set stay.
    """
    folder = Path(cache_dir).absolute() / "compiled"
    kept = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        folder /= f"tensorflow-{importlib.metadata.version('tensorflow')}"  # a folder for each version; JAX's keys contain it
        kept["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={folder}"
    existing = next((path for path in (folder, *folder.parents) if os.access(path, os.F_OK)), folder)
    if os.access(existing, os.W_OK | os.X_OK):  # a cache that can't be written costs only time
        for name, value in kept.items():
            os.environ.setdefault(name, str(value))


def set_seed(seed, stage):
    """Seed Python, NumPy and the backend for a named stage of a run, so that no stage depends on what ran before it."""
    derived = int.from_bytes(hashlib.sha256(f"{seed}/{stage}".encode()).digest()[:4]) >> 1
    import_keras().utils.set_random_seed(derived)


def name():
    """Name of Keras's backend: tensorflow, jax or torch."""
    return import_keras().backend.backend()


def devices():
    """Names of the devices that the backend can compute on, such as `NVIDIA H200` or `CPU (2 cores)`."""
    names, num_cpus = [], 1  # a CPU can stand for several devices
    if name() == "tensorflow":
        import tensorflow as tf

        for device in tf.config.list_physical_devices("GPU"):
            names.append(tf.config.experimental.get_device_details(device).get("device_name", device.name))
        num_cpus = 1 if names else len(tf.config.list_logical_devices("CPU"))
    elif name() == "jax":
        import jax

        names = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
        num_cpus = jax.device_count()
    elif name() == "torch":
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return names or [f"CPU ({num_cores()} cores)"] * num_cpus


def kind():
    """What kind of device the backend computes on: cpu or gpu."""
    return "cpu" if devices()[0].startswith("CPU") else "gpu"


def batch_size(image_size):
    """Images that go through a backbone at once: `BACKBONE_BATCH_SIZE` at 224x224, fewer larger ones, and of smaller ones up to
    four times as many."""
    return max(1, BACKBONE_BATCH_SIZE[kind()] * 224**2 // max(112, image_size) ** 2)


def num_cores():
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def memory():
    """Bytes of memory that this process may use at most: the machine's, or its limit (`ulimit -v`), None where unknown."""
    amounts = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on Windows
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ImportError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        amounts += [limit] if limit != resource.RLIM_INFINITY else []
    with contextlib.suppress(OSError, ValueError):  # of a container
        amounts.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(amounts, default=None)


@contextlib.contextmanager
def held_back_stderr():
    """Inside, what C libraries write to file descriptor 2 goes into a file instead; gives that file and a copy of stderr.

    After an exception the file's content is shown.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with (
        tempfile.TemporaryFile("a+b") as held,  # a: reading moves no writer
        open(before, "w", errors="backslashreplace") as stderr,  # noqa: PTH123  a descriptor
    ):
        os.dup2(held.fileno(), 2)
        try:
            yield held, stderr
        except Exception:
            os.dup2(before, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
