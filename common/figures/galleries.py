"""Figures of images: what each stage makes of them, and what a model predicts. Both return the path they wrote."""

import matplotlib.pyplot as plt
import numpy as np

from common.figures.style import PALETTE, save, shown


def pipeline(stages, path):
    """What every stage makes of some images: a column for each image, a row for each stage.

    `stages` is a dict from the stage's name to images `(n, h, w, 3)`; floats are shown from their smallest to their
    largest value, uint8 as they are.
    """
    count = len(next(iter(stages.values())))
    figure, axes = plt.subplots(len(stages), count, figsize=(1.15 * count + 1.3, 1.2 * len(stages)), squeeze=False)
    for row, (name, images) in zip(axes, stages.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for axis, image in zip(row, images, strict=True):
            if image.dtype != np.uint8:
                low, high = images.min(), images.max()
                image = (image - low) / max(high - low, 1e-6)
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
    return save(figure, path)


def examples(samples, predicted, confidence, class_names, path, title, given="is"):
    """Grid of up to 25 image `Samples` with their predicted class, its probability `confidence` and, after `given`, their own.

    A wrong one has a thick frame and a cross.
    """
    class_names = [shown(name, 18) for name in class_names]  # what fits above an image
    count = min(25, len(samples))
    columns = min(5, count)
    lines = -(-count // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(1.75 * columns, 1.95 * lines + 0.4), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.axis("off")
    items = zip(samples.images, samples.labels, predicted, confidence, strict=True)
    for axis, (image, label, guess, probability) in zip(axes.flat, items, strict=False):
        axis.axis("on")
        axis.imshow(image, interpolation="nearest")
        right, sure = label == guess, f"{probability:.0%}"
        axis.set_title(
            f"{class_names[label]}, {sure}" if right else f"✗ {class_names[guess]}, {sure}\n({given} {class_names[label]})",
            fontsize=8.5, color="black" if right else PALETTE[3], pad=5,
        )  # fmt: skip
        for spine in axis.spines.values():
            spine.set(visible=not right, color=PALETTE[3], linewidth=3)
    figure.suptitle(shown(title))
    return save(figure, path)
