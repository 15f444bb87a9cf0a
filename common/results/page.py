"""Pages for people: one HTML file each, without scripts, that needs no other file. The templates are in templates/."""

import base64
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined

from common import files
from common.cli import printable
from common.results import tables

# Read at once: a run may end long after it started, and the files may be of another version by then.
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "templates").glob("*.html")}
FILTERS = {
    "count": "{:,.0f}".format,
    "share": "{:.4f}".format,
    "percent": "{:.2%}".format,
    "p_value": "{:.3g}".format,
    "duration": tables.duration,
}
PNG = b"\x89PNG\r\n\x1a\n"
WIDE = 800  # pixels of a figure that scrolls on a phone and, if it is lying, has a row of its own


def write(path, template, **content):
    """Fill a template and write it, whole or not at all. Every text in `content` is escaped."""
    environment = Environment(
        loader=DictLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= FILTERS
    text = environment.get_template(template).render(content)
    with files.atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def picture(path, title, caption):
    """A PNG file as the template's `figure` takes it, a dict; None where there is no image."""
    try:
        content = files.read(path)
    except OSError:
        return None
    if not content.startswith(PNG):
        return None
    width, height = (int.from_bytes(content[start : start + 4]) for start in (16, 20))
    return {
        "source": f"data:image/png;base64,{base64.b64encode(content).decode()}",
        "width": width,
        "height": height,
        "is_wide": width >= max(WIDE, 1.3 * height),
        "is_large": width >= WIDE,
        "title": title,
        "caption": caption,
    }


def _shown(value):
    """What a template is about to show: control characters escaped, markup of the templates as it is."""
    return printable(value) if type(value) is str else value
