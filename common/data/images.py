"""Image files, one at a time or many in threads: those of `FORMATS`, of any size, read by OpenCV as RGB."""

import contextlib
import hashlib
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
from common.cli import reason

# How the files begin, and how their names end, that OpenCV decodes to Pillow's pixels. JPEG 2000 and AVIF are left out: some
# colour spaces, transparency and turned images differ. The wheels have GIF from OpenCV 4.12 on.
FORMATS = {
    "BMP": (rb"BM", (".bmp", ".dib")),
    "GIF": (rb"GIF8", (".gif",)),
    "JPEG": (rb"\xff\xd8", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "PNG": (rb"\x89PNG", (".png",)),
    "PNM": (rb"P[1-6]\s", (".pbm", ".pgm", ".pnm", ".ppm")),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", (".tif", ".tiff")),
    "WebP": (rb"RIFF....WEBP", (".webp",)),
}
FORMATS = {name: form for name, form in FORMATS.items() if cv2.haveImageWriter(form[1][0])}
STARTS = re.compile(b"|".join(start for start, _ in FORMATS.values()), re.DOTALL)
EXTENSIONS = tuple(end for _, ends in FORMATS.values() for end in ends)
CHUNK = 16  # images per task of a thread
MAX_AHEAD = 2 * backend.num_cores()  # such tasks at once
GREY = (128, 128, 128)  # of borders
JPEG_SCAN = re.compile(rb"\xff\xda\0[\x08-\x0e][\1-\4]")  # the start of one: marker, length, number of channels
PNM_MAXIMUM = re.compile(rb"P[2356](?:(?:\s|#[^\n]*\n)+(\d+)){3}\s")  # the third number; OpenCV does not look at it

# Errors are ours to report. OpenCV 5 has moved the function; 0 is LOG_LEVEL_SILENT in both.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)


ABOUT = np.dtype([("digest", "S16"), ("is_resized", "?"), ("is_damaged", "?")])  # what is kept of each image beside its pixels


class DecodedImage(NamedTuple):
    """An image file that was read ahead: the square `image`, uint8, or None and the `error`, a line that names the file."""

    path: str
    image: np.ndarray | None
    size: tuple[int, int] | None = None  # height and width in the file
    digest: bytes = b""  # of the pixels in the file
    error: str | None = None


def read_image(path):
    """An image file as `(h, w, 3)` uint8 RGB, without alpha. Raises ValueError, naming the file and what is wrong."""
    with _silent_decoders():
        return _decode(path)


def read_images(paths, image_size, title, how="squeeze"):
    """Yield image files in chunks: squares `(k, image_size, image_size, 3)` uint8, and `(k,)` of the dtype `ABOUT`.

    What can't be read is black. `title` is that of the progress bar, `how` that of `resize`. Raises ValueError where those that
    are read ahead don't fit into memory.
    """
    need_memory(min(len(paths), CHUNK * MAX_AHEAD), image_size)
    black, square = np.zeros((image_size, image_size, 3), np.uint8), (image_size, image_size)
    with reading_ahead(paths, image_size, how) as decoded:
        decoded = iter(tqdm(decoded, title, len(paths), unit=" images", disable=None, leave=False))
        while chunk := list(islice(decoded, CHUNK)):
            about = [(each.digest, each.size != square, each.image is None) for each in chunk]
            yield np.stack([black if each.image is None else each.image for each in chunk]), np.array(about, ABOUT)


@contextlib.contextmanager
def reading_ahead(paths, image_size, how="squeeze"):
    """Gives an iterator over a DecodedImage of each path, in their order, which are read in threads a few tasks ahead.

    `paths` is any iterable, even one without end; `how` is that of `resize`. Inside, what C libraries write to file
    descriptor 2 is dropped.
    """
    with _silent_decoders(), ThreadPoolExecutor(backend.num_cores()) as pool:  # OpenCV releases the GIL while it decodes
        try:
            yield _in_threads(iter(paths), pool, image_size, how)
        finally:
            pool.shutdown(cancel_futures=True)


def need_memory(count, image_size):
    """Raise ValueError where so many images don't fit into memory twice, as they must when they are split."""
    needed, there = 2 * count * image_size**2 * 3, backend.memory()
    if there and needed > there:
        needed, there = (f"{amount / 2**30:,.1f} GiB" for amount in (needed, there))
        what = f"{count:,} images of {image_size}x{image_size} would take {needed} of memory, and only {there} are there"
        raise ValueError(f"{what}; give fewer, or a smaller size")


def resize(image, image_size, how="squeeze"):
    """An image `(h, w, c)` uint8 brought to a square by `how`, one of `flags.RESIZES`.

    It is squeezed; or its largest centred square is resized; or it is resized to fit, and gets borders of `GREY`.
    """
    height, width = image.shape[:2]
    if how == "crop":
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        image = image[top : top + edge, left : left + edge]
    if how != "pad":
        return _resize(image, (image_size, image_size))
    height, width = (max(1, round(side * image_size / max(height, width))) for side in (height, width))
    top, left = (image_size - height) // 2, (image_size - width) // 2
    borders = top, image_size - height - top, left, image_size - width - left
    return cv2.copyMakeBorder(_resize(image, (width, height)), *borders, cv2.BORDER_CONSTANT, value=GREY)


def _resize(image, size):
    """An image resized to this width and height: by `cv2.INTER_AREA` to shrink, then by `cv2.INTER_CUBIC` to enlarge.

    Where one side shrinks and the other grows, one call of INTER_AREA would sample instead of averaging.
    """
    smaller = tuple(map(min, image.shape[1::-1], size))
    if smaller != image.shape[1::-1]:
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return image if smaller == size else cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def resize_all(images, image_size):
    """Square images `(n, h, h, c)` resized by `resize`."""
    return images if images.shape[1:3] == (image_size,) * 2 else np.stack([resize(image, image_size) for image in images])


def digests(images):
    """The `digest` of each image, an array of bytes `(n,)`."""
    return np.array([digest(np.ascontiguousarray(image)) for image in images], "S16")


def digest(image):
    """A hash of an image's pixels, 16 bytes."""
    return hashlib.blake2b(image, digest_size=16).digest()


def _decode(path):
    try:
        content = files.read(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ValueError(f"{path} can't be read: {reason(error)}") from error
    if _is_cut_off(content):
        raise ValueError(f"{path} is cut off: its end is missing")
    if (maximum := PNM_MAXIMUM.match(content)) and maximum[1] not in (b"255", b"65535"):
        raise ValueError(f"{path} has a maximum value (maxval) other than 255 and 65535")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if STARTS.match(content) else None
    except cv2.error as error:
        if bound := re.search(r"CV_IO_MAX_IMAGE_\w+", str(error)):
            name = f"OPEN{bound[0]}"
            raise ValueError(f"{path} is larger than {name}={os.environ.get(name, 2**20)} allows") from error
        image = None
    if image is None:
        raise ValueError(f"{path} is damaged, or not an image ({', '.join(FORMATS)})")
    return image


def _is_cut_off(content):
    """Whether the end of a PNG or a JPEG is missing, which OpenCV 4 does not mind."""
    if content.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" not in content
    # A thumbnail, which has an end too, comes before the last scan.
    return content.startswith(b"\xff\xd8") and b"\xff\xd9" not in JPEG_SCAN.split(content)[-1]


def _in_threads(paths, pool, *square):
    pending = deque()
    while True:
        while len(pending) < MAX_AHEAD and (chunk := list(islice(paths, CHUNK))):
            pending.append(pool.submit(lambda chunk: [_read(path, *square) for path in chunk], chunk))
        if not pending:
            return
        yield from pending.popleft().result()


def _read(path, image_size, how):
    try:
        image = _decode(path)
    except ValueError as error:
        return DecodedImage(path, None, error=str(error))
    return DecodedImage(path, resize(image, image_size, how), image.shape[:2], digest(image))


@contextlib.contextmanager
def _silent_decoders():
    """Inside, what C libraries write to file descriptor 2 is dropped, since decoders complain there; `sys.stderr` works."""
    with (
        backend.held_back_stderr() as (held, stderr),
        contextlib.redirect_stderr(stderr if sys.stderr is sys.__stderr__ else sys.stderr),  # a test has its own
    ):
        try:
            yield
        finally:
            held.truncate(0)  # or it would be shown after an exception
