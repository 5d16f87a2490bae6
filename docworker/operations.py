"""The table of operations: name, method, path, request, response, use case. Routes, validation and messages read it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from docworker import contract
from docworker.errors import InvalidRequest
from docworker.service import Service

_SHOWN_CHARS = 100

Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Operation(Generic[Req, Res]):
    """One operation; a path's `{id}` is a field of the request."""

    name: str
    method: str
    path: str
    request: type[Req]
    response: type[Res]
    use_case: Callable[[Service, Req], Awaitable[Res]]

    async def run(self, service: Service, fields: Mapping[str, object], *, from_strings: bool) -> Res:
        """Validate `fields` and carry the operation out.

        `from_strings`: the values stand in a path and a query string. Raises InvalidRequest naming the field.
        """
        return await self.use_case(service, validated(self.request, fields, from_strings=from_strings))


def validated(request: type[Req], fields: Mapping[str, object], *, from_strings: bool) -> Req:
    """The request that `fields` make. Raises InvalidRequest naming the field."""
    try:
        return (request.model_validate_strings if from_strings else request.model_validate)(dict(fields))
    except ValidationError as error:
        raise InvalidRequest(_explain(error, request)) from None


# a table of different requests and responses: each row is checked where it is made
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("index", "POST", "/index", contract.IndexRequest, contract.IndexResponse, Service.index),
    Operation("retrieve", "POST", "/retrieve", contract.RetrieveRequest, contract.RetrieveResponse, Service.retrieve),
    Operation("status", "GET", "/status", contract.StatusRequest, contract.StatusResponse, Service.status),
    Operation("docset", "GET", "/docset/{id}", contract.DocsetRequest, contract.DocsetResponse, Service.docset),
    Operation("pages", "GET", "/docset/{id}/pages", contract.PagesRequest, contract.PagesResponse, Service.pages),
    Operation("refresh", "POST", "/refresh", contract.RefreshRequest, contract.RefreshResponse, Service.refresh),
    Operation(
        "refresh-all", "POST", "/refresh-all", contract.RefreshAllRequest, contract.RefreshAllResponse, Service.refresh_all
    ),
    Operation("doctor", "POST", "/doctor", contract.DoctorRequest, contract.DoctorResponse, Service.doctor),
    Operation("why", "GET", "/why", contract.WhyRequest, contract.WhyResponse, Service.why),
    Operation(
        "session-register", "POST", "/session/register", contract.RegisterRequest, contract.RegisterResponse, Service.register
    ),
    Operation(
        "session-heartbeat", "POST", "/session/heartbeat", contract.SessionRequest, contract.HeartbeatResponse, Service.heartbeat
    ),
    Operation(
        "session-unregister",
        "POST",
        "/session/unregister",
        contract.SessionRequest,
        contract.UnregisterResponse,
        Service.unregister,
    ),
    Operation("sessions", "GET", "/sessions", contract.SessionsRequest, contract.SessionsResponse, Service.sessions),
    Operation("delete", "DELETE", "/docset/{id}", contract.DocsetRequest, contract.DeleteResponse, Service.delete),
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
