from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from report.conftest import Build
from report.synthetic import HOSTILE, put_plane
from thalweg import report
from thalweg.errors import MissingData
from thalweg.report.data import finite
from thalweg.store import Run


class Page(HTMLParser):
    """Tags with attributes, and text by the tag it is in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return report.write(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_it_is_written_where_asked_with_the_same_bytes_in_any_process(
    folder: Path, text: str, tmp_path: Path
) -> None:
    assert (folder / "report.html").read_text(encoding="utf-8") == text
    elsewhere = tmp_path / "new" / "page.html"
    program = f"from thalweg import report; report.write({str(folder)!r}, {str(elsewhere)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert elsewhere.read_bytes() == (folder / "report.html").read_bytes()


def test_nothing_is_loaded_and_nothing_runs(text: str, page: Page) -> None:
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    addresses = [
        value
        for _, tag in page.tags
        for key, value in tag.items()
        if key in ("src", "href", "action", "srcset")
    ]
    assert len(addresses) > 8
    assert all(re.match(r"data:image/(svg\+xml|png)[;,]|#[a-z]", address) for address in addresses)
    assert not re.search(r"url\(\s*['\"]?\s*(https?:|//)|@import", text)
    assert [tag["type"] for tag in page.all("script")] == ["application/json"]
    assert not [key for _, tag in page.tags for key in tag if key.startswith("on")]
    assert not page.all("link")
    assert not page.all("iframe")


def test_vector_images_load_nothing_either(page: Page) -> None:
    vectors = [tag["src"] for tag in page.all("img") if tag["src"].startswith("data:image/svg")]
    assert len(vectors) >= 6
    for source in vectors:
        assert not re.search(r"(?:href|src)%3D%22(?!%23)|(?:href|src)=%22(?!%23)|%3Cscript", source)


def test_every_figure_is_described_and_has_its_numbers(page: Page, text: str) -> None:
    images = page.all("img")
    assert len(images) == 8
    assert all(len(image["alt"]) > 60 for image in images)
    figures = re.findall(r"<figure.*?</figure>", text, flags=re.S)
    assert len(figures) == 6
    for figure in figures:
        assert re.search(
            r"<details><summary>Data: .*?<pre tabindex=\"0\">\n\w+[,_\w]*\n[-\d]", figure, flags=re.S
        )


def test_the_parts_come_in_order(text: str) -> None:
    parts = ["The bowl is nearly empty.", "Its floor is flat.", "Plane trajectory", "Plane random"]
    parts += [
        f'id="{name}"' for name in ("curves", "slice-line", "curvature", "numbers", "made", "reproduce")
    ]
    parts += ['id="thalweg-data"']
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "part",
    [
        "The plane random is a shadow.",
        "A line is a thin thing.",
        "dropout is off",
        "the path was cut at 3 points",
        "sha256 d17dde27",
        "torch: 2.13.0",
        "variance explained",
        "At 4 of 81 points the loss is not a finite number",
    ],
)
def test_limits_facts_and_notes_are_told(page: Page, part: str) -> None:
    assert part in " ".join(page.text)


def test_the_data_is_inside_as_strict_json(folder: Path, text: str) -> None:
    (inert,) = re.findall(
        r'<script type="application/json" id="thalweg-data">(.*?)</script>', text, flags=re.S
    )
    assert not re.search("[<>&]", inert)

    def refuse(word: str) -> Any:
        raise AssertionError(word)

    with Run.read(folder) as run:
        assert json.loads(inert, parse_constant=refuse) == finite(report.collect(run))


def test_hostile_names_come_out_escaped(build: Build) -> None:
    folder = build(
        target={
            "name": HOSTILE,
            "kind": "file",
            "description": f'"><img src=x onerror=alert(1)>{HOSTILE}',
            "notes": [HOSTILE],
        },
        verdict={"sentence": HOSTILE, "findings": [HOSTILE]},
    )
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        run.note(f"{HOSTILE} $\\frac{{1}}")
        labels = [f"$\\alpha {HOSTILE}", "b"]
        put_plane(
            run,
            "random",
            9,
            path=False,
            title=HOSTILE,
            labels=labels,
            limits=[HOSTILE],
            facts={HOSTILE: HOSTILE},
        )
    text = report.write(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert "<script>" not in text
    assert len(page.all("script")) == 1
    assert not [key for _, tag in page.tags for key in tag if key.startswith("on")]
    assert text.count(html.escape(HOSTILE)) >= 6
    assert "could not be drawn" not in text


def test_hostile_markup_cannot_leave_the_data_block(build: Build) -> None:
    text = report.write(build(verdict={"sentence": "</script><b>out</b>", "findings": []})).read_text()
    assert "b" not in [tag for tag, _ in Page(text).tags]


@pytest.mark.parametrize(
    "only", [(), ("target",), ("target", "eigenpairs", "verdict"), ("density", "sharpness")]
)
def test_a_partial_run_has_a_report_that_says_what_is_missing(build: Build, only: tuple[str, ...]) -> None:
    page = Page(report.write(build(only=only)).read_text(encoding="utf-8"))
    words = " ".join(page.text)
    assert "Not in this report" in words
    assert "slice along a line (slice.line)" in words
    assert ("kind of critical point" in words) == ("classification" not in only)
    assert len(page.all("figure")) == len({"eigenpairs", "density"} & set(only))


def test_a_damaged_result_is_left_out_and_said_so(build: Build) -> None:
    folder = build()
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        put_plane(run, "random", 9, path=False, path_loss=[1.0], distances=[2.0], labels=["a"])
        put_plane(run, "trajectory", 9, path=True, path_loss=[1.0])
    page = Page(report.write(folder).read_text(encoding="utf-8"))
    assert "slice.trajectory could not be drawn" in " ".join(page.text)
    assert "slice-random" in [figure["id"] for figure in page.all("figure")]


def test_a_surface_shows_its_formula_and_its_descent(build: Build) -> None:
    folder = build(only=("gradient",))
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        target = {
            "name": "valley",
            "kind": "surface",
            "equation": r"\tfrac12 x^\top A x",
            "minima": [[0.5, 0.5]],
        }
        run.put_result("target", target)
        put_plane(run, "random", 9, path=True, origin=[0.5, 0.5])
    page = Page(report.write(folder).read_text(encoding="utf-8"))
    assert next(image["alt"] for image in page.all("img")) == r"\tfrac12 x^\top A x"
    assert "training" in [figure["id"] for figure in page.all("figure")]


def test_a_formula_that_cannot_be_set_is_written(build: Build) -> None:
    target = {"name": "odd", "kind": "surface", "equation": r"\nosuchcommand{x"}
    page = Page(report.write(build(only=("target",), target=target)).read_text(encoding="utf-8"))
    assert not page.all("img")
    assert r"\nosuchcommand{x" in page.text


def test_two_maps_of_51_by_51_are_small(build: Build) -> None:
    folder = build(n=51)
    started = time.process_time()
    size = report.write(folder).stat().st_size
    # 4 s are the promise for a cold process on one core; this one has matplotlib loaded. A map of linear
    # cost takes 0.4 s, so that 6 s leave room for slow machines and none for a cost quadratic in the points.
    assert time.process_time() - started < 6
    assert size <= 1.5e6


def test_the_code_that_makes_it_again_runs(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"<pre tabindex=\"0\"><code>(.*?)</code></pre>", text, flags=re.S)
    monkeypatch.chdir(folder.parent)
    exec(html.unescape(shown), {})
    assert sorted(path.name for path in folder.parent.glob("*.pdf")) == ["random.pdf", "trajectory.pdf"]


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="holds no run"):
        report.write(tmp_path)
    assert not list(tmp_path.iterdir())
