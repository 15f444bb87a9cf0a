"""A file of features: written in chunks with checksums, resumed, repaired, under its final name only when complete.

Importing this imports Keras.
"""

import contextlib
import hashlib
import importlib
import json
import re
import shutil
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import keras
import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from common import backend, devices, files, hosts
from common.cli import InputError, among_own_flags, reason, tell

FORMAT = 2
BATCHES_PER_CHUNK = 16
SECONDS_BETWEEN_LINES = 60  # of progress, where there is no terminal


class FeatureFile:
    """The features of a set of images on disk, complete or in part."""

    def __init__(self, folder, digests, width, identity):
        """`digests` `(n,)` identify the images, in the order of the file's rows; `identity` is that of their extractor."""
        self.shape = (len(digests), width)
        self.chunk = identity["batch_size"] * BATCHES_PER_CHUNK
        self.batch_size = identity["batch_size"] * devices.count()  # of all; a device computes what it would alone
        pictures = hashlib.sha256(digests.tobytes()).hexdigest()
        self.made_of = {"format": FORMAT, "pictures": pictures, "shape": self.shape, **identity}
        key = hashlib.sha256(json.dumps(self.made_of).encode()).hexdigest()[:20]
        self.whole, self.part, self.note = (folder / f"{key}{end}" for end in (".npy", ".part.npy", ".json"))
        self.lock = FileLock(folder / f"{key}.lock")

    def complete(self, compute, title):
        """Collective: the memory-mapped array, and how many of its rows had to be computed.

        `compute` takes a list of arrays of row numbers, a batch each, and yields the features of each. Of several processes
        the main one decides what is missing and writes it; all compute.
        """
        try:
            computed = self._complete(compute, title) if hosts.is_main() else self._compute_along(compute)
            hosts.wait_for_all(title)
            return np.load(self.whole, mmap_mode="r"), computed
        except OSError as error:
            raise InputError(
                f"--cache-dir: features can't be kept in or read from {self.whole.parent} ({reason(error)}); "
                f"give another folder{', or --no-cache' * bool(among_own_flags('--no-cache'))}"
            ) from error

    def _complete(self, compute, title):
        self.whole.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(title):
            checksums = self._verified()
            missing = self._missing(checksums)
            if missing:
                self._compute(missing, checksums, compute, title)
            if self.part.exists():
                self.part.replace(self.whole)
        return self._count(missing)

    def _compute_along(self, compute):
        """Compute with the main process what it writes."""
        missing = self._missing([None] * self._num_chunks)
        for _ in compute(self._batches(missing)):
            pass
        return self._count(missing)

    def _missing(self, checksums):
        """Collective: the numbers of the chunks for which the main process has no checksum."""
        return np.flatnonzero(hosts.broadcast(np.array([checksum is None for checksum in checksums]))).tolist()

    def _count(self, chunks):
        return sum(len(self._rows(number)) for number in chunks)

    @property
    def _num_chunks(self):
        return -(-self.shape[0] // self.chunk)

    @contextlib.contextmanager
    def _locked(self, title):
        """One process at a time; the system frees the lock of a process that is killed."""
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            tell(f"{title}: another run is computing these features; waiting for it")
            self.lock.acquire()
        except OSError:
            if not self.whole.exists():  # else it can be read where nothing can be written
                raise
        try:
            yield
        finally:
            self.lock.release()

    def _rows(self, number):
        return range(self.shape[0])[number * self.chunk : (number + 1) * self.chunk]

    def _batches(self, chunks):
        """The rows of these chunks in batches, which may hold rows of several chunks."""
        rows = np.concatenate([np.arange(0), *map(self._rows, chunks)])
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]

    def _verified(self):
        """The checksum of each chunk, None for one that is missing or damaged and has to be computed."""
        checksums = missing = [None] * self._num_chunks
        path, complaint = self.whole if self.whole.exists() else self.part, None
        if path.exists():
            try:
                note = files.read_json(self.note)
                array = np.load(path, mmap_mode="r")
                if note["made_of"] != json.loads(json.dumps(self.made_of)) or len(note["checksums"]) != len(missing):
                    raise ValueError("it was made from something else")
                if array.shape != self.shape or array.dtype != np.float32 or not array.flags.c_contiguous:
                    raise ValueError(f"it holds {array.dtype} {array.shape}, or columns first")
                checksums = [
                    checksum if checksum is not None and checksum == zlib.crc32(array[self._rows(number)]) else None
                    for number, checksum in enumerate(note["checksums"])
                ]
                damaged = sum(new is None and old is not None for new, old in zip(checksums, note["checksums"], strict=True))
                complaint = f"{damaged} of its {len(missing)} chunks are damaged" if damaged else None
            except Exception as error:  # a damaged file can raise anything
                if isinstance(error, (OSError, MemoryError)) and not isinstance(error, FileNotFoundError):
                    raise  # not damage: the file can't be read, or not now
                checksums, complaint = missing, reason(error)
                path.unlink()
        if complaint:
            tell(f"{path} can't be used as it is ({complaint}): computing it again")
        if None in checksums and path == self.whole and path.exists():
            self.whole.rename(self.part)
        return checksums

    def _compute(self, missing, checksums, compute, title):
        if not self.part.exists():
            needed, free = 4 * self.shape[0] * self.shape[1], shutil.disk_usage(self.part.parent).free
            if needed > free:
                raise OSError(f"{needed / 1e6:,.2f} MB are needed, {free / 1e6:,.2f} MB are free")
            files.write_json(self.note, {"made_of": self.made_of, "checksums": checksums})
            np.lib.format.open_memmap(self.part, "w+", np.float32, self.shape).flush()
        offset, width = np.load(self.part, mmap_mode="r").offset, self.shape[1]
        done = self.shape[0] - self._count(missing)
        outputs = compute(self._batches(missing))  # computes on while a chunk is written
        rest = np.empty((0, width), np.float32)
        with self.part.open("r+b") as file, _Progress(title, self.shape[0], done) as progress:
            for number in missing:
                rows, computed = self._rows(number), [rest]
                while sum(map(len, computed)) < len(rows):
                    computed.append(next(outputs))
                    progress.update(len(computed[-1]))
                chunk, rest = np.split(np.concatenate(computed, dtype=np.float32), [len(rows)])
                file.seek(offset + 4 * width * rows.start)  # written, not mapped: mapped pages count as memory in use
                file.write(chunk)
                file.flush()
                checksums[number] = zlib.crc32(chunk)
                files.write_json(self.note, {"made_of": self.made_of, "checksums": checksums})


class _Progress:
    """A progress bar with the time left; without a terminal, a line a minute."""

    def __init__(self, title, total, done):
        self.title, self.total, self.done, self.computed = title, total, done, 0
        if done:
            tell(f"{title}: {done:,} of {total:,} images done in an earlier run")
        self.bar = tqdm(total=total, initial=done, desc=title, unit=" images", disable=None, leave=False)
        self.started = self.printed = time.monotonic()

    def update(self, count):
        self.bar.update(count)
        self.computed += count
        now = time.monotonic()
        if self.bar.disable and now - self.printed > SECONDS_BETWEEN_LINES:
            self.printed = now
            rate, reached = self.computed / (now - self.started), self.done + self.computed
            left = tqdm.format_interval((self.total - reached) / rate)
            tell(f"{self.title}: {reached:,} of {self.total:,} images, {rate:.1f} images/s, {left} left")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()


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
