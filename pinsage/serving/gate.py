"""What every request passes: bounds on its body and on the number that wait, and the counters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pinsage.serving.errors import refusal
from pinsage.serving.messages import LONGEST_BODY

if TYPE_CHECKING:
    from pinsage.serving.app import Service

Scope: TypeAlias = MutableMapping[str, Any]  # the types of ASGI
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_SECONDS = 20.0
_STATE = ("/health", "/ready", "/version", "/metrics")


class Gate:
    """ASGI middleware. A body is read here, whole and bounded, before a route sees it."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service, self._waiting = app, service, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it; count it either way."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics, start, status = self._service.metrics, time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._service.draining:
                    message = {**message, "headers": [*message["headers"], _CLOSE]}
            await send(message)

        self._waiting += 1
        metrics.in_flight.inc()
        try:
            await self._pass(scope, receive, answer)
        finally:
            self._waiting -= 1
            metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path_format", "none")
            metrics.requests.labels(route, str(status)).inc()
            metrics.seconds.labels(route).observe(time.perf_counter() - start)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if self._waiting > self._service.most_waiting and path not in _STATE:
            refused = refusal(
                503, f"more than {self._service.most_waiting} requests wait", path,
                "send it again a little later, or to another server", **{"Retry-After": "1"},
            )  # fmt: skip
            await refused(scope, receive, send)
            return
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(receive)
        except TimeoutError:
            body = None
            refused = refusal(408, f"no whole body within {BODY_SECONDS:.0f} s", path, "send it on",
                              connection="close")  # fmt: skip
        except _TooLongError:
            body = None
            refused = refusal(
                413, f"a body of more than {LONGEST_BODY:,} bytes", path,
                "ask in several requests", connection="close",
            )  # fmt: skip
        except _GoneError:
            return
        if body is None:
            await refused(scope, receive, send)
        else:
            await self._app(scope, _again(body, receive), send)


_CLOSE = (b"connection", b"close")


class _TooLongError(Exception):
    pass


class _GoneError(Exception):
    pass


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    more, size = True, 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LONGEST_BODY:
            raise _TooLongError
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> dict[str, Any]:
        nonlocal told
        if told:
            return dict(await receive())
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
