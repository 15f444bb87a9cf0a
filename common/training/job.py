"""One of the models that a run of several trains: which, on how many images, with which seed."""

import math
from dataclasses import dataclass


def phase_name(model, samples, seed):
    """The phase in history.csv of a model that is trained for a study only: not one of the run's published models."""
    return f"{model} samples={samples} seed={seed}"


@dataclass(frozen=True)
class Job:
    """A model to train: its name, its number of train images, its seed; whether it is published, and has all train images."""

    name: str
    samples: int
    seed: int
    is_published: bool
    has_all: bool

    @property
    def phase(self):
        """The job's name in history.csv."""
        return self.name if self.is_published else phase_name(self.name, self.samples, self.seed)

    def passes(self, args, min_steps):
        """Passes over the train images in an epoch, so that all epochs together have at least `min_steps` steps."""
        images = math.ceil(min_steps / args.epochs) * min(args.batch_size, self.samples)
        return 1 if args.dry_run else math.ceil(images / self.samples)
