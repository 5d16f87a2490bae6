"""Requests as they arrive: what is taken, what is refused, and that the refusal names the field."""

from collections.abc import Mapping
from typing import cast

import pytest
from pydantic import BaseModel, ValidationError

from docworker.contract import (
    MAX_QUERY_CHARS,
    DeleteResponse,
    DocsetRequest,
    IndexRequest,
    PagesRequest,
    RetrieveRequest,
    StatusRequest,
    WhyRequest,
)
from docworker.errors import InvalidRequest
from docworker.model import PageState
from docworker.operations import OPERATIONS, Operation
from docworker.service import Service

INDEX = {"baseUrl": "https://x.org", "seedSlug": "/docs"}
ANSWER = DeleteResponse(success=True, docset_id="d")


async def refusal(request: type[BaseModel], fields: Mapping[str, object], *, from_strings: bool = False) -> str:
    """The message with which an operation refuses `fields`."""

    async def use_case(service: Service, request: BaseModel) -> DeleteResponse:
        raise AssertionError("the use case must not be reached")

    operation = Operation("test", "POST", "/test", request, DeleteResponse, lambda: use_case)
    with pytest.raises(InvalidRequest) as error:
        await operation.run(cast(Service, object()), fields, from_strings=from_strings)
    return str(error.value)


# -- defaults and null


def test_the_defaults_of_index() -> None:
    request = IndexRequest.model_validate(INDEX)
    assert request.model_dump() == {
        "base_url": "https://x.org",
        "seed_slug": "/docs",
        "name": None,
        "allowed_paths": None,
        "wait_for_seed": True,
        "max_pages": None,
        "include": None,
        "exclude": None,
        "headers": None,
    }


def test_the_defaults_of_retrieve() -> None:
    request = RetrieveRequest.model_validate({"query": "q"})
    assert request.model_dump() == {
        "query": "q",
        "top_k": 5,
        "docset_ids": None,
        "max_chunks_per_page": 3,
        "max_total_chars": 32_000,
        "format_snippets": True,
    }


def test_the_defaults_of_queries() -> None:
    assert StatusRequest.model_validate_strings({}).model_dump() == {"docset_id": None, "include_stuck": False}
    assert PagesRequest.model_validate_strings({"id": "d"}).model_dump() == {"id": "d", "status": None, "limit": 100, "offset": 0}
    assert WhyRequest.model_validate_strings({"url": "x"}).model_dump() == {"url": "x", "docset_id": None}


