"""Image files: whole ones are read as Pillow reads them, damaged ones and those that lie about their size are named."""

import struct

import cv2
import numpy as np
import pytest
from contract import check_line, descriptor_2, little_memory
from makers import command, encoded, make_pictures, picture, png_of_size, zeroed
from PIL import Image, ImageOps

from common import cli
from common.data import images

PICTURE = picture(48)[:32]  # 48 x 32: not a square
RGB, OTHER = Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)
ALPHA = Image.fromarray(np.dstack([PICTURE, PICTURE[..., 0]]))
DEEP = np.random.default_rng(0).integers(0, 2**16, (32, 48), np.uint16)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # orientation: a telephone held upright
OF_A_CAMERA = b"Exif\0\0" + bytes(20) + encoded("jpeg", PICTURE[::4, ::4])

EXACT = {
    "PNG": ("png", encoded("png", RGB)),
    "grey PNG with alpha": ("png", encoded("png", RGB.convert("LA"))),
    "PNG with alpha": ("png", encoded("png", ALPHA)),
    "PNG of 16 bits": ("png", cv2.imencode(".png", np.dstack([DEEP] * 3))[1].tobytes()),
    "turned PNG": ("png", encoded("png", RGB, exif=TURNED)),
    "PNG with bytes after its end": ("png", encoded("png", RGB) + bytes(500)),
    "lossless WebP": ("webp", encoded("webp", RGB, lossless=True)),
    "turned WebP": ("webp", encoded("webp", RGB, lossless=True, exif=TURNED)),
    "animated WebP": ("webp", encoded("webp", RGB, lossless=True, save_all=True, append_images=[OTHER] * 2)),
    "animated GIF called WebP": ("webp", encoded("gif", RGB.convert("P"), save_all=True, append_images=[OTHER.convert("P")])),
    "BMP": ("bmp", encoded("bmp", RGB)),
    "BMP of 32 bits": ("bmp", encoded("bmp", ALPHA)),
    "GIF": ("gif", encoded("gif", RGB.convert("P"))),
    "animated GIF": ("gif", encoded("gif", RGB.convert("P"), save_all=True, append_images=[OTHER.convert("P")])),
    **{f"TIFF, {mode}": ("tif", encoded("tiff", RGB.convert(mode))) for mode in ("RGB", "L", "1", "P", "LA", "CMYK")},
    **{kind: ("tiff", encoded("tiff", RGB, compression=kind)) for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")},
    "turned TIFF": ("tif", encoded("tiff", RGB, exif=TURNED)),
    "TIFF with alpha, opaque": ("tif", encoded("tiff", RGB.convert("RGBA"))),
    "PPM": ("ppm", encoded("ppm", RGB)),
    "PGM": ("pgm", encoded("ppm", RGB.convert("L"))),
    "PNM in text": ("pnm", b"P3\n# 2 x 1\n2 1\n255\n1 2 3\n40 50 255\n"),
    "JPEG called PNG": ("png", encoded("jpeg", RGB)),
}
JPEG = encoded("jpeg", RGB)
ROUNDED = {
    "JPEG": ("jpg", JPEG),
    "CMYK JPEG": ("jpg", encoded("jpeg", RGB.convert("CMYK"))),
    "progressive JPEG": ("jpeg", encoded("jpeg", RGB, progressive=True)),
    "turned JPEG": ("jpg", encoded("jpeg", RGB, exif=TURNED)),
    "JPEG with a thumbnail": ("jpg", encoded("jpeg", RGB, exif=OF_A_CAMERA)),
    "JPEG with a film after its end": ("jpg", JPEG + np.random.default_rng(0).bytes(2**20) + b"\xff\xda\0"),
    "JPEG with 65 bytes before its end": ("jpg", JPEG[:-2] + b"\x55" * 65 + JPEG[-2:]),
    "WebP": ("webp", encoded("webp", RGB)),
}


def read(path):
    """The image; nothing is written to stderr on the way."""
    with descriptor_2() as written:
        image = images.read_image(path)
    assert written == [""]
    return image


def pillows(path):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("case", [*EXACT, *ROUNDED])
def test_a_whole_image_is_read_as_pillow_reads_it(tmp_path, case):
    extension, content = (EXACT | ROUNDED)[case]
    path = tmp_path / f"whole.{extension}"
    path.write_bytes(content)
    image, expected = read(path), pillows(path)
    assert image.shape == expected.shape and image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= (case in ROUNDED) * 2


@pytest.mark.parametrize("form", ["png", "tiff", "ppm"])
def test_16_grey_bits_become_8(tmp_path, form):
    (tmp_path / "deep.x").write_bytes(encoded(form, Image.fromarray(DEEP)))
    assert np.array_equal(read(tmp_path / "deep.x"), np.dstack([DEEP >> 8] * 3))


@pytest.mark.parametrize("name", ["ä 猫 🐈", "two\nlines", "-rf", "[a-z]*", "x" * 251], ids=ascii)
def test_a_whole_image_may_have_any_name(tmp_path, name):
    (tmp_path / f"{name}.png").write_bytes(encoded("png", RGB))
    assert np.array_equal(read(tmp_path / f"{name}.png"), PICTURE)


FORMATS = {
    "png": encoded("png"),
    "jpg": encoded("jpeg", quality=90),
    "progressive.jpg": encoded("jpeg", progressive=True),
    "webp": encoded("webp"),
    "lossless.webp": encoded("webp", lossless=True),
    "bmp": encoded("bmp"),
    "gif": encoded("gif"),
    "tif": encoded("tiff", compression="tiff_lzw"),
}


def bmp_of_size(width, height):
    return FORMATS["bmp"][:18] + struct.pack("<ii", width, height) + FORMATS["bmp"][26:]


def png_with_wrong_checksum():
    """Of the compressed pixels: the chunk's, which is not zlib's."""
    content = FORMATS["png"]
    end = 41 + int.from_bytes(content[33:37])
    return zeroed(content, end, 4)


WITH_THUMBNAIL = encoded("jpeg", comment=encoded("jpeg", picture(12)))
DAMAGED = {
    **{f"{name} zeroed at its head": (name, zeroed(content, 0)) for name, content in FORMATS.items()},
    **{f"{name} without its last 50 bytes": (name, content[:-50]) for name, content in FORMATS.items()},
    **{f"{name} without its second half": (name, content[: len(content) // 2]) for name, content in FORMATS.items()},
    **{f"{name} with its head only": (name, content[:12]) for name, content in FORMATS.items()},
    "PNG zeroed in the middle": ("png", zeroed(FORMATS["png"], len(FORMATS["png"]) // 2)),
    "JPEG without its last byte": ("jpg", FORMATS["jpg"][:-1]),
    "JPEG with a thumbnail, without its last byte": ("jpg", WITH_THUMBNAIL[:-1]),
    "PNG with a wrong checksum": ("png", png_with_wrong_checksum()),
    "PNG of 30,000 x 30,000": ("png", png_of_size(30_000, 30_000)),
    "PNG of no width": ("png", png_of_size(0, 8)),
    "PNG with too few rows": ("png", png_of_size(8, 9)),
    "BMP of 30,000 x 30,000": ("bmp", bmp_of_size(30_000, 30_000)),
    "PGM with 100 for white": ("pgm", b"P2 2 1 100\n50 100\n"),
    "JPEG 2000": ("jpg", encoded("jpeg2000")),
    "AVIF": ("png", encoded("avif")),
    "empty": ("png", b""),
    "a web page": ("jpg", b"<!DOCTYPE html><html><body>404</body></html>"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_image_is_named(tmp_path, case):
    name, content = DAMAGED[case]
    path = tmp_path / f"damaged.{name}"
    path.write_bytes(content)
    with pytest.raises(ValueError) as refused, little_memory(), descriptor_2() as written:
        images.read_image(path)
    assert written == [""]
    check_line(f"{cli.one_line(refused.value)}\n", path.name)


def test_damaged_images_of_a_data_set_are_named_at_once(refused, tmp_path):
    folder = make_pictures(tmp_path / "pictures") / "train"
    damaged = [folder / name / f"{number}.png" for name in ("cat", "fox") for number in (0, 3, 4, 7)]
    for path in damaged:
        path.write_bytes(FORMATS["png"][:-50])
    err = refused(*command("vgg19", "pictures"), names=["cat/0.png", "cat/7.png", "fox/0.png", "and 3 more; replace"])
    assert err.count("is cut off") == 5
