"""What a run is, for titles, tables and pages, and whether its number can be compared with the documented one."""

from dataclasses import dataclass

from common.data import classes


@dataclass(frozen=True)
class Experiment:
    """The identity of a run, or of one of its models.

    `documented` is the test accuracy in the document, 0 to 1, None where there is none, and `comparable` says whether ours was
    measured on the same terms; `remark` says in a few words what those terms were. `weights` is what training started from.
    `monitor` is the column of history.csv whose best value chooses the epoch that is kept, `trained` says what is trained,
    as in `head`. `folder` is the model's subfolder of the run folder, empty for a model that lies at its top; `matrix_file`
    is the file name of its confusion matrix.
    """

    name: str  # the script's name without train_
    title: str
    weights: str
    documented: float | None
    remark: str
    comparable: bool = False
    monitor: str = "val_accuracy"
    trained: str = "all layers"
    folder: str = ""
    matrix_file: str = "confusion_matrix.png"

    def documented_on(self, class_names):
        """The documented accuracy, None for other classes than all of CIFAR-10's or, of ResNet152V2, its document's scenes."""
        is_scenes = self.name == "resnet152v2" and set(class_names) == set(classes.SCENES)
        return self.documented if set(class_names) == set(classes.CIFAR10) or is_scenes else None
