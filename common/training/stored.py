"""What an earlier process of a run stored, checked before it is used: a file that can be read may still be damaged.

Every function raises ValueError, with one line of reason, KeyError or TypeError for what no process of this collection stores.
"""

import itertools

STATE = {"epochs_done", "step", "stopped", "counters", "arrays", "rows", "elapsed", "epoch_seconds"}
BEST = ("best", "best_loss")  # of EarlyStopping, ReduceLROnPlateau and BestEpoch, as the following
COUNTERS = (*BEST, "wait", "cooldown_counter", "stopped_epoch", "best_epoch")


def check_state(state, arrays, phase):
    """Check the state and the arrays of a phase's checkpoint: these can be restored, at least into the model they are of."""
    if not isinstance(state, dict) or not state.keys() >= STATE or len(arrays) != state["arrays"]:
        raise ValueError("it is incomplete")
    rows, counters = state["rows"], state["counters"]
    check_rows(rows, phase)
    is_right = (
        all(type(state[name]) is int and 0 <= state[name] < 2**31 for name in ("epochs_done", "step"))
        and all(_is_number(state[name]) and state[name] >= 0 for name in ("elapsed", "epoch_seconds"))
        and isinstance(state["stopped"], bool)
        and isinstance(counters, list)
        and all(isinstance(values, dict) and all(itertools.starmap(_is_counter, values.items())) for values in counters)
        and (rows[-1]["epoch"] == state["epochs_done"] if rows else state["step"] and not state["stopped"])
        and all(array.dtype.kind in "biuf" for array in arrays.values())
    )
    if not is_right:
        raise ValueError("it holds something else")


def check_result(kept, phase, names):
    """Check what is kept of a phase: the rows of its history, and a result with these names, text and numbers."""
    rows, result = kept["rows"], kept["result"]
    check_rows(rows, phase)
    if not isinstance(result, dict) or not result.keys() >= {*names}:
        raise ValueError("it is incomplete")
    if not all(name.isprintable() and (_is_text(value) or _is_number(value)) for name, value in result.items()):
        raise ValueError("it holds something else")


def check_rows(rows, phase):
    """Check rows of history.csv: they are of this phase, epoch after epoch, and hold numbers."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it has no rows of history.csv")
    for row in rows:
        needed = {"epoch", "seconds", *(["val_loss"] if "val_accuracy" in row else [])}
        if row["phase"] != phase or row.keys() != rows[0].keys() or not row.keys() >= needed:
            raise ValueError(f"its rows are not those of {phase}")
        if not all(name.isprintable() and _is_number(value) for name, value in row.items() if name != "phase"):
            raise ValueError("its rows hold something else than numbers")
    if any(later["epoch"] != row["epoch"] + 1 for row, later in itertools.pairwise(rows)):
        raise ValueError("its rows lack epochs")


def _is_counter(name, value):
    if name in BEST:  # infinite or None before the first epoch
        return isinstance(value, float) or (value is None and name == "best")
    return name in COUNTERS and _is_number(value) and abs(value) < 2**31


def _is_text(value):
    return isinstance(value, str) and value.isprintable()


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e300
