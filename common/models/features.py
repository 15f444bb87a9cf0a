"""The feature cache: a frozen backbone's output, computed once and shared by all runs that need it.

A file's name is a hash of the images, the extractor with its weights, the precision and the versions, so runs with other heads,
seeds and splits share it. It is written in chunks with checksums: a killed extraction continues where it stopped, and a damaged
chunk is detected and computed again. Importing this imports Keras.

<cache-dir>/features/<key>.npy    float32 (images, width); <key>.part.npy while chunks are missing
<cache-dir>/features/<key>.json   what it was made of, and the checksums
"""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from common import backend
from common.data import augment
from common.data.dataset import Samples
from common.models.feature_file import FeatureFile


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


def extract(extractor, parts, cache_dir, title):
    """The features of several arrays of images uint8 `(n, h, w, 3)`: float32 `Rows` `(n, width)` for each.

    Equal images are computed once. Returns the list of Rows and a dict of what it took: `pictures` (images), `computed`,
    `seconds`. Raises InputError when `cache_dir` can't be written to or its disk is too full.
    """
    started = time.perf_counter()
    digests = [hashlib.blake2b(image, digest_size=16).digest() for part in parts for image in np.ascontiguousarray(part)]
    unique, first, inverse = np.unique(np.array(digests), return_index=True, return_inverse=True)
    starts = np.cumsum([0, *map(len, parts)])
    file = FeatureFile(Path(cache_dir) / "features", extractor, unique, batch_size(extractor))

    def take(indices):
        numbers = np.searchsorted(starts, indices, side="right") - 1
        return np.stack([parts[number][index - starts[number]] for number, index in zip(numbers, indices, strict=True)])

    array, computed = file.complete(lambda rows: take(first[rows]), title)
    extraction = {"pictures": len(digests), "computed": computed, "seconds": round(time.perf_counter() - started, 3)}
    return [Rows(array, rows) for rows in np.split(inverse, starts[1:-1])], extraction


def of_dataset(extractor, dataset, args, augmentation=None):
    """The data set with features in place of its images, and `{"extraction": {...}}`, what that took, for results.json.

    With an `augmentation`, a function of `common.data.augment`, train holds a list of `--views` arrays: the features of the
    images themselves and of augmented copies. With `--no-cache` or `--unfreeze-last` images go through the backbone in every
    epoch: the data set comes back as it is, with an empty dict.
    """
    if args.no_cache or getattr(args, "unfreeze_last", 0):
        return dataset, {}
    train, val, test = dataset.train, dataset.val, dataset.test
    (train_features, val_features), first = extract(
        extractor, [train.images, val.images], args.cache_dir, "features of train and val"
    )
    (test_features,), second = extract(extractor, [test.images], args.cache_dir, "features of test")
    views, extractions = [train_features], [first, second]
    for view in range(1, args.views if augmentation else 1):
        copies = augment.augment(train.images, augmentation, [args.seed, view])
        (view_features,), more = extract(extractor, [copies], args.cache_dir, f"features of view {view + 1} of {args.views}")
        views.append(view_features)
        extractions.append(more)
    inputs = replace(
        dataset,
        train=Samples(views if len(views) > 1 else train_features, train.labels),
        val=Samples(val_features[:], val.labels),
        test=Samples(test_features[:], test.labels),
    )
    return inputs, {"extraction": {key: round(sum(extraction[key] for extraction in extractions), 3) for key in first}}
