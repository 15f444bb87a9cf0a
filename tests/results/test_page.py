"""report.html of a run and the page of several, made from published runs and figures of a few pixels: no model is trained."""

import base64
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from contract import has_control
from makers import change_json
from test_escaping import WORDS

import compare
from common import files
from common.results import run_page
from common.results.metrics import per_class_intervals
from common.training.run import Experiment

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "plots" / "results"
VOID = {"meta", "img", "br"}
HOSTILE = WORDS | {
    "quote": '" onload="alert(1)',
    "template": "{{7*7}}{% for x in y %}",
    "end of the title": "</title><img src=https://example.com/x.png>",
    "comment": "<!--",
    "address": "javascript:alert(1)",
    "half a character": "a\udcffb",
}


class Page(HTMLParser):
    """A page's elements, checked to be closed in their order, its visible text and its title."""

    def __init__(self, path):
        super().__init__()
        self.source, self.tags, self.open, self.texts, self.title = path.read_text(encoding="utf-8"), [], [], [], ""
        self.feed(self.source)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):  # of SVG
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open[-1:] == ["title"]:
            self.title += text
        elif "style" not in self.open:
            self.texts.append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def skeleton(self):
        """Everything but what comes from the run: the elements and the names of their attributes."""
        return [(tag, sorted(attributes)) for tag, attributes in self.tags]


def draw(path, number=0):
    """A small figure that differs from the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
    image[:10] = 255
    cv2.imwrite(str(path), image)
    return image


def make_run(folder, published="resnet152v2/control", **changes):
    """A copy of a published run with figures; `changes` are of results.json."""
    shutil.copytree(PUBLISHED / published, folder)
    change_json(folder / "results.json", peak_memory_gib=1.5, **changes)
    several = files.read_json(folder / "results.json").get("models", [])
    for model in several or [""]:
        counts = files.read_csv(folder / model / "confusion_matrix.csv")
        intervals = per_class_intervals(np.array([list(row.values())[1:] for row in counts]))
        change_json(folder / model / "results.json", per_class_interval=intervals)  # which earlier versions lack
        for name, *_ in (run_page.CURVES, run_page.MATRIX, *run_page.FIGURES):
            draw(folder / model / "plots" / name, len(name))
    if several:
        draw(folder / "plots" / "overview.png", 2)
    return folder


def results_of(folder):
    """What results.json says of each model of a run."""
    results = files.read_json(folder / "results.json")
    return [files.read_json(folder / name / "results.json") for name in results.get("models", [""])]


def experiment_of(folder, **changes):
    results = files.read_json(folder / "results.json")
    title = "A/B split" if "models" in results else results["model"]
    made_of = {"name": results["experiment"], "title": title, "weights": results["weights"], "documented": 0.5}
    return Experiment(**made_of | {"remark": "on other terms"} | changes)


def write(folder, **changes):
    """The page of a run folder; `changes` are of its Experiment."""
    run_page.write(folder, files.read_json(folder / "results.json"), experiment_of(folder, **changes))
    return Page(folder / "report.html")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of one model, a sweep, a run of four models: folder by name."""
    root = tmp_path_factory.mktemp("runs")
    published = {"one": "resnet152v2/control", "sweep": "efficientnetb7/control", "four": "ab_split/default"}
    return {name: make_run(root / name, run) for name, run in published.items()}


@pytest.fixture(scope="module")
def pages(runs):
    return {name: write(folder) for name, folder in runs.items()}


@pytest.fixture(scope="module")
def comparison(runs, pages):
    """compare.html beside the runs, of all of them."""
    figure, path = runs["one"].parent / "curves.png", runs["one"].parent / "compare.html"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(compare, "draw", lambda rows, path: draw(path) is not None and path)
        compare.main([*map(str, runs.values()), "--figure", str(figure), "--html", str(path)])
    return Page(path)


def embedded(image):
    return cv2.imdecode(np.frombuffer(base64.b64decode(image["src"].removeprefix("data:image/png;base64,")), np.uint8), 1)


def test_every_figure_is_there_and_says_what_it_shows(runs, pages, comparison):
    for name, count in {"one": 10, "sweep": 10, "four": 4 * 9 + 1}.items():
        images = pages[name].all("img")
        assert len(images) == count and len({image["alt"] for image in images}) > 7
        for image in images:
            assert len(image["alt"]) > 40 and "{" not in image["alt"]
            assert embedded(image).shape == (int(image["height"]), int(image["width"]), 3)
    (image,) = comparison.all("img")
    assert image["alt"].startswith("Curves: Val accuracy") and embedded(image).shape == (30, 40, 3)
    (first, *_) = pages["one"].all("img")
    plots = {path.read_bytes() for path in (runs["one"] / "plots").iterdir()}
    assert base64.b64decode(first["src"].removeprefix("data:image/png;base64,")) in plots  # the file as it is


def test_a_figure_that_is_no_image_is_left_out(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "plots" / "mistakes.png").unlink()
    (folder / "plots" / "reliability.png").write_bytes(b"no image")
    assert len(write(folder).all("img")) == 8


def test_nothing_comes_from_elsewhere_and_nothing_runs(pages, comparison):
    for shown in (*pages.values(), comparison):
        assert shown.title and shown.all("html") == [{"lang": "en"}] and len(shown.all("h1")) == 1
        policy = next(meta["content"] for meta in shown.all("meta") if "http-equiv" in meta)
        assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in shown.tags}
        for tag, attributes in shown.tags:
            assert not [name for name in attributes if name.startswith("on")]
            assert attributes.get("src", "data:").startswith("data:") and (tag == "a" or "href" not in attributes)
        assert not re.search(r"https?:|@import|url\(|//", re.sub(r"data:[^\"]*", "", shown.source))
        targets = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
        assert all(link["href"][1:] in targets for link in shown.all("a") if link["href"].startswith("#"))


