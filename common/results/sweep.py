"""A sweep over `--lr` and `--dropout`: every combination is trained, `--monitor` chooses one, all are reported.

Of combinations with the same val accuracy, the lower val loss of the kept epoch chooses, as it does among epochs.
"""

import contextlib
import itertools

from common import files
from common.cli import TrainingError, tell
from common.figures import curves
from common.results import tables
from common.training.history import rank


class Sweep:
    """The combinations of a learning rate and a dropout rate that are trained one after the other.

    One that diverges is reported and passed over; Ctrl-C ends the sweep with what is there.
    """

    def __init__(self, run):
        self.run = run
        self._points, self._summaries, self._best = {}, {}, None  # by phase

    def points(self, learning_rates, dropouts):
        """Yield every combination once, until Ctrl-C."""
        for point in dict.fromkeys(itertools.product(learning_rates, dropouts)):
            if self.run.status == "interrupted":
                return
            yield point

    @contextlib.contextmanager
    def trying(self, learning_rate, dropout):
        """Around the training of a combination; gives the name of its phase in history.csv."""
        phase = f"lr={learning_rate} dropout={dropout}"
        self._points[phase] = (learning_rate, dropout)
        tell("", phase)
        try:
            yield phase
        except TrainingError as error:
            tell(error)  # the others may still do well
        except KeyboardInterrupt:
            self.run.interrupt(self._summaries)

    def keep(self, phase, model):
        """Note a trained combination, and its model if it is the best so far: the others' are not needed any more."""
        self._summaries[phase] = self.run.summary(phase)
        if max(self._summaries, key=lambda phase: rank(self._summaries[phase], self.run.experiment.monitor)) == phase:
            self._best = phase, model

    def best(self):
        """Phase, model and settings, a dict, of the combination that `--monitor` chooses; writes the table of all.

        Raises TrainingError where none could be trained.
        """
        if not self._best:
            raise TrainingError("no combination could be trained: try lower --lr")
        phase, model = self._best
        if self.run.writes:
            summaries = {self._points[phase]: summary for phase, summary in self._summaries.items()}
            _report(self.run, summaries, {self._points[phase]: self.run.history.rows(phase) for phase in self._summaries})
        tell(f"chosen by {self.run.experiment.monitor.replace('_', ' ')}, and alone scored on test: {phase}")
        return phase, model, dict(zip(("learning_rate", "dropout"), self._points[phase], strict=True))


def _report(run, summaries, rows_by_point):
    monitor = run.experiment.monitor
    ranked = sorted(summaries.items(), key=lambda item: rank(item[1], monitor), reverse=True)
    columns = ("lr", "dropout", monitor.replace("_", " "), "best epoch", "epochs", "seconds")
    rows = [
        (*point, f"{summary[monitor]:.4f}", summary["best_epoch"], summary["epochs"], summary["seconds"])
        for point, summary in ranked
    ]
    files.write_csv(run.folder / "sweep.csv", [dict(zip(columns, row, strict=True)) for row in rows], columns)
    tell("", *tables.text(rows, columns))
    curves.sweep(rows_by_point, run.folder / "plots" / "sweep.png", run.experiment.title)
