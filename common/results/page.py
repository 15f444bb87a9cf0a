"""Pages for people: one HTML file each, without scripts, that needs no other file. The templates are in templates/."""

import base64
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined

from common import files
from common.cli import printable
from common.results import tables

# Read at once: a run may end long after it started, and the files may be of another version by then.
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "templates").glob("*.html")}
LOSSLESS = 101  # as the quality of OpenCV's WebP: what is above 100 loses nothing
FILTERS = {
    "count": "{:,.0f}".format,
    "share": "{:.4f}".format,
    "percent": "{:.2%}".format,
    "p_value": "{:.3g}".format,
    "duration": tables.duration,
}
COLOURS = tuple(round(round(level / 255 * 31) * 255 / 31) for level in range(256))  # the nearest of 32 steps
WIDE = 800  # pixels of a figure that scrolls on a phone and, if it is lying, has a row of its own


def write(path, template, **content):
    """Fill a template and write it, whole or not at all. Every text in `content` is escaped."""
    environment = Environment(
        loader=DictLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= FILTERS
    text = environment.get_template(template).render(content)
    with files.whole(path) as part:
        part.write_text(text, encoding="utf-8")


def picture(path, title, caption, alt):
    """A PNG file as the template's `figure` takes it, a dict; None where there is no image.

    It is embedded as WebP without loss, so that letters stay sharp, of colours in 32 steps, which nobody sees in a figure: a
    quarter to two fifths of the PNG's size.
    """
    import cv2
    import numpy as np

    try:
        content = np.frombuffer(files.read(path), np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if image is None:
        return None
    height, width = image.shape[:2]
    _, encoded = cv2.imencode(".webp", np.array(COLOURS, np.uint8)[image], [cv2.IMWRITE_WEBP_QUALITY, LOSSLESS])
    return {
        "source": f"data:image/webp;base64,{base64.b64encode(encoded).decode()}",
        "width": width,
        "height": height,
        "is_wide": width >= max(WIDE, 1.3 * height),
        "is_large": width >= WIDE,
        "title": title,
        "caption": caption,
        "alt": alt,
    }


def _shown(value):
    """What a template is about to show: control characters escaped, markup of the templates as it is."""
    return printable(value) if type(value) is str else value
