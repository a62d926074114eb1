"""Exports, read back by the systems they are for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pandas as pd
import psycopg
import psycopg.sql
import pytest
from typer.testing import CliRunner
from usearch.index import Index

from pinsage.cli import command_line
from pinsage.errors import ArtifactError, ConfigError
from pinsage.retrieval.exports.folder import ABOUT, Format, export
from pinsage.retrieval.published import Published, load_published
from tests.retrieval.clusters import Matrix, brute_force, clustered

if TYPE_CHECKING:
    from tests.retrieval.conftest import PublishItems

HOSTILE = [
    "a\tb", "line\nbreak", "\r", "\\N", "\\.", "back\\slash\\", "'; DROP TABLE x; --", '"quoted"',
    "a\0b", "🎬 café 👩‍👩‍👧", "", "{1,2}",
]  # fmt: skip
IDS: dict[str, list[Any]] = {
    "int": [-5, 2**62, *range(7, 17)],
    "natural": list(range(100, 112)),
    "str": [f"é\\{n}\t'\"" for n in range(12)],
}
FORMATS: tuple[Format, ...] = ("parquet", "faiss", "usearch", "pgvector")


@pytest.fixture(params=list(IDS))
def version(
    request: pytest.FixtureRequest, tmp_path: Path, publish_items: PublishItems
) -> Published:
    lengths = np.linspace(0.5, 2, 12, dtype=np.float32)[:, None]  # no unit vectors
    matrix = clustered(12, 4, 5) * lengths
    publish_items(tmp_path, ids=IDS[request.param], titles=HOSTILE, matrix=matrix)
    return load_published(tmp_path, "films")


def expected_ids(version: Published, queries: Matrix, k: int) -> list[list[Any]]:
    ids = version.items["item_id"].tolist()
    return [[ids[row] for row in rows] for rows in brute_force(version.vectors, queries, k)]


def about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    assert sorted(path.name for path in folder.iterdir()) == sorted([ABOUT, *found["files"]])
    return found


def ids_of(folder: Path, keys: Any) -> list[list[Any]]:
    """What an index's answers stand for."""
    if about(folder)["keys"] == "item_id":
        return [[int(key) for key in row] for row in keys]
    ids = pd.read_parquet(folder / "ids.parquet")["item_id"].tolist()
    return [[ids[int(key)] for key in row] for row in keys]


def test_parquet_is_read_by_pandas(version: Published, tmp_path: Path) -> None:
    export(version, "parquet", tmp_path / "out", "films")
    table = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert table["item_id"].tolist() == version.items["item_id"].tolist()
    assert table["title"].tolist() == HOSTILE
    np.testing.assert_array_equal(np.stack(table["vector"].tolist()), version.vectors)


def test_faiss_answers_with_ids(version: Published, tmp_path: Path) -> None:
    export(version, "faiss", tmp_path / "out", "films")
    index = faiss.read_index(str(tmp_path / "out" / "items.faiss"))
    _, keys = index.search(version.vectors, 6)
    assert ids_of(tmp_path / "out", keys) == expected_ids(version, version.vectors, 6)
    first = brute_force(version.vectors, version.vectors[[3]], 1)[0, 0]
    np.testing.assert_array_equal(index.reconstruct(int(keys[3, 0])), version.vectors[first])


def test_an_approximate_index_keeps_what_it_was_tuned_to(
    tmp_path: Path, publish_items: PublishItems
) -> None:
    from pinsage.retrieval.publish import publish
    from tests.retrieval.conftest import artifacts, shelf_config

    config = shelf_config(tmp_path, kind="ivfpq")
    matrix = clustered(2000, 20, 8)
    ids = list(range(5000, 7000))
    publish(config, **artifacts(config, ids, [str(each) for each in ids], matrix))
    version = load_published(tmp_path, "films")
    export(version, "faiss", tmp_path / "out", "films")
    index = faiss.read_index(str(tmp_path / "out" / "items.faiss"))
    _, keys = index.search(matrix[:50], 100)
    _, rows = version.search(matrix[:50], 100)
    np.testing.assert_array_equal(keys, np.where(rows < 0, rows, rows + 5000))


