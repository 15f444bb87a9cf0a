"""README and docs/: scripts accept their commands, links lead somewhere, numbers and figures come from plots/results/."""

import importlib
import itertools
import re
import shlex
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import make_plots
import train_ab_split
import train_vgg19_finetune
from common import files, flags
from common.results import comparison, elsewhere, publishing, readme, records
from common.training import resume

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "plots" / "results"
PAGES = {path: path.read_text(encoding="utf-8") for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))}
TEXT = "\n".join(PAGES.values())
README, EXPERIMENTS, USING = (PAGES[ROOT / name] for name in ("README.md", "docs/experiments.md", "docs/using.md"))
COMMANDS = [
    part.strip()
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    for part in re.split(r"&& | \| | > ", line)
    if part.strip()
]
SCRIPTS = list(dict.fromkeys(command for command in COMMANDS if re.search(r"\w\.py\b", command)))


def anchors(text):
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def cells(marker):
    """The rows of the table between two markers, each a list of cells."""
    table = TEXT.split(f"<!-- {marker} -->")[1].split(f"<!-- /{marker} -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()][2:]


def test_the_readme_is_short_and_its_code_is_not_cut_off():
    assert len(README.splitlines()) <= 200 and len(README.encode()) <= 13_000
    code = "".join(re.findall(r"```\w*\n(.*?)```", README, re.DOTALL))
    assert code and max(map(len, code.splitlines())) <= 100


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
    ci = (ROOT / ".ci" / "run").read_text()
    assert ".venv/bin/python -m pytest" in COMMANDS and ".venv/bin/python -m pytest" in ci
    for command in COMMANDS:
        for requirements in re.findall(r"-r (\S+)", command):
            assert (ROOT / requirements).is_file()
    assert ".venv/bin/python train_ab_split.py --data digits" in SCRIPTS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_file_exists(page):
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        if not target.startswith("https://"):
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(PAGES[linked]), target
    for path, options in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|txt|cff))( [^`]*)?`", PAGES[page]):
        assert (ROOT / path).is_file(), path
        if path.startswith("benchmarks/"):
            assert all(f'"{flag}"' in (ROOT / path).read_text() for flag in re.findall(r"--[\w-]+", options)), path


def test_tables_and_commands_are_those_of_the_published_results():
    pages = [PAGES[ROOT / name] for name in readme.FILES]
    for page in pages:
        assert readme.update(page, RESULTS) == page
    for marker in ("results", "controls", "elsewhere", "commands", "sizes", "transfer", "settings"):
        assert sum(page.count(f"<!-- {marker} -->") for page in pages) == 1
    for number in ("0.9274", "0.4123", "--lr .03 --name", "0.8026", "0.8864"):
        page = next(page for page in pages if number in page)
        changed = page.replace(number, "0.1")
        assert changed != page and readme.update(changed, RESULTS) == page


def folders_of(row):
    """The folders of the runs of a row of a table: that which it links to, and those of the same name with a number."""
    first = RESULTS / re.search(r"plots/results/([^)]*)\)", row[0])[1]
    return [first, *(path for path in sorted(first.parent.iterdir()) if re.fullmatch(rf"{first.name}-[1-9]", path.name))]


def test_the_tables_agree_with_the_confusion_matrices():
    results, controls = ([row for row in cells(marker) if "ab_split" not in row[0]] for marker in ("results", "controls"))
    for row in (*results, *controls):
        accuracies, seeds = [], []
        for folder in folders_of(row):
            args, scores = (files.read_json(folder / name) for name in ("args.json", "results.json"))
            matrix = make_plots.read_matrix(folder / "confusion_matrix.csv")[0]
            accuracies.append(np.trace(matrix) / matrix.sum())
            seeds.append(args["seed"])
            sizes = (1125, 375) if scores["data"] == "scenes" else (50_000, 10_000)
            assert (scores["train_size"] + scores["val_size"], matrix.sum()) == sizes
            assert (row in controls) == (args["weights"] == "none" and folder.parent.name != "vgg19_finetune")
        if len(accuracies) == 1:
            assert row[2].startswith(f"{accuracies[0]:.4f} [") and seeds == [0]
        else:
            spread = f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f} ({len(seeds)} seeds)"
            assert row[2].replace("\N{NO-BREAK SPACE}", " ") == spread and seeds == [*range(len(seeds))]
        # No documented number of these can be compared with ours.
        assert row[3][0] == ("-" if Path(args["data"]).name == "cifar100" else "(")


def test_the_runs_of_a_row_differ_only_in_their_seeds():
    for row in (*cells("results"), *cells("controls")):
        runs = [records.read(folder) for folder in folders_of(row)]
        for models in zip(*runs, strict=True):
            assert len(comparison.group(models)[0]) == 1, row
            assert len({record.results["seed"] for record in models}) == len(models), row


def test_a_row_of_several_seeds_is_their_mean_and_deviation(tmp_path, monkeypatch):
    accuracies, minutes = (0.7, 0.74, 0.75), (2, 9, 9)
    for name, accuracy, time in zip(("vgg19/lite0", "vgg19/lite0-1", "vgg19/lite0-2"), accuracies, minutes, strict=True):
        shutil.copytree(RESULTS / "vgg19" / "control", tmp_path / name)
        scores = files.read_json(tmp_path / name / "results.json")
        changes = {"test_accuracy": accuracy, "test_accuracy_interval": [0.1, 0.9], "total_seconds": 60.0 * time}
        files.write_json(tmp_path / name / "results.json", scores | changes)
    (tmp_path / "vgg19" / "lite0-4").mkdir()  # there is no lite0-3
    monkeypatch.setattr(readme, "CONTROLS", (readme.Row("vgg19/lite0", "`x`", "vgg19-frozen"),))
    (line,) = readme.controls(tmp_path)[2:]
    assert line.replace("\N{NO-BREAK SPACE}", " ").split(" | ") == [
        "| [VGG19 at 224](../plots/results/vgg19/lite0)",
        "`x`",
        f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f} (3 seeds)",
        "(0.8300)",
        elsewhere.PUBLISHED["vgg19-frozen"].link,
        "2 min, H200 |",
    ]
    shutil.copytree(RESULTS / "ab_split" / "default", tmp_path / "ab_split" / "default")
    shutil.copytree(RESULTS / "ab_split" / "default", tmp_path / "ab_split" / "default-1")
    path = tmp_path / "ab_split" / "default-1" / "results.json"
    scores = files.read_json(path)
    scores["models"]["a"]["test_accuracy"] = 0.7
    files.write_json(path, scores)
    monkeypatch.setattr(readme, "RESULTS", (readme.Row("ab_split/default"),))
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in readme.results(tmp_path)[2:]]
    a, last = (scores["models"][name]["test_accuracy"] for name in ("a", "b-last-fc"))
    other = files.read_json(RESULTS / "ab_split" / "default" / "results.json")["models"]["a"]["test_accuracy"]
    assert f"{(a + other) / 2:.4f} ± {statistics.stdev((a, other)):.4f} (2 seeds)" in lines[0]
    assert f"{last:.4f} ± 0.0000 (2 seeds)" in lines[2] and len(lines) == 4


