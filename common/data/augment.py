"""Augmentation for small pictures of objects, by OpenCV: random per picture, seeded, for training pictures only.

A preset turns pictures uint8 `(n, h, w, 3)` into changed copies of the same shape, with a `numpy.random.Generator`. CIFAR-10 is
upright objects that fill the picture: mirrored, shifted by a few pixels and turned a little, but not upside down. What a
change lays open repeats the edge.

It is no part of a model, and the same on every backend. Keras's layers do the same, but outside a model they take 13 to 29 ms
for a batch of 64, longer than a GPU needs to train on it; this takes less than one (benchmarks/augment.py).
"""

import cv2
import numpy as np


def mirrored_and_shifted(images, random):
    """Horizontal flip, shift by up to a tenth in both directions (3 pixels of 32)."""
    return _changed(images, random, shift=0.1)


def mirrored_shifted_and_turned(images, random):
    """Horizontal flip, rotation by up to 15 degrees either way, shift by up to a tenth: the EfficientNetB7 document's."""
    return _changed(images, random, shift=0.1, turn=15)


def mirrored_shifted_and_zoomed(images, random):
    """Horizontal flip, shift by up to a tenth, zoom by up to a tenth either way: what is left of the ResNet152V2 document's
    augmentation of scenes (rotation by 50 degrees, shift .2, zoom .3, both flips) for objects that stand upright.
    """
    return _changed(images, random, shift=0.1, zoom=0.1)


def augmented(images, preset, seed):
    """An augmented copy of every picture, the same for the same pictures and the same seed: a whole number or a list of
    them, as for `numpy.random.default_rng`.
    """
    return preset(images, np.random.default_rng(seed))


def warp(images, mirrored, degrees, zooms, shifts):
    """Pictures uint8 `(n, h, w, 3)`, each mirrored where `mirrored` `(n,)` is true, then turned counterclockwise by `degrees`
    `(n,)` and enlarged `zooms` `(n,)` times about its centre, then moved by `shifts` `(n, 2)` pixels to the right and down.

    Bilinear, by `cv2.warpAffine`: OpenCV 4 places pixels to within a 32nd.
    """
    height, width = images.shape[1:3]
    centre = np.array([width - 1, height - 1]) / 2
    cos, sin = zooms * np.cos(np.radians(degrees)), zooms * np.sin(np.radians(degrees))
    sign = np.where(mirrored, -1, 1)
    linear = np.stack([np.stack([cos * sign, sin], -1), np.stack([-sin * sign, cos], -1)], 1)  # rows point right and down
    moved = centre + shifts - linear @ centre
    matrices = np.concatenate([linear, moved[..., None]], axis=2)
    copies = np.empty_like(images)
    for image, matrix, copy in zip(images, matrices, copies, strict=True):
        copy[:] = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return copies


def _changed(images, random, shift, turn=0, zoom=0):
    """Mirrored or not, and by up to so much to either side: shifted by a share of the size, turned by degrees, zoomed."""
    count, (height, width) = len(images), images.shape[1:3]
    return warp(
        images,
        mirrored=random.random(count) < 0.5,
        degrees=random.uniform(-turn, turn, count),
        zooms=random.uniform(1 - zoom, 1 + zoom, count),
        shifts=random.uniform(-shift, shift, (count, 2)) * (width, height),
    )
