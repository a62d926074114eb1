"""From what is shown to one HTML file: templates, style and script become a single text.

Every text is escaped by the template; the policy in the page's head allows no request, no style
but the page's own, and no script but the one whose digest it names.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pinsage.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment

_STYLES = ("base.css", "parts.css", "figures.css", "neighbours.css")
_SCRIPTS = ("table.js", "search.js", "map.js", "print.js")
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_TEMPLATES = files("pinsage.report") / "templates"


def render(shown: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The page. `pictures` are data URIs, which items name by their number.

    Raises MissingExtraError without Jinja.
    """
    script = _joined(_SCRIPTS)
    template = _environment().get_template("page.html")
    return template.render(
        **shown,
        policy=_policy(script),
        script=script,
        style=_joined(_STYLES) + _backgrounds(pictures),
    )


def embedded_json(value: Any) -> str:
    """JSON that may stand inside a script element: it can neither end it nor begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return text


def _policy(script: str) -> str:
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _joined(names: Sequence[str]) -> str:
    return "\n".join(_read(name) for name in names)


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _backgrounds(pictures: Sequence[str]) -> str:
    """One rule a picture: an image that is shown in many lists is in the page once."""
    return "".join(f".p{n}{{background-image:url({uri})}}\n" for n, uri in enumerate(pictures))


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError(
            "the report needs Jinja, which is not installed; pip install jinja2"
        ) from None
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["units"] = _units
    return environment


def _units(text: str) -> str:
    """A number and its per cent sign stay on one line."""
    return text.replace(" %", "\u202f%")