def test_numbers_from_elsewhere_are_those_of_its_table_with_their_sources():
    known = {row[0] for row in cells("elsewhere")}
    external = [row[4] for row in (*cells("results"), *cells("controls"))]
    assert any(cell != "-" for cell in external) and {cell for cell in external if cell != "-"} <= known
    assert all(re.fullmatch(r"\[0\.\d+\]\(https://(github\.com|arxiv\.org)/\S+\)", link) for link in known)


def test_the_tables_fit_githubs_width():
    for marker in ("results", "controls"):
        for row in cells(marker):
            shown = [re.sub(r"\]\(\S*\)|[\[`]", "", cell) if cell.startswith("[") else cell for cell in row]
            assert len(" ".join(shown)) <= 130, row


def test_the_documented_numbers_of_the_ab_split_are_comparable():
    rows = [row for row in cells("results") if "ab_split" in row[0]]
    models = list(train_ab_split.MODELS.values())
    assert [row[1] for row in rows] == [
        f"{model}, {optimizer}" for optimizer in ("Adam", "SGD as documented") for model in models
    ]
    assert [row[3] for row in rows] == 2 * [f"{number:.4f}" for number in train_ab_split.DOCUMENTED.values()]


def test_the_table_of_sizes_is_the_spread_over_the_studies_points():
    points = files.read_csv(RESULTS / "ab_split" / "study" / "points.csv")
    nums_seeds = {int(number) for number in re.findall(r"standard deviation over (\d+) seeds", README + EXPERIMENTS)}
    expected = []
    for size in (20, 50, 100, 500, 2000, 9000):
        expected.append([f"{size:,}"])
        for name in train_ab_split.B_MODELS:
            selected = [point for point in points if (point["model"], point["samples"]) == (name, size)]
            assert {len(selected)} == {len({point["seed"] for point in selected})} == nums_seeds
            accuracies = [point["test_accuracy"] for point in selected]
            expected[-1].append(f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}")
    assert cells("sizes") == expected


