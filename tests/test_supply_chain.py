"""What comes from elsewhere: packages by hash, downloads as documented, and no connection before a run asks for one."""

import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.data import cifar
from common.models import backbones, weights

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ("requirements.txt", "requirements-export.txt", "requirements-lite.txt", "requirements-dev.txt")
LOCK = (ROOT / "requirements-ci.txt").read_text()
SECURITY, USING = ((ROOT / name).read_text() for name in ("docs/security.md", "docs/using.md"))
NO_NETWORK = """
import sys
attempts = []

def refuse(event, details):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"):
        attempts.append((event, *map(str, details)))
        raise OSError("no network")

sys.addaudithook(refuse)
"""
IMPORTS = """
import contextlib, importlib, io, pkgutil
from pathlib import Path
import common

sys.path.append("benchmarks")
scripts = [path.stem for path in (*Path().glob("*.py"), *Path().glob("benchmarks/*.py"))]
for name in scripts:
    script = importlib.import_module(name)
    shown = io.StringIO()
    if hasattr(script, "parse_args"):
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(shown):
            script.parse_args(["--help"])
        assert shown.getvalue().startswith("usage:"), name
modules = [module.name for module in pkgutil.walk_packages(common.__path__, "common.")]
for name in modules:
    importlib.import_module(name)
assert len(scripts) > 15 and len(modules) > 35 and "keras" in sys.modules, (scripts, modules)
"""


def run_without_network(program):
    """Run a program in a new process where Python refuses to connect. Exit code 1 and the attempts on stderr if it tried to."""
    program = f"{NO_NETWORK}\n{program}\nsys.exit(str(attempts) if attempts else 0)"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)


def test_imports_and_help_open_no_connection():
    ended = run_without_network(IMPORTS)
    assert ended.returncode == 0, ended.stderr


def test_ci_installs_by_hash_what_the_requirements_ask_for():
    pins = re.findall(r"(?m)^([\w.-]+)==(\S+)(?: ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}\b", LOCK)
    assert len(pins) == len(re.findall(r"(?m)^\w\S*==", LOCK)) and "\n--only-binary :all:\n" in LOCK
    assert "--require-hashes -r requirements-ci.txt" in (ROOT / ".ci" / "run").read_text()
    lines = [line for name in REQUIREMENTS for line in (ROOT / name).read_text().splitlines()]
    asked = [Requirement(line.split("#")[0]) for line in lines if re.match(r"\w", line)]
    assert len(asked) > 15
    for requirement in asked:
        versions = [version for name, version in pins if name == canonicalize_name(requirement.name)]  # by version of Python
        assert versions and all(version in requirement.specifier for version in versions), requirement


def test_the_downloads_are_documented():
    section = SECURITY.split("\n## What is downloaded\n")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| `(.+?)` \| <(.+?)> \| (.+?) `(.+?)` \| .+ \| `(.+?)` \|$", section)
    versions = cifar.VERSIONS.values()
    expected = {(one.keras_name, one.origin, "SHA-256", one.sha256, "datasets/") for one in versions}
    official = [backbones.imagenet_file(name) for name in weights.QUICK if name not in weights.PACKAGED]
    expected |= {(name, origin, "MD5", md5, "models/") for name, origin, md5 in official}
    assert len(rows) == len(set(rows)) == section.count("\n| `") and set(rows) == expected
    assert all(f"]({origin})" in USING for _, origin, _ in official) and all(f"<{one.origin}>" in USING for one in versions)
