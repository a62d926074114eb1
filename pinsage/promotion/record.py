"""A decision on disk: decision.json, and decision.md for people."""

from __future__ import annotations

import json
from pathlib import Path

from pinsage.errors import ArtifactError
from pinsage.promotion.decide import Decision
from pinsage.store import Facts

JSON, MARKDOWN = "decision.json", "decision.md"
_MARKS = {"holds": "✓ ", "fails": "✗ ", "unsure": "? ", "note": ""}
_TITLES = {
    "promote": "Promoted: readers follow the new version",
    "refuse": "Refused: readers stay where they are",
    "ask": "A person is asked: readers stay where they are until then",
}


def write_decision(decision: Decision, out: Path) -> Facts:
    """Write both files. Returns verdict, forced, champion, and the numbers of the change."""
    document = json.dumps(decision.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    (out / JSON).write_text(document + "\n", encoding="utf-8")
    (out / MARKDOWN).write_text(to_markdown(decision), encoding="utf-8")
    comparison = decision.evidence.comparison
    facts: Facts = {
        "verdict": decision.verdict,
        "forced": decision.forced,
        "champion": comparison.champion,
        "failed": [reason.rule for reason in decision.reasons if reason.outcome == "fails"],
    }
    if (change := comparison.primary) is not None:
        facts |= {
            "change": change.value,
            "change_low": change.low,
            "change_high": change.high,
            "metric": change.metric,
        }
    return facts


def read_decision(folder: Path) -> Decision:
    """The decision in an artifact's folder. Raises ArtifactError where it cannot be read."""
    file = folder / JSON
    try:
        return Decision.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be read ({error}); decide again") from None


def to_markdown(decision: Decision) -> str:
    """The verdict, and a line a rule; no text of a user's data stands unescaped."""
    title = _TITLES[decision.verdict]
    if decision.forced:
        title = "Promoted by force, in spite of what is marked"
    # A list: Prefect's pages cut the lines of a table where those of a list go on below.
    lines = [f"**{title}.**", ""]
    lines += [
        f"- {_MARKS[reason.outcome]}**{inert(reason.rule)}**: {inert(reason.text)}"
        for reason in decision.reasons
    ]
    return "\n".join(lines) + "\n"


def inert(text: str) -> str:
    """Anybody's text as Markdown that says it and does nothing, on one line."""
    # Slices are named by a catalog's values: anybody's text.
    clean = "".join(c if c.isprintable() else " " for c in text)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("*", "&#42;"),
                         ("[", "&#91;"), ("]", "&#93;"), ("`", "&#96;")):  # fmt: skip
        clean = clean.replace(char, entity)
    return clean
