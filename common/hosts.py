"""Several processes that train one model, on one host or on several, connected by JAX's own runtime.

The same command runs in each. All of them read the data and compute; the first one, the main process, alone prints and writes.
Functions marked "collective" must be called by all of them, in the same order. Where there is one process, they do nothing.
"""

import contextlib
import hashlib
import json
import os
import sys
import traceback
from pathlib import Path

import numpy as np

from common import cli

LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")  # how many processes srun or mpirun started; JAX asks them itself
NUMBERS = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}
HEARTBEAT_SECONDS = 30  # a process that has not been heard of for so long is dead
PEER_FAILURE = ("Gloo", "NCCL", "coordination", "heartbeat", "Connection", "Socket")  # words of JAX's messages


def is_multiprocess_launch():
    """Whether the environment says that this is one of several processes: JAX's variables, SLURM's or Open MPI's."""
    return "JAX_COORDINATOR_ADDRESS" in os.environ or any(os.environ.get(name, "1") != "1" for name in LAUNCHERS)


def join():
    """Connect this process with the others, before JAX computes anything. Raises InputError where that fails.

    SLURM and Open MPI say by themselves who takes part. Elsewhere JAX_COORDINATOR_ADDRESS is HOST:PORT of the first process,
    JAX_NUM_PROCESSES how many there are, and JAX_PROCESS_ID which of them this is, from 0.
    """
    import jax

    try:
        numbers = {argument: int(os.environ[name]) for argument, name in NUMBERS.items() if name in os.environ}
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_SECONDS, **numbers)
    except (ValueError, RuntimeError) as error:
        names = ", ".join(("JAX_COORDINATOR_ADDRESS", *NUMBERS.values()))
        raise cli.InputError(f"--devices: the processes can't be connected ({cli.reason(error)}); check {names}") from error
    cli.leave, sys.excepthook = _leave, _end_after_error
    cli.catch_signals()  # JAX has just taken the signal for itself
    wait_for_all("start")  # now, since the first such call fails if a process comes half a minute late
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  for as long as the process lives


def num_processes():
    """The number of processes."""
    return sys.modules["jax"].process_count() if _are_joined() else 1


def process_index():
    """The number of this process, from 0."""
    return sys.modules["jax"].process_index() if _are_joined() else 0


def is_main():
    """Whether this process prints and writes."""
    return process_index() == 0


@contextlib.contextmanager
def main_first(what):
    """Collective: the main process runs the block first, and leaves in the cache what the others then find there."""
    if not is_main():
        wait_for_all(what)
    yield
    if is_main():
        wait_for_all(what)


def wait_for_all(what):
    """Collective: go on when all processes have come here. `what` is a name, the same in all."""
    if num_processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)


def broadcast(array):
    """Collective: the array of the main process; all must give one of its shape and type."""
    if num_processes() == 1:
        return array
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def broadcast_text(text):
    """Collective: the text of the main process, up to 4,000 bytes; what the others give is ignored."""
    content = np.zeros(4000, np.uint8)
    if is_main():
        content[: len(text.encode())] = np.frombuffer(text.encode(), np.uint8)
    return broadcast(content).tobytes().rstrip(b"\0").decode()


def differing(items):
    """Collective: the names of those items, a dict of what JSON can hold, that are not the same in all processes."""
    if num_processes() == 1:
        return []
    from jax.experimental import multihost_utils

    digests = [hashlib.sha256(json.dumps(value, default=str).encode()).digest() for value in items.values()]
    of_all = multihost_utils.process_allgather(np.frombuffer(b"".join(digests), np.uint8).reshape(len(items), -1))
    return [name for name, is_same in zip(items, (of_all == of_all[0]).all((0, 2)), strict=True) if not is_same]


def _are_joined():
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def _leave(code):
    """Exit. After an error at once, since an orderly end waits for the other processes, which wait for this one."""
    if code == cli.EXIT_DONE:
        sys.exit(code)
    cli.leave_at_once(code)


def _end_after_error(kind, error, trace):
    """In place of Python's `sys.excepthook`: one line where another process is missing, and then the end of this one too."""
    if isinstance(error, (RuntimeError, ValueError)) and any(word in str(error) for word in PEER_FAILURE):  # as JAX raises
        reason = " ".join(str(error).split())[:120]
        way_out = f"start them all again with --resume {cli.run_folder}" if cli.run_folder else "start them all again"
        program = Path(sys.argv[0]).name
        cli.tell(f"{program}: error: another process has ended or can't be reached ({reason}); {way_out}", file=sys.stderr)
    else:
        traceback.print_exception(kind, error, trace)
    _leave(cli.EXIT_FAILED)
