"""Damaged image files: an image or one line, and nothing past `sys.stderr`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import encoded, picture
from mutations import contained, damaged, is_plain_line

from common.data import images

SMALL = picture(24)
ORIGINALS = {
    "png": [encoded("png", SMALL), encoded("png", SMALL[..., 0])],
    "jpg": [encoded("jpeg", SMALL), encoded("jpeg", SMALL, progressive=True), encoded("jpeg", SMALL, restart_marker_blocks=2)],
    "webp": [encoded("webp", SMALL), encoded("webp", SMALL, lossless=True)],
    "bmp": [encoded("bmp", SMALL), encoded("bmp", SMALL[..., 0])],
    "gif": [encoded("gif", SMALL)],
    "tif": [encoded("tiff", SMALL, compression=kind) for kind in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg")],
    "ppm": [encoded("ppm", SMALL), b"P2 3 2 255\n1 2 3\n4 5 6\n"],
}


@pytest.mark.parametrize("end", ORIGINALS)
@given(data=st.data())
def test_an_image_file_is_read_or_named(tmp_path, end, data):
    path = tmp_path / f"image.{end}"
    path.write_bytes(data.draw(damaged(ORIGINALS[end])))
    with contained():
        try:
            image = images.read_image(path)
        except ValueError as error:
            assert str(path) in str(error) and is_plain_line(error)
            return
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size


@given(contents=st.lists(st.one_of(st.sampled_from(ORIGINALS["png"]), damaged(ORIGINALS["jpg"])), min_size=1, max_size=3))
def test_many_are_read_as_one_by_one(tmp_path, contents):
    paths = [tmp_path / f"{number}.jpg" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)

    def alone(path):
        try:
            return images.resize(images.read_image(path), 8).tolist(), False
        except ValueError:
            return np.zeros((8, 8, 3)).tolist(), True

    with contained():
        ((pixels, about),) = images.read_images(paths, 8, "reading")
        together = zip(pixels.tolist(), about["is_damaged"].tolist(), strict=True)
        assert [*together] == [alone(path) for path in paths]
