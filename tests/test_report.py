"""The report: one file, nothing from outside, no markup from data; and in a real browser."""

from __future__ import annotations

import base64
import errno
import html
import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam2track import masks
from sam2track import report as rooms
from sam2track.errors import OutputError, ProjectError, UsageError
from sam2track.export import cannot_write
from sam2track.export.videos import VideoWriter
from sam2track.frames.video import VideoFile
from sam2track.measure import Scale
from sam2track.project import Project
from sam2track.prompts import Prompt
from sam2track.report import _methods, report
from tests.made import disk, write_project

HOSTILE = [
    "</script ><script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "\"'><b>$data $overlay ${1} {{x}} %s",
    "&lt;&amp;\u2028\u202e<!--",
    "`${window.hit = 1}`\n\t\\",
]
FRAMES = 20
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a <b> & 'c'")
    video = folder / "clip <i>.mp4"
    with VideoWriter(video, height=60, width=80, threads=1) as writer:
        for t in range(FRAMES):
            writer.write(np.full((60, 80, 3), 10 * t, np.uint8))
    tracks = {
        i: {t: disk(10 + 3 * t, 8 + 10 * i, 5) for t in range(i, FRAMES)}
        for i in range(1, 1 + len(HOSTILE))
    }
    names = dict(enumerate(HOSTILE, start=1))
    write_project(folder / "p.s2t", tracks, source=video, names=names)
    with Project.open(folder / "p.s2t") as project:
        assert report(project, folder / "page.html", title=HOSTILE[0]) == []
    return folder / "page.html"


class Page(HTMLParser):
    """The elements of a page, and the text of each script by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs).get("id"), ""))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts:
            name, text = self.scripts[-1]
            self.scripts[-1] = name, text + data

    @property
    def data(self) -> Any:
        return json.loads(dict(self.scripts)["data"])


def test_data_is_data_alone(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    page = Page(text)
    kinds = [tag for tag, _ in page.elements]
    assert kinds.count("script") == 4
    assert "img" not in kinds and "b" not in kinds and "i" not in kinds
    assert "<" not in dict(page.scripts)["data"]
    assert html.escape(HOSTILE[0]) in text
    labels = [one["label"] for one in page.data["objects"]]
    assert labels == [f"{i} {name}".rstrip() for i, name in enumerate(HOSTILE, start=1)]
    assert [row[1] for row in page.data["objectRows"]] == HOSTILE


def test_nothing_comes_from_outside(made: Path) -> None:
    page = Page(made.read_text(encoding="utf-8"))
    for tag, attributes in page.elements:
        assert not {"src", "href", "srcset", "action"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    (policy,) = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert all(look["picture"].startswith("data:image/jpeg") for look in page.data["looks"])
    video = base64.b64decode(dict(page.scripts)["overlay"])
    assert video[4:8] == b"ftyp"


def test_what_it_says(made: Path) -> None:
    data = Page(made.read_text(encoding="utf-8")).data
    assert data["frames"] == list(range(1, FRAMES))
    assert data["times"][0] == 0 and data["clock"][0] == pytest.approx(1 / 25)
    first, last = data["objects"][0], data["objects"][-1]
    assert first["area"] == [81] * 19
    assert last["confidence"][:4] == [None] * 4 and last["confidence"][4] is not None
    charts = {chart["title"]: chart["series"] for chart in data["charts"]}
    assert list(charts) == [
        "area (px²)",
        "speed (px/s)",
        "object score",
        "confidence",
        "objects in sight",
    ]
    assert charts["speed (px/s)"][0]["values"][1:] == [75] * 18
    assert charts["objects in sight"][0]["values"] == [1] * 19
    seen = dict(zip(data["frames"], charts["objects in sight"][-1]["values"], strict=True))
    assert seen[1] == 0 and seen[FRAMES - 1] == 1  # none of it before it comes
    assert "5 boxes" in data["methods"] and "model none" in data["methods"]
    assert len(data["looks"]) == 12


def test_prompts_are_counted_by_kind(made: Path, tmp_path: Path) -> None:
    tracks = {1: {0: disk(20, 20, 5)}}
    with Project.open(write_project(tmp_path / "p.s2t", tracks, count=4), writable=True) as project:
        kinds = [
            Prompt(points=((1.0, 2.0),)),
            Prompt(mask=disk(20, 20, 5)),
            Prompt.painted(disk(20, 20, 5)),
            Prompt(absent=True),
        ]
        for frame, prompt in enumerate(kinds):
            project.add_prompt(1, frame, prompt)
        said = _methods(project, 0, 1, Scale())
    assert "They were given by 1 point, 1 mask, 1 edited or confirmed mask, 1 absence. " in said


def test_its_size_has_a_limit(made: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rooms, "BINS", 6)
    monkeypatch.setattr(rooms, "SHOWN", 5)
    monkeypatch.setattr(rooms, "_CHARTED", 2)
    monkeypatch.setattr(rooms, "_LISTED", 3)
    counts: list[int] = []
    film = rooms.render

    def counted(*arguments: Any, **options: Any) -> Any:
        found = film(*arguments, **options)
        counts.append(found.frames)
        return found

    monkeypatch.setattr(rooms, "render", counted)
    with Project.open(made.parent / "p.s2t") as project:
        report(project, tmp_path / "page.html", pixel_size_um=2.0)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = Page(text).data
    assert counts == [5]
    assert data["frames"] == [1, 5, 9, 13, 17]
    assert len(data["objects"]) == 3 and len(data["charts"][0]["series"]) == 2
    assert "2 more are left out" in data["listed"] and "3 more" in data["charted"]
    areas = [v for v in data["charts"][0]["series"][0]["values"] if v is not None]
    assert data["charts"][0]["title"] == "area (µm²)" and set(areas) == {4.0 * 81}


def test_moments_of_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "BINS", 3)
    means, least = rooms._Bins(10, 17), rooms._Bins(10, 17, least=True)
    assert means.first_frames == least.first_frames == [10, 13, 16]
    for frame, value in ((10, 0.5), (11, 0.25), (12, 0.75), (13, math.nan), (14, None), (16, 2.0)):
        means.add(1, frame, value)
        least.add(1, frame, value)
    assert (means.values(1), least.values(1)) == ([0.5, None, 2.0], [0.25, None, 2.0])
    assert means.values(2) == [None] * 3
    assert rooms._Bins(0, 6).first_frames == [0, 2, 4]


def test_masks_are_read_once_for_charts_and_table(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Confidence wants them; areas and places are stored, and no shapes are shown."""
    read = []
    decode = masks.decode_part
    monkeypatch.setattr(masks, "decode_part", lambda data: read.append(1) or decode(data))
    monkeypatch.setattr(masks, "decode", lambda _: pytest.fail("a whole mask was made"))
    with Project.open(made.with_name("p.s2t")) as project:
        report(project, tmp_path / "page.html", video=False, looks=0)
        assert len(read) == sum(1 for _ in project.rows()) > 0


