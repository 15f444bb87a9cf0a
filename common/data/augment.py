"""Augmentation of small images of objects by OpenCV: random per image, seeded, for train images only.

An augmentation is a function that turns images uint8 `(n, h, w, 3)` and a `numpy.random.Generator` into changed copies of the
same shape. Pixels that come in from outside repeat the edge, those of a crop mirror the image. Keras's layers do the same, but
take 13 to 29 ms for a batch of 64, longer than a GPU needs to train on it; this takes less than one (benchmarks/augment.py).
"""

import cv2
import numpy as np

GREY = 127  # what cutout paints: about 0 for a network


def flip_and_shift(images, random):
    """Horizontal flip; shift by up to a tenth in both directions, 3 pixels of 32."""
    return _change(images, random, shift=0.1)


def flip_shift_and_rotate(images, random):
    """Horizontal flip, shift by up to a tenth, rotation by up to 15 degrees: the EfficientNetB7 document's."""
    return _change(images, random, shift=0.1, rotation=15)


def flip_shift_and_zoom(images, random):
    """Horizontal flip, shift and zoom by up to a tenth: what the ResNet152V2 document does to scenes, for upright objects."""
    return _change(images, random, shift=0.1, zoom=0.1)


def flip_and_crop(images, random, padding):
    """Horizontal flip, then a random crop of the image padded by `padding` pixels, which mirror it; fewer than it has.

    As torchvision's `RandomCrop(size, padding, padding_mode="reflect")`, on CIFAR-10 usually with 4 pixels.
    """
    height, width = images.shape[1:3]
    steps = np.where(random.random(len(images)) < 0.5, -1, 1)  # -1 flips
    corners = random.integers(2 * padding + 1, size=(len(images), 2))
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), "reflect")
    copies = np.empty_like(images)
    for image, step, (top, left), copy in zip(padded, steps, corners, copies, strict=True):
        copy[:] = image[top : top + height, left : left + width][:, ::step]
    return copies


def cut_out(images, random, size):
    """A grey square of `size` x `size` pixels, anywhere in the image, also partly outside (DeVries & Taylor 2017)."""
    copies = images.copy()
    corners = random.integers(images.shape[1:3], size=(len(images), 2)) - size // 2
    for copy, (top, left) in zip(copies, corners, strict=True):
        copy[max(top, 0) : top + size, max(left, 0) : left + size] = GREY
    return copies


def in_turn(*augmentations):
    """Several augmentations as one."""

    def augmentation(images, random):
        for one in augmentations:
            images = one(images, random)
        return images

    return augmentation


def augment(images, augmentation, seed):
    """An augmented copy of every image, which depends on the images and the seed alone.

    `seed` is a whole number or a list of them, as for `numpy.random.default_rng`.
    """
    return augmentation(images, np.random.default_rng(seed))


def warp(images, flipped, degrees, zooms, shifts):
    """Images uint8 `(n, h, w, 3)`, each flipped horizontally where `flipped` `(n,)` is true, rotated counterclockwise by
    `degrees` `(n,)` and enlarged `zooms` `(n,)` times about its centre, then moved `shifts` `(n, 2)` pixels right and down.

    Bilinear, by `cv2.warpAffine`; OpenCV 4 places pixels to within a 32nd.
    """
    height, width = images.shape[1:3]
    centre = np.array([width - 1, height - 1]) / 2
    cos, sin = zooms * np.cos(np.radians(degrees)), zooms * np.sin(np.radians(degrees))
    sign = np.where(flipped, -1, 1)
    linear = np.stack([np.stack([cos * sign, sin], -1), np.stack([-sin * sign, cos], -1)], 1)  # rows point right and down
    offset = centre + shifts - linear @ centre
    matrices = np.concatenate([linear, offset[..., None]], axis=2)
    copies = np.empty_like(images)
    for image, matrix, copy in zip(images, matrices, copies, strict=True):
        copy[:] = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return copies


def _change(images, random, shift, rotation=0, zoom=0):
    """Flip half of the images, and draw the rest up to these limits: shift and zoom as shares, rotation in degrees."""
    count, (height, width) = len(images), images.shape[1:3]
    return warp(
        images,
        flipped=random.random(count) < 0.5,
        degrees=random.uniform(-rotation, rotation, count),
        zooms=random.uniform(1 - zoom, 1 + zoom, count),
        shifts=random.uniform(-shift, shift, (count, 2)) * (width, height),
    )
