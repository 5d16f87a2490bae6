"""What the daemon tells about itself: `GET /openapi.json`, OpenAPI 3.1, made from the table of operations.

Schemas come from the contract, summaries and errors from the docstrings of the use cases ("Raises NotFound …"), statuses from
the application's error policy. A new row of the table is described without a word here.
"""

import inspect
import re
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from docworker import __version__
from docworker.api.stream import KINDS, LAST_ID
from docworker.contract import EventsRequest, HealthResponse
from docworker.errors import DocworkerError
from docworker.operations import OPERATIONS, Operation

Json: TypeAlias = dict[str, Any]  # a piece of the document
StatusOf: TypeAlias = tuple[tuple[type[DocworkerError], int], ...]

_REF = "#/components/schemas/"
_ALWAYS = frozenset({400, 503})  # any operation reads fields and needs the stores
_WITH_BODY = frozenset({408, 413, 415})
_BY_WHOM = frozenset({401, 403})  # who may not ask is refused everywhere
_ABOUT = """A local documentation daemon: it crawls documentation, keeps it on this machine, and finds passages in it.

Times are epoch milliseconds, ages are hours. Where 400 is listed, unknown fields and parameters are refused, so that a typo is
noticed; `null` in an optional field means leaving it out; 5.0 is the whole number 5. An unknown path is answered with 404, a
method that a path does not have with 405 and `Allow`. This is true of the version that serves it: later ones may add keys to
answers, and change none."""
_ERROR = {
    "description": "Every error.",
    "type": "object",
    "properties": {"error": {"type": "string", "minLength": 1, "description": "A sentence that a person can act on."}},
    "required": ["error"],
    "additionalProperties": False,
}
_RETRY_AFTER = {"description": "Seconds after which to ask again.", "required": True, "schema": {"type": "integer", "minimum": 0}}


class _Schemas(GenerateJsonSchema):
    """Pydantic's schemas without a title made of each field's name."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never: "Topk" says less than `topK`."""
        return False


@cache
def document(status_of: StatusOf) -> Json:
    """The description of all that is served. `status_of` says which error is answered with which status."""
    errors = {status: _prose(kind.__doc__) for kind, status in reversed(status_of)}
    schemas, health = _schemas(), _answer(HealthResponse)
    paths: dict[str, Json] = {
        "/health": {"get": _fixed("health", "Whether the daemon runs, also before it can serve more.", health, _BY_WHOM, errors)}
    }
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas, status_of, errors)
    for operation in OPERATIONS:
        if operation.method != "POST":
            schemas.pop(operation.request.__name__, None)  # it stands in the parameters
    itself = {"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}}
    page = {"description": "A page of HTML.", "content": {"text/html": {"schema": {"type": "string"}}}}
    paths["/openapi.json"] = {"get": _fixed("openapi", "The description of all operations.", itself, {403}, errors)}
    paths["/docs"] = {"get": _fixed("docs", "A page to read and try them.", page, {403}, errors)}
    paths["/events"] = {"get": _events(errors)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "docworker",
            "version": __version__,
            "description": _prose(_ABOUT),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas | {"Error": _ERROR},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed when the daemon listens on more than loopback.",
                }
            },
        },
    }


def _schemas() -> dict[str, Json]:
    """The contract's requests as they are taken, and its responses as they are given, by name."""
    models = {(each.request, "validation"): None for each in OPERATIONS}
    answers = {(each.response, "serialization"): None for each in OPERATIONS}
    wanted: Any = [*models, *answers, (HealthResponse, "serialization")]
    _, found = models_json_schema(wanted, ref_template=_REF + "{model}", schema_generator=_Schemas)
    schemas: dict[str, Json] = _tidied(found["$defs"])
    for operation in OPERATIONS:
        schema = schemas[operation.request.__name__]
        required = schema.get("required", [])
        for name, field in schema.get("properties", {}).items():
            if name not in required:
                schema["properties"][name] = _optional(field, may_be_null=operation.method == "POST")
    return schemas


