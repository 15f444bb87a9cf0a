"""Image files that are damaged, or lie about their size, in a data set and before predict.py."""

import struct

import pytest
from makers import command, encoded, in_turn, make_finished, make_pictures, picture, png_of_size, zeroed

import predict

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


def jpeg_of_size(width, height):
    content = FORMATS["jpg"]
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


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
    "PNG of 2 to the 31st": ("png", png_of_size(2**31 - 1, 2**31 - 1)),
    "PNG of no width": ("png", png_of_size(0, 8)),
    "PNG with too few rows": ("png", png_of_size(8, 9)),
    "PNG of a million x 1": ("png", png_of_size(10**6, 1)),
    "JPEG of 30,000 x 30,000": ("jpg", jpeg_of_size(30_000, 30_000)),
    "JPEG of 65,500 x 65,500": ("jpg", jpeg_of_size(65_500, 65_500)),
    "BMP of 30,000 x 30,000": ("bmp", bmp_of_size(30_000, 30_000)),
    "BMP of 2 to the 31st": ("bmp", bmp_of_size(2**31 - 1, 2**31 - 1)),
    "BMP of no height": ("bmp", bmp_of_size(96, 0)),
    "PGM with 100 for white": ("pgm", b"P2 2 1 100\n50 100\n"),
    "JPEG 2000": ("jpg", encoded("jpeg2000")),
    "AVIF": ("png", encoded("avif")),
    "empty": ("png", b""),
    "text": ("png", b"hello"),
    "a web page": ("jpg", b"<!DOCTYPE html><html><body>404</body></html>"),
    "a Git LFS pointer": ("jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
    "a zip file": ("png", b"PK\x05\x06" + bytes(18)),
    "zeros": ("webp", bytes(5000)),
}


@pytest.mark.parametrize("script, case", in_turn(DAMAGED))
def test_a_damaged_image_is_named(refused, tmp_path, script, case):
    name, content = DAMAGED[case]
    make_pictures(tmp_path / "pictures")
    (tmp_path / "pictures" / "train" / "dog" / f"damaged.{name}").write_bytes(content)
    refused(*command(script, "pictures"), names=[f"dog/damaged.{name}"])


@pytest.mark.parametrize("case", [case for case in DAMAGED if "JPEG" in case or "PNG" in case])
def test_predict_names_a_damaged_image(refused, tmp_path, case):
    name, content = DAMAGED[case]
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    (tmp_path / f"damaged.{name}").write_bytes(content)
    refused(predict.main, "run", f"damaged.{name}", names=[f"damaged.{name}"])


def test_damaged_images_of_a_data_set_are_named_at_once(refused, tmp_path):
    folder = make_pictures(tmp_path / "pictures") / "train"
    damaged = [folder / name / f"{number}.png" for name in ("cat", "fox") for number in (0, 3, 4, 7)]
    for path in damaged:
        path.write_bytes(FORMATS["png"][:-50])
    err = refused(*command("vgg19", "pictures"), names=["cat/0.png", "cat/7.png", "fox/0.png", "and 3 more; replace"])
    assert err.count("is cut off") == 5 and not (tmp_path / "cache").exists()
