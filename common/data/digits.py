"""scikit-learn's digits: 1,797 scans of 8x8, which come with the package."""

import numpy as np

CLASS_NAMES = tuple("0123456789")


def read():
    """Images `(1797, 8, 8, 3)` uint8, grey, and labels int64 (`sklearn.datasets.load_digits`)."""
    from sklearn.datasets import load_digits  # slow to import

    scans = load_digits()
    grey = np.rint(scans.images * (255 / 16)).astype(np.uint8)  # 0..16 in the scans
    return np.repeat(grey[..., None], 3, axis=-1), scans.target.astype(np.int64)
