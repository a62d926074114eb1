"""Errors as JSON: what was found, where in the request, what to do."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from pinsage.errors import PinSageError
from pinsage.serving.refused import RefusedError

_log = logging.getLogger(__name__)
_REMEDIES = {
    400: "send one JSON document, as /docs shows it",
    404: "see /docs for the addresses there are",
    405: "see /docs for the methods there are",
}


def refusal(status: int, what: str, where: str, remedy: str, **headers: str) -> Response:
    """The answer to a request that is refused."""
    # ASCII alone: what a client sent may be no text that can be encoded.
    error = {"what": what, "where": where, "remedy": remedy}
    return Response(json.dumps({"error": error}), status, headers, media_type="application/json")


def add_error_handlers(app: FastAPI) -> None:
    """Answer every failure in the one form; what is not expected is logged and not told."""

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        return refusal(error.status, error.what, error.where, error.remedy)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first, *more = error.errors()
        what = str(first["msg"]).removeprefix("Value error, ")
        others = f" ({len(more)} more like this)" if more else ""
        return refusal(
            422, what + others, _place(first["loc"]), "see /docs for what the request looks like"
        )

    async def not_there(request: Request, error: HTTPException) -> Response:
        where = f"{request.method} {request.url.path}"
        headers = dict(error.headers or {})
        remedy = _REMEDIES[error.status_code]
        return refusal(error.status_code, str(error.detail), where, remedy, **headers)

    for status in _REMEDIES:
        app.exception_handler(status)(not_there)

    @app.exception_handler(PinSageError)
    async def failed(request: Request, error: PinSageError) -> Response:
        _log.error("%s %s: %s", request.method, request.url.path, error)
        return refusal(
            503, "the published version cannot answer this", request.url.path,
            "the server's log says why; try again after the next version is published",
        )  # fmt: skip

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return refusal(
            500, "an unexpected failure", request.url.path, "the server's log has a traceback"
        )


def _place(location: Sequence[Any]) -> str:
    """`body.queries[2].item_id` and the like."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "request"
