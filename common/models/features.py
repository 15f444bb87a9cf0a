"""The feature cache: a frozen backbone's output, computed once and shared by all runs that need it.

It is `np.save(<cache-dir>/features/<key>.npy, extractor.predict(images))` with three differences: a killed extraction continues
where it stopped, equal images are computed once, and the array is memory-mapped, not held in memory. The key is a hash of the
images, the extractor with its weights, the precision and the versions, so runs with other heads, seeds and splits share a file.
Read `Inputs` first. Importing this imports Keras.
"""

import hashlib
import importlib
import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
from tqdm import tqdm

from common import backend, hosts
from common.cli import InputError, reason, tell
from common.data import augment
from common.data.dataset import Samples
from common.data.images import digests
from common.data.rows import RowFile, Rows
from common.models.inference import ForwardPass

SECONDS_BETWEEN_LINES = 60  # of progress, where there is no terminal


class Inputs:
    """`train`, `val` and `test` as they are fed to `fit`, `Samples`, for a head on an extractor.

    With a `cache_dir` a frozen backbone runs once: they are features then (`are_features`), and the head alone is trained. With
    an `augmentation`, a function of `common.data.augment`, train holds a list of `views` arrays: the features of the images
    themselves and of augmented copies. Without a `cache_dir` they are images, for the whole model, and `augmentation` is what
    happens to train images in every epoch. `extraction` is what computing the features took, for results.json.
    """

    def __init__(self, extractor, dataset, cache_dir=None, augmentation=None, views=1, seed=0):
        self.extractor, self.are_features = extractor, cache_dir is not None
        self.train, self.val, self.test = dataset.train, dataset.val, dataset.test
        self.augmentation = None if self.are_features else augmentation
        self.extraction = {}
        if self.are_features:
            self._extract(FeatureCache(extractor, cache_dir), augmentation, views if augmentation else 1, seed)

    def join(self, head):
        """The whole model, extractor and head, and the part of it that is trained: the head on features, else all of it."""
        model = keras.Model(self.extractor.input, head(self.extractor.output))
        return model, head if self.are_features else model

    def for_scoring(self, model):
        """What scores the joined `model` as it was trained: its head or itself, the test part's inputs, the batch size."""
        return model.layers[-1] if self.are_features else model, self.test.images, batch_size(self.extractor)

    def _extract(self, cache, augmentation, num_views, seed):
        """Put features in place of the images."""
        started, num_train = time.perf_counter(), len(self.train)
        of_train, *extractions = cache.extract(Rows([self.train.images, self.val.images]), "features of train and val")
        of_test, extraction = cache.extract(Rows([self.test.images]), "features of test")
        views, extractions = [of_train.take(slice(num_train))], [*extractions, extraction]
        for view in range(1, num_views):
            title = f"features of view {view + 1} of {num_views}"
            features, extraction = cache.extract(Rows([self.train.images]), title, augmentation, [seed, view])
            views.append(features)
            extractions.append(extraction)
        self.val = Samples(of_train.take(slice(num_train, None))[:], self.val.labels)
        self.train = Samples(views if num_views > 1 else views[0], self.train.labels)
        self.test = Samples(of_test[:], self.test.labels)
        total = {key: sum(extraction[key] for extraction in extractions) for key in extractions[0]}
        self.extraction = {"extraction": total | {"seconds": round(time.perf_counter() - started, 3)}}


def batch_size(extractor):
    """Images that go through the backbone of an extractor at once, as `backend.batch_size` has it."""
    backbone = next((layer for layer in extractor.layers if isinstance(layer, keras.Model)), extractor)
    return backend.batch_size(backbone.input_shape[1])


class FeatureCache:
    """The features of one extractor under `cache_dir`. The extractor's weights are read and hashed once, here."""

    def __init__(self, extractor, cache_dir):
        self._folder, self._width = Path(cache_dir) / "features", extractor.output_shape[-1]
        self._forward = ForwardPass(extractor, batch_size(extractor))
        self._identity = identity(extractor, batch_size(extractor))

    def extract(self, images, title, augmentation=None, seed=()):
        """Collective: the features of images, `Rows` uint8 `(n, h, w, 3)`, or of augmented copies: `Rows` float32 `(n, width)`.

        Equal images are computed once. Also returns a dict: how many `images` there are, and how many were `computed`. Raises
        InputError when the folder can't be written to or its disk is too full.
        """
        hashes, first, inverse = np.unique(digests(images), return_index=True, return_inverse=True)
        read = lambda rows: images[first[rows]]  # noqa: E731
        if augmentation:
            inverse = np.arange(len(images))
            copy = lambda row: augment.augment(images[[row]], augmentation, [*seed, row])  # noqa: E731  whatever the batch size
            read = lambda rows: np.concatenate([copy(row) for row in rows.tolist()])  # noqa: E731
            hashes = np.concatenate([digests(images), digests(read(inverse[:8]))])  # the first copies tell the augmentation
        made_of = {"images": hashlib.sha256(hashes.tobytes()).hexdigest(), **self._identity}
        key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:20]
        file = RowFile(self._folder / f"{key}.npy", (int(inverse.max()) + 1, self._width), np.float32)
        try:
            computed = self._complete(file, read, title)
            features = Rows([file.load()], inverse)
        except OSError as error:
            problem = f"features can't be kept in or read from {self._folder} ({reason(error)}); give another cache folder"
            raise InputError(problem) from error
        return features, {"images": len(images), "computed": computed}

    def _complete(self, file, read, title):
        """Collective: compute the rows that the file lacks, in all processes; the main one writes. Returns how many."""
        total, size = file.shape[0], self._forward.batch_size
        done = int(hosts.broadcast(np.array(file.num_written() if hosts.is_main() else 0)))
        if done < total:
            done -= done % size  # whole batches, so that features have the same bits as in one go
            batches = (read(np.arange(start, min(start + size, total))) for start in range(done, total, size))
            outputs = self._forward.over(batches)  # computes on while a batch is written
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

    return hashlib.sha256(b"".join(map(hash_of, model.weights))).hexdigest()
