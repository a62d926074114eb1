"""The command line as a user meets it: answers on stdout, one message and code 2 on bad input."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from pinsage.cli import command_line
from pinsage.config import Config, load_config, parse_config
from pinsage.config_text import reference, to_toml
from pinsage.console import EXTRAS, Commands, print_json
from pinsage.retrieval.index import write_index
from pinsage.retrieval.publish import publish
from pinsage.store import Artifact, Facts, Store, Workspace

MINIMAL = 'name = "films"\n[data.interactions]\npath = "plays.csv"\n'
TITLES = {
    "1": "Toy Story (1995)",
    "2": "Toy Story 2 (1999)",
    "3": "A Bug's Life (1998)",
    "4": "Heat (1995) [R]",
}
# Cosines with item 1 fall from item to item: 2 is nearest, then 3, then 4.
ANGLES = np.array([0.0, 0.1, 0.5, 1.5])


def pinsage(*arguments: object, standard_input: str | None = None) -> Result:
    return CliRunner().invoke(command_line(), [str(each) for each in arguments], standard_input)


def expect_refusal(result: Result, *fragments: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, "one message, no traceback"
    for fragment in fragments:
        assert fragment in result.stderr


def published_version(root: Path, angles: np.ndarray) -> str:
    """Publish four films with real artifacts, as the last flow of a night does."""
    config = Config.model_validate(
        {"name": "films", "root": root, "data": {"interactions": {"path": "plays.csv"}}}
    )
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    table = pd.DataFrame({"item_id": list(TITLES), "title": list(TITLES.values())})

    def ingest(work: Workspace) -> Facts:
        table.to_parquet(work.path / "items.parquet")
        return {"num_interactions": 9, "last_time": "2024-01-01T00:00:00+00:00"}

    def train(work: Workspace) -> Facts:
        (work.path / "model").mkdir()
        (work.path / "model" / "config.json").write_text('{"model": {}}')
        return {}

    def embed(work: Workspace) -> Facts:
        np.save(work.path / "embeddings.npy", vectors)
        return {"num_items": len(vectors), "dimension": 2}

    def nothing(_: Workspace) -> Facts:
        return {}

    def report(work: Workspace) -> Facts:
        (work.path / "report.html").write_text("<!doctype html>")
        return {}

    def made(stage: str, build: Callable[[Workspace], Facts] = nothing) -> Artifact:
        salt = {"angles": angles.tolist()}
        return Store(root).stage(stage, build, settings=salt, inputs={}, code=("pinsage.errors",))

    embedded = made("embed", embed)
    indexed = made(
        "index",
        lambda work: write_index(embedded.file("embeddings.npy"), config.index, 0, work.path),
    )
    version = publish(
        config,
        ingested=made("ingest", ingest),
        built=made("graph"),
        trained=made("train", train),
        evaluated=made("evaluate"),
        embedded=embedded,
        indexed=indexed,
        reported=made("report", report),
    )
    return version.name


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    published_version(folder, ANGLES)
    return folder


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "films.toml"
    file.write_text(MINIMAL)
    return file


class TestRecommend:
    def test_lists_the_nearest_first_and_not_the_item_itself(self, root: Path) -> None:
        result = pinsage("recommend", "1", "--root", root, "--json")
        answer = json.loads(result.stdout)
        assert answer["item"] == {"item_id": "1", "title": "Toy Story (1995)"}
        assert [each["item_id"] for each in answer["related"]] == ["2", "3", "4"]
        assert [each["rank"] for each in answer["related"]] == [1, 2, 3]
        assert answer["related"][0]["score"] == pytest.approx(np.cos(0.1))

    def test_k_bounds_the_answer(self, root: Path) -> None:
        result = pinsage("recommend", "1", "--root", root, "-k", "2", "--json")
        assert len(json.loads(result.stdout)["related"]) == 2

    def test_finds_a_title_by_part_of_it(self, root: Path) -> None:
        result = pinsage("recommend", "bug's life", "--root", root, "--name", "films")
        assert result.exit_code == 0
        assert "Related to A Bug's Life (1998)" in result.stdout

    def test_a_title_with_brackets_is_shown_as_it_is(self, root: Path) -> None:
        assert "Heat (1995) [R]" in pinsage("recommend", "1", "--root", root).stdout

    def test_takes_root_and_name_from_a_configuration(self, root: Path, config_file: Path) -> None:
        result = pinsage("recommend", "1", "-c", config_file, "--set", f"root={root}", "--json")
        assert json.loads(result.stdout)["name"] == "films"

    def test_refuses_an_ambiguous_title_with_the_matches(self, root: Path) -> None:
        result = pinsage("recommend", "toy story", "--root", root)
        expect_refusal(result, "Toy Story (1995)", "Toy Story 2 (1999)", "give the id")

    def test_refuses_an_unknown_item_with_the_closest_titles(self, root: Path) -> None:
        result = pinsage("recommend", "Toi Story (1995)", "--root", root, "--json")
        expect_refusal(result, "Toi Story", "did you mean Toy Story (1995)")

    def test_refuses_a_name_that_is_not_published(self, root: Path) -> None:
        result = pinsage("recommend", "1", "--root", root, "--name", "../films")
        expect_refusal(result, "../films is not published there, but films")

    def test_refuses_where_nothing_is_published_yet(self, tmp_path: Path) -> None:
        result = pinsage("recommend", "1", "--root", tmp_path)
        expect_refusal(result, str(tmp_path / "published"), "nothing is published", "pinsage run")

    def test_refuses_a_damaged_version(self, tmp_path: Path) -> None:
        version = published_version(tmp_path, ANGLES)
        index = tmp_path / "published" / "films" / version / "index.faiss"
        damaged = bytearray(index.read_bytes())
        damaged[-1] ^= 1
        index.write_bytes(damaged)
        result = pinsage("recommend", "1", "--root", tmp_path)
        expect_refusal(result, str(index), "checksum", "pinsage rollback")


class TestExplain:
    @pytest.fixture
    def tiny_root(self, tiny_run: SimpleNamespace) -> Path:
        root: Path = tiny_run.config.root
        return root

    def test_says_why_in_one_document(self, tiny_root: Path) -> None:
        answer = json.loads(pinsage("explain", "i0", "i5", "--root", tiny_root, "--json").stdout)
        assert answer["name"] == "tiny"
        assert answer["item"] == {"item_id": "i5", "title": "Harbour tale 5"}
        assert answer["summary"].startswith("Harbour tale 5 comes ")
        assert {"score", "shared_contexts", "walks", "paths", "content", "ablation"} <= set(answer)

    def test_agrees_with_recommend(self, tiny_root: Path) -> None:
        where = ("--root", tiny_root, "--json")
        first = json.loads(pinsage("recommend", "i0", *where).stdout)["related"][0]
        answer = json.loads(pinsage("explain", "i0", first["item_id"], *where).stdout)
        assert answer["score"]["standing"]["forward"]["rank"] == 1
        assert answer["score"]["value"] == pytest.approx(first["score"], abs=1e-6)

    def test_shows_the_sentence_and_tables(self, tiny_root: Path) -> None:
        result = pinsage("explain", "Harbour tale 0", "Mountain tale 21", "--root", tiny_root)
        assert result.exit_code == 0, result.output
        for part in ("Mountain tale 21 comes ", "Random walks", "by content alone", "harbour"):
            assert part in result.stdout

    def test_names_users_only_when_asked_to(self, tiny_root: Path) -> None:
        silent = pinsage("explain", "i0", "i5", "--root", tiny_root)
        assert not re.search(r"\bu\d", silent.stdout)
        telling = pinsage("explain", "i0", "i5", "--contexts", "2", "--root", tiny_root, "--json")
        shown = json.loads(telling.stdout)["shared_contexts"]["shown"]
        assert [each["user_id"][0] for each in shown] == ["u", "u"]

    def test_refuses_an_item_for_itself(self, tiny_root: Path) -> None:
        result = pinsage("explain", "i0", "harbour tale 0", "--root", tiny_root)
        expect_refusal(result, "QUERY and ITEM are both", "name two")

    def test_refuses_an_unknown_item(self, tiny_root: Path) -> None:
        expect_refusal(pinsage("explain", "i0", "i99", "--root", tiny_root), "'i99': no such id")

    def test_refuses_a_version_whose_origins_are_gone(self, root: Path) -> None:
        expect_refusal(pinsage("explain", "1", "2", "--root", root), "no artifact", "`pinsage run`")


class TestPublished:
    def test_names_the_current_version_and_its_counts(self, root: Path) -> None:
        (listed,) = json.loads(pinsage("published", "--root", root, "--json").stdout)["published"]
        (version,) = listed["versions"]
        assert listed["name"] == "films"
        assert version["current"]
        assert version["num_items"] == len(TITLES)

    def test_shows_a_table(self, root: Path) -> None:
        result = pinsage("published", "--root", root)
        assert result.exit_code == 0
        assert "current" in result.stdout

    def test_refuses_where_nothing_is_published_yet(self, tmp_path: Path) -> None:
        expect_refusal(pinsage("published", "--root", tmp_path, "--json"), "nothing is published")


class TestRollback:
    def test_makes_the_version_before_current(self, tmp_path: Path) -> None:
        older = published_version(tmp_path, ANGLES)
        time.sleep(1.0 - time.time() % 1.0)  # versions are named by the second
        newer = published_version(tmp_path, ANGLES[::-1])
        assert json.loads(pinsage("rollback", "--root", tmp_path, "--yes", "--json").stdout) == {
            "name": "films",
            "version": older,
            "moved": ["embeddings"],
        }
        answer = json.loads(pinsage("recommend", "1", "--root", tmp_path, "--json").stdout)
        assert answer["version"] == older
        assert pinsage("rollback", newer, "--root", tmp_path, "--yes").exit_code == 0

    def test_refuses_a_version_that_is_not_there(self, root: Path) -> None:
        expect_refusal(pinsage("rollback", "../..", "--root", root, "--yes"), "no version ../..")

    def test_refuses_where_there_is_no_version_before(self, root: Path) -> None:
        expect_refusal(pinsage("rollback", "--root", root, "--yes"), "no version before")

    def test_refuses_without_yes_where_nobody_can_answer(self, root: Path) -> None:
        expect_refusal(pinsage("rollback", "--root", root), "--yes")


class TestConfig:
    def test_shows_what_a_file_and_its_overrides_come_to(self, config_file: Path) -> None:
        result = pinsage("config", config_file, "--set", "model.hidden=64")
        assert tomllib.loads(result.stdout)["model"]["hidden"] == 64
        assert parse_config(tomllib.loads(result.stdout)) == load_config(
            config_file, ("model.hidden=64",)
        )

    def test_json_is_one_document(self, config_file: Path) -> None:
        result = pinsage("config", config_file, "--json")
        assert Config.model_validate(json.loads(result.stdout)) == load_config(config_file)

    def test_without_a_file_every_key_is_explained(self) -> None:
        text = pinsage("config").stdout
        assert "# T, the number of neighbours kept an item. (≥ 1, ≤ 1000)\nsize = 50" in text
        assert "# name =  (required)" in text

    def test_the_explained_defaults_are_the_defaults(self) -> None:
        tree = tomllib.loads(reference())
        tree["name"] = "films"
        tree["data"] = {"interactions": {**tree["data"]["interactions"], "path": "plays.csv"}}
        assert parse_config(tree) == parse_config(tomllib.loads(MINIMAL))

    def test_without_a_file_json_is_the_schema(self) -> None:
        assert json.loads(pinsage("config", "--json").stdout) == Config.model_json_schema()

    @given(st.dictionaries(st.text(min_size=1), st.sampled_from(["text", "numerical"])))
    def test_any_column_name_survives_the_way_through_toml(
        self, features: Mapping[str, str]
    ) -> None:
        items = {"path": "films.csv", "features": dict(features)}
        data = {"interactions": {"path": "plays.csv"}, "items": items}
        config = parse_config({"name": "films", "data": data})
        assert parse_config(tomllib.loads(to_toml(config))) == config

    def test_refuses_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        missing = tmp_path / "missing.toml"
        expect_refusal(pinsage("config", missing), str(missing), "no such configuration file")

    def test_refuses_what_is_not_toml(self, config_file: Path) -> None:
        config_file.write_text("name: films\n")
        expect_refusal(pinsage("config", config_file), str(config_file), "not valid TOML")

    def test_refuses_an_unknown_key(self, config_file: Path) -> None:
        result = pinsage("config", config_file, "--set", "model.hiden=64")
        expect_refusal(result, str(config_file), "model.hiden: unknown key")

    def test_refuses_a_parameter_out_of_range(self, config_file: Path) -> None:
        result = pinsage("config", config_file, "--set", "neighbourhoods.restart=1.5")
        expect_refusal(result, "neighbourhoods.restart", "less than 1", "got 1.5")

    def test_refuses_an_override_without_a_file(self) -> None:
        expect_refusal(pinsage("config", "--set", "seed=1"), "--set seed=1", "name the file")

    def test_refuses_a_variable_that_is_not_set(
        self, config_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PINSAGE_NOWHERE", raising=False)
        config_file.write_text(f'root = "$PINSAGE_NOWHERE/var"\n{MINIMAL}')
        result = pinsage("published", "--config", config_file)
        expect_refusal(result, "PINSAGE_NOWHERE is not set", "export it")


class TestDataFetch:
    def test_refuses_a_data_set_that_is_not_known(self, tmp_path: Path) -> None:
        result = pinsage("data", "fetch", "movielens-25", "--to", tmp_path)
        expect_refusal(result, "movielens-25", "movielens-25m")
        assert not list(tmp_path.iterdir())


class TestExitCodes:
    @staticmethod
    def app(error: BaseException) -> typer.Typer:
        app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

        def fails() -> None:
            raise error

        app.callback()(lambda: None)
        app.command("run")(fails)
        return app

    @pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
    def test_a_missing_optional_package_names_its_extra(self, package: str, extra: str) -> None:
        missing = ModuleNotFoundError(f"No module named '{package}'", name=f"{package}.part")
        result = CliRunner().invoke(self.app(missing), ["run"])
        expect_refusal(result, f"`pinsage run` needs the package {package}", f"[{extra}]'")

    def test_an_interrupt_is_130(self) -> None:
        assert CliRunner().invoke(self.app(KeyboardInterrupt()), ["run"]).exit_code == 130

    def test_an_unexpected_failure_is_1_with_its_traceback(self) -> None:
        result = CliRunner().invoke(self.app(ZeroDivisionError("by zero")), ["run"])
        assert result.exit_code == 1
        assert isinstance(result.exception, ZeroDivisionError)

    def test_every_extra_is_one_of_the_project(self) -> None:
        file = Path(__file__).parents[1] / "pyproject.toml"
        extras = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
        assert set(EXTRAS.values()) <= set(extras)

    def test_wrong_usage_is_2(self) -> None:
        assert pinsage("recommend").exit_code == 2
        assert pinsage("no-such-command").exit_code == 2

    def test_help_says_what_the_exit_codes_mean(self) -> None:
        assert "Exit codes: 0 done" in pinsage("--help").stdout

    def test_version_is_shown(self) -> None:
        assert pinsage("--version").stdout == "0.1.0\n"


def test_numpy_scalars_become_json_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"row": np.int64(3), "score": np.float32(0.5), "folder": Path("var")})
    assert json.loads(capsys.readouterr().out) == {"row": 3, "score": 0.5, "folder": "var"}
