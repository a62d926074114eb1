"""The page in a real browser: hostile titles are text, nothing is loaded, a phone can read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinsage.report.stage import PAGE, write_report

if TYPE_CHECKING:
    from tests.report.browser.conftest import Tab
    from tests.report.conftest import MakeInputs

HOSTILE = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=1>',
    "</script><script>window.pwned=1</script>",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "'; window.pwned=1; //",
    "<!--<script>",
    "javascript:window.pwned=1",
    "\u202egnp.exe\u202c and on",
    "\u0000bell\u0007\u001b[31mred",
    "x" * 10_000,
    "👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "כותרת עברית",
    "\u2028</style><style>body{display:none}",
    "&lt;b&gt;&amp;",
)
_FONTS = ("", "DejaVu Sans")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_inputs: MakeInputs) -> Path:
    """A report of a catalog in which every item has a hostile title, genre and image."""
    num = len(HOSTILE)
    titles = {row: HOSTILE[row % num] for row in range(300)}
    images = dict.fromkeys(range(300), "javascript:window.pwned=1")
    images |= dict.fromkeys(range(100), 'https://example.org/"><script>window.pwned=1</script>')
    inputs = make_inputs(titles=titles, images=images, genres=dict(enumerate(HOSTILE * 20)),
                         items={"image_column": "image"})  # fmt: skip
    out = tmp_path_factory.mktemp("report")
    write_report(inputs, out)
    return out / PAGE


def test_another_script_than_the_pages_own_is_refused(tab: Tab, page: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered.html"
    text = page.read_text(encoding="utf-8")
    altered.write_text(text.replace("</body>", "<script>window.pwned = 1</script></body>"))
    tab.open(altered)
    assert tab.run("window.pwned") is None
    assert any("Content Security Policy" in each for each in tab.complaints())


def text_of(tab: Tab, selector: str) -> list[str]:
    found: list[str] = tab.run(
        f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)"
    )
    return found


def assert_nothing_ran(tab: Tab) -> None:
    assert tab.run("window.pwned") is None
    assert tab.run("document.images.length") == 0
    assert tab.run("document.scripts.length") == 2
    assert tab.run("getComputedStyle(document.body).display") == "block"
    assert tab.complaints() == []
    assert tab.requests() == [tab.run("location.href")]


def test_hostile_titles_are_shown_as_text_and_nothing_is_requested(tab: Tab, page: Path) -> None:
    tab.open(page)
    shown = text_of(tab, ".title")
    for title in HOSTILE[:7]:
        assert title in shown
    assert "\ufffdgnp.exe\ufffd and on" in shown
    assert "\ufffdbell\ufffd\ufffd[31mred" in shown
    assert HOSTILE[10] in shown
    assert max(map(len, shown)) == 120
    assert_nothing_ran(tab)


def test_hostile_titles_are_text_when_searched(tab: Tab, page: Path) -> None:
    tab.open(page)
    for text in ("<script>window", "onerror=", "{{7*7}}", "</script>", "&lt;b"):
        tab.run("document.getElementById('search').value = ''")
        tab.run("document.getElementById('search').focus()")
        tab.type(text)
        marked = text_of(tab, "mark")
        assert marked
        assert {mark.lower() for mark in marked} == {text.lower()}
        visible = text_of(tab, ".query:not([hidden]) .title")
        assert any(text in title for title in visible)
    assert_nothing_ran(tab)


def test_hostile_titles_are_text_in_the_tip_of_the_map(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.run("document.getElementById('map-canvas').focus()")
    seen = set()
    for key in [each for each in ("Right", "Up", "Left", "Down") for _ in range(15)]:
        tab.press(f"Arrow{key}")
        seen |= set(text_of(tab, "#map-tip bdi"))
        assert tab.run("document.querySelectorAll('#map-tip *').length") == 2
    assert len(seen) > 8
    assert all(len(title) <= 60 for title in seen)
    assert_nothing_ran(tab)


def test_the_pointer_and_a_tap_show_an_items_title(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.run("document.getElementById('map-canvas').scrollIntoView({behavior: 'instant'})")
    tab.run("document.getElementById('map-canvas').focus()")
    tab.press("ArrowRight")  # an item near the middle; the pointer then finds it by its place
    place = tab.run(
        "(() => { const t = document.getElementById('map-tip').getBoundingClientRect();"
        "return [t.left, t.top]; })()"
    )
    title = text_of(tab, "#map-tip bdi")
    tab.press("Escape")
    assert tab.run("document.getElementById('map-tip').hidden") is True
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        tab.mouse(place[0] - 12, place[1] - 14, kind)
    assert text_of(tab, "#map-tip bdi") == title
    assert tab.run("document.getElementById('map-tip').hidden") is False


@pytest.mark.parametrize("font", _FONTS)
@pytest.mark.parametrize("width", [375, 1280])
def test_no_page_is_wider_than_its_window(tab: Tab, page: Path, width: int, font: str) -> None:
    tab.open(page, width=width)
    tab.run(f"document.body.style.fontFamily = '{font}'")
    tab.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert tab.run("document.documentElement.scrollWidth <= window.innerWidth") is True


def test_the_search_narrows_to_what_holds_the_text_and_escape_brings_all_back(
    tab: Tab, page: Path
) -> None:
    tab.open(page)
    every = tab.run("document.querySelectorAll('.query').length")
    tab.run("document.getElementById('search').focus()")
    tab.type("NO SUCH TITLE")
    assert tab.run("document.querySelectorAll('.query:not([hidden])').length") == 0
    assert text_of(tab, "#search-count") == [f"0 of {every} items, 0 neighbours"]
    tab.press("Escape")
    assert tab.run("document.querySelectorAll('.query:not([hidden])').length") == every
    assert tab.run("document.querySelectorAll('.query[open]').length") == 1
    assert text_of(tab, "mark") == []


def test_a_heading_sorts_its_table_from_high_to_low_and_back(tab: Tab, page: Path) -> None:
    tab.open(page)
    column = (
        "[...document.querySelector('.numbers').tBodies[0].rows]"
        ".map(row => Number(row.cells[3].dataset.order))"
    )
    click = "document.querySelector('.numbers').tHead.rows[0].cells[3].firstElementChild.click()"
    tab.run(click)
    values = tab.run(column)
    assert values == sorted(values, reverse=True)
    tab.run(click)
    assert tab.run(column) == values[::-1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_figures_contrasts_with_its_card_in_both_schemes(
    tab: Tab, page: Path, scheme: str
) -> None:
    tab.open(page, scheme=scheme)
    colours = tab.run(
        "[getComputedStyle(document.querySelector('#accuracy svg text')).fill,"
        " getComputedStyle(document.querySelector('#accuracy .card')).backgroundColor]"
    )
    text, card = (_luminance(colour) for colour in colours)
    assert (max(text, card) + 0.05) / (min(text, card) + 0.05) > 4.5  # WCAG 2.2, 1.4.3


def test_without_scripts_the_page_says_what_is_missing_and_shows_the_rest(
    tab: Tab, page: Path
) -> None:
    tab.open(page, scripts=False)
    assert tab.run("document.getElementById('search').closest('label').hidden") is True
    assert "drawn by a script" in tab.run("document.body.innerText")
    assert tab.run("document.querySelectorAll('.query').length") == 20


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
