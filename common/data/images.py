"""Image files, one at a time or many in threads: PNG, JPEG, WebP or BMP of any size, read by OpenCV as RGB.

OpenCV returns an image for many a damaged file; its decoders complain on stderr at best. Their complaints are caught and count.
"""

import contextlib
import os
import re
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from common import backend, files
from common.cli import InputError, reason
from common.data.paths import EXTENSIONS

CHUNK = 256  # images per task of a thread
SMALL_CHUNK = 16  # where they are read ahead
MAX_AHEAD = 8  # such tasks at once
MAX_HELD = 2**16  # bytes of harmless warnings that are kept
# What libjpeg and libpng say of damaged pixels. They also warn of odd colour profiles and versions, which do no harm.
DAMAGE = re.compile(r"(Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|libpng.*(IDAT|CRC|compressed data)).*")

# Errors are ours to report. OpenCV 5 has moved the function; 0 is LOG_LEVEL_SILENT in both.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)


def read_image(path):
    """An image file as `(h, w, 3)` uint8 RGB, without alpha. Raises InputError, naming the file and what is wrong."""
    with backend.held_back_stderr() as (held, _):
        image, error = _decode(path)
        complaint = _complaint(held)
    if error or complaint:
        raise InputError(_named(path, error or f"is damaged ({complaint})"))
    return image


def read_images(paths, image_size, title):
    """Image files as squares, one array `(n, image_size, image_size, 3)` uint8, and how many of them had to be resized.

    `title` is that of the progress bar. Raises InputError as `read_image` does, and for more than the memory holds.
    """
    need_memory(len(paths), image_size)
    images, is_resized = np.empty((len(paths), image_size, image_size, 3), np.uint8), np.zeros(len(paths), bool)

    def keep(index, image):
        is_resized[index] = image.shape[:2] != (image_size, image_size)
        images[index] = resize(image, image_size)

    def read_chunk(start):
        """Whether all images of a chunk could be read."""
        for index in range(len(paths))[start : start + CHUNK]:
            image, error = _decode(paths[index])
            if error:
                return False
            keep(index, image)
        return True

    starts, rest = range(0, len(paths), CHUNK), ()
    with (
        backend.held_back_stderr() as (held, stderr),
        tqdm(total=len(paths), desc=title, unit=" images", disable=None, leave=False, file=stderr) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,  # OpenCV releases the GIL while it decodes
    ):
        try:
            for start, is_good in zip(starts, pool.map(read_chunk, starts), strict=True):
                if not is_good or _complaint(held):
                    rest = range(start, len(paths))
                    break
                bar.update(CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)
    for index in rest:  # one by one, to find the one that is damaged: it is in this chunk, or in one that was read beside it
        keep(index, read_image(paths[index]))
    return images, int(is_resized.sum())


class DecodedImage(NamedTuple):
    """An image file that was read ahead: the square `image`, uint8, or None and the `error`, a line that names the file."""

    path: str
    image: np.ndarray | None
    is_square: bool = True  # in the file
    error: str | None = None


@contextlib.contextmanager
def reading_ahead(paths, image_size):
    """Gives an iterator over a DecodedImage of each path, in their order, which are read in threads a few tasks ahead.

    `paths` is any iterable, even one without end. Inside, what C libraries write to file descriptor 2 is dropped, since
    decoders complain there; `sys.stderr` works.
    """
    with (
        backend.held_back_stderr() as (held, stderr),
        contextlib.redirect_stderr(stderr if _is_descriptor_2(sys.stderr) else sys.stderr),
        ThreadPoolExecutor(min(MAX_AHEAD // 2, backend.num_cores())) as pool,
    ):
        try:
            yield _pictures(iter(paths), image_size, held, pool)
        finally:
            pool.shutdown(cancel_futures=True)
            held.truncate(0)  # or it would be shown after an exception


def need_memory(count, image_size, flag="--image-size"):
    """Raise InputError, naming `flag`, where so many images don't fit into memory twice, as they must when they are split."""
    backend.need_memory(2 * count * image_size**2 * 3, flag, f"{count:,} images of {image_size}x{image_size}")


def resize(image, image_size):
    """An image `(h, w, c)` uint8 resized to a square: by `cv2.INTER_AREA` to shrink, then by `cv2.INTER_CUBIC` to enlarge.

    Where one side shrinks and the other grows, one call of INTER_AREA would sample instead of averaging.
    """
    size = image_size, image_size
    smaller = min(image.shape[1], image_size), min(image.shape[0], image_size)
    if smaller != image.shape[1::-1]:
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return image if smaller == size else cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def resize_all(images, image_size):
    """Images `(n, h, w, c)` resized by `resize`."""
    return images if images.shape[1:3] == (image_size,) * 2 else np.stack([resize(image, image_size) for image in images])


def _complaint(held):
    """What a decoder has written to the file that stands for stderr about damaged pixels, or None."""
    held.seek(0)
    found = DAMAGE.search(held.read().decode(errors="replace"))
    return found and found[0].strip()


def _decode(path):
    """An image, or None and what is wrong, in words that follow the file's name."""
    try:
        content = files.read(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return None, f"can't be read: {reason(error)}"
    if _is_cut_off(content):
        return None, "is cut off: its end is missing"
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    except cv2.error as error:
        if bound := re.search(r"CV_IO_MAX_IMAGE_\w+", str(error)):
            name = f"OPEN{bound[0]}"
            return None, f"is larger than {name}={os.environ.get(name, 2**20)} allows"
        image = None
    if image is None:
        return None, f"is damaged, or not an image ({', '.join(end[1:].upper() for end in EXTENSIONS)})"
    return image, None


def _is_cut_off(content):
    """Whether a PNG or JPEG lacks its end. OpenCV decodes half a JPEG without an error."""
    if content.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" not in content
    if not content.startswith(b"\xff\xd8"):
        return False
    place = 2  # skip the segments, which may hold a thumbnail, up to the start of the scan (FF DA)
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return content.find(b"\xff\xd9", place) < 0


def _pictures(paths, image_size, held, pool):
    """The DecodedImages of `reading_ahead`. What a decoder says may be of any image that is being read at that time."""
    pending = deque()
    while True:
        while len(pending) < MAX_AHEAD and (chunk := list(islice(paths, SMALL_CHUNK))):
            pending.append(pool.submit(lambda chunk: [_picture(path, image_size, *_decode(path)) for path in chunk], chunk))
        if not pending:
            return
        done = pending.popleft().result()
        if _complaint(held) or held.tell() > MAX_HELD:
            done += [picture for task in pending for picture in task.result()]
            pending.clear()
            is_damaged = _complaint(held)  # now nobody writes
            held.truncate(0)
            done = (_read_again(picture, image_size) for picture in done) if is_damaged else done
        yield from done


def _picture(path, image_size, image, error):
    if error:
        return DecodedImage(path, None, error=_named(path, error))
    return DecodedImage(path, resize(image, image_size), image.shape[0] == image.shape[1])


def _named(path, error):
    return f"{path} {error}; replace it, or move it away"


def _read_again(picture, image_size):
    """The same DecodedImage, read alone: a decoder may have complained about this image."""
    if picture.error:
        return picture
    try:
        return _picture(picture.path, image_size, read_image(picture.path), None)
    except InputError as error:
        return DecodedImage(picture.path, None, error=str(error))


def _is_descriptor_2(stream):
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):  # a test's stream has none
        return False