@pytest.mark.parametrize(
    ("model", "required"),
    [
        (IndexRequest, INDEX),
        (RetrieveRequest, {"query": "q"}),
        (StatusRequest, {}),
        (PagesRequest, {"id": "d"}),
        (WhyRequest, {"url": "x"}),
    ],
)
def test_null_in_an_optional_field_is_leaving_it_out(model: type[BaseModel], required: dict[str, object]) -> None:
    optional = {str(field.alias): None for field in model.model_fields.values() if not field.is_required()}
    assert optional
    assert model.model_validate({**required, **optional}) == model.model_validate(required)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (IndexRequest, {**INDEX, "baseUrl": None}),
        (RetrieveRequest, {"query": None}),
        (DocsetRequest, {"id": None}),
        (WhyRequest, {"url": None}),
    ],
)
def test_null_in_a_required_field_is_refused(model: type[BaseModel], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(fields)


# -- what is taken


@pytest.mark.parametrize(
    ("given", "taken"),
    [(-(10**30), 1), (-1, 1), (0, 1), (1, 1), (7, 7), (7.0, 7), (100, 100), (101, 100), (1e300, 100), (None, 5)],
)
def test_top_k_is_clamped_not_refused(given: object, taken: int) -> None:
    assert RetrieveRequest.model_validate({"query": "q", "topK": given}).top_k == taken


@pytest.mark.parametrize("field", ["maxChunksPerPage", "maxTotalChars"])
@pytest.mark.parametrize("value", [1, 1.0, 5.0, 10**9])
def test_a_whole_number_may_be_written_with_a_point(field: str, value: float) -> None:
    request = RetrieveRequest.model_validate({"query": "q", field: value})
    assert request.model_dump(by_alias=True)[field] == int(value)
    assert isinstance(request.model_dump(by_alias=True)[field], int)


def test_an_empty_list_of_docsets_is_not_the_same_as_none() -> None:
    assert RetrieveRequest.model_validate({"query": "q", "docsetIds": []}).docset_ids == []


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_an_empty_list_of_patterns_is_not_the_same_as_none(field: str) -> None:
    """It takes away those that a docset has."""
    assert getattr(IndexRequest.model_validate({**INDEX, field: []}), field) == []


@pytest.mark.parametrize("field", ["include", "exclude"])
@pytest.mark.parametrize("pattern", ["/a", "/a/*", "*/_modules/*", "*.html", "?a", "[/]a/[!b]*", "/ü b?c=d", "/" + "a" * 2_047])
def test_a_pattern_of_paths_is_taken_as_it_is(field: str, pattern: str) -> None:
    assert getattr(IndexRequest.model_validate({**INDEX, field: [pattern]}), field) == [pattern]


def test_a_query_of_8192_characters_is_taken_and_one_more_is_not() -> None:
    assert RetrieveRequest.model_validate({"query": "é" * MAX_QUERY_CHARS})
    with pytest.raises(ValidationError):
        RetrieveRequest.model_validate({"query": "é" * (MAX_QUERY_CHARS + 1)})


def test_white_space_around_a_query_does_not_count() -> None:
    assert RetrieveRequest.model_validate({"query": "  " + "q" * MAX_QUERY_CHARS + "\n"})


def test_a_query_string_is_read_by_the_fields_types() -> None:
    assert StatusRequest.model_validate_strings({"docsetId": "d", "includeStuck": "true"}).include_stuck is True
    request = PagesRequest.model_validate_strings({"id": "d", "status": "skipped", "limit": "500", "offset": "0"})
    assert (request.status, request.limit) == (PageState.SKIPPED, 500)


# -- what is refused, and how


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"seedSlug": "/"}, "baseUrl: required"),
        ({"baseUrl": "https://x.org"}, "seedSlug: required"),
        ({**INDEX, "baseUrl": 5}, "baseUrl: "),
        ({**INDEX, "baseUrl": True}, "baseUrl: "),
        ({**INDEX, "baseUrl": ["https://x.org"]}, "baseUrl: "),
        ({**INDEX, "name": ""}, "name: "),
        ({**INDEX, "name": "n" * 201}, "name: "),
        ({**INDEX, "allowedPaths": []}, "allowedPaths: "),
        ({**INDEX, "allowedPaths": "/docs"}, "allowedPaths: "),
        ({**INDEX, "allowedPaths": ["/docs", 5]}, "allowedPaths.1: "),
        ({**INDEX, "allowedPaths": ["/a"] * 101}, "allowedPaths: "),
        ({**INDEX, "waitForSeed": "true"}, "waitForSeed: "),
        ({**INDEX, "waitForSeed": 1}, "waitForSeed: "),
        ({**INDEX, "maxPages": 0}, "maxPages: "),
        ({**INDEX, "maxPages": 1_000_001}, "maxPages: "),
        ({**INDEX, "include": "/a/*"}, "include: "),
        ({**INDEX, "include": ["/a", 5]}, "include.1: "),
        ({**INDEX, "include": [""]}, "include.0: "),
        ({**INDEX, "exclude": ["old/*"]}, "exclude.0: "),
        ({**INDEX, "exclude": ["https://x.org/old"]}, "exclude.0: "),
        ({**INDEX, "exclude": [None]}, "exclude.0: "),
        ({**INDEX, "exclude": ["/a"] * 101}, "exclude: "),
        ({**INDEX, "exclude": ["/" + "a" * 2_048]}, "exclude.0: "),
        ({**INDEX, "base_url": "https://x.org"}, "base_url: unknown field"),
    ],
)
async def test_index_refuses_with_the_name_of_the_field(fields: dict[str, object], named: str) -> None:
    assert (await refusal(IndexRequest, fields)).startswith(named)


