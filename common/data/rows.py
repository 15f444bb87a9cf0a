"""Rows of one shape and dtype on disk, such as decoded images and features: written as they come, resumed, read as needed.

A file is an ordinary `.npy` that grows: its length says how many rows are there. A killed program continues after them. Of two
that fill a file at once each leaves alone what the other has written, so they only do the work twice, and no row changes.
"""

import io
import os
import shutil

import numpy as np

from common.cli import tell

IN_MEMORY = 2**28  # bytes of a file up to which it is held in memory: all of CIFAR-10, half of its features


class RowFile:
    """An array of this shape and dtype in a `.npy` file, whole or with its first rows only. Its methods raise OSError."""

    def __init__(self, path, shape, dtype):
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        header = io.BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, description)
        self._header, self._row_bytes = header.getvalue(), np.empty(shape[1:], dtype).nbytes
        self.num_bytes = shape[0] * self._row_bytes

    def num_written(self):
        """How many rows are there. A file with another header, or with more than this array in it, is removed."""
        try:
            with self.path.open("rb") as file:
                header, num_bytes = file.read(len(self._header)), file.seek(0, os.SEEK_END) - len(self._header)
        except FileNotFoundError:
            return 0
        if not self._header.startswith(header) or num_bytes > self.num_bytes:
            tell(f"{self.path} is damaged: computing it again")
            self.path.unlink()
            return 0
        return max(num_bytes, 0) // self._row_bytes

    def write(self, start, batches):
        """Write the rows from number `start` on, at most `num_written()`, from an iterable of arrays of any length."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        needed, free = (self.shape[0] - start) * self._row_bytes, shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise OSError(f"{needed / 1e6:,.2f} MB are needed, {free / 1e6:,.2f} MB are free")
        self.path.touch()
        with self.path.open("r+b") as file:
            file.write(self._header)
            for batch in batches:
                position, start = len(self._header) + start * self._row_bytes, start + len(batch)
                if file.seek(0, os.SEEK_END) < position + len(batch) * self._row_bytes:
                    file.seek(position)
                    file.write(np.ascontiguousarray(batch, self.dtype))
                    file.flush()

    def load(self):
        """The rows, once all are written: an array of up to `IN_MEMORY` bytes, else `Rows` that are read when asked for."""
        if self.num_written() < self.shape[0]:
            raise OSError(f"{self.path} is not whole")
        if self.num_bytes <= IN_MEMORY:
            return np.load(self.path)
        return Rows([_OnDisk(self.path, self.shape, self.dtype, len(self._header))])


class Rows:
    """Rows of one array or several, in an order of their own: indexed like an array, and only what is asked for is copied."""

    def __init__(self, arrays, indices=None):
        self._arrays, self._starts = arrays, np.cumsum([0, *map(len, arrays)])
        self._indices = np.arange(self._starts[-1]) if indices is None else indices
        self.shape, self.dtype = (len(self._indices), *arrays[0].shape[1:]), arrays[0].dtype
        self.ndim = len(self.shape)

    def __len__(self):
        return len(self._indices)

    def __getitem__(self, chosen):
        """A copy of a row, or of the rows that a slice, an array of indices or one of bool means."""
        indices = self._indices[chosen]
        if np.ndim(indices) == 0:
            return self[[chosen]][0]
        if len(self._arrays) == 1:
            return self._arrays[0][indices]
        parts = np.searchsorted(self._starts, indices, side="right") - 1
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for part in np.unique(parts):
            places = np.flatnonzero(parts == part)
            rows[places] = self._arrays[part][indices[places] - self._starts[part]]
        return rows

    def take(self, chosen):
        """The rows that are chosen, without copying any."""
        return Rows(self._arrays, self._indices[chosen])


class _OnDisk:
    """The rows of a file, read and not mapped: mapped pages count as memory in use."""

    def __init__(self, path, shape, dtype, offset):
        self._file, self.shape, self.dtype, self._offset = path.open("rb", buffering=0), shape, dtype, offset

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, indices):
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        num_bytes, content = rows[:1].nbytes, rows.reshape(-1).view(np.uint8)
        for place, index in enumerate(indices.tolist()):
            row = content[place * num_bytes : (place + 1) * num_bytes]
            os.preadv(self._file.fileno(), [row], self._offset + index * num_bytes)
        return rows
