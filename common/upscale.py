"""The one place where pictures of 32x32 become pictures of N x N: as OpenCV does it, in batches, on the device.

A resize is linear and works on rows and columns separately, so it is two small matrix products. The matrices are read off
`cv2.resize` itself. Keras's own `Resizing` has another bicubic kernel, no XLA kernel for it on TensorFlow, and returns
uint8 for uint8 on JAX and torch. Importing this imports Keras.
"""

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
    """The matrices `(H, h)` and `(W, w)` with `rows @ picture @ columns.T == cv2.resize(picture, (W, H))`, float32.

    `source` is `(h, w)`, `target` is `(H, W)`. Both are needed for each: where one side shrinks and the other grows,
    `cv2.INTER_AREA` treats both unlike it treats either alone.
    """

    def response(axis):
        """What each row (axis 0) or column (axis 1) of the target takes of each of the source."""
        matrix = np.empty((target[axis], source[axis]), np.float32)
        for place in range(source[axis]):
            unit = np.zeros(source, np.float32)
            unit[(place, slice(None)) if axis == 0 else (slice(None), place)] = 1
            resized = cv2.resize(unit, target[::-1], interpolation=INTERPOLATIONS[interpolation])
            matrix[:, place] = resized[:, 0] if axis == 0 else resized[0]
        return matrix

    return response(0), response(1)


@keras.saving.register_keras_serializable("cifar10_transfer")
class Upscale(keras.layers.Layer):
    """Resize pictures as `cv2.resize` does on float32, to within 1e-3 of a grey level; growing, shrinking, any shape.

    Input `(n, h, w, c)` of any dtype, output `(n, H, W, c)` float32, also under mixed precision: in bfloat16 a grey level
    would be off by up to 3. Bicubic and lanczos4 go a little below 0 and above 255, as OpenCV's do on float32.

    `size` is N for a square or `(H, W)`; `interpolation` one of nearest, bilinear, bicubic, area, lanczos4. Raises ValueError
    for another one.
    """

    def __init__(self, size, interpolation="bicubic", dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation={interpolation!r}: allowed are {', '.join(INTERPOLATIONS)}")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.interpolation = interpolation

    def build(self, input_shape):
        self.rows, self.columns = resize_matrices(tuple(input_shape[1:3]), self.size, self.interpolation)

    def call(self, images):
        images = ops.cast(images, "float32")
        return ops.einsum("Ww,nHwc->nHWc", self.columns, ops.einsum("Hh,nhwc->nHwc", self.rows, images))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.size, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "size": self.size, "interpolation": self.interpolation}
