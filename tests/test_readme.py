"""The scripts accept the commands of README.md and docs/, and have the flags that docs/using.md lists.

What else the pages say is compared with plots/results/ by `make_plots.py --check`.
"""

import importlib
import itertools
import re
import shlex
from pathlib import Path

import pytest

from common import files, flags
from common.training import resume

ROOT = Path(__file__).parents[1]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))))
COMMANDS = [
    part.strip()
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    for part in re.split(r"&& | \| | > ", line)
    if part.strip()
]
SCRIPTS = list(dict.fromkeys(command for command in COMMANDS if re.search(r"\w\.py\b", command)))


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_command_is_parsed_by_its_script(command, tmp_path, monkeypatch):
    words = shlex.split(command, comments=True)
    python, script, *flags = itertools.dropwhile(lambda word: word == "srun" or "=" in word, words)
    assert python == ".venv/bin/python"
    parse_args = importlib.import_module(".".join(Path(script).with_suffix("").parts)).parse_args
    if "--resume" in flags:
        monkeypatch.chdir(tmp_path)
        folder = Path(flags[flags.index("--resume") + 1])
        folder.mkdir(parents=True)
        files.write_json(folder / "args.json", resume.stored_form(parse_args([])))
    parse_args(flags)


def test_the_set_up_is_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert ".venv/bin/python -m pytest" in COMMANDS and ci[-2:] == [
        ".venv/bin/python make_plots.py --check",
        ".venv/bin/python -m pytest",
    ]
    for command in COMMANDS:
        for requirements in re.findall(r"-r (\S+)", command):
            assert (ROOT / requirements).is_file()
    assert ".venv/bin/python train_ab_split.py --data digits" in SCRIPTS


def test_the_flags_are_all_there_and_no_others(monkeypatch):
    known = set()

    def note(parser, argv=None):
        known.update(parser._option_string_actions)
        raise SystemExit

    monkeypatch.setattr(flags._Parser, "parse_args", note)
    for script in ROOT.glob("train_*.py"):
        with pytest.raises(SystemExit):
            importlib.import_module(script.stem).parse_args([])
    using = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
    section = using.split("\n## Flags\n")[1].split("\n## ")[0].replace("`--help` shows", "")
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", section)) == known - {"-h", "--help"}
