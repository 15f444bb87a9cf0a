"""Several devices at once: Keras's `DataParallel` on JAX, over several hosts too, and TensorFlow's `MirroredStrategy`.

Each device has all the weights and computes a share of every batch. On JAX a batch that does not divide evenly is padded on its
way to the devices (`rows`), and the training step cuts the padding off again (`common.training.fit`). On TensorFlow, where
each device takes Keras's step on its share, such a `--batch-size` is refused.
"""

import contextlib
import os

import numpy as np

from common import backend, hosts
from common.cli import InputError


def start(args):
    """Check `--devices` before anything is read, and connect the processes if there are several.

    Does nothing for one device. Raises InputError.
    """
    wanted, are_several = args.devices, hosts.is_multiprocess_launch()
    if wanted == 1 and "JAX_COORDINATOR_ADDRESS" not in os.environ:
        return
    if are_several and wanted != "all":
        raise InputError(f"--devices {wanted}: this is one of several processes, says the environment; give --devices all")
    backend.start(args.amp)
    if backend.name() == "jax":
        import jax

        # A CPU can stand for several devices. They would deadlock with fewer threads than devices, or with several steps in
        # flight.
        os.environ.setdefault("NPROC", str(backend.num_cores() + 32))
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    elif are_several:
        raise InputError(f"--devices all: several processes work on JAX only, not on {backend.name()}; set KERAS_BACKEND=jax")
    if are_several:
        hosts.join()
        if jax.device_count() != hosts.num_processes() * jax.local_device_count():
            raise InputError("--devices all: every process needs the same number of devices")
    there, number = backend.devices(), len(names(wanted))
    if wanted != "all" and wanted > number:
        raise InputError(f"--devices {wanted}: this machine has {len(there)} ({', '.join(dict.fromkeys(there))})")
    if number > 1 and backend.name() == "torch":
        raise InputError(f"--devices {wanted}: Keras uses one device on torch; set KERAS_BACKEND to jax or tensorflow")
    if backend.name() == "tensorflow" and (rest := args.batch_size % number):
        sizes = [size for size in (args.batch_size - rest, args.batch_size - rest + number) if size]
        raise InputError(
            f"--batch-size {args.batch_size}: {number} devices share a batch evenly; "
            f"give {' or '.join(map(str, sizes))}, or --devices 1"
        )


def names(wanted):
    """The names of the devices that `--devices` means, those of all processes."""
    return backend.devices()[: None if wanted == "all" else wanted]


def scope(wanted):
    """A context in which Keras puts its variables on all of these devices, and spreads batches over them."""
    number = len(names(wanted))
    if number == 1:
        return contextlib.nullcontext()
    if backend.name() == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices[:number]]).scope()
    from keras import distribution

    devices = distribution.list_devices()[:number]
    return distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope()


@contextlib.contextmanager
def undistributed():
    """Within `scope`, for what one of several processes does alone: variables that Keras makes here are not those of all."""
    distribution = backend.import_keras().distribution
    before = distribution.distribution()
    distribution.set_distribution(None)
    try:
        yield
    finally:
        distribution.set_distribution(before)


def num_replicas():
    """The number of devices in whose `scope` this is called."""
    if backend.name() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    everywhere = sharding()
    return everywhere.num_devices if everywhere else 1


def round_up(size):
    """The lowest number of images from `size` on that divides evenly among the devices."""
    return -(-size // num_replicas()) * num_replicas()


def rows(batch_size):
    """Which images of a training batch this process sends to its devices, an array; None for just all.

    The padding at the end of a batch that does not divide evenly repeats its first images. On TensorFlow, where only a data set
    smaller than `--batch-size` makes such a batch, they count twice.
    """
    padded_size = round_up(batch_size)
    if padded_size == batch_size and hosts.num_processes() == 1:
        return None
    return of_this_process(np.resize(np.arange(batch_size), padded_size))


def of_this_process(batch):
    """The rows of a batch, an array whose length divides evenly, that go to the devices of this process."""
    return np.split(batch, hosts.num_processes())[hosts.process_index()]


def spread(batch):
    """A batch, whose length divides evenly, as an array on all of JAX's devices."""
    import jax

    return jax.make_array_from_callback(batch.shape, sharding("batch"), batch.__getitem__)


def sharding(*axes):
    """How JAX keeps an array: `sharding("batch")` some rows on each device, `sharding()` all on each; None for one device."""
    distribution = backend.import_keras().distribution.distribution()
    if distribution is None:
        return None
    import jax

    return jax.sharding.NamedSharding(distribution.device_mesh.backend_mesh, jax.sharding.PartitionSpec(*axes))
