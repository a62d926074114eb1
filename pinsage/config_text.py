"""The configuration as TOML text: the effective one of a file, or every key there is with its help.

Invariant: `to_toml` is read back by `pinsage.config.load_config` as an equal configuration.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pinsage.config import Config

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_Table = tuple[str, ...]


def to_toml(config: Config) -> str:
    """Every value of a validated configuration. Keys that are not set are left out."""
    return "\n".join(_tables(config.model_dump(mode="json", exclude_none=True), ())) + "\n"


def profile(values: Mapping[str, Any], comment: str) -> str:
    """Some values by `group.key`, as a file to be laid over another; `comment` begins it."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *groups, leaf = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return "\n".join([*_comment(comment), *_tables(tree, ())]) + "\n"


def reference() -> str:
    """Every key with its help, bounds and default, as TOML; keys to be filled in are comments."""
    return "\n".join(_described(Config, ())) + "\n"


def _tables(tree: dict[str, Any], table: _Table) -> Iterator[str]:
    leaves = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    if table and (leaves or not tree):
        yield f"\n[{_dotted(table)}]"
    for key, value in leaves.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _tables(value, (*table, key))


def _described(group: type[BaseModel], table: _Table) -> Iterator[str]:
    yield from _comment(group.__doc__ or "")
    groups = {name: _group(field) for name, field in group.model_fields.items()}
    if table and not all(groups.values()):
        yield f"[{_dotted(table)}]"
    for name, field in group.model_fields.items():
        if groups[name] is None:
            yield from _comment(" ".join(filter(None, (field.description, _limits(field)))))
            yield _assignment(name, field)
    for name, child in groups.items():
        if child is not None:
            yield ""
            yield from _described(child, (*table, name))


def _group(field: FieldInfo) -> type[BaseModel] | None:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _assignment(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return f"# {name} =  (required)"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return f"# {name} ="
    plain = default if isinstance(default, bool | int | float | tuple | dict) else str(default)
    return f"{name} = {_value(plain)}"


def _limits(field: FieldInfo) -> str:
    choices = [
        repr(choice)
        for kind in (field.annotation, *get_args(field.annotation))
        if get_origin(kind) is Literal
        for choice in get_args(kind)
    ]
    bounds = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in _SIGNS.items()
        if hasattr(limit, name)
    ]
    if choices:
        return f"(one of {', '.join(choices)})"
    return f"({', '.join(bounds)})" if bounds else ""


def _comment(text: str) -> list[str]:
    words = " ".join(text.split())
    return textwrap.wrap(words, 96, initial_indent="# ", subsequent_indent="# ")


def _dotted(table: _Table) -> str:
    return ".".join(_key(part) for part in table)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else repr(value)