@pytest.mark.parametrize("field", ["topK", "maxChunksPerPage", "maxTotalChars"])
@pytest.mark.parametrize("value", [True, False, "5", "", 5.5, float("inf"), float("nan"), [5], {}])
async def test_what_is_no_whole_number_is_refused(field: str, value: object) -> None:
    assert (await refusal(RetrieveRequest, {"query": "q", field: value})).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "query: required"),
        ({"query": 5}, "query: "),
        ({"query": "q", "maxChunksPerPage": 0}, "maxChunksPerPage: "),
        ({"query": "q", "maxTotalChars": 0}, "maxTotalChars: "),
        ({"query": "q", "docsetIds": "abc"}, "docsetIds: "),
        ({"query": "q", "docsetIds": [None]}, "docsetIds.0: "),
        ({"query": "q", "formatSnippets": 1}, "formatSnippets: "),
        ({"query": "q", "formatSnippets": "yes"}, "formatSnippets: "),
        ({"query": "q", "top_k": 5}, "top_k: unknown field"),
        ({"query": "q", "limit": None}, "limit: unknown field"),
    ],
)
async def test_retrieve_refuses_with_the_name_of_the_field(fields: dict[str, object], named: str) -> None:
    assert (await refusal(RetrieveRequest, fields)).startswith(named)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "d", "limit": "0"}, "limit: "),
        ({"id": "d", "limit": "501"}, "limit: "),
        ({"id": "d", "limit": "ten"}, "limit: "),
        ({"id": "d", "offset": "-1"}, "offset: "),
        ({"id": "d", "offset": str(2**60)}, "offset: "),
        ({"id": "d", "status": "done"}, "status: "),
        ({"id": "d", "page": "2"}, "page: unknown field"),
    ],
)
async def test_a_query_string_is_refused_with_the_name_of_the_field(fields: dict[str, str], named: str) -> None:
    assert (await refusal(PagesRequest, fields, from_strings=True)).startswith(named)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "url: required"),
        ({"url": "https://x.org/", "docset_id": "d"}, "docset_id: unknown field"),
        ({"url": "https://x.org/", "docset": "d"}, "docset: unknown field"),
        ({"url": "x" * 2_049}, "url: "),
    ],
)
async def test_why_refuses_with_the_name_of_the_field(fields: dict[str, str], named: str) -> None:
    assert (await refusal(WhyRequest, fields, from_strings=True)).startswith(named)


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [(IndexRequest, {**INDEX, "name": "\ud800"}, "name"), (RetrieveRequest, {"query": "\ud800"}, "query")],
)
async def test_text_that_is_no_unicode_is_refused(model: type[BaseModel], fields: dict[str, object], field: str) -> None:
    assert (await refusal(model, fields)).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        (IndexRequest, {**INDEX, "baseUrl": "https://x.org/\ud800"}, "baseUrl"),
        (IndexRequest, {**INDEX, "seedSlug": "/\ud800"}, "seedSlug"),
        (IndexRequest, {**INDEX, "allowedPaths": ["/\ud800"]}, "allowedPaths"),
        (IndexRequest, {**INDEX, "include": ["/\ud800"]}, "include"),
        (IndexRequest, {**INDEX, "exclude": ["/\ud800"]}, "exclude"),
        (RetrieveRequest, {"query": "q", "docsetIds": ["\ud800"]}, "docsetIds"),
    ],
)
async def test_text_that_is_no_unicode_is_refused_in_every_field(
    model: type[BaseModel], fields: dict[str, object], field: str
) -> None:
    assert (await refusal(model, fields)).startswith(field)


async def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    assert await refusal(RetrieveRequest, {"query": "q", "topk": 5}) == (
        "topk: unknown field; expected docsetIds, formatSnippets, maxChunksPerPage, maxTotalChars, query, topK."
    )


async def test_a_refusal_says_what_was_expected_and_what_came() -> None:
    message = await refusal(RetrieveRequest, {"query": "q", "maxTotalChars": 0})
    assert message == "maxTotalChars: expected greater than or equal to 1, got 0."


async def test_a_refusal_does_not_repeat_a_huge_value() -> None:
    assert len(await refusal(RetrieveRequest, {"query": "q", "topK": "9" * 10_000})) < 300


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (RetrieveRequest, {"query": "q", "topK": True}),
        (RetrieveRequest, {"query": "q" * 9_000}),
        (IndexRequest, {**INDEX, "allowedPaths": []}),
    ],
)
async def test_a_refusal_is_one_english_sentence(model: type[BaseModel], fields: dict[str, object]) -> None:
    message = await refusal(model, fields)
    assert message.count("expected") == 1
    assert "should have" not in message


async def test_a_refusal_shows_of_which_type_the_value_was() -> None:
    assert "'5'" not in await refusal(RetrieveRequest, {"query": 5})


async def test_a_valid_request_reaches_its_use_case_with_the_service() -> None:
    seen: list[tuple[Service, IndexRequest]] = []
    service = cast(Service, object())

    async def use_case(service: Service, request: IndexRequest) -> DeleteResponse:
        seen.append((service, request))
        return ANSWER

    operation = Operation("test", "POST", "/test", IndexRequest, DeleteResponse, lambda: use_case)
    assert await operation.run(service, INDEX, from_strings=False) is ANSWER
    assert seen == [(service, IndexRequest.model_validate(INDEX))]


def test_every_operation_has_a_name_and_a_route_of_its_own_and_asks_for_its_path_parameters() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)
    for operation in OPERATIONS:
        assert ("{id}" in operation.path) == ("id" in operation.request.model_fields)
        assert operation.request.model_config["extra"] == "forbid"
