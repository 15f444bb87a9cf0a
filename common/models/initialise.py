"""Initial weights from which deep networks without batch norm learn. Importing this imports Keras."""

import keras
import numpy as np


def as_linear_twins(layer, has_twins):
    """Give a Dense relu layer a kernel with which it passes on a linear map of its inputs.

    Each unit gets a twin of the opposite sign, and what relu cuts off in one remains in the other (Balduzzi et al. 2017,
    https://arxiv.org/abs/1702.08591, section 4). `has_twins` says whether the layer's inputs are twins, from such a layer.
    """
    num_inputs, num_units = layer.kernel.shape
    half = keras.initializers.Orthogonal()((num_inputs // (2 if has_twins else 1), num_units // 2))
    half = keras.ops.convert_to_numpy(half)
    layer.kernel.assign(np.block([[half, -half], [-half, half]] if has_twins else [[half, -half]]))