def test_usearch_answers_with_ids(version: Published, tmp_path: Path) -> None:
    export(version, "usearch", tmp_path / "out", "films")
    index = Index.restore(str(tmp_path / "out" / "items.usearch"))
    assert index is not None
    found = index.search(version.vectors, 6)
    assert ids_of(tmp_path / "out", found.keys) == expected_ids(version, version.vectors, 6)
    best = -np.sort(-(version.vectors @ version.vectors.T), axis=1)[:, :6]
    np.testing.assert_allclose(1 - found.distances, best, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # where it looks, and warns, when imported
        from pgserver.postgres_server import get_server
    with get_server(folder / "data", cleanup_mode="stop") as server:
        yield server.get_uri()


class TestPgvector:
    def load(self, folder: Path, database: str) -> None:
        from pgserver._commands import POSTGRES_BIN_PATH

        psql = [str(POSTGRES_BIN_PATH / "psql"), database, "-q", "-f", "load.sql"]
        subprocess.run(psql, cwd=folder, check=True)

    def test_postgresql_loads_and_orders_it(
        self, version: Published, tmp_path: Path, database: str
    ) -> None:
        name = 'o"dd films'
        export(version, "pgvector", tmp_path / "out", name)
        self.load(tmp_path / "out", database)
        with psycopg.connect(database) as connection:
            table = psycopg.sql.Identifier(f"{name}_items")
            read = psycopg.sql.SQL("SELECT item_id, title, vector::text FROM {}").format(table)
            rows = connection.execute(read).fetchall()
            assert [row[0] for row in rows] == version.items["item_id"].tolist()
            assert [row[1] for row in rows] == [each.replace("\0", "\ufffd") for each in HOSTILE]
            vectors = np.array([json.loads(row[2]) for row in rows], dtype=np.float32)
            np.testing.assert_array_equal(vectors, version.vectors)
            ask = psycopg.sql.SQL("SELECT item_id FROM {} ORDER BY vector <#> %s::vector LIMIT 6")
            found = [
                [row[0] for row in connection.execute(ask.format(table), [str(each.tolist())])]
                for each in version.vectors
            ]
            connection.execute(psycopg.sql.SQL("DROP TABLE {}").format(table))
        assert found == expected_ids(version, version.vectors, 6)

    def test_no_title_is_null(self, version: Published, tmp_path: Path, database: str) -> None:
        version.items.loc[4, "title"] = None
        export(version, "pgvector", tmp_path / "out", "films")
        self.load(tmp_path / "out", database)
        with psycopg.connect(database) as connection:
            missing = connection.execute("SELECT count(*) FROM films_items WHERE title IS NULL")
            assert missing.fetchone() == (1,)
            connection.execute("DROP TABLE films_items")

    def test_an_id_that_postgresql_cannot_hold_is_refused(
        self, version: Published, tmp_path: Path
    ) -> None:
        version.items["item_id"] = [f"{n}\0" for n in range(12)]
        with pytest.raises(ConfigError, match="an item_id holds a NUL"):
            export(version, "pgvector", tmp_path / "out", "films")
        assert not (tmp_path / "out").exists()


class TestFolder:
    @pytest.fixture
    def films(self, tmp_path: Path, publish_items: PublishItems) -> Published:
        publish_items(tmp_path)
        return load_published(tmp_path, "films")

    @pytest.mark.parametrize("kind", FORMATS)
    def test_what_is_there_is_never_replaced(
        self, films: Published, tmp_path: Path, kind: Format
    ) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(ConfigError, match="is there already"):
            export(films, kind, tmp_path / "out", "films")
        assert list((tmp_path / "out").iterdir()) == []

    def test_the_same_version_makes_the_same_files(self, films: Published, tmp_path: Path) -> None:
        for kind in FORMATS:
            for place in ("one", "two"):
                export(films, kind, tmp_path / place / kind, "films")
            for file in (tmp_path / "one" / kind).iterdir():
                assert file.read_bytes() == (tmp_path / "two" / kind / file.name).read_bytes()

    def test_a_file_in_the_way_is_one_error(self, films: Published, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ArtifactError, match="cannot be made"):
            export(films, "parquet", tmp_path / "file" / "out", "films")

    def test_command_line(self, films: Published, tmp_path: Path) -> None:
        where = ["--root", str(tmp_path), "--to", str(tmp_path / "out"), "--json"]
        run = CliRunner().invoke(command_line(), ["export", "--format", "parquet", *where])
        assert run.exit_code == 0, run.output
        assert json.loads(run.stdout)["version"] == films.version
        assert about(tmp_path / "out")["num_items"] == 12
        again = CliRunner().invoke(command_line(), ["export", "--format", "parquet", *where])
        assert again.exit_code == 2
        assert "is there already" in again.stderr
