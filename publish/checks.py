"""Whether README.md, docs/ and the scripts' docstrings agree with plots/results/ and with each other.

Every check takes the pages, texts by name, and the root of the repository, and gives a line for each disagreement.
"""

import difflib
import re
import tempfile
from pathlib import Path

import cv2
import numpy as np

from common import files
from common.results import comparison, finished_runs
from publish import figures, runs, tables

MEASURED = {  # the published runs whose accuracies a script's docstring gives, in this order
    "ab_split": ["default"],
    "efficientnetb7": ["lite0-plain", "lite0-32"],
    "resnet152v2": ["control"],
    "vgg19": ["control", "lr-03"],
    "vgg19_finetune": ["scratch", "transfer"],
}
STUDIES = {  # what tells the points of a study apart, and how many seeds each has
    "ab": (("model", "samples"), 5),
    "transfer": (("model", "samples"), 3),
    "upscaling": (("interpolation", "head"), 3),
}
FEWER_SEEDS = "lite0-finetuned"  # takes a GPU
TRAINED_ALIKE = ("scratch", "scratch-longer", "cifar100", "transfer")  # runs of VGG19 at 32x32


def disagreements(root):
    """A line for each disagreement of the pages of a repository, README.md and the like, with its files."""
    paths = (*sorted(root.glob("*.md")), *sorted(root.glob("docs/*.md")))
    pages = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    for check in (readme, links, generated, docstrings, published, studies, benchmarks, plots):
        yield from check(pages, root)


def readme(pages, root):
    """The README is short, and GitHub shows its code and its tables whole."""
    text = pages["README.md"]
    if len(text.splitlines()) > 200 or len(text.encode()) > 13_000:
        yield "README.md has over 200 lines or 13,000 bytes"
    for line in "".join(re.findall(r"(?s)```\w*\n(.*?)```", text)).splitlines():
        if len(line) > 100:
            yield f"README.md: a line of code has over 100 characters: {line}"
    for page in tables.FILES:
        for line in re.findall(r"(?m)^\| (\[.*) \|$", "".join(_between("(?:results|controls)", pages[page]))):
            if len(re.sub(r"\[([^]]*)\]\(\S*\)", r"\1", line).replace(" | ", " ")) > 130:
                yield f"{page}: a row of a table has over 130 characters: {line}"


