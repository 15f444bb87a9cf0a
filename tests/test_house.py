"""The house: which folder may import which, how long files and parameter lists may get, what every folder says of itself."""

import ast
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMON = sorted((ROOT / "common").rglob("*.py"))
PUBLISH = sorted((ROOT / "publish").glob("*.py"))
SCRIPTS = sorted(ROOT.glob("*.py"))
ROOMS = ("data", "models", "training", "results", "figures")
BELOW = {
    "cli": (),
    "flags": ("cli",),
    "files": ("cli",),
    "runs": ("cli", "files"),
    "backend": ("cli",),
    "hosts": ("cli",),
    "devices": ("cli", "backend", "hosts"),
}  # what a module or room of common/ may import of it
BASE = tuple(BELOW)
BELOW |= {
    "data": BASE,
    "figures": (*BASE, "data"),
    "models": (*BASE, "data", "figures"),
    "training": (*BASE, "data", "figures"),
    "results": (*BASE, "data", "figures", "models", "training"),
}
LINES = {
    "train_vgg19.py": 125,
    "train_resnet152v2.py": 145,
    "train_efficientnetb7.py": 195,
    "train_vgg19_finetune.py": 223,
    "train_ab_split.py": 270,
}


def imports(path):
    """The dotted names that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def test_imports_go_one_way():
    for path in COMMON:
        room = path.relative_to(ROOT / "common").parts[0].removesuffix(".py")
        for name in imports(path):
            first, *rest = name.split(".")
            assert first not in {script.stem for script in SCRIPTS}, f"{path} imports the script {first}"
            assert first != "publish", f"{path} imports {name}"
            if first == "common" and room != "__init__":
                assert rest[0] == room or rest[0] in BELOW[room], f"{path} imports {name}"


def test_the_test_would_see_an_import_that_goes_up(tmp_path):
    (tmp_path / "x.py").write_text("def f():\n    from common.results import report\n    import train_vgg19\n")
    assert list(imports(tmp_path / "x.py")) == ["common.results.report", "train_vgg19"]
    assert "results" not in BELOW["training"] and "training" not in BELOW["models"] and "models" not in BELOW["training"]


def test_what_is_printed_is_escaped():
    for path in (*COMMON, *PUBLISH, *SCRIPTS):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = sum(isinstance(function, ast.Name) and function.id == "print" for function in calls)
        assert prints == (2 if path.name == "cli.py" else 0), f"{path}: print with cli.tell"


def test_no_script_imports_a_script_and_only_one_imports_what_publishes():
    names = {script.stem for script in SCRIPTS}
    for script in (*PUBLISH, *SCRIPTS):
        own = {"publish"} if script in PUBLISH or script.name == "make_plots.py" else set()
        assert not {*names, "publish"} & {name.split(".")[0] for name in imports(script)} - own, script


def test_every_room_says_what_belongs_there_and_tests_are_laid_out_alike():
    assert {path.name for path in (ROOT / "common").iterdir() if (path / "__init__.py").is_file()} == set(ROOMS)
    for room in (*(ROOT / "common" / room for room in ROOMS), ROOT / "publish"):
        docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
        assert docstring and "Read `" in docstring, room
    for room in ROOMS:
        assert list((ROOT / "tests" / room).glob("test_*.py")), room


@pytest.mark.parametrize("path", [*COMMON, *PUBLISH, *SCRIPTS], ids=lambda path: path.name)
def test_files_and_parameter_lists_stay_short(path):
    assert len(path.read_text().splitlines()) <= LINES.get(path.name, 230)
    for function in functions(path):
        arguments = function.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        assert len([name for name in names if name not in ("self", "cls")]) <= 7, function.name


def test_functions_nest_one_deep():
    for script in SCRIPTS:
        for outer in functions(script):
            for inner in ast.walk(outer):
                if isinstance(inner, ast.FunctionDef) and inner is not outer:
                    nested = [node for node in ast.walk(inner) if isinstance(node, ast.FunctionDef)]
                    assert nested == [inner], (script, inner.name)


def test_scripts_with_a_shebang_are_executable():
    for script in SCRIPTS:
        assert script.read_text().startswith("#!/usr/bin/env python3\n") and os.access(script, os.X_OK), script
