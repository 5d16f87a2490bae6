"""The aiohttp application: routes from the table, who may ask, and the whole error policy.

request → errors (exception → status and one sentence) → guard (Host, Origin, token) → operation → JSON
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from pydantic import BaseModel

from docworker import __version__
from docworker.api import docs, openapi
from docworker.api.connections import FAILED, HEADERS, refused
from docworker.api.stream import stream
from docworker.contract import EventsRequest, HealthResponse
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
    TooSlow,
    Unauthorized,
    Unavailable,
)  # fmt: skip
from docworker.operations import OPERATIONS, Operation, validated

if TYPE_CHECKING:
    from docworker.service import Service

_log = logging.getLogger(__name__)
_ABOUT_ITSELF = frozenset({"/docs", "/openapi.json"})  # what any docworker says: a browser opens it without a token
_MAX_BODY_BYTES = 2**20
_BODY_S = 10.0
_TOO_LARGE = f"The body is larger than {_MAX_BODY_BYTES} bytes."
_ERROR_HEADERS = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "Bearer"}}
_STATUS: tuple[tuple[type[DocworkerError], int], ...] = (
    (InvalidRequest, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooSlow, 408),
    (TooLarge, 413),
    (NotJson, 415),
    (SiteFailed, 502),
    (Unavailable, 503),
    (ModelUnavailable, 503),
    (StoreError, 503),
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# What a page of another site may cause a browser to ask without naming itself; following a link to a page to read is none of it.
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})
# A name or an address, and a port: nothing that one reader takes for the host and another for a user or a path.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Desk:
    """What answers: nothing but /health until `service` is set, and again once the daemon is stopping."""

    instance: str
    host: str
    now: Callable[[], int]
    token: str | None = None
    service: "Service | None" = None
    stopping: bool = False


_DESK = web.AppKey("desk", Desk)


def application(desk: Desk) -> web.Application:
    """The application, before anything heavy is loaded."""
    app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_errors, _guard])
    app[_DESK] = desk
    app.on_response_prepare.append(_harden)
    app.router.add_get("/health", _health)
    app.router.add_get("/events", _events, allow_head=False)
    app.router.add_get("/openapi.json", _openapi)
    app.router.add_get("/docs", _docs)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, _serve(operation))
    return app


async def _health(request: web.Request) -> web.Response:
    desk = request.app[_DESK]
    response = HealthResponse(
        status="ok",
        timestamp=desk.now(),
        version=__version__,
        instance=desk.instance,
        ready=desk.service is not None and not desk.stopping,
    )
    return _json(response)


async def _events(request: web.Request) -> web.StreamResponse:
    desk = request.app[_DESK]
    asked = validated(EventsRequest, _from_query(request), from_strings=True)
    service = _service(desk)
    return await stream(request, service.events, desk.instance, asked.docset_id, lambda: service.progress(asked))


async def _openapi(_request: web.Request) -> web.Response:
    return web.json_response(openapi.document(_STATUS))


async def _docs(_request: web.Request) -> web.Response:
    html, policy = docs.page()
    return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": policy})


async def _harden(_request: web.Request, response: web.StreamResponse) -> None:
    """Nothing may be kept, framed, or taken for something else."""
    for name, value in HEADERS.items():
        if name == "Server" or name not in response.headers:
            response.headers[name] = value


def _service(desk: Desk) -> "Service":
    if desk.stopping or desk.service is None:
        raise Unavailable(f"docworker is {'stopping' if desk.stopping else 'starting'}; try again in a second.")
    return desk.service


def _from_query(request: web.Request) -> dict[str, object]:
    fields: dict[str, object] = {**request.match_info}
    for key in request.query:
        if key in fields or len(request.query.getall(key)) > 1:
            raise InvalidRequest(f"{key[:100]}: given twice.")
        fields[key] = request.query[key]
    return fields


def _serve(operation: Operation[BaseModel, BaseModel]) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        from_strings = operation.method != "POST"
        if from_strings:
            fields = _from_query(request)
        else:
            for key in request.query:
                raise InvalidRequest(f"{key[:100]}: expected in the JSON body, not in the query string.")
            may_be_empty = not any(info.is_required() for info in operation.request.model_fields.values())
            fields = {**request.match_info, **await _body(request, may_be_empty=may_be_empty)}
        return _json(await operation.run(_service(request.app[_DESK]), fields, from_strings=from_strings))

    return handle


async def _body(request: web.Request, *, may_be_empty: bool) -> Mapping[str, object]:
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise NotJson("The body has to be sent as it is, without a Content-Encoding.")
    if (request.content_length or 0) > _MAX_BODY_BYTES:  # not one byte of it is waited for
        raise TooLarge(_TOO_LARGE)
    try:
        async with asyncio.timeout(_BODY_S):
            raw = await request.read()
    except TimeoutError:
        raise TooSlow(f"The body did not come within {_BODY_S:g} s.") from None
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(_TOO_LARGE) from None
    except RuntimeError as error:  # aiohttp's word for a connection that was ended before its body was asked for
        raise ConnectionResetError(str(error)) from None
    except web.RequestPayloadError as error:
        raise InvalidRequest(f"The body cannot be read: {error}.") from None
    if may_be_empty and not raw:
        return {}
    if request.content_type != "application/json":
        raise NotJson("The body has to be JSON: send the header Content-Type: application/json.")
    try:
        body = json.loads(raw, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not well-formed JSON: {error}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object, such as {}.")
    return body


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequest("The body names a field twice.")
    return fields


def _json(model: BaseModel, status: int = 200) -> web.Response:
    body = model.model_dump_json(by_alias=True, exclude_none=False)
    return web.Response(text=body, status=status, content_type="application/json")


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse what a web page could send: a name that was bound to this address, another site's form or script; and strangers."""
    desk, headers = request.app[_DESK], request.headers
    told = headers.getall(hdrs.HOST, [])
    host = _hostname(told[0]) if len(told) == 1 else None
    if host is None or not _is_own(host, desk.host):
        raise Forbidden(f"This daemon does not answer to the host {', '.join(told)[:100]!r}; use 127.0.0.1 or localhost.")
    if not request.raw_path.startswith("/"):  # of a proxy's client: `GET http://host/path`, where that host counts
        raise Forbidden(f"This daemon is no proxy for {request.raw_path[:100]!r}.")
    for origin in headers.getall(hdrs.ORIGIN, []):
        if origin.lower() != f"http://{told[0]}".lower():  # only its own page, at /docs
            raise Forbidden(f"This daemon does not answer to pages of {origin[:100]!r}.")
    if not _FOREIGN_SITES.isdisjoint(headers.getall("Sec-Fetch-Site", [])) and not _is_link(request):
        raise Forbidden("This daemon does not answer to pages of other sites.")
    if (
        desk.token is not None
        and request.path not in _ABOUT_ITSELF
        and not hmac.compare_digest(
            headers.get(hdrs.AUTHORIZATION, "").encode("utf-8", "surrogateescape"), f"Bearer {desk.token}".encode()
        )
    ):
        raise Unauthorized("This daemon asks for a token: send the header Authorization: Bearer TOKEN (setting token).")
    return await handler(request)


