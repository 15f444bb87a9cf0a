"""Where images of 32x32 become images of N x N: in batches, on the device, as OpenCV does it.

A resize is linear, and works on rows and columns separately. Which source pixels a target pixel is made of, and in what shares,
is read off `cv2.resize` itself. Keras's own `Resizing` has a different bicubic kernel, no XLA kernel for it on TensorFlow, and
returns uint8 for uint8 on JAX and torch. Importing this imports Keras.
"""

import functools

import cv2
import keras
import numpy as np
from keras import ops

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos4": cv2.INTER_LANCZOS4,
}


def resize_matrices(source, target, interpolation):
    """The matrices `(H, h)` and `(W, w)` with `rows @ image @ columns.T == cv2.resize(image, (W, H))`, float32.

    `source` is `(h, w)`, `target` is `(H, W)`. Each matrix depends on both sides: where one shrinks and the other grows,
    `cv2.INTER_AREA` works differently.
    """

    def response(axis):
        """The share of each source row (axis 0) or column (axis 1) in each one of the target."""
        matrix = np.empty((target[axis], source[axis]), np.float32)
        for index in range(source[axis]):
            unit = np.zeros(source, np.float32)
            unit[(index, slice(None)) if axis == 0 else (slice(None), index)] = 1
            resized = cv2.resize(unit, target[::-1], interpolation=INTERPOLATIONS[interpolation])
            matrix[:, index] = resized[:, 0] if axis == 0 else resized[0]
        return matrix

    return response(0), response(1)


@functools.cache
def _taps(source, target, interpolation):
    """For rows and for columns: the source indices `(taps, target)` of each target pixel, and their shares, float32.

    Bicubic has four taps. They are added one by one, since a GPU would round a matrix product to TF32.
    """
    taps = []
    for matrix in resize_matrices(source, target, interpolation):
        count = np.count_nonzero(matrix, axis=1).max()
        indices = np.sort(np.argsort(matrix == 0, axis=1, kind="stable")[:, :count], axis=1)
        taps.append((indices.T.astype(np.int32), np.take_along_axis(matrix, indices, axis=1).T))
    return taps


@keras.saving.register_keras_serializable("cifar10_transfer")
def upscale(images, size, interpolation="bicubic"):
    """Resize images `(n, h, w, c)` of any dtype to `(n, H, W, c)` float32, as `cv2.resize` does on float32, to within 1e-3.

    `size` is N for a square, or `(H, W)`; `interpolation` is one of `INTERPOLATIONS`. Bicubic and lanczos4 go a little below 0
    and above 255, as OpenCV's do on float32. The result is float32 under mixed precision too: in bfloat16 a grey level would be
    off by up to 3. On a `keras.Input` this builds a graph of `keras.ops`, so that the saved model loads with nothing but Keras.
    Raises ValueError for an unknown interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation={interpolation!r}: allowed are {', '.join(INTERPOLATIONS)}")
    size = (size, size) if isinstance(size, int) else tuple(size)
    if isinstance(images, keras.KerasTensor):  # else TensorFlow may crop an image that is too large without a word
        images = keras.layers.Reshape(images.shape[1:])(images)
    images = ops.cast(images, "float32")
    for axis, (indices, shares) in enumerate(_taps(tuple(images.shape[1:3]), size, interpolation), start=1):
        shares = shares[:, :, None, None] if axis == 1 else shares[:, None, :, None]
        weighted = (ops.take(images, index, axis=axis) * share for index, share in zip(indices, shares, strict=True))
        images = functools.reduce(ops.add, weighted)
    return images
