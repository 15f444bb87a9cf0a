#!/usr/bin/env python3
"""How many damaged images are noticed: of 100 in each format, with 40 bytes in the second half of the file set to zero.

    python benchmarks/damaged_images.py                  # --size 32 64 160 500

Each row is a format, each column the edge of the images in pixels. The images are smooth random ones, made by Pillow.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import io
import tempfile

import numpy as np
from PIL import Image

from common import cli, flags
from common.data import images
from common.results import tables

FORMATS = {
    "JPEG, baseline": ("jpg", "jpeg", {}),
    "JPEG, progressive": ("jpg", "jpeg", {"progressive": True}),
    "PNG": ("png", "png", {}),
    "WebP, lossy": ("webp", "webp", {}),
    "WebP, lossless": ("webp", "webp", {"lossless": True}),
    "BMP": ("bmp", "bmp", {}),
    "GIF": ("gif", "gif", {}),
    "TIFF, LZW": ("tif", "tiff", {"compression": "tiff_lzw"}),
}
NUM_BYTES = 40
PLACES = (0.5, 0.6, 0.7, 0.8, 0.9)  # of the file's length


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--size", nargs="+", type=flags.positive_int, default=[32, 64, 160, 500], metavar="N", help="edges")
    return parser.parse_args(argv)


def encoded(size, seed, kind, options):
    """A random smooth image as the bytes of a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).save(file, kind, **options)
    return file.getvalue()


def is_noticed(path, content):
    path.write_bytes(content)
    try:
        images.read_image(path)
    except cli.InputError:
        return True
    return False


def main(argv=None):
    args = parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (ending, kind, options) in FORMATS.items():
            path, counts = Path(folder) / f"image.{ending}", []
            for size in args.size:
                whole = [encoded(size, seed, kind, options) for seed in range(20)]
                starts = [(content, int(len(content) * place)) for content in whole for place in PLACES]
                damaged = [content[:start] + bytes(NUM_BYTES) + content[start + NUM_BYTES :] for content, start in starts]
                counts.append(sum(is_noticed(path, content) for content in damaged))
            rows.append((name, *counts))
    cli.tell(*tables.text(rows, ("noticed of 100", *map(str, args.size))))


if __name__ == "__main__":
    cli.run(main)