def test_an_object_that_is_lost_is_not_in_sight(tmp_path: Path) -> None:
    seen, lost = disk(20, 20, 5), np.zeros_like(disk(20, 20, 5))
    write_project(tmp_path / "p.s2t", {1: {0: seen, 1: lost, 2: seen}})
    with Project.open(tmp_path / "p.s2t") as project:
        report(project, tmp_path / "page.html")
    data = Page((tmp_path / "page.html").read_text(encoding="utf-8")).data
    assert data["charts"][-1]["series"][0]["values"] == [1, 0, 1]


def test_of_many_objects_the_least_sure_come_first() -> None:
    sure: Any = {i: SimpleNamespace(values=np.array([i % 13 / 13])) for i in range(1, 14)}
    assert rooms._least_sure(sure, 12) == [13, *range(1, 12)]
    del sure[5]  # few enough to be charted all
    assert rooms._least_sure(sure, 12) == sorted(sure)


def test_an_interval_is_that_of_the_clock_and_not_of_the_player(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, close = [], VideoFile.close
    monkeypatch.setattr(VideoFile, "close", lambda self: (closed.append(self), close(self)))
    with Project.open(made.parent / "p.s2t") as project:
        report(project, tmp_path / "page.html", video=False, looks=0, frame_interval_s=2.0)
    data = Page((tmp_path / "page.html").read_text(encoding="utf-8")).data
    assert data["clock"] == [2.0 * t for t in data["frames"]]
    assert data["times"][:2] == pytest.approx([0, 1 / 25])
    assert len(closed) == 1


def test_without_pictures(made: Path, tmp_path: Path) -> None:
    source = tmp_path / "p.s2t"
    shutil.copy(made.parent / "p.s2t", source)
    with Project.open(source, writable=True) as project:
        project.set_meta(source="nowhere.mp4")
        (warning,) = report(project, tmp_path / "page.html")
    assert "nowhere.mp4" in warning
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "video" not in [tag for tag, _ in page.elements]
    assert page.data["warnings"] == [warning] and not dict(page.scripts)["overlay"].strip()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.s2t", "page.html"]


def test_a_full_disk_is_told_by_the_name_of_the_page(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, film: Path, **__: object) -> None:
        raise cannot_write(film, None) from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rooms, "render", full)
    with (
        Project.open(made.parent / "p.s2t") as project,
        pytest.raises(OutputError, match=r"^cannot write \S+/page.html: No space left"),
    ):
        report(project, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_no_half_is_left(made: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "page.html").write_text("old")
    (tmp_path / "file").write_text("")
    with Project.open(made.parent / "p.s2t") as project:
        for wrong in ("file/page.html", "missing/page.html"):
            with pytest.raises(OutputError, match="cannot write"):
                report(project, tmp_path / wrong)
        with pytest.raises(UsageError):
            report(project, tmp_path / "page.html", pixel_size_um=-1)

        def stopped(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(rooms, "write_page", stopped)
        with pytest.raises(KeyboardInterrupt):
            report(project, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "page.html"]
    with (
        Project.open(write_project(tmp_path / "none.s2t", {1: {}})) as empty,
        pytest.raises(ProjectError, match="no results"),
    ):
        report(empty, tmp_path / "none.html")


# -- in a browser -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is on PATH; wants one of {', '.join(BROWSERS)}")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def wait(page: Any, true: str) -> None:
    """Wait for the player; the page's policy forbids that the browser itself does."""
    for _ in range(500):
        if page.evaluate(
            f"(() => {{ const video = document.getElementById('video'); return {true} }})()"
        ):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"{true} came never true")


@pytest.fixture
def opened(browser: Any, made: Path) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if "http" in request.url else None)
    page.goto(made.as_uri())
    wait(page, "video.readyState >= 2")
    yield page
    assert said == []
    page.close()