def _is_own(host: str, bound: str) -> bool:
    """Whether a request may name this host. A name can be bound to any address by who owns it, an address cannot."""
    if host in _LOOPBACK or host == bound:
        return True
    with suppress(ValueError):
        if ipaddress.ip_address(bound).is_unspecified:
            return host == socket.gethostname().lower() or bool(ipaddress.ip_address(host))
    return False


def _is_link(request: web.Request) -> bool:
    """Whether a browser goes to this page because a link was followed."""
    return request.method == "GET" and request.headers.getall("Sec-Fetch-Mode", []) == ["navigate"]


def _hostname(told: str) -> str | None:
    found = _HOST.fullmatch(told)
    return None if found is None else found[1].strip("[]").lower()


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every error as `{"error": sentence}`. The other place that catches every exception: a bug is logged, not shown."""
    try:
        return await handler(request)
    except DocworkerError as error:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        return refused(status, str(error), _ERROR_HEADERS.get(status))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return refused(405, f"{request.method} is not possible here; use {allowed}.", {"Allow": allowed})
    except web.HTTPNotFound:
        return refused(404, f"There is nothing at {request.path[:100]}.")
    except web.HTTPException as error:
        return refused(error.status, f"The request cannot be answered: {error.reason}.")
    except ConnectionError:  # the client is gone, and hears nothing of it
        return refused(400, "The connection broke off.")
    except asyncio.CancelledError:
        raise
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return refused(500, FAILED)
