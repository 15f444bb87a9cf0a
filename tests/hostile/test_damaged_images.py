"""Image files that are damaged, or lie about their size, in a data set and before predict.py."""

import struct

import pytest
from contract import check_line, descriptor_2, little_memory
from makers import command, encoded, make_finished, make_pictures, picture, png_of_size, zeroed

import predict
from common import cli
from common.data import images

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


def test_predict_names_a_damaged_image(refused, tmp_path):
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    (tmp_path / "damaged.png").write_bytes(FORMATS["png"][:-50])
    refused(predict.main, "run", "damaged.png", names=["damaged.png is cut off: its end is missing; replace it"])


def test_damaged_images_of_a_data_set_are_named_at_once(refused, tmp_path):
    folder = make_pictures(tmp_path / "pictures") / "train"
    damaged = [folder / name / f"{number}.png" for name in ("cat", "fox") for number in (0, 3, 4, 7)]
    for path in damaged:
        path.write_bytes(FORMATS["png"][:-50])
    err = refused(*command("vgg19", "pictures"), names=["cat/0.png", "cat/7.png", "fox/0.png", "and 3 more; replace"])
    assert err.count("is cut off") == 5