def test_the_numbers_are_those_of_results_json(runs, pages):
    for name, shown in pages.items():
        for scores in results_of(runs[name]):
            low, high = scores["test_accuracy_interval"]
            for text in (f"{scores['test_accuracy']:.4f}", f"{low:.4f} to {high:.4f}", f"{scores['trained_weights']:,}"):
                assert text in shown.text
            for class_name, accuracy, (low, high) in zip(*(scores[key] for key in run_page.PER_CLASS), strict=True):
                assert f"{class_name} {accuracy:.4f} {low:.4f} to {high:.4f}" in shown.text
            size, pair = f"{scores['test_size']:,} test", scores["most_confused"][0]
            assert size in shown.text and f"{pair['true']} taken for {pair['predicted']} ({pair['images']:,})" in shown.text
    sweep = files.read_csv(runs["sweep"] / "sweep.csv", convert=False)
    assert all(" ".join(row.values()) in pages["sweep"].text for row in sweep)
    assert " ".join([*sweep[0].values(), "chosen"]) in pages["sweep"].text and pages["sweep"].text.count("chosen") == 2


def test_what_was_run_is_told(runs, pages):
    for name, shown in pages.items():
        args, environment = (files.read_json(runs[name] / f"{part}.json") for part in ("args", "environment"))
        facts = (environment["command"], environment["git_commit"], environment["python"], environment["devices"][0])
        for text in (*facts, environment["precision"], *map(" ".join, environment["packages"].items())):
            assert text in shown.text
        assert all(f" {flag.replace('_', '-')} " in shown.text for flag in args)


# What results.json says instead, what environment.json does, what the page says then, and what it doesn't.
SAID = {
    "resumed": (
        {}, {"started": "20261127-101112", "resumed": [{"time": "2026-11-28 09:10:11"}, "damaged"]},
        ["started 2026-11-27 10:11:12", "Resumed 2026-11-28 09:10:11, damaged"], "balanced",
    ),
    "classes of other sizes": ({"test_balanced_accuracy": 0.4321}, {}, ["balanced accuracy 0.4321"], "Interrupted"),
    "comparable": (
        {"documented_accuracy": 0.8736, "comparable": True}, {}, ["Documented 0.8736 on other terms"], "not comparable"
    ),
    "not comparable": (
        {"documented_accuracy": 0.8736, "comparable": False}, {}, ["Documented 0.8736 not comparable"], "A dry run"
    ),
    "without a document": ({"documented_accuracy": None}, {}, ["no documented number for this data"], "0.8736"),
    "not as it should": (
        {"status": "interrupted", "dry_run": True, "val_accuracy": None}, {},
        ["Interrupted with Ctrl-C", "A dry run", "Val accuracy –"], "balanced",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_what_a_run_has_to_say_stands_on_its_page(tmp_path, case):
    changes, environment, said, unsaid = SAID[case]
    folder = make_run(tmp_path / "run", **changes)
    change_json(folder / "environment.json", **environment)
    shown = write(folder).text
    assert all(words in shown for words in said) and unsaid not in shown


def test_a_model_that_was_not_trained_has_no_section(tmp_path):
    folder = make_run(tmp_path / "four", "ab_split/default")
    change_json(folder / "results.json", models=files.read_json(folder / "results.json")["models"][:-1])
    change_json(folder / "a" / "results.json", test_balanced_accuracy=0.4321)
    shown = write(folder)
    assert [row["href"] for row in shown.all("a")] == ["#model-1", "#model-2", "#model-3"] and "balanced 0.4321" in shown.text


def set_everywhere(folder, word):
    """A run folder in which every text is `word`. Returns it."""
    results = files.read_json(folder / "results.json")
    for place in (folder, *(folder / name for name in results.get("models", []))):
        count = len(files.read_json(place / "results.json")["class_names"])
        texts = {"class_names": [f"{word}{number}" for number in range(count)], "data": word, "weights": word, "model": word}
        change_json(place / "results.json", **texts, most_confused=[{"true": word, "predicted": word, "images": 1}])
    change_json(folder / "args.json", name=word, data=word)
    environment = {"devices": [word], "packages": {word: word}, "resumed": [{"time": word}]}
    others = ("command", "started", "backend", "precision", "python", "platform", "processor", "git_commit")
    change_json(folder / "environment.json", **environment, **dict.fromkeys(others, word))
    return folder


@pytest.mark.parametrize("published", ["resnet152v2/control", "ab_split/default"])
def test_names_from_outside_are_only_text(tmp_path, published):
    folder = make_run(tmp_path / "run", published)
    shutil.rmtree(folder / "plots")
    draw(folder / "plots" / "confusion_matrix.png")
    texts = {}
    for kind, word in ({"harmless": "word"} | HOSTILE).items():
        shown = write(set_everywhere(folder, word), name="name", title=word, remark=word)
        texts[kind] = shown
        assert shown.skeleton() == texts["harmless"].skeleton(), kind
        assert not has_control(shown.source.replace("\n", "")), kind
        escaped = word if word.isprintable() else word.encode("unicode_escape").decode()
        assert shown.text.count(" ".join(escaped.split())) >= 15 and escaped in shown.title, kind
