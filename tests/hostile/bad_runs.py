"""What can be wrong with a run folder: by name, a function that damages a good one."""

import json
import os

from makers import ESCAPE, change_json, zeroed

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


WRONG = {
    "experiment": [5, None, ["x"], ""],
    "model": [None, {}],
    "data": [5, ["x"]],
    "weights": [5],
    "seed": ["0", 0.5, -1, True, 2**31],
    "class_names": ["cat", [], [1, 2], ["cat", "cat"], [None, "cat"], [["cat"], "dog"]],
    "train_size": ["many", -1, 0.5, True],
    "val_size": [-1, None],
    "test_size": [-1, 0, "many", 0.5],
    "image_size": [-1, 0, "32"],
    "test_accuracy": [-0.1, 1.1, "good", None, True, float("nan"), float("inf")],
    "epochs": [-1, 0, "3", 3.5],
    "best_epoch": [-1, 10**6],
    "C": [-1, "strong", float("nan")],
    "val_loss": [-1, "low", float("nan"), 1e39],
    "seconds": ["long", -1, float("nan"), float("inf")],
    "total_seconds": ["a word", -1, float("nan"), float("inf"), [5]],
    "trained_weights": [-1, "many"],
    "frozen_weights": [-1, None],
    "documented_accuracy": [2, "good", float("nan")],
    "comparable": ["yes", 1],
    "status": ["odd", 5, ESCAPE],
    "models": [["a"], "a", {"a": 5}, {"a": {}}],
}
BAD = {  # of compare.py and make_plots.py
    **{f"{key} {value!r}": has(**{key: value}) for key, values in WRONG.items() for value in values},
    "seconds of 400 digits": number("seconds", "9" * 400),
    "seconds of 5,000 digits": number("seconds", "9" * 5000),
    "test accuracy of 1e999": number("test_accuracy", "1e999"),
    "test size of 400 digits": number("test_size", "9" * 400),
    "trained weights of 400 digits": number("trained_weights", "9" * 400),
    "trained weights of 5,000 digits": number("trained_weights", "9" * 5000),
    "results nested 100,000 deep": holds(RESULTS, "[" * 100_000),
    "results nested and closed": holds(RESULTS, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "arguments nested 100,000 deep": holds(ARGS, "[" * 100_000),
    "environment nested 100,000 deep": holds(ENVIRONMENT, "[" * 100_000),
    "a value nested 900 deep": lambda run: change_json(run / ARGS, lr=json.loads("[" * 900 + "]" * 900)),
    "results empty": holds(RESULTS, ""),
    "results half written": lambda run: os.truncate(run / RESULTS, 200),
    "results zeroed in the middle": middle(RESULTS),
    "results in no encoding": holds(RESULTS, b"\xff\xfe\x00"),
    "results a list": holds(RESULTS, "[1]"),
    "results of another program": holds(RESULTS, '{"top1": 0.9}'),
    "results a FIFO": in_place(RESULTS, os.mkfifo),
    "results a folder": in_place(RESULTS, os.mkdir),
    "results a link to itself": in_place(RESULTS, lambda path: path.symlink_to(path.name)),
    "results a link to a device": in_place(RESULTS, lambda path: path.symlink_to("/dev/zero")),
    "arguments empty": holds(ARGS, ""),
    "arguments a list": holds(ARGS, "[]"),
    "arguments zeroed in the middle": middle(ARGS),
    "environment a list": holds(ENVIRONMENT, "[]"),
    "environment of another program": holds(ENVIRONMENT, "{}"),
    "devices a number": lambda run: change_json(run / ENVIRONMENT, devices=5),
    "devices none": lambda run: change_json(run / ENVIRONMENT, devices=[]),
    "backend a list": lambda run: change_json(run / ENVIRONMENT, backend=["jax"]),
    "precision a number": lambda run: change_json(run / ENVIRONMENT, precision=32),
    "environment a FIFO": in_place(ENVIRONMENT, os.mkfifo),
    "history empty": holds(HISTORY, ""),
    "history without rows": holds(HISTORY, COLUMNS),
    "history half written": lambda run: os.truncate(run / HISTORY, 900),
    "history zeroed in the middle": middle(HISTORY),
    "history of zeros": holds(HISTORY, bytes(5000)),
    "history in no encoding": holds(HISTORY, bytes(range(256)) * 20),
    "history with too many cells": lambda run: holds(HISTORY, text(run, HISTORY).replace("\n2,", "\n2,2,2,2,2,2,2,2,"))(run),
    "history with too few cells": lambda run: holds(HISTORY, text(run, HISTORY).replace("\n2,head,", "\n2,head\n"))(run),
    "history with a cell of 200,000 letters": holds(HISTORY, f"{COLUMNS}1,{'x' * 200_000},1,0.1\n"),
    "history with an open quote": lambda run: holds(HISTORY, text(run, HISTORY).replace("\n2,head", '\n2,"head'))(run),
    "history of another program": holds(HISTORY, "a,b\n1,2\n"),
    "history with epochs that are words": holds(HISTORY, f"{COLUMNS}one,head,1,0.1\n"),
    "history with val accuracies that are NaN": lambda run: holds(HISTORY, text(run, HISTORY).replace(",0.", ",nan"))(run),
    "history a FIFO": in_place(HISTORY, os.mkfifo),
    "history a folder": in_place(HISTORY, os.mkdir),
    "history a link to itself": in_place(HISTORY, lambda path: path.symlink_to(path.name)),
    "history a link to a device": in_place(HISTORY, lambda path: path.symlink_to("/dev/zero")),
    "points of another program": holds("points.csv", "model,samples\na,1\n"),
    "points in no encoding": holds("points.csv", b"\xff\xfe\x00\n1"),
    "points a FIFO": lambda run: os.mkfifo(run / "points.csv"),
    "points with a seed that is NaN": holds("points.csv", "model,samples,seed,test_accuracy,seconds\nNone,37500,nan,0.5,1\n"),
}  # fmt: skip
FEW = [case for case in BAD if case.startswith(("results", "history", "arguments", "environment")) or "400 digits" in case]