def _tidied(schema: Any) -> Any:
    """Descriptions in the names of JSON; and the bounds of a number that is converted first, which pydantic calls otherwise."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if isinstance(schema, dict):
        tidy = {{"ge": "minimum", "le": "maximum"}.get(key, key): _tidied(value) for key, value in schema.items()}
        return {key: _prose(value) if key == "description" and isinstance(value, str) else value for key, value in tidy.items()}
    return schema


def _prose(docstring: str | None) -> str:
    """A docstring as a caller reads it: each paragraph on one line, and fields called as in JSON."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(docstring or ""))
    return re.sub(r"`([a-z]+(?:_[a-z]+)+)`", lambda name: f"`{to_camel(name[1])}`", text)


def _optional(field: Json, *, may_be_null: bool) -> Json:
    """The schema of a field that may be left out: in a body also by null, which no query string can hold."""
    null = {"type": "null"}
    about = {key: field[key] for key in ("description", "default") if field.get(key) is not None}
    kinds = field.get("anyOf") or [{key: value for key, value in field.items() if key not in about}]
    kinds = [kind for kind in kinds if kind != null]
    if may_be_null:
        return {**about, "anyOf": [*kinds, null]}
    return {**about, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})}


def _described(operation: Operation[Any, Any], schemas: dict[str, Json], status_of: StatusOf, errors: dict[int, str]) -> Json:
    summary, more, raised = _told(_prose(operation.use_case().__doc__))
    schema = schemas[operation.request.__name__]
    described: Json = {"operationId": operation.name, "summary": summary}
    if more:
        described["description"] = more
    statuses = {status for kind, status in status_of if kind.__name__ in raised} | _ALWAYS | _BY_WHOM
    if operation.method == "POST":
        statuses |= _WITH_BODY
        some_required = "required" in schema or "anyOf" in schema
        described["requestBody"] = {"required": some_required, "content": _json({"$ref": _REF + operation.request.__name__})}
    elif schema.get("properties"):
        described["parameters"] = [
            _parameter(name, field, in_path=f"{{{name}}}" in operation.path, required=name in schema.get("required", []))
            for name, field in schema["properties"].items()
        ]
    return described | {"responses": {"200": _answer(operation.response), **_refusals(statuses, errors)}}


def _told(docstring: str) -> tuple[str, str, frozenset[str]]:
    """Of a use case's docstring: its first sentence, the others but for what it raises, and the names of that."""
    about, _, raises = docstring.partition("Raises ")
    first, *others = re.split(r"(?<=\.)\s+", about.strip(), maxsplit=1)
    return first, "".join(others), frozenset(re.findall(r"\b[A-Z]\w+", raises))


def _parameter(name: str, field: Json, *, in_path: bool, required: bool) -> Json:
    schema = {key: value for key, value in field.items() if key != "description"}
    if in_path:
        schema["minLength"] = 1
    parameter = {"name": name, "in": "path" if in_path else "query", "required": in_path or required, "schema": schema}
    return {**parameter, "description": field["description"]} if "description" in field else parameter


def _fixed(name: str, summary: str, answer: Json, statuses: Iterable[int], errors: dict[int, str]) -> Json:
    """An operation beside the table, which asks for nothing."""
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **_refusals(statuses, errors)}}


def _events(errors: dict[int, str]) -> Json:
    text: Json = {"type": "string", "maxLength": 2_048}
    of_docset = {
        "name": "docsetId",
        "in": "query",
        "required": False,
        "schema": text,
        "description": _prose(EventsRequest.__doc__),
    }
    last = {
        "name": LAST_ID,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": "^[ -~]*$"},
        "description": "The id of the last event that was heard: go on after that.",
    }
    return {
        "operationId": "events",
        "summary": "What happens, as server-sent events, until the client goes.",
        "description": _prose(KINDS),
        "parameters": [of_docset, last],
        "responses": {
            "200": {"description": "Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            **_refusals(_BY_WHOM | _ALWAYS | {404}, errors),
        },
    }


def _answer(model: type[BaseModel]) -> Json:
    return {"description": _prose(model.__doc__), "content": _json({"$ref": _REF + model.__name__})}


def _refusals(statuses: Iterable[int], errors: dict[int, str]) -> Json:
    """The errors among `statuses` that there are."""
    content = _json({"$ref": _REF + "Error"})
    return {
        str(status): {"description": errors[status], "content": content}
        | ({"headers": {"Retry-After": _RETRY_AFTER}} if status == 503 else {})
        for status in sorted(statuses)
        if status in errors
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
