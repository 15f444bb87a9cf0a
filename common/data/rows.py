"""Rows of one shape and dtype on disk, such as the features of images: written as they come, resumed, memory-mapped.

A file is an ordinary `.npy` that grows: its length says how many rows are there. A killed program continues after them. Of two
that fill a file at once each leaves alone what the other has written, so they only do the work twice, and no row changes.
"""

import io
import os
import shutil

import numpy as np

from common.cli import tell


class RowFile:
    """An array of this shape and dtype in a `.npy` file, whole or with its first rows only. Its methods raise OSError."""

    def __init__(self, path, shape, dtype):
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        header = io.BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, description)
        self._header, self._row_bytes = header.getvalue(), np.empty(shape[1:], dtype).nbytes

    def num_written(self):
        """How many rows are there. A file with another header, or with more than this array in it, is removed."""
        try:
            with self.path.open("rb") as file:
                header, num_bytes = file.read(len(self._header)), file.seek(0, os.SEEK_END) - len(self._header)
        except FileNotFoundError:
            return 0
        if not self._header.startswith(header) or num_bytes > self.shape[0] * self._row_bytes:
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
        with self.path.open("r+b") as file:  # written, not mapped: mapped pages count as memory in use
            file.write(self._header)
            for batch in batches:
                position, start = len(self._header) + start * self._row_bytes, start + len(batch)
                if file.seek(0, os.SEEK_END) < position + len(batch) * self._row_bytes:
                    file.seek(position)
                    file.write(np.ascontiguousarray(batch, self.dtype))
                    file.flush()

    def load(self):
        """The array, memory-mapped, once all rows are written."""
        return np.load(self.path, mmap_mode="r")
