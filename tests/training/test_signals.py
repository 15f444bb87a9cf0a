"""Ctrl-C and a closed terminal, by a real terminal, while a model trains in very short epochs."""

import os
import pty
import random
import select
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRESSES = 4
PROGRAM = f"""
import keras, numpy as np, pathlib
from support import make_run
from common import cli
from common.data.dataset import Samples

def main():
    model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    samples = Samples(np.ones((256, 9), "float32"), np.zeros(256, int))
    score_test = lambda epoch, logs: logs.update(test_loss=run.evaluate(model, samples)["loss"])  # as the A/B split does
    callback = keras.callbacks.LambdaCallback(on_epoch_end=score_test)
    for _ in range({PRESSES + 1}):
        cli.catch_signals()  # each Ctrl-C is a first one
        run = make_run(pathlib.Path())
        run.fit("head", model, run.batches(samples), samples, epochs=10**6, callbacks=[callback])

cli.run(main)
"""


def wait_for(terminal, words, seconds=60):
    """Read what a process writes to its terminal, up to these words."""
    shown, end = b"", time.monotonic() + seconds
    while words not in shown:
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], (words, shown[-2000:])
        shown += os.read(terminal, 10**6)


def test_ctrl_c_on_a_terminal_is_never_lost_and_a_closed_terminal_leaves_a_checkpoint(tmp_path):
    process, terminal = pty.fork()
    if not process:
        os.chdir(tmp_path)
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        os.execve(sys.executable, [sys.executable, "-c", PROGRAM], environment)
    for press in range(PRESSES + 1):
        wait_for(terminal, b"Epoch 2/")
        time.sleep(random.random() / 4)
        if press < PRESSES:
            os.write(terminal, b"\x03")
            wait_for(terminal, b"whole epochs of head", 20)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 143
    assert len(list(tmp_path.rglob("head.npz"))) == PRESSES + 1