def test_the_table_of_transfer_is_the_spread_over_the_studies_points():
    by_point = {}
    for row in files.read_csv(RESULTS / "transfer" / "points.csv"):
        by_point.setdefault((row["samples"], row["model"]), []).append(row["test_accuracy"])
    models = [model for model in ("lite0-finetuned", "lite0-frozen", "cnn-scratch") if model in {key[1] for key in by_point}]
    expected = []
    for size in sorted({size for size, _ in by_point}):
        expected.append([f"{size:,.0f}"])
        for model in models:
            accuracies = by_point[size, model]
            shown = f"{statistics.mean(accuracies):.4f}"
            shown += f" ± {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
            expected[-1].append(shown + {1: " (1 seed)", 2: " (2 seeds)", 3: ""}[len(accuracies)])
    assert cells("transfer") == expected and len(expected) >= 4


@pytest.mark.parametrize("study, keys", [("transfer", ("model", "samples")), ("upscaling", ("interpolation", "head"))])
def test_every_point_of_a_study_has_three_seeds(study, keys):
    seeds = {}
    for row in files.read_csv(RESULTS / study / "points.csv"):
        seeds.setdefault(tuple(row[key] for key in keys), []).append(row["seed"])
    for point, of_point in seeds.items():
        assert sorted(of_point) == [*range(len(of_point))]
        assert len(of_point) == 3 or point[0] == "lite0-finetuned"  # takes a GPU


def test_the_runs_have_the_setting_that_val_chose():
    points = files.read_csv(RESULTS / "vgg19_settings" / "points.csv")
    best = max(points, key=lambda point: point["val accuracy"])["command"].split()
    names = ("weight_decay", "smoothing", "crop_padding", "cutout", "finetune_lr", "batch_size", "schedule")
    chosen = train_vgg19_finetune.parse_args(best[1:])
    for run in ("scratch", "scratch-longer", "cifar100", "transfer"):
        args = files.read_json(RESULTS / "vgg19_finetune" / run / "args.json")
        assert all(args[name] == getattr(chosen, name) for name in names), run


def test_benchmarks_are_kept_with_what_they_ran_on():
    for path in (RESULTS / "benchmarks").iterdir():
        command, day, device, versions, empty, *output = path.read_text().splitlines()
        script = re.match(r"\$ python (benchmarks/\w+\.py)( |$)", command)[1]
        assert (ROOT / script).is_file() and re.match(r"\d{4}-\d\d-\d\d, commit [0-9a-f]{12}$", day), path
        assert ", Keras on " in device and "Python 3." in versions and not empty and output, path
        assert path.stat().st_size < 50_000, path


