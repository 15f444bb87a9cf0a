"""The feature cache: a frozen backbone's output, computed once and shared by all runs that need it.

A file's name is a hash of the images, the extractor with its weights, the precision and the versions, so runs with other heads,
seeds and splits share it. It is written in chunks with checksums: a killed extraction continues where it stopped, and a damaged
chunk is detected and computed again. Importing this imports Keras.

<cache-dir>/features/<key>.npy    float32 (images, width); <key>.part.npy while chunks are missing
<cache-dir>/features/<key>.json   what it was made of, and the checksums
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from common import backend
from common.data import augment
from common.data.dataset import Samples
from common.data.images import digests
from common.models import feature_file
from common.models.inference import ForwardPass


class Rows:
    """Rows of a memory-mapped array `(m, width)` in a given order: indexed like an array, without copying the whole."""

    def __init__(self, array, rows):
        self.array, self.rows = array, rows
        self.shape, self.dtype = (len(rows), *array.shape[1:]), array.dtype

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, indices):
        return self.array[self.rows[indices]]


def batch_size(extractor):
    """Images that go through the backbone of an extractor at once, as `backend.batch_size` has it."""
    backbone = next((layer for layer in extractor.layers if isinstance(layer, keras.Model)), extractor)
    return backend.batch_size(backbone.input_shape[1])


class Images:
    """Several arrays of images uint8 `(n, h, w, 3)`, hashed, so that equal images are computed once."""

    def __init__(self, parts):
        self._parts, self._starts = parts, np.cumsum([0, *map(len, parts)])
        hashes = np.concatenate([digests(part) for part in parts])
        self.digests, self._first, self._inverse = np.unique(hashes, return_index=True, return_inverse=True)

    def __len__(self):
        return self._starts[-1]

    def take(self, numbers):
        """The images with these numbers in `digests`, as one array."""
        indices = self._first[numbers]
        parts = np.searchsorted(self._starts, indices, side="right") - 1
        return np.stack([self._parts[part][index - self._starts[part]] for part, index in zip(parts, indices, strict=True)])

    def split(self, array):
        """`Rows` of each part, from an array that has a row for each of `digests`."""
        return [Rows(array, rows) for rows in np.split(self._inverse, self._starts[1:-1])]


class FeatureCache:
    """The features of one extractor under `cache_dir`. The extractor's weights are read and hashed once, here."""

    def __init__(self, extractor, cache_dir):
        self._folder, self._width = Path(cache_dir) / "features", extractor.output_shape[-1]
        self._forward = ForwardPass(extractor, batch_size(extractor))
        self._identity = feature_file.identity(extractor, batch_size(extractor))

    def extract(self, images, title):
        """The features of `Images`: a list of float32 `Rows` `(n, width)`, one for each part.

        Also returns a dict of what it took: `pictures` (images), `computed`, `seconds`. Raises InputError when the folder can't
        be written to or its disk is too full.
        """
        started = time.perf_counter()
        file = feature_file.FeatureFile(self._folder, images.digests, self._width, self._identity)
        array, computed = file.complete(lambda batches: self._forward.over(map(images.take, batches)), title)
        extraction = {"pictures": len(images), "computed": computed, "seconds": round(time.perf_counter() - started, 3)}
        return images.split(array), extraction


def of_dataset(extractor, dataset, args, augmentation=None):
    """The data set with features in place of its images, and `{"extraction": {...}}`, what that took, for results.json.

    With an `augmentation`, a function of `common.data.augment`, train holds a list of `--views` arrays: the features of the
    images themselves and of augmented copies. With `--no-cache` or `--unfreeze-last` images go through the backbone in every
    epoch: the data set comes back as it is, with an empty dict.
    """
    if getattr(args, "no_cache", False) or getattr(args, "unfreeze_last", 0):
        return dataset, {}
    started = time.perf_counter()
    train, val, test = dataset.train, dataset.val, dataset.test
    cache, num_views = FeatureCache(extractor, args.cache_dir), args.views if augmentation else 1
    titles = ["train and val", "test", *(f"view {view} of {num_views}" for view in range(2, num_views + 1))]

    def images_of(number):
        if number < 2:
            return Images([train.images, val.images] if number == 0 else [test.images])
        return Images([augment.augment(train.images, augmentation, [args.seed, number - 1])])

    rows, extractions = [], []
    for title, images in zip(titles, _one_ahead(images_of, len(titles)), strict=True):
        parts, extraction = cache.extract(images, f"features of {title}")
        rows += parts
        extractions.append(extraction)
    train_features, val_features, test_features, *views = rows
    inputs = replace(
        dataset,
        train=Samples([train_features, *views] if views else train_features, train.labels),
        val=Samples(val_features[:], val.labels),
        test=Samples(test_features[:], test.labels),
    )
    total = {key: sum(extraction[key] for extraction in extractions) for key in ("pictures", "computed")}
    return inputs, {"extraction": total | {"seconds": round(time.perf_counter() - started, 3)}}


def _one_ahead(make, count):
    """Yield `make(0)`, `make(1)` and so on, each made in a thread while the caller is busy with the one before."""
    with ThreadPoolExecutor(1) as background:
        following = background.submit(make, 0)
        for number in range(1, count + 1):
            made = following.result()
            if number < count:
                following = background.submit(make, number)
            yield made
