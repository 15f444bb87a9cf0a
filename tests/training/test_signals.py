"""Ctrl-C and a closed terminal, as a terminal sends them, while a model trains in very short epochs."""

import os
import pty
import random
import select
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRESSES = 4
PROGRAM = f"""
import keras, numpy as np, pathlib
from support import DATASET, SAMPLES, make_run
from common import cli
from common.data.dataset import Samples

def main():
    model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    samples = Samples(np.ones((512, 9), "float32"), np.zeros(512, int))
    for press in range({PRESSES} + 1):
        before = cli.catch_signals()  # one Ctrl-C has been dealt with
        run = make_run(pathlib.Path("."))
        callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: epoch == 1 and print("one epoch is done"),
            on_epoch_end=lambda epoch, logs: logs.update(test_loss=run.evaluate(model, SAMPLES_LIKE)["loss"]),
        )
        SAMPLES_LIKE = samples.take(np.arange(64))
        run.fit("head", model, run.batches(samples), SAMPLES_LIKE, epochs=10**6, callbacks=[callback])
        print("and", run.status, flush=True)

cli.run(main)
"""


def read_until(terminal, words, seconds):
    """What a process writes to its terminal, up to these words."""
    shown, end = b"", time.monotonic() + seconds
    while words not in shown:
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], (words, shown[-2000:])
        try:
            shown += os.read(terminal, 10**6)
        except OSError:
            pytest.fail(f"the process ended: {shown[-2000:]}")
    return shown


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_ctrl_c_on_a_terminal_is_never_lost_and_a_closed_terminal_leaves_a_checkpoint(tmp_path, backend):
    process, terminal = pty.fork()
    if not process:
        os.chdir(tmp_path)
        os.environ |= {"KERAS_BACKEND": backend, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "JAX_ENABLE_COMPILATION_CACHE": "0"}
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM])
    for _ in range(PRESSES):
        read_until(terminal, b"one epoch is done", 60)
        time.sleep(random.random() / 4)
        os.write(terminal, b"\x03")
        read_until(terminal, b"and interrupted", 20)
    read_until(terminal, b"one epoch is done", 60)
    time.sleep(random.random() / 4)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 143
    assert len(list(tmp_path.rglob("head.npz"))) == PRESSES + 1
