"""A sweep over `--lr` and `--dropout`: every combination is trained, val accuracy chooses one, all are reported.

Of combinations with the same val accuracy, the lower val loss of the kept epoch chooses, as it does among epochs.
"""

import itertools

from common import files
from common.cli import TrainingError, tell
from common.figures import curves
from common.results import tables
from common.training.history import rank

COLUMNS = ("lr", "dropout", "val accuracy", "best epoch", "epochs", "seconds")


def train_best(run, train):
    """Call `train(point, phase)` for every combination; return point, phase and result of the one with the best val accuracy.

    A point is `(learning rate, dropout rate)`, a phase its name in history.csv. Writes sweep.csv and plots/sweep.png and prints
    the table. A combination that diverges is reported and skipped; Ctrl-C ends the sweep with what is there. Raises
    TrainingError where no combination could be trained.
    """
    points = dict.fromkeys(itertools.product(run.args.lr, run.args.dropout))
    phases = {point: "lr={} dropout={}".format(*point) for point in points}
    summaries, results = {}, {}
    for point, phase in phases.items():
        tell("", phase)
        try:
            result = train(point, phase)
        except TrainingError as error:
            tell(error)  # the others may still do well
            continue
        except KeyboardInterrupt:
            run.interrupt(summaries)
            break
        summaries[point] = run.summary(phase)
        best = max(summaries, key=lambda point: rank(summaries[point]))
        results = {best: results.get(best, result)}  # the models of the others are not needed any more
        if run.status == "interrupted":
            break
    if not summaries:
        raise TrainingError("no combination could be trained: try lower --lr")
    if run.writes:
        _report(run, summaries, {point: run.history.rows(phases[point]) for point in summaries})
    tell(f"chosen by val accuracy, and alone scored on test: {phases[best]}")
    return best, phases[best], results[best]


def _report(run, summaries, rows_by_point):
    ranked = sorted(summaries.items(), key=lambda item: rank(item[1]), reverse=True)
    rows = [
        (*point, f"{summary['val_accuracy']:.4f}", summary["best_epoch"], summary["epochs"], summary["seconds"])
        for point, summary in ranked
    ]
    files.write_csv(run.folder / "sweep.csv", [dict(zip(COLUMNS, row, strict=True)) for row in rows], COLUMNS)
    tell("", *tables.text(rows, COLUMNS))
    curves.sweep(rows_by_point, run.folder / "plots" / "sweep.png", run.experiment.title)
