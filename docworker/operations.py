"""The table of operations: name, method, path, request, response, use case. Routes, validation and messages read it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from docworker import contract
from docworker.errors import InvalidRequest

if TYPE_CHECKING:
    from docworker.service import Service

_SHOWN_CHARS = 100

Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Operation(Generic[Req, Res]):
    """One operation; a path's `{id}` is a field of the request. Its use case is looked up when it is needed."""

    name: str
    method: str
    path: str
    request: type[Req]
    response: type[Res]
    use_case: Callable[[], Callable[["Service", Req], Awaitable[Res]]]

    async def run(self, service: "Service", fields: Mapping[str, object], *, from_strings: bool) -> Res:
        """Validate `fields` and carry the operation out.

        `from_strings`: the values stand in a path and a query string. Raises InvalidRequest naming the field.
        """
        return await self.use_case()(service, validated(self.request, fields, from_strings=from_strings))


def validated(request: type[Req], fields: Mapping[str, object], *, from_strings: bool) -> Req:
    """The request that `fields` make. Raises InvalidRequest naming the field."""
    try:
        return (request.model_validate_strings if from_strings else request.model_validate)(dict(fields))
    except ValidationError as error:
        raise InvalidRequest(_explain(error, request)) from None


def _service() -> "type[Service]":
    """The use cases; all that they need takes long to import, and /health is to be answered before."""
    from docworker.service import Service

    return Service


# a table of different requests and responses: each row is checked where it is made
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("index", "POST", "/index", contract.IndexRequest, contract.IndexResponse, lambda: _service().index),
    Operation("retrieve", "POST", "/retrieve", contract.RetrieveRequest, contract.RetrieveResponse, lambda: _service().retrieve),
    Operation("status", "GET", "/status", contract.StatusRequest, contract.StatusResponse, lambda: _service().status),
    Operation("docset", "GET", "/docset/{id}", contract.DocsetRequest, contract.DocsetResponse, lambda: _service().docset),
    Operation("pages", "GET", "/docset/{id}/pages", contract.PagesRequest, contract.PagesResponse, lambda: _service().pages),
    Operation("refresh", "POST", "/refresh", contract.RefreshRequest, contract.RefreshResponse, lambda: _service().refresh),
    Operation(
        "refresh-all",
        "POST",
        "/refresh-all",
        contract.RefreshAllRequest,
        contract.RefreshAllResponse,
        lambda: _service().refresh_all,
    ),
    Operation("doctor", "POST", "/doctor", contract.DoctorRequest, contract.DoctorResponse, lambda: _service().doctor),
    Operation("why", "GET", "/why", contract.WhyRequest, contract.WhyResponse, lambda: _service().why),
    Operation(
        "session-register",
        "POST",
        "/session/register",
        contract.RegisterRequest,
        contract.RegisterResponse,
        lambda: _service().register,
    ),
    Operation(
        "session-heartbeat",
        "POST",
        "/session/heartbeat",
        contract.SessionRequest,
        contract.HeartbeatResponse,
        lambda: _service().heartbeat,
    ),
    Operation(
        "session-unregister",
        "POST",
        "/session/unregister",
        contract.SessionRequest,
        contract.UnregisterResponse,
        lambda: _service().unregister,
    ),
    Operation("sessions", "GET", "/sessions", contract.SessionsRequest, contract.SessionsResponse, lambda: _service().sessions),
    Operation("delete", "DELETE", "/docset/{id}", contract.DocsetRequest, contract.DeleteResponse, lambda: _service().delete),
)


def _explain(error: ValidationError, request: type[BaseModel]) -> str:
    """The first thing that is wrong, as `field: what was expected, got …`."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])[:_SHOWN_CHARS] or "body"
    match first["type"]:
        case "extra_forbidden":
            known = ", ".join(sorted(str(info.alias or name) for name, info in request.model_fields.items()))
            return f"{field}: unknown field; {'expected ' + known if known else 'none is expected'}."
        case "missing":
            return f"{field}: required, but missing."
        case "string_too_short" | "too_short":
            expected = f"at least {first['ctx']['min_length']} {_things(first['type'])}"
        case "string_too_long" | "too_long":
            expected = f"at most {first['ctx']['max_length']} {_things(first['type'])}"
        case _:
            expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["loc"][:1] == ("headers",):  # what was given there is a secret
        return f"{field}: expected {expected}."
    return f"{field}: expected {expected}, got {_shown(first['input'])}."


def _things(kind: str) -> str:
    return "characters" if kind.startswith("string") else "items"


def _shown(value: object) -> str:
    """A value as JSON, so that the number 5 and the text "5" look different; a long one is cut."""
    try:
        text = json.dumps(value)
    except RecursionError:
        text = "something nested deeply"
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
