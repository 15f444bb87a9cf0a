"""A run of several models, at several sizes and with several seeds: scores, points, tables, figures, results.json."""

from common import files
from common.figures import comparisons, curves, maps
from common.results import closing, metrics, report, run_page, scoring


class Study:
    """Collects what a run of several models finds out.

    `points` are the rows of points.csv, one for each model, size and seed. `models` are the results of the published models by
    name. `titles` gives the models' names for people; `headline` names the one that lies at the top of the run folder.
    """

    POINT = ("model", "samples", "seed", "test_accuracy", "test_loss", "passes", "seconds")  # columns of points.csv

    def __init__(self, run, titles, headline):
        self.run, self.titles, self.headline = run, titles, headline
        self.points, self.models, self._maps = [], {}, {}

    def score(self, job, model, dataset, experiment):
        """Score a trained model on test and return its point, a dict. A published one is saved, with all that belongs to it.

        `experiment` is the published model's `Experiment`. Raises KeyboardInterrupt for a model that is not published and whose
        training Ctrl-C cut short: half trained, it has no place in a comparison of sizes.
        """
        if job.is_published:
            scores = report.score(model, dataset.test)
            self.models[job.name] = report.write(self.run, model, dataset, [job.phase], scores, experiment=experiment)
            if points := report.draw_maps(self.run, scores, dataset, experiment):
                self._maps[job.name] = points, dataset
        else:
            self._raise_if_interrupted()
            scores = scoring.score(model, dataset.test)
        summary = self.run.summary(job.phase)
        point = {
            "model": job.name,
            "samples": job.samples,
            "seed": job.seed,
            "test_accuracy": scores["test_accuracy"],
            "test_loss": scores["test_loss"],
            "passes": self.run.passes[job.phase] * summary["epochs"],
            "seconds": summary["seconds"],
        }
        if job.name != "a" and not job.is_published:
            self.run.keep_result(job.phase, point)
        return point

    def collect(self, points):
        """Take points as they are computed, and write points.csv after each; Ctrl-C ends the study with what is there."""
        try:
            for point in points:
                self.points.append(point)
                if self.run.writes:
                    files.write_csv(self.run.folder / "points.csv", self.points, self.points[0])
                self._raise_if_interrupted()
        except KeyboardInterrupt:
            self.run.interrupt(self.models)
            if self.headline not in self.models and self.run.args.resume:
                raise  # what an earlier process wrote is worth more
            if self.headline not in self.models and self.run.writes:
                (self.run.folder / "model.keras").unlink(missing_ok=True)  # half written: its results are missing

    def finish(self, title):
        """Write results.json, the figures and report.html, print the closing block; `title` is that of the figure of sizes.

        Returns the content of results.json: the results of the headline model, or of the last one that is there, and of all.
        """
        run = self.run
        if not run.writes:
            return {"status": run.status}
        spread = metrics.spread_by(self.points, ("model", "samples"), "test_accuracy")
        headline = self.models.get(self.headline) or list(self.models.values())[-1]
        summary = headline | run.ending() | {"models": self.models, "spread": spread}
        files.write_json(run.folder / "results.json", summary)
        files.write_csv(run.folder / "accuracy_by_samples.csv", spread, spread[0])
        self._draw_curves()
        self._draw_features()
        models_of_sizes = [name for name in self.titles if len({row["samples"] for row in spread if row["model"] == name}) > 1]
        if models_of_sizes:
            names = {name: self.titles[name] for name in models_of_sizes}
            comparisons.accuracy_by_samples(spread, run.folder / "plots" / "accuracy_by_samples.png", names, title)
        run_page.write(run.folder, summary, run.experiment)
        if models_of_sizes or run.args.seeds > 1:
            closing.show_spread(spread, self.titles)
        closing.show(run, list(self.models.values()))
        return summary

    def _raise_if_interrupted(self):
        """Raise KeyboardInterrupt if Ctrl-C ended an earlier stage."""
        if self.run.status == "interrupted":
            raise KeyboardInterrupt

    def _draw_features(self):
        """The features that the last layer of each B model sees: A's own where only that layer was trained."""
        names = [name for name in self.titles if name in self._maps and name != "a"]
        if not names:
            return
        dataset = self._maps[names[0]][1]
        labels = dataset.test.labels[scoring.map_indices(len(dataset.test))]
        rows = [
            [(f"{self.titles[name]}: {method}", self._maps[name][0][method]) for name in names] for method in ("PCA", "t-SNE")
        ]
        title = "What the last layer of each B model sees; where only that layer was trained, A's own features"
        maps.feature_maps(rows, labels, dataset.class_names, self.run.folder / "plots" / "features_of_b.png", title)

    def _draw_curves(self):
        """Curves from history.csv, which has test columns: for each model train against test, for all together each metric."""
        folder = self.run.folder / "plots"
        rows_by_phase = {phase: rows for phase in self.titles if (rows := self.run.history.rows(phase))}
        for phase, rows in rows_by_phase.items():
            curves.learning_curves(rows, folder / f"{phase}_curves.png", self.titles[phase], parts=("train", "test"))
            curves.accuracy_and_loss(rows, folder / f"{phase}_test.png", self.titles[phase])
        rows_by_title = {self.titles[phase]: rows for phase, rows in rows_by_phase.items()}
        for part in ("train", "test"):
            for metric in ("accuracy", "loss"):
                curves.curves_of_all(rows_by_title, folder / f"{part}_{metric}_all.png", part, metric)
        curves.overview_of_all(rows_by_title, folder / "overview.png")
