"""What comes from elsewhere: downloads as documented."""

import re
from pathlib import Path

from common.data import cifar10
from common.models.weights import OFFICIAL

ROOT = Path(__file__).parents[1]
SECURITY, USING = ((ROOT / name).read_text() for name in ("docs/security.md", "docs/using.md"))


def test_the_downloads_are_documented():
    section = SECURITY.split("\n## What is downloaded\n")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| `(.+?)` \| <(.+?)> \| (.+?) `(.+?)` \| .+ \| `(.+?)` \|$", section)
    expected = {(cifar10.KERAS_NAME, cifar10.ORIGIN, "SHA-256", cifar10.SHA256, "datasets/")}
    for official in OFFICIAL.values():
        expected.add((official.name, official.origin, "MD5", official.md5, "models/"))
    downloaded = {row[3] for row in expected}
    for official in OFFICIAL.values():
        name, origin = (text.replace("_notop", "") for text in (official.name, official.origin))
        expected |= {(name, origin, "MD5", md5, "--weights PATH") for md5 in official.others if md5 not in downloaded}
    assert len(rows) == len(set(rows)) == section.count("\n| `") and set(rows) == expected
    assert all(f"]({official.origin})" in USING for official in OFFICIAL.values()) and f"<{cifar10.ORIGIN}>" in USING
