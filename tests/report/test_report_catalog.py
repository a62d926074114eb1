"""Titles, categories and groups of a catalog, and its images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from pinsage.config import Config, parse_config
from pinsage.errors import ArtifactError
from pinsage.report.catalog import Catalog
from pinsage.report.images import BUDGET, SIDE, Pictures, web_address


def config_of(folder: Path, features: dict[str, str], **items: Any) -> Config:
    catalog = {"path": str(folder / "items.csv"), "features": features, **items}
    data = {"interactions": {"path": "log.csv"}, "items": catalog}
    return parse_config({"name": "t", "data": data})


def opened(folder: Path, frame: Mapping[str, Any], config: Config) -> Catalog:
    pd.DataFrame(frame).to_parquet(folder / "items.parquet")
    return Catalog.open(folder, config)


def test_an_item_without_a_title_is_called_by_its_id(tmp_path: Path) -> None:
    frame = {"item_id": [7, 8], "title": ["One", None]}
    catalog = opened(tmp_path, frame, config_of(tmp_path, {}))
    assert [catalog.title(row) for row in (0, 1)] == ["One", "8"]
    assert catalog.groups().labels == ("all items",)
    assert catalog.categories(0) == ()
    assert catalog.image(0) is None


def test_a_list_or_a_separated_text_is_several_categories(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"tags": "multicategorical"})
    texts = {"item_id": [1, 2, 3], "title": ["a", "b", "c"], "tags": ["x| y", "", None]}
    lists = {**texts, "tags": [["x", "y"], [], None]}
    for frame in (texts, lists):
        catalog = opened(tmp_path, frame, config)
        assert [catalog.categories(row) for row in range(3)] == [("x", "y"), (), ()]


def test_eight_frequent_values_have_a_colour_and_the_rest_are_other(tmp_path: Path) -> None:
    brands = [f"b{n}" for n in range(10) for _ in range(10 - n)] + [None]
    frame = {"item_id": range(len(brands)), "title": brands, "brand": brands}
    groups = opened(tmp_path, frame, config_of(tmp_path, {"brand": "categorical"})).groups()
    assert groups.labels == (*(f"b{n}" for n in range(8)), "other", "not given")
    assert groups.of[0] == 0
    assert groups.of[-4:] == (8, 8, 8, 9)


def test_an_item_of_several_groups_has_its_first_frequent_one(tmp_path: Path) -> None:
    rare = [f"r{n}" for n in range(9)]
    tags = ["r8|common", *(f"{r}|common" for r in rare), *(f"common|{r}" for r in rare[:6])]
    frame = {"item_id": range(len(tags)), "title": tags, "tags": tags}
    groups = opened(tmp_path, frame, config_of(tmp_path, {"tags": "multicategorical"})).groups()
    assert groups.labels[0] == "common"
    assert groups.labels[groups.of[0]] == "r8"  # twice, as r0 to r5: one of the eight
    assert groups.labels[groups.of[8]] == "common"  # r7, once, is none of them


def test_equally_frequent_values_go_by_name_and_no_empty_group_is_listed(tmp_path: Path) -> None:
    frame = {"item_id": [1, 2], "title": ["a", "b"], "brand": ["z", "y"]}
    groups = opened(tmp_path, frame, config_of(tmp_path, {"brand": "categorical"})).groups()
    assert groups.labels == ("y", "z")
    assert groups.of == (1, 0)


def test_the_slice_column_goes_before_the_first_category(tmp_path: Path) -> None:
    features = {"name": "text", "tags": "multicategorical", "brand": "categorical"}
    config = config_of(tmp_path, features)
    frame = {"item_id": [1], "title": ["a"], "name": ["a"], "tags": ["t|u"], "brand": ["b"]}
    assert opened(tmp_path, frame, config).groups().column == "brand"
    evaluation = config.evaluation.model_copy(update={"slice_column": "tags"})
    sliced = opened(tmp_path, frame, config.model_copy(update={"evaluation": evaluation}))
    assert sliced.groups().column == "tags"
    assert sliced.categories(0) == ("t", "u")
    assert opened(tmp_path, frame, config_of(tmp_path, {"name": "text"})).groups().column is None


def test_a_broken_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"no parquet")
    with pytest.raises(ArtifactError, match=r"items\.parquet: cannot be read"):
        Catalog.open(tmp_path, config_of(tmp_path, {}))


def picture(path: Path, size: tuple[int, int] = (200, 100), mode: str = "RGB") -> str:
    Image.new(mode, size, 128 if mode == "L" else (200, 30, 30, 128)[: len(mode)]).save(path)
    return path.name


def decoded(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "RGB"), ("a.png", "RGBA"), ("a.gif", "L")])
def test_a_file_beside_the_catalog_becomes_a_small_square(
    tmp_path: Path, name: str, mode: str
) -> None:
    pictures = Pictures.of(config_of(tmp_path, {}))
    assert pictures.number(picture(tmp_path / name, mode=mode)) == 0
    assert decoded(pictures.styles[0]).size == (SIDE, SIDE)


def test_a_picture_is_in_the_page_once(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path)
    first, second = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    numbers = [pictures.number(name) for name in (first, second, first)]
    assert numbers == [0, 1, 0]
    assert len(pictures.styles) == 2


def test_what_is_no_image_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "drawing.svg").write_text("<svg onload='pwned()'/>")
    pictures = Pictures(tmp_path)
    for address in (None, "", "text.png", "drawing.svg", "missing.png", ".", "a\0b", "x" * 5000):
        assert pictures.number(address) is None
    assert pictures.styles == []


def test_an_image_of_too_many_pixels_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinsage.report.images._MOST_PIXELS", 100)
    assert Pictures(tmp_path).number(picture(tmp_path / "large.png")) is None


def test_pictures_stop_at_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    pictures = Pictures(tmp_path)
    assert pictures.number(first) == 0
    monkeypatch.setattr("pinsage.report.images.BUDGET", len(pictures.styles[0]) + 1)
    assert pictures.number(second) is None
    assert BUDGET < 1 << 20


@pytest.mark.parametrize(
    ("address", "is_one"),
    [("https://example.org/a.png", True), ("http://example.org", True), ("javascript:x()", False),
     ("data:text/html,x", False), ("file:///a.png", False), ("a.png", False), ("https:", False),
     ("https://[", False), (f"https://example.org/{'x' * 3000}", False), (None, False)],
)  # fmt: skip
def test_only_addresses_of_the_web_become_links(address: str | None, is_one: bool) -> None:
    assert (web_address(address) is not None) is is_one
    if is_one:
        assert Pictures(Path()).number(address) is None
