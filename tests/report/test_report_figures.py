"""Figures: fixed axes, every method, text that stays text, the same bytes every time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from pinsage.report.evidence import Evidence, Number
from pinsage.report.figures import style
from pinsage.report.figures.accuracy import hit_rate_figure, mrr_figure
from pinsage.report.figures.training import training_figure
from pinsage.report.findings import Findings
from pinsage.report.stage import draw
from tests.report.cut_off import cut_off

if TYPE_CHECKING:
    from tests.report.conftest import MakeInputs


@pytest.fixture(scope="module")
def found(make_inputs: MakeInputs) -> Findings:
    return Findings.of(make_inputs())


def test_every_figure_has_its_name(found: Findings) -> None:
    assert set(draw(found)) == {
        "hit_rate", "mrr", "cosine", "popularity", "support", "time", "column", "training", "map",
    }  # fmt: skip


def test_slices_that_hold_no_pair_have_no_figure(found: Findings) -> None:
    slices = {name: parts for name, parts in found.evidence.test.slices.items() if name == "all"}
    evidence = replace(found.evidence, test=replace(found.evidence.test, slices=slices))
    names = set(draw(replace(found, evidence=evidence)))
    assert not names & {"popularity", "support", "time", "column"}


def test_hit_rate_runs_from_one_to_the_catalog_and_names_every_method(found: Findings) -> None:
    test = found.evidence.test
    figure = hit_rate_figure(test)
    (axes,) = figure.axes
    assert axes.get_xlim() == (1, 299)
    assert axes.get_ylim() == (0, 1)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(labels) == 11
    assert labels[0] == f"PinSage {100 * test.headline('PinSage').value:.0f} %"


def test_bars_have_a_fixed_order_and_a_round_end(found: Findings) -> None:
    (axes,) = mrr_figure(found.evidence.test).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == list(found.evidence.test.methods)
    assert axes.get_xlim()[1] in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@pytest.mark.parametrize(
    ("highest", "end"), [(0.004, 0.01), (0.19, 0.2), (0.2, 0.3), (0.79, 1.0), (1.0, 1.0)]
)
def test_axes_end_at_one_of_a_few_round_numbers(highest: float, end: float) -> None:
    assert style.limit_of(highest) == end


def test_warm_comes_before_rare_before_cold_and_two_before_ten(found: Findings) -> None:
    test = found.evidence.test
    assert test.parts("support") == ("warm", "rare", "cold")
    assert test.parts("popularity") == tuple(map(str, range(1, 11)))


def test_figures_are_drawn_where_no_interval_was_measured(found: Findings) -> None:
    bare = {
        key: Number(number.value, float("nan"), float("nan"), number.num_pairs)
        for key, number in found.evidence.test.numbers.items()
    }
    evidence = Evidence(replace(found.evidence.test, numbers=bare), found.evidence.valid, ())
    for name, figure in draw(replace(found, evidence=evidence)).items():
        assert style.svg(figure, name)


@pytest.mark.parametrize("epochs", [1, 5])
def test_training_marks_the_best_epoch(epochs: int) -> None:
    history = [
        {"epoch": epoch, "loss": 1 / epoch, "metrics": {"hit_rate_10": 0.5 - abs(epoch - 4) / 100}}
        for epoch in range(1, epochs + 1)
    ]
    below = training_figure(history, "hit_rate_10").axes[1]
    told = "best: epoch 4, 50.0 %" if epochs == 5 else "best: epoch 1, 47.0 %"
    assert below.texts[0].get_text() == told


def test_an_image_and_an_svg_are_the_same_bytes_every_time(found: Findings, tmp_path: Path) -> None:
    for number in range(2):
        figure = mrr_figure(found.evidence.test)
        style.png(figure, tmp_path / f"{number}.png")
        (tmp_path / f"{number}.svg").write_text(style.svg(figure, "mrr"))
    for kind in ("png", "svg"):
        first, second = ((tmp_path / f"{number}.{kind}").read_bytes() for number in range(2))
        assert first == second
    assert (tmp_path / "0.png").read_bytes().startswith(b"\x89PNG")


def test_every_svg_is_xml_with_text_own_ids_and_no_colour_of_its_own(found: Findings) -> None:
    seen: set[str] = set()
    for name, figure in draw(found).items():
        if name == "map":
            continue  # an image only
        text = style.svg(figure, name)
        root = ET.fromstring(text.replace("<svg ", '<svg xmlns="x" ', 1))  # noqa: S314
        ids = {element.get("id") for element in root.iter() if element.get("id")}
        assert all(str(each).startswith(f"{name}-") for each in ids)
        assert not seen & ids
        seen |= {str(each) for each in ids}
        assert re.search(r"<text [^>]*>PinSage", text) or name in ("cosine", "training")
        assert re.findall(r"#[0-9a-f]{6}\b", text) == []
        assert "font-family" not in text


def test_every_colour_of_a_figure_has_a_value_in_both_schemes() -> None:
    folder = Path(style.__file__).parents[1] / "templates"
    light, _, dark = (folder / "base.css").read_text().partition("prefers-color-scheme: dark")
    for colour, name in style.NAMES.items():
        assert f"--{name}:" in light
        assert f"--{name}:" in dark
        assert f"--{name}: {colour}" in light  # the image and the light page look the same


def test_no_text_of_a_figure_is_cut_off(found: Findings) -> None:
    for figure in draw(found).values():
        assert cut_off(figure) == []