def test_the_timeline_seeks(opened: Any) -> None:
    bars = opened.locator(".bar")
    assert bars.count() == len(HOSTILE)
    for part, index in ((0.5, 9), (0.0, 0), (0.99, 18)):
        wide = bars.nth(2).bounding_box()["width"]
        bars.nth(2).click(position={"x": min(wide - 1, part * wide), "y": 9})
        wait(opened, "!video.seeking")
        at = opened.evaluate("document.getElementById('video').currentTime")
        assert at == pytest.approx(index / 25, abs=0.01)
        assert opened.locator("#now").text_content().startswith(f"frame {index + 1},")
        heads = opened.evaluate("[...document.querySelectorAll('.head')].map(h => h.style.left)")
        assert len(set(heads)) == 1
        assert float(heads[0].rstrip("%")) == pytest.approx(100 * index / 19, abs=0.5)


def test_names_are_shown_as_they_are(opened: Any) -> None:
    assert opened.evaluate("window.hit") is None
    labels = [text.strip() for text in opened.locator(".row .label").all_text_contents()]
    assert labels == [f"{i} {name}".strip() for i, name in enumerate(HOSTILE, start=1)]
    assert opened.title() == HOSTILE[0]
    assert opened.locator("img").count() == opened.locator(".look img").count() == 12
    legend = " ".join(opened.locator(".u-legend .u-label").all_text_contents())
    assert HOSTILE[1] in legend
    assert opened.locator("b, i").count() == 0


def test_looks_and_charts_seek(opened: Any) -> None:
    look = opened.locator(".look").nth(3)
    frame = int(re.search(r"frame (\d+)", look.text_content())[1])
    look.click()
    wait(opened, "!video.seeking")
    assert opened.locator("#now").text_content().startswith(f"frame {frame},")
    assert opened.locator(".chart canvas").count() == 5
    chart = opened.locator(".chart .u-over").first
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] - 2, "y": 20})
    wait(opened, "!video.seeking")
    assert opened.locator("#now").text_content().startswith("frame 19,")


@pytest.mark.parametrize("width", [1100, 700, 400])
def test_charts_fill_their_place(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    wait(
        opened,
        "document.querySelector('.chart canvas').getBoundingClientRect().right <= innerWidth",
    )
    places = opened.locator(".chart").evaluate_all("all => all.map(c => c.clientWidth)")
    charts = opened.locator(".chart .uplot").evaluate_all("all => all.map(c => c.clientWidth)")
    assert charts == places
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_has_no_player(opened: Any) -> None:
    opened.emulate_media(media="print")
    assert not opened.locator("video").is_visible()
    assert not opened.locator("#now").is_visible()
    assert opened.locator("#timeline").is_visible()
