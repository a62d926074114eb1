"""The Ray engine: parts of the catalog as tasks, rows between them in the object store.

An adapter and no more: what a part does is `pinsage/inference/parts.py`. Ray Core's tasks, because
they outlive a node: what it held is made again from its task, and a part that was written is not.
All machines of the cluster see the job's paths.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pinsage.cluster import connected
from pinsage.errors import ClusterError, PinSageError
from pinsage.files import write_atomic
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.cut import Cut
from pinsage.inference.engine import Job
from pinsage.inference.parts import Worker
from pinsage.model.io import load_model

_RETRIES = 8  # of a task whose process or node is gone
_PATIENCE = 60.0  # seconds without a finished task, after which the cluster is looked at
_OBJECT = 1 << 20  # bytes a returned object should have: Ray carries small ones badly
_FEW_PARTS = 64  # so few that small objects do not matter
_MOST_PARTS = 1024  # P² objects, a million
_LOCALITY_FROM = 8  # parts; with fewer there is next to nothing to save


class RayEngine:
    """Embeds a job's items on the cluster that its settings name, or one of this machine's own.

    Args:
        object_store: bytes of the object store of a cluster of its own; else Ray's choice
    """

    def __init__(self, *, object_store: int | None = None) -> None:
        self._object_store = object_store

    def embed(self, job: Job, out: Path) -> None:
        """Write `embeddings.npy` into the folder `out`: float32 [N, output], in catalog order.

        Raises ClusterError where no cluster answers, where a path is not there on one of its
        nodes, or where it has lost what it computes on; MissingExtraError without Ray.
        """
        job = _absolute(job)
        address = job.settings.address
        with connected(address, cpus=job.threads, object_store=self._object_store) as ray:
            cluster = _Cluster(ray, job)
            with _explained(ray, address):
                cut = _cut(cluster.job, cluster.slots(), cluster.num_nodes())
                _embed(cluster, cut)
            cut.collect(out)
        shutil.rmtree(cut.folder)


def _embed(cluster: _Cluster, cut: Cut) -> None:
    cut.write_order()
    encoded = "encoded" if cut.by_locality and cut.layers else "layer-0"
    cluster.each(cut.missing(encoded), lambda part: cluster.call(_encode, cut, part))
    if not cut.layers:
        return
    cuts = cluster.each(range(cut.parts), lambda part: cluster.call(_plan, cut, part))
    for number in range(1, cut.layers + 1):
        targets = cut.missing(f"layer-{number}")
        if targets:
            _convolve(cluster, cut, number, targets, cuts)


def _convolve(
    cluster: _Cluster, cut: Cut, number: int, targets: list[int], cuts: dict[int, list[int]]
) -> None:
    """One layer of the parts that have not got it yet."""
    packed: dict[int, list[Any]] = {target: [] for target in targets}

    def send(source: int) -> Any:
        spans = [(target, *cuts[target][source : source + 2]) for target in targets]
        spans = [span for span in spans if span[1] < span[2]]
        # Those who need all rows share one object, of which a node has one copy.
        whole = [span for span in spans if span[2] - span[1] == cut.size(source)]
        sent = [span for span in spans if span[2] - span[1] < cut.size(source)] + whole[:1]
        # The last object says that the others are there; they stay where they are.
        *rows, done = cluster.call_many(len(sent) + 1, _project, cut, number, source, sent)
        for (target, _, _), one in zip(sent, rows, strict=True):
            packed[target].append(one)
        for target, _, _ in whole[1:]:
            packed[target].append(rows[-1])
        return done

    def pool(target: int) -> Any:
        return cluster.call(_reduce, cut, number, target, cuts[target], *packed.pop(target))

    cluster.each(range(cut.parts), send)  # in the order of sources, as the parts' needs are
    cluster.each(targets, pool)


class _Cluster:
    """Tasks on a cluster, so many at a time as it has slots for."""

    def __init__(self, ray: Any, job: Job) -> None:
        self._ray = ray
        has_gpu = ray.cluster_resources().get("GPU", 0) > 0
        if job.settings.device == "cuda" and not has_gpu:
            raise ClusterError(
                "embed.device is cuda, and no node of the cluster has a GPU; set it to auto or "
                "cpu, or start nodes with GPUs"
            )
        self._resource = "GPU" if has_gpu and job.settings.device != "cpu" else "CPU"
        device = "cuda" if self._resource == "GPU" else "cpu"
        self.job = replace(job, settings=job.settings.model_copy(update={"device": device}))

    def slots(self) -> int:
        """Tasks that run at a time."""
        return int(self._ray.cluster_resources().get(self._resource, 0))

    def num_nodes(self) -> int:
        """Nodes that compute."""
        return sum(
            node["Alive"] and node["Resources"].get(self._resource, 0) >= 1
            for node in self._ray.nodes()
        )

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Begin a task that returns one object."""
        return self._remote(function, num_returns=1).remote(*arguments)

    def call_many(self, count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Begin a task that returns several."""
        made = self._remote(function, num_returns=count, scheduling_strategy="SPREAD")
        objects = made.remote(*arguments)
        return objects if count > 1 else [objects]

    def each(self, parts: Iterable[int], begin: Callable[[int], Any]) -> dict[int, Any]:
        """What the tasks return by part; a few more are begun than can run."""
        running: dict[Any, int] = {}
        found: dict[int, Any] = {}
        slots = self.slots()
        for part in parts:
            while len(running) >= slots + math.ceil(slots / 4):
                self._take(running, found)
            running[begin(part)] = part
        while running:
            self._take(running, found)
        return found

    def _take(self, running: dict[Any, int], found: dict[int, Any]) -> None:
        finished, _ = self._ray.wait(list(running), timeout=_PATIENCE)
        if not finished and not self.slots():
            raise ClusterError(
                f"no node of the cluster has a {self._resource} any more; start nodes again with "
                f"`ray start --address=…`, and run again: finished parts are kept"
            )
        for one in finished:
            found[running.pop(one)] = self._ray.get(one)

    def _remote(self, function: Callable[..., Any], **options: Any) -> Any:
        gpus = 1 if self._resource == "GPU" else 0
        return self._ray.remote(function).options(
            num_cpus=1, num_gpus=gpus, max_retries=_RETRIES, **options
        )


def _encode(cut: Cut, part: int) -> None:
    _worker(cut).encode(part)


def _plan(cut: Cut, part: int) -> list[int]:
    return _worker(cut).plan(part)


def _project(cut: Cut, number: int, part: int, spans: list[tuple[int, int, int]]) -> Iterator[Any]:
    yield from _worker(cut).project(number, part, spans)
    yield None


def _reduce(cut: Cut, number: int, part: int, cuts: list[int], *packed: Any) -> None:
    _worker(cut).reduce(number, part, cuts, list(packed))


@lru_cache(maxsize=1)
def _worker(cut: Cut) -> Worker:
    """This process's own; made once for all its tasks of a job."""
    job = cut.job
    for path in (job.model, job.catalog, job.graph, job.table, job.root, cut.folder):
        if not path.exists():
            raise ClusterError(
                f"{path}: not there on node {platform.node()}; every node of the cluster must see "
                f"the run's folder (`root`) under the same path: mount it there"
            )
    return Worker(cut)


def _cut(job: Job, slots: int, num_nodes: int) -> Cut:
    """How the job is cut; as before where an earlier process had begun it."""
    table, model = Neighbourhoods.open(job.table), load_model(job.model).config
    settings = job.settings
    asked = (settings.partitions, settings.order, settings.storage, settings.device)
    named = repr((job.model, job.catalog, job.graph, job.table, asked))
    folder = job.scratch / f"ray-{hashlib.sha256(named.encode()).hexdigest()[:16]}"
    note = folder / "cut.json"
    if note.exists():
        parts, by_locality = json.loads(note.read_text())
    else:
        bytes_a_row = model.hidden * (4 if settings.storage == "float32" else 2)
        most_bytes = table.num_items * table.size * bytes_a_row
        parts = choose_parts(settings.partitions, slots, num_nodes, table.num_items, most_bytes)
        by_locality = settings.order == "locality" or (
            settings.order == "auto" and num_nodes > 1 and parts >= _LOCALITY_FROM
        )
        write_atomic(note, json.dumps((parts, by_locality)))
    by_locality = by_locality and model.layers > 0
    attempt = secrets.token_hex(8)
    return Cut(
        job, folder, table.num_items, parts, model.layers, by_locality, num_nodes > 1, attempt
    )


def choose_parts(asked: int, slots: int, num_nodes: int, num_items: int, most_bytes: int) -> int:
    """The number of parts: what was asked for, or two a slot; fewer where objects got too small.

    One a slot on a single node, whose slots are equally fast: each part gathers most of a layer's
    rows, so that more parts copy more. `most_bytes` bounds what a layer sends, in P² objects.
    """
    enough = max(_FEW_PARTS, math.isqrt(most_bytes // _OBJECT))
    parts = asked or (slots if num_nodes == 1 else 2 * slots)
    return max(1, min(parts, enough, _MOST_PARTS, num_items))


def _absolute(job: Job) -> Job:
    paths = {name: getattr(job, name).resolve() for name in _PATHS}
    return replace(job, **paths)


_PATHS = ("model", "catalog", "graph", "table", "root", "scratch")


@contextmanager
def _explained(ray: Any, address: str) -> Iterator[None]:
    """What went wrong on the cluster, as the error it was where it happened."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PinSageError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"{address}: the cluster lost the work after {_RETRIES} tries "
            f"({type(error).__name__}: {error}); look at its nodes (`ray status`), and run "
            f"again: finished parts are kept"
        ) from error
