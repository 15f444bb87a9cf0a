"""What can be wrong with a run folder: by name, a function that damages a good one."""

import json
import os

from makers import ESCAPE, change_json, zeroed

from common.results import finished_runs

RESULTS, HISTORY, ARGS, ENVIRONMENT = "results.json", "history.csv", "args.json", "environment.json"
COLUMNS = "epoch,phase,val_loss,val_accuracy\n"


def has(**changes):
    return lambda run: change_json(run / RESULTS, **changes)


def holds(name, content):
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def number(key, digits):
    """A number that is too long for Python's own JSON writer, or for a float."""

    def change(run):
        change_json(run / RESULTS, **{key: "HERE"})
        holds(RESULTS, (run / RESULTS).read_text().replace('"HERE"', digits))(run)

    return change


def in_place(name, make):
    return lambda run: ((run / name).unlink(), make(run / name))


def middle(name):
    return lambda run: (run / name).write_bytes(zeroed((run / name).read_bytes(), 40, 40))


def text(run, name):
    return (run / name).read_text()


KEYS = (*finished_runs.RESULTS, *finished_runs.OPTIONAL_RESULTS)
WRONG = {key: [{}] for key in KEYS} | {
    "seed": ["0", 0.5, -1, True],
    "class_names": [{}, "cat", [], [None, "cat"], [["cat"], "dog"]],
    "test_size": [{}, 0],
    "image_size": [{}, 0, -1, "32", None, float("nan")],
    "test_accuracy": [{}, -0.1, 1.1, None, True, float("nan"), float("inf")],
    "documented_accuracy": [{}, 2],
    "comparable": ["yes", 1],
    "models": [{}, {"a": {}}, [], [5], ["a/b"]],
    "scored": [{}, "features", {"on": "features", "batch_size": 0}],
}
BAD_RESULTS = {  # results.json can't be read
    **{f"{key} {value!r}": has(**{key: value}) for key, values in WRONG.items() for value in values},
    "test accuracy of 1e999": number("test_accuracy", "1e999"),
    "trained weights of 400 digits": number("trained_weights", "9" * 400),
    "image size of 5,000 digits": number("image_size", "9" * 5000),
    "results nested 100,000 deep": holds(RESULTS, "[" * 100_000),
    "results nested and closed": holds(RESULTS, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "results empty": holds(RESULTS, ""),
    "results half written": lambda run: os.truncate(run / RESULTS, 200),
    "results zeroed in the middle": middle(RESULTS),
    "results in no encoding": holds(RESULTS, b"\xff\xfe\x00"),
    "results of another program": holds(RESULTS, '{"top1": 0.9}'),
    "results a FIFO": in_place(RESULTS, os.mkfifo),
    "results a folder": in_place(RESULTS, os.mkdir),
    "results a link to itself": in_place(RESULTS, lambda path: path.symlink_to(path.name)),
    "results a link to a device": in_place(RESULTS, lambda path: path.symlink_to("/dev/zero")),
}
FEW = {  # what else a run can't be compared or published with
    "an odd status": has(status=ESCAPE),
    "more epochs than there are": has(epochs=10**6),
    "a best epoch that is none": has(best_epoch=0),
    "arguments nested 100,000 deep": holds(ARGS, "[" * 100_000),
    "a value nested 900 deep": lambda run: change_json(run / ARGS, lr=json.loads("[" * 900 + "]" * 900)),
    "arguments a list": holds(ARGS, "[]"),
    "environment of another program": holds(ENVIRONMENT, "{}"),
    "devices a number": lambda run: change_json(run / ENVIRONMENT, devices=5),
    "devices none": lambda run: change_json(run / ENVIRONMENT, devices=[]),
    "precision a number": lambda run: change_json(run / ENVIRONMENT, precision=32),
    "history without rows": holds(HISTORY, COLUMNS),
    "history half written": lambda run: os.truncate(run / HISTORY, 900),
    "history zeroed in the middle": middle(HISTORY),
    "history in no encoding": holds(HISTORY, bytes(range(256)) * 20),
    "history with too many cells": lambda run: holds(HISTORY, text(run, HISTORY).replace("\n2,", "\n2,2,2,2,2,2,2,2,"))(run),
    "history with too few cells": lambda run: holds(HISTORY, text(run, HISTORY).replace("\n2,head,", "\n2,head\n"))(run),
    "history with a cell of 200,000 letters": holds(HISTORY, f"{COLUMNS}1,{'x' * 200_000},1,0.1\n"),
    "history with an open quote": lambda run: holds(HISTORY, text(run, HISTORY).replace("\n2,head", '\n2,"head'))(run),
    "history of another program": holds(HISTORY, "a,b\n1,2\n"),
    "history with epochs that are words": holds(HISTORY, f"{COLUMNS}one,head,1,0.1\n"),
    "history with val accuracies that are NaN": lambda run: holds(HISTORY, text(run, HISTORY).replace(",0.", ",nan"))(run),
    "history a FIFO": in_place(HISTORY, os.mkfifo),
}  # fmt: skip
