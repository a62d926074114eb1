"""The routes. Each takes the open version once, computes in a thread, and answers JSON."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from pinsage import __version__
from pinsage.config import ContextsConfig
from pinsage.serving import answers, messages
from pinsage.serving.errors import add_error_handlers
from pinsage.serving.gate import Gate
from pinsage.serving.metrics import CONTENT_TYPE, Metrics
from pinsage.serving.opened import Opened
from pinsage.serving.switching import Switch

Answer = TypeVar("Answer")
Count = Annotated[int, Query(ge=1, le=messages.MOST_RELATED, description="Most items.")]
_BY_PATH = "/related/{item_id}"
_JSON = "application/json"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": messages.Refused, "description": text}
    for status, text in (
        (404, "An item that the version has not."),
        (413, "A body that is too long."),
        (422, "A request that cannot be understood."),
        (503, "Too many requests wait, or the server is about to end."),
    )
}


@dataclass
class Service:
    """What the routes share.

    Attributes:
        threads: requests computed at a time; each has one thread of BLAS, FAISS and torch
        draining: whether the server is about to end
    """

    switch: Switch
    metrics: Metrics
    contexts: ContextsConfig
    threads: int
    most_waiting: int = 256
    draining: bool = False
    pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.threads, "answer", initializer=_one_thread_each)

    async def compute(self, work: Callable[[Opened], Answer]) -> tuple[Opened, Answer]:
        """Run work on the version that answers now, in a thread; the version with its result."""
        opened = self.switch.opened
        loop = asyncio.get_running_loop()
        return opened, await loop.run_in_executor(self.pool, work, opened)


def make_app(service: Service) -> FastAPI:
    """The application; its life is the service's."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.switch.start()
        yield
        await asyncio.to_thread(service.switch.stop)
        service.pool.shutdown()

    app = FastAPI(
        title=f"PinSage: {service.switch.name}",
        version=__version__,
        description="Related items and recommendations from a published version of embeddings.",
        lifespan=life,
        redirect_slashes=False,  # an id may end in a slash
    )
    app.add_middleware(Gate, service=service)
    add_error_handlers(app)
    _add_answers(app, service)
    _add_state(app, service)
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path_format == _BY_PATH:
            # Starlette's own ends at the end of a line, and ids may hold one.
            route.path_regex = re.compile(r"^/related/(?P<item_id>(?s:.*))\Z")
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    async def of_one(item_id: str, k: int) -> Response:
        def work(opened: Opened) -> bytes:
            request = messages.RelatedRequest.model_construct(
                queries=[messages.ItemQuery.model_construct(item_id=item_id, features=None)],
                k=k, allowed=None, exclude=[],
            )  # fmt: skip
            return _encode(messages.Related, opened, answers.related(opened, request))

        return Response((await service.compute(work))[1], media_type=_JSON)

    documented: dict[str, Any] = {"response_model": messages.Related, "responses": _REFUSALS}

    @app.get("/related", tags=["items"], summary="Items related to one, by ?item_id=", **documented)
    async def related_by_query(item_id: str, k: Count = 10) -> Response:
        return await of_one(item_id, k)

    @app.get(
        "/related/{item_id:path}", tags=["items"], summary="Items related to one", **documented
    )
    async def related_by_path(item_id: str, k: Count = 10) -> Response:
        return await of_one(item_id, k)

    @app.post("/related", tags=["items"], summary="Items related to each of several, or to new "
              "ones by their features", **documented)  # fmt: skip
    async def related(request: messages.RelatedRequest) -> Response:
        def work(opened: Opened) -> bytes:
            return _encode(messages.Related, opened, answers.related(opened, request))

        return Response((await service.compute(work))[1], media_type=_JSON)

    @app.post(
        "/recommend",
        tags=["users"],
        summary="Items for users, by what they took",
        response_model=messages.Recommended,
        responses=_REFUSALS,
    )
    async def recommend(request: messages.RecommendRequest) -> Response:
        def work(opened: Opened) -> bytes:
            found = answers.recommend(opened, request, service.contexts)
            return _encode(messages.Recommended, opened, found)

        return Response((await service.compute(work))[1], media_type=_JSON)


def _add_state(app: FastAPI, service: Service) -> None:
    switch, metrics = service.switch, service.metrics

    @app.get("/health", tags=["state"], summary="Whether the process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", tags=["state"], summary="Whether requests should be sent here")
    async def ready(response: Response) -> dict[str, str]:
        response.status_code = 503 if service.draining else 200
        return {
            "status": "draining" if service.draining else "ready",
            "version": switch.opened.version,
        }

    @app.get("/version", tags=["state"], summary="What is being served")
    async def version() -> messages.VersionInfo:
        opened = switch.opened
        return messages.VersionInfo(
            name=switch.name,
            version=opened.version,
            created=opened.published.manifest.created,
            num_items=len(opened.ids),
            dimension=opened.published.vectors.shape[1],
            index=opened.index_kind,
            pinned=switch.pinned is not None,
            switches=metrics.total(metrics.switches),
            failed_loads=metrics.total(metrics.failed_loads),
        )

    @app.get("/metrics", tags=["state"], summary="For Prometheus", response_class=Response)
    async def page() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)


def _encode(kind: type[BaseModel], opened: Opened, results: list[Any]) -> bytes:
    answer = kind.model_construct(
        name=opened.published.path.parent.name, version=opened.version, results=results
    )
    return answer.model_dump_json().encode()


def _one_thread_each() -> None:
    """OpenMP's number of threads is each thread's own: else n requests would have n × n."""
    import faiss
    from threadpoolctl import threadpool_limits

    faiss.omp_set_num_threads(1)
    threadpool_limits(1)
