"""The digest of source code: it changes with the code that a stage names, and with no other."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pinsage.errors import ArtifactError
from pinsage.store import code_digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_package_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "part.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def digest(*names: str) -> str:
    importlib.invalidate_caches()
    code_digest.cache_clear()
    return code_digest(names)


def test_changes_with_the_source_of_a_package(package: Path) -> None:
    before = digest(package.name)
    (package / "part.py").write_text("X = 2\n")
    changed = digest(package.name)
    (package / "more.py").write_text("")
    assert len({before, changed, digest(package.name)}) == 3


def test_of_a_module_ignores_its_neighbours(package: Path) -> None:
    before = digest(f"{package.name}.part")
    (package / "more.py").write_text("Y = 1\n")
    assert digest(f"{package.name}.part") == before


def test_ignores_the_order_of_the_names(package: Path) -> None:
    names = (package.name, "pinsage.errors")
    assert digest(*names) == digest(*reversed(names))


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.part", "pinsage.nothing"])
def test_unknown_module_is_an_error(name: str) -> None:
    with pytest.raises(ArtifactError, match=f"{name}: no such module"):
        digest(name)
