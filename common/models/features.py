"""The feature cache: a frozen backbone's output, computed once and shared by all runs that need it.

It is `np.save(<cache-dir>/features/<key>.npy, extractor.predict(images))` with three differences: a killed extraction continues
where it stopped, equal images are computed once, and the array is memory-mapped, not held in memory. The key is a hash of the
images, the extractor with its weights, the precision and the versions, so runs with other heads, seeds and splits share a file.
Importing this imports Keras.
"""

import hashlib
import importlib
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
from tqdm import tqdm

from common import backend, hosts
from common.cli import InputError, among_own_flags, reason, tell
from common.data import augment
from common.data.dataset import Samples
from common.data.images import digests
from common.data.rows import RowFile
from common.models.inference import ForwardPass

SECONDS_BETWEEN_LINES = 60  # of progress, where there is no terminal


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
        self._identity = identity(extractor, batch_size(extractor))

    def extract(self, images, title):
        """Collective: the features of `Images`: a list of float32 `Rows` `(n, width)`, one for each part.

        Also returns a dict of what it took: `pictures` (images), `computed`, `seconds`. Raises InputError when the folder can't
        be written to or its disk is too full.
        """
        started = time.perf_counter()
        made_of = {"images": hashlib.sha256(images.digests.tobytes()).hexdigest(), **self._identity}
        key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:20]
        file = RowFile(self._folder / f"{key}.npy", (len(images.digests), self._width), np.float32)
        try:
            computed = self._complete(file, images, title)
            array = file.load()
        except OSError as error:
            raise InputError(
                f"--cache-dir: features can't be kept in or read from {self._folder} ({reason(error)}); "
                f"give another folder{', or --no-cache' * bool(among_own_flags('--no-cache'))}"
            ) from error
        extraction = {"pictures": len(images), "computed": computed, "seconds": round(time.perf_counter() - started, 3)}
        return images.split(array), extraction

    def _complete(self, file, images, title):
        """Collective: compute the rows that the file lacks, in all processes; the main one writes. Returns how many."""
        total, size = len(images.digests), self._forward.batch_size
        done = int(hosts.broadcast(np.array(file.num_written() if hosts.is_main() else 0)))
        if done < total:
            done -= done % size  # whole batches, so that features have the same bits as in one go
            batches = (np.arange(start, min(start + size, total)) for start in range(done, total, size))
            outputs = self._forward.over(map(images.take, batches))  # computes on while a batch is written
            if hosts.is_main():
                file.write(done, _with_progress(outputs, title, total, done))
            else:
                for _ in outputs:
                    pass
        hosts.wait_for_all(title)
        return total - done


def _with_progress(outputs, title, total, done):
    """Pass the outputs on, with a progress bar and the time left; without a terminal, with a line a minute."""
    if done:
        tell(f"{title}: {done:,} of {total:,} images done in an earlier run")
    style = {}
    if not sys.stderr.isatty():
        style = {
            "file": SimpleNamespace(write=lambda text: tell(*text.strip().splitlines()), flush=lambda: None),
            "bar_format": "{desc}: {n:,} of {total:,} images, {rate_noinv_fmt}, {remaining} left",
            "mininterval": SECONDS_BETWEEN_LINES,
            "delay": SECONDS_BETWEEN_LINES,
        }
    with tqdm(total=total, initial=done, desc=title, unit=" images", miniters=1, leave=False, **style) as bar:
        for features in outputs:
            yield features
            bar.update(len(features))


def identity(extractor, batch_size):
    """What features depend on beside the images: the extractor with its weights, precision, versions, batch size."""
    modules = (importlib.import_module(backend.name()), keras, cv2)
    return {
        "layers": [type(layer).__name__ for layer in extractor.layers],
        "extractor": hashlib.sha256(_architecture(extractor).encode()).hexdigest(),
        "weights": _hash_of_weights(extractor),
        "precision": keras.config.dtype_policy().name,
        "versions": {module.__name__: module.__version__ for module in modules},
        "batch_size": batch_size,
    }


def _architecture(model):
    """The model's configuration without the names of its layers, which Keras numbers within a process."""
    config = model.to_json()
    for number, name in enumerate(dict.fromkeys(re.findall(r'"name": "([^"]+)"', config))):
        config = config.replace(f'"{name}"', f'"#{number}"')
    return config


def _hash_of_weights(model):
    def hash_of(weight):
        return hashlib.sha256(np.ascontiguousarray(keras.ops.convert_to_numpy(weight))).digest()

    with ThreadPoolExecutor(backend.num_cores()) as threads:  # hashing leaves Python to others
        return hashlib.sha256(b"".join(threads.map(hash_of, model.weights))).hexdigest()


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