def links(pages, root):
    """Every link leads somewhere, and every file that is named is there; benchmarks have the flags that stand beside them."""
    for page, text in pages.items():
        for target in re.findall(r"\]\((?!https://)([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            linked = (root / page).parent / path if path else root / page
            if not linked.exists() or (anchor and anchor not in _anchors(linked.read_text(encoding="utf-8"))):
                yield f"{page}: the link to {target} leads nowhere"
        for path, options in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|txt|cff))( [^`]*)?`", text):
            if not (root / path).is_file():
                yield f"{page}: there is no {path}"
            elif path.startswith("benchmarks/"):
                known = (root / path).read_text()
                missing = [flag for flag in re.findall(r"--[\w-]+", options) if f'"{flag}"' not in known]
                yield from (f"{page}: {path} has no {flag}" for flag in missing)


def generated(pages, root):
    """Tables and commands are as make_plots.py writes them."""
    for name in tables.PARTS:
        if sum(len(_between(name, pages[page])) for page in tables.FILES) != 1:
            yield f"<!-- {name} --> and <!-- /{name} --> must stand once in {' or '.join(tables.FILES)}"
    for page in tables.FILES:
        old, new = pages[page].splitlines(), tables.update(pages[page], root / "plots" / "results").splitlines()
        for change, first, last, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            there, ours = (" ".join(lines) or "nothing" for lines in (old[first:last], new[start:end]))
            if change != "equal":
                yield f"{page}, line {first + 1}: {there}; make_plots.py writes {ours}"


def docstrings(pages, root):
    """What a script calls measured is the accuracy of published runs; what it calls documented is theirs, too."""
    for script, names in MEASURED.items():
        text = (root / f"train_{script}.py").read_text(encoding="utf-8")
        documented, measured = (re.search(rf"(?m)^  {word} +(.*)", text)[1] for word in ("documented", "measured"))
        folders = [root / "plots" / "results" / script / name for name in names]
        models = [record.results for folder in folders for record in finished_runs.read_run(folder)]
        accuracies = [f"{model['test_accuracy']:.4f}"[1:] for model in models]
        if re.findall(r"(?<!\d)\.\d{4}", measured) != accuracies:
            yield f"train_{script}.py: measured is {', '.join(accuracies)} in {', '.join(names)}, not {measured}"
        for number in {model["documented_accuracy"] for model in models} - set(map(float, re.findall(r"\.\d+", documented))):
            yield f"train_{script}.py: documented is {number} in {', '.join(names)}, not {documented}"


def published(pages, root):
    """The runs of a row differ only in their seeds, and are what README.md says of them."""
    results = root / "plots" / "results"
    for row in (*tables.RESULTS, *tables.CONTROLS):
        folders = tables.with_seeds(results / row.run)
        by_seed = [finished_runs.read_run(folder) for folder in folders]
        if [models[0].results["seed"] for models in by_seed] != [*range(len(by_seed))]:
            yield f"{row.run}: the seeds of its runs are not 0, 1 ..."
        if any(len(comparison.group(models)[0]) > 1 for models in zip(*by_seed, strict=True)):
            yield f"{row.run}: its runs differ in more than the seed"
        for folder, models in zip(folders, by_seed, strict=True):
            matrices = [figures.read_matrix(path)[0] for path in folder.rglob("confusion_matrix.csv")]
            right = sorted((int(np.trace(matrix)), int(matrix.sum())) for matrix in matrices)
            sizes = [(model.results["test_accuracy"], model.results["test_size"]) for model in models]
            if right != sorted((round(accuracy * size), size) for accuracy, size in sizes):
                yield f"{folder}: results.json does not give the accuracies of its confusion matrices, {right}"
            yield from _not_as_told(row, models[0])
    best = max(files.read_csv(results / "vgg19_settings" / "points.csv"), key=lambda point: point["val accuracy"])["command"]
    for name in TRAINED_ALIKE:
        command = files.read_json(results / "vgg19_finetune" / name / "environment.json")["command"]
        if tables.setting(command) != tables.setting(best) or " --schedule cosine " not in command:
            yield f"vgg19_finetune/{name} has other settings than val chose: {tables.setting(best)}"


def _not_as_told(row, record):
    """What README.md says of all rows but those of the A/B split."""
    results = record.results
    if results["experiment"] == "ab_split":
        return
    size = (results["train_size"] + results["val_size"], results["test_size"])
    if size != ((1125, 375) if results["data"] == "scenes" else (50_000, 10_000)):
        yield f"{row.run}: {size} images are not all of CIFAR-10 or of the scenes"
    is_random = record.args["weights"] == "none" and results["experiment"] != "vgg19_finetune"
    if is_random != (row in tables.CONTROLS):
        yield f"{row.run}: controls, and only they, have random weights in a frozen backbone"
    if results["comparable"]:
        yield f"{row.run}: its documented number can be compared, which README.md says of the A/B split alone"


def studies(pages, root):
    """Every point of a study has the seeds 0, 1 ..., as many as docs/experiments.md says."""
    for study, (keys, num_seeds) in STUDIES.items():
        seeds = {}
        for row in files.read_csv(root / "plots" / "results" / study / "points.csv"):
            seeds.setdefault(tuple(row[key] for key in keys), []).append(row["seed"])
        for point, of_point in seeds.items():
            is_whole = len(of_point) == num_seeds or point[0] == FEWER_SEEDS
            if not is_whole or sorted(of_point) != [*range(len(of_point))]:
                yield f"{study}: the seeds of {point} are {of_point}, not the first {num_seeds}"
    told = f"standard deviation over {STUDIES['ab'][1]} seeds"
    if told not in pages["docs/experiments.md"]:
        yield f"docs/experiments.md does not say of the A/B split's study: {told}"


def benchmarks(pages, root):
    """What benchmarks printed is kept with what they ran on, and the numbers on the pages are in it."""
    kept, killed = {}, ""
    heading = r"\$ python (benchmarks/\w+\.py)(?: .*)?\n\d{4}-\d\d-\d\d, commit [0-9a-f]{12}\n.*, Keras on .*\n.*Python 3\..*"
    for path in sorted((root / "plots" / "results" / "benchmarks").iterdir()):
        first, _, output = path.read_text(encoding="utf-8").partition("\n\n")
        made_by = re.fullmatch(heading, first)
        if not (made_by and (root / made_by[1]).is_file() and 0 < len(output) < 50_000):
            yield f"{path.name} does not begin with command, commit, device and versions, or is empty, or too long"
        elif "kill_and_resume.py" in first and "TERM" not in first:
            killed += output
        kept[path.stem] = output.replace(",", "")
    name = None
    for cell, row in re.findall(r"(?m)^\| (.*?)\|(.*)\|$", pages["docs/performance.md"]):
        script = re.match(r"`benchmarks/(\w+)\.py", cell)
        name = script[1] if script else name  # or another row of the same
        for number in re.findall(r"(?<![\w.])\d*\.\d+|\d[\d,]*(?= (?:s|ms|MiB|images/s)\b)", row):
            plain = re.escape(number.replace(",", "").lstrip("0"))
            if name in kept and not re.search(rf"(?<![\d.])0?{plain}(?![\d.])", kept[name]):
                yield f"docs/performance.md: {number} is not in benchmarks/{name}.txt"
    counts = re.findall(r"(\d+) kills in .* (\d+) numbers compared (\d+) differ", killed.replace(",", ""))
    kills, numbers, differing = np.array(counts, int).reshape(-1, 3).sum(axis=0)
    told = f"{kills} kills, {numbers:,} numbers compared, {differing} differ"
    if told not in " ".join(pages["docs/reproducibility.md"].split()):
        yield f"docs/reproducibility.md does not say what benchmarks/kill_and_resume.txt does: {told}"


def plots(pages, root):
    """The figures in plots/ are small, shown on a page, and those that make_plots.py draws."""
    folder = root / "plots"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    shown = {name for text in pages.values() for name in re.findall(r"!\[[^]]*\]\((?:\.\./)?plots/([^)]+)\)", text)}
    with tempfile.TemporaryDirectory() as temporary:
        drawn = {path.relative_to(temporary).as_posix() for path in figures.draw_all(folder / "results", Path(temporary))}
        for name in sorted(drawn & there):
            if _differ(folder / name, Path(temporary, name)):
                yield f"plots/{name} is not what make_plots.py draws"
    for name in sorted(there ^ (drawn | set(runs.COPIED))):
        yield f"plots/{name} is missing" if name not in there else f"plots/{name} is none of the figures of make_plots.py"
    for name in sorted(there):
        if name not in shown:
            yield f"plots/{name} is shown on no page"
        if (folder / name).stat().st_size > 200_000:
            yield f"plots/{name} has over 200,000 bytes"


def _differ(*paths):
    """Whether two figures differ visibly. One of another matplotlib always does: it sets letters elsewhere."""
    versions = {tuple(re.findall(rb"Matplotlib version[\d.]+", path.read_bytes())) for path in paths}
    one, other = (cv2.imread(str(path)).astype(int) for path in paths)
    return len(versions) == 1 and (one.shape != other.shape or np.abs(one - other).mean() >= 0.05)


def _between(name, text):
    """What stands between the markers of this name: a list of texts."""
    return re.findall(rf"(?s)<!-- {name} -->(.*?)<!-- /{name} -->", text)


def _anchors(text):
    """The anchors that GitHub makes of a page's headings."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"(?m)^#+ (.*)$", text)}
