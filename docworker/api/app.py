"""The aiohttp application: routes from the table, who may ask, and the whole error policy.

request → guard (Host, Origin) → errors (exception → status and one sentence) → operation → JSON
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from pydantic import BaseModel

from docworker import __version__
from docworker.api import docs, openapi
from docworker.contract import HealthResponse
from docworker.errors import (
    Conflict,
    DocworkerError,
    Forbidden,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    NotJson,
    SiteFailed,
    StoreError,
    TooLarge,
    Unavailable,
)  # fmt: skip
from docworker.operations import OPERATIONS, Operation
from docworker.service import Service

_log = logging.getLogger(__name__)
_MAX_BODY_BYTES = 2**20
_RETRY_AFTER_S = "1"
_STATUS: tuple[tuple[type[DocworkerError], int], ...] = (
    (InvalidRequest, 400),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (NotJson, 415),
    (SiteFailed, 502),
    (Unavailable, 503),
    (ModelUnavailable, 503),
    (StoreError, 503),
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Desk:
    """What answers: nothing but /health until `service` is set, and again once the daemon is stopping."""

    instance: str
    host: str
    now: Callable[[], int]
    service: Service | None = None
    stopping: bool = False


_DESK = web.AppKey("desk", Desk)


def application(desk: Desk) -> web.Application:
    """The application, before anything heavy is loaded."""
    app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_errors, _guard])
    app[_DESK] = desk
    app.router.add_get("/health", _health)
    app.router.add_get("/openapi.json", _openapi)
    app.router.add_get("/docs", _docs)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, _serve(operation))
    return app


async def _health(request: web.Request) -> web.Response:
    desk = request.app[_DESK]
    response = HealthResponse(
        status="ok", timestamp=desk.now(), version=__version__, instance=desk.instance, ready=desk.service is not None
    )
    return _json(response)


async def _openapi(request: web.Request) -> web.Response:
    return web.json_response(openapi.document(_STATUS))


async def _docs(request: web.Request) -> web.Response:
    html, policy = docs.page()
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
    return web.Response(text=html, content_type="text/html", headers=headers)


def _serve(operation: Operation[BaseModel, BaseModel]) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        fields: dict[str, object] = {**request.match_info}
        from_strings = operation.method != "POST"
        for key in request.query:
            if not from_strings:
                raise InvalidRequest(f"{key}: expected in the JSON body, not in the query string.")
            if key in fields or len(request.query.getall(key)) > 1:
                raise InvalidRequest(f"{key}: given twice.")
            fields[key] = request.query[key]
        if not from_strings:
            fields |= await _body(
                request, may_be_empty=not any(info.is_required() for info in operation.request.model_fields.values())
            )
        desk = request.app[_DESK]
        if desk.stopping or desk.service is None:
            raise Unavailable(f"docworker is {'stopping' if desk.stopping else 'starting'}; try again in a second.")
        return _json(await operation.run(desk.service, fields, from_strings=from_strings))

    return handle


async def _body(request: web.Request, *, may_be_empty: bool) -> Mapping[str, object]:
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(f"The body is larger than {_MAX_BODY_BYTES} bytes.") from None
    if may_be_empty and not raw:
        return {}
    if request.content_type != "application/json":
        raise NotJson("The body has to be JSON: send the header Content-Type: application/json.")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not well-formed JSON: {error}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object, such as {}.")
    return body


def _json(model: BaseModel, status: int = 200) -> web.Response:
    body = model.model_dump_json(by_alias=True, exclude_none=False)
    return web.Response(text=body, status=status, content_type="application/json")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": message}, status=status, headers=headers)


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse what a web page could send: a name that was bound to this address, or another site's form."""
    own = _LOOPBACK | {request.app[_DESK].host}
    host = _hostname("//" + request.headers.get(hdrs.HOST, ""))
    if host not in own:
        raise Forbidden(f"This daemon does not answer to the host {str(host)[:100]!r}; use 127.0.0.1 or localhost.")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and _hostname(origin) not in own:
        raise Forbidden(f"This daemon does not answer to pages of {origin[:100]!r}.")
    return await handler(request)


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every error as `{"error": sentence}`. The other place that catches every exception: a bug is logged, not shown."""
    try:
        return await handler(request)
    except DocworkerError as error:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        return _error(status, str(error), {"Retry-After": _RETRY_AFTER_S} if status == 503 else None)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return _error(405, f"{request.method} is not possible here; use {allowed}.", {"Allow": allowed})
    except web.HTTPNotFound:
        return _error(404, f"There is nothing at {request.path[:100]}.")
    except web.HTTPException as error:
        return _error(error.status, f"The request cannot be answered: {error.reason}.")
    except asyncio.CancelledError:
        raise
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return _error(500, "docworker failed at this request; its log says more (docworker.log in the data folder).")
