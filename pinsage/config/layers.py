"""Settings laid over each other: files first to last, then `group.key=value` from the shell.

Groups are merged, everything else is replaced, lists too. Invariant: nothing given is changed, and
each value knows who gave it last, so that a mistake is looked for in the right file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinsage.errors import ConfigError

Tree = dict[str, Any]
Key = tuple[str, ...]

_SHELL = "--set"


@dataclass(frozen=True)
class Layers:
    """What several files and overrides come to.

    Attributes:
        tree: the merged settings, not yet validated
        where: the files, as messages begin
        origins: who gave each value last
    """

    tree: Tree
    where: str
    origins: Mapping[Key, str]

    def origin(self, place: Sequence[int | str]) -> str | None:
        """Who gave the value at `place`, or all of the group there; None where nobody alone did."""
        found = {
            origin
            for key, origin in self.origins.items()
            if all(mine == theirs for mine, theirs in zip(key, place, strict=False))
        }
        return found.pop() if len(found) == 1 else None


def read_layers(files: Sequence[Path], overrides: Sequence[str] = ()) -> Layers:
    """Read TOML files, a later one over the earlier ones, and the overrides over all.

    Raises ConfigError for a file that cannot be read, and where one has a value and another a
    group under the same key.
    """
    tree: Tree = {}
    origins: dict[Key, str] = {}
    for file in files:
        above = _read(file)
        tree = lay_over(tree, above, name=str(file))
        origins |= dict.fromkeys(_leaves(above), str(file))
    for override in overrides:
        origins[_set(tree, override)] = _SHELL
    return Layers(tree, " + ".join(map(str, files)), origins)


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any], *, name: str) -> Tree:
    """`below` with the values of `above`; `name` begins the message where the two do not fit."""
    merged = _copy(below)
    for key, value in _leaves(above).items():
        _put(merged, key, value, name=name)
    return merged


def _leaves(tree: Mapping[str, Any], prefix: Key = ()) -> dict[Key, Any]:
    return dict(_walk(tree, prefix))


def _walk(tree: Mapping[str, Any], prefix: Key) -> Iterator[tuple[Key, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _copy(tree: Mapping[str, Any]) -> Tree:
    return {
        key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()
    }


def _put(tree: Tree, key: Key, value: Any, *, name: str) -> None:
    *groups, leaf = key
    node = tree
    for number, group in enumerate(groups, start=1):
        child = node.setdefault(group, {})
        if not isinstance(child, dict):
            raise ConfigError(
                f"{name}: {'.'.join(key[:number])} is a group here, and a value in a file before "
                f"it (got {child!r}); write it the same way in both"
            )
        node = child
    if isinstance(node.get(leaf), dict):
        if value == {}:  # an empty group says nothing
            return
        raise ConfigError(
            f"{name}: {'.'.join(key)} is a value here (got {value!r}), and a group in a file "
            f"before it; write it the same way in both"
        )
    node[leaf] = value


def _set(tree: Tree, override: str) -> Key:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r}: expected group.key=value")
    *groups, leaf = place = tuple(key.strip().split("."))
    node = tree
    for group in groups:
        child = node.setdefault(group, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {group} is a value, not a group")
        node = child
    try:
        node[leaf] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        node[leaf] = value.strip()  # a bare word is a string, as a shell user expects
    return place


def _read(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such configuration file; see configs/ for examples"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
