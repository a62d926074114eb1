"""What is drawn in a terminal: complete, and inert whatever the data say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pinsage.display import plain, show_explanation
from pinsage.explain.evidence import load_evidence
from pinsage.explain.explanation import Explanation, explain
from pinsage.explain.parts import Ablation, ItemRef, Stripped
from pinsage.retrieval.published import load_published


@pytest.fixture(scope="module")
def found(tiny_run: SimpleNamespace) -> Explanation:
    root = tiny_run.config.root
    return explain(load_evidence(root, load_published(root, "tiny")), 0, 5, contexts=2)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def test_every_part_has_its_heading(found: Explanation, capsys: pytest.CaptureFixture[str]) -> None:
    show_explanation("tiny", "v1", found)
    shown = capsys.readouterr().out
    assert found.summary in shown
    for part in ("Places among 39 items", "by content alone", "Users", "Random walks", "Content"):
        assert part in shown
    assert f"{found.score.value:.3f}" in shown
    assert found.shared_contexts.shown[0].user_id in shown


def test_neighbours_by_content_are_not_shown_as_visits(
    found: Explanation, capsys: pytest.CaptureFixture[str]
) -> None:
    new = replace(found.walks.forward, visits=0, of=0, place=2, weight=0.375, by_content=True)
    show_explanation("tiny", "v1", replace(found, walks=replace(found.walks, forward=new)))
    shown = capsys.readouterr().out
    assert "Random walks and likeness by content" in shown
    assert "0 of 0" not in shown
    assert "0.375" in shown


def test_parts_with_nothing_in_them_are_left_out(
    found: Explanation, capsys: pytest.CaptureFixture[str]
) -> None:
    unranked = replace(found.ablation.without_neighbours, standing=None)
    bare = replace(
        found,
        content=(),
        common_neighbours=replace(found.common_neighbours, number=0, top=()),
        shared_contexts=replace(found.shared_contexts, lift=None, shown=()),
        ablation=Ablation(unranked, Stripped(0.25, None)),
    )
    show_explanation("tiny", "v1", bare)
    shown = capsys.readouterr().out
    for part in ("Content", "Neighbours in common", "newest first"):
        assert part not in shown
    assert "0.250" in shown
    assert "–" in shown


def test_a_hostile_title_is_text_on_one_line(
    found: Explanation, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "[red]x[/red]\x1b[2J\x07\r\n\u202ereversed"
    show_explanation("tiny", "v1", replace(found, item=ItemRef("i5", hostile)))
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown
    assert not set("\x1b\x07\r\u202e") & set(shown)
    assert plain(hostile).plain.count("\n") == 0
