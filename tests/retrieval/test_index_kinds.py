"""Each kind of index, by the one contract."""

from __future__ import annotations

from pinsage.config import IndexConfig
from tests.retrieval.index_contract import IndexContract


class TestExact(IndexContract):
    settings = IndexConfig(kind="exact")


class TestHnsw(IndexContract):
    settings = IndexConfig(kind="hnsw")


class TestIvfPq(IndexContract):
    settings = IndexConfig(kind="ivfpq")


class TestBinary(IndexContract):
    settings = IndexConfig(kind="binary")