def test_quoted_measurements_are_in_the_kept_output():
    """Every decimal and every number before a unit in a row of docs/performance.md whose benchmark is kept."""
    kept = {path.stem: path.read_text().split("\n\n", 1)[1].replace(",", "") for path in (RESULTS / "benchmarks").iterdir()}
    rows = re.findall(r"(?m)^\| `benchmarks/(\w+)\.py[^`]*` \|(.*)\|$", PAGES[ROOT / "docs" / "performance.md"])
    rows = [(name, row) for name, row in rows if name in kept]
    assert rows
    for name, row in rows:
        for number in re.findall(r"(?<![\w.])\d*\.\d+|\d[\d,]*(?= (?:s|ms|MiB|images/s)\b)", row):
            plain = re.escape(number.replace(",", "").lstrip("0"))
            assert re.search(rf"(?<![\d.])0?{plain}(?![\d.])", kept[name]), (name, number)


def test_quoted_kills_are_the_sum_of_the_kept_output():
    texts = [path.read_text() for path in (RESULTS / "benchmarks").iterdir()]
    kept = [text for text in texts if "kill_and_resume.py" in text.splitlines()[0] and "TERM" not in text.splitlines()[0]]
    if not kept:
        pytest.skip("not kept yet")
    counts = re.findall(r"(\d+) kills in .* ([\d,]+) numbers compared, (\d+) differ", "\n".join(kept))
    kills, numbers, differing = (sum(int(count.replace(",", "")) for count in column) for column in zip(*counts, strict=True))
    page = " ".join(PAGES[ROOT / "docs" / "reproducibility.md"].split())
    assert f"{kills} kills, {numbers:,} numbers compared, {differing} differ" in page


@pytest.mark.parametrize(
    "script, runs",
    [
        ("ab_split", ["default"]),
        ("vgg19", ["control", "lr-03"]),
        ("vgg19_finetune", ["scratch", "transfer"]),
        ("resnet152v2", ["control"]),
        ("efficientnetb7", ["lite0-plain", "lite0-32"]),
    ],
)
def test_what_the_scripts_call_measured_is_published(script, runs):
    measured = re.search(r"  measured (.*)", importlib.import_module(f"train_{script}").__doc__)[1]
    published = [files.read_json(RESULTS / script / run / "results.json") for run in runs]
    models = [model for results in published for model in results.get("models", {"": results}).values()]
    assert re.findall(r"(?<!\d)\.\d{4}", measured) == [f"{model['test_accuracy']:.4f}"[1:] for model in models]


def test_the_flags_are_all_there_and_no_others(monkeypatch):
    known = set()

    def note(parser, argv=None):
        known.update(parser._option_string_actions)
        raise SystemExit

    monkeypatch.setattr(flags._Parser, "parse_args", note)
    for script in ROOT.glob("train_*.py"):
        with pytest.raises(SystemExit):
            importlib.import_module(script.stem).parse_args([])
    section = USING.split("\n## Flags\n")[1].split("\n## ")[0].replace("`--help` shows", "")
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", section)) == known - {"-h", "--help"}


def test_published_figures_are_small_enough():
    for figure in (ROOT / "plots").rglob("*.png"):
        assert figure.stat().st_size <= 200_000, figure


def test_figures_are_drawn_from_the_published_results_and_all_are_shown(tmp_path):
    make_plots.main(["--output-dir", str(tmp_path)])
    drawn = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")}
    copied = set(map(Path, publishing.COPIED))
    assert drawn.isdisjoint(copied)
    assert drawn | copied == {path.relative_to(ROOT / "plots") for path in (ROOT / "plots").rglob("*.png")}
    shown = {
        (page.parent / target).resolve()
        for page, text in PAGES.items()
        for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    }
    assert shown == {ROOT / "plots" / path for path in drawn | copied}
    for path in drawn:
        new, published = (Image.open(root / path) for root in (tmp_path, ROOT / "plots"))
        if new.info["Software"] == published.info["Software"]:  # another matplotlib sets its letters elsewhere
            difference = np.abs(np.asarray(new, int) - np.asarray(published, int))
            assert difference.mean() < 0.05, path
