"""What people read: tables, progress, snippets. Only text in and out; nothing here talks to the daemon."""

import time
from collections.abc import Sequence

import click

from docworker.contract import (
    DocsetResponse,
    DoctorResponse,
    PagesResponse,
    RetrieveResponse,
    SessionsResponse,
    StatusResponse,
    WhyDocset,
    WhyResponse,
)

_STATE_COLOURS = {"ready": "green", "indexing": "yellow", "pending": "yellow", "error": "red"}
NOTHING_INDEXED = "Nothing is indexed yet: docworker index URL"


def status(found: StatusResponse, url: str, version: str) -> str:
    """The daemon, the model and every docset."""
    model = found.model
    said = {
        "ready": f"{model.id}",
        "loading": "loading",
        "unavailable": f"none, answering from BM25 alone. {model.message}",
    }
    lines = [
        f"docworker {version} at {url}, {size(found.size_bytes)} on disk",
        f"model    {said[model.state]}",
    ]
    for docset in found.docsets:
        lines += ["", *_docset(docset)]
    if not found.docsets:
        lines += ["", NOTHING_INDEXED]
    return "\n".join(lines)


def _docset(docset: DocsetResponse) -> list[str]:
    counts = docset.index_status
    state = click.style(docset.status.value, fg=_STATE_COLOURS[docset.status.value])
    of_pages = ", ".join(
        f"{number} {word}"
        for number, word in (
            (counts.indexed_pages, "indexed"),
            (counts.pending_pages, "pending"),
            (counts.skipped_pages, "skipped"),
            (counts.error_pages, "failed"),
        )
        if number or word == "indexed"
    )
    lines = [
        f"{click.style(docset.name, bold=True)}  {docset.id}  {state}",
        f"  {docset.base_url}  below {', '.join(docset.allowed_paths)}",
        f"  pages   {of_pages}",
        f"  chunks  {counts.total_chunks}, {counts.embedded_chunks} with vector",
    ]
    if docset.crawled_at is not None:
        lines.append(f"  crawled {age(docset.crawled_at)} ago")
    if docset.refresh is not None:
        lines.append(f"  refresh {refreshing(docset)}")
    elif docset.last_refresh is not None:
        what = refreshed(docset).partition(": ")[2] if docset.last_refresh.done else "failed, nothing was changed"
        lines.append(f"  refresh {age(docset.last_refresh.ended_at)} ago: {what}")
    if docset.message:
        lines.append(f"  {docset.message}")
    return lines


def pages(found: PagesResponse) -> str:
    """The listing, one page a line."""
    lines = []
    for page in found.pages:
        line = f"{page.status.value:8} {page.url}"
        lines.append(f"{line}  {page.error_message or page.title or ''}".rstrip())
    shown = found.offset + len(found.pages)
    if shown < found.total:
        lines.append(f"… {found.total - shown} more: --offset {shown}")
    return "\n".join(lines) if lines else "No pages."


def why(found: WhyResponse) -> str:
    """What each docset knows of a URL."""
    return "\n\n".join("\n".join(_why(found.url, docset)) for docset in found.docsets)


def _why(asked: str, found: WhyDocset) -> list[str]:
    state = found.status.value if found.status else "not met"
    lines = [f"{click.style(found.docset_name, bold=True)}  {found.docset_id}", f"  {state}: {found.message}"]
    rows = [(f"{step.url}", f"→ {step.target} ({step.how})") for step in found.redirects]
    lines += [f"  redirect   {url} {target}" for url, target in rows]
    if found.redirects or found.url != asked:
        lines.append(f"  page       {found.url}")
    if found.title:
        lines.append(f"  title      {found.title}")
    if len(found.path) > 1:
        lines.append(f"  found by   {' → '.join(found.path)}")
    elif found.status:
        lines.append("  found by   it is where the crawl began")
    if found.depth is not None:
        lines.append(f"  depth      {found.depth} link{'s' * (found.depth != 1)} from there")
    lines += [f"  also at    {url}" for url in found.other_urls]
    lines += [f"  scope      {found.scope}", f"  robots     {found.robots}"]
    if found.read_as:
        lines.append(f"  read as    {found.read_as}")
    if found.fetched_at is not None:
        answer = "no answer" if found.http_status is None else f"HTTP {found.http_status}"
        asked_times = "1 request" if found.requests == 1 else f"{found.requests} requests"
        lines.append(f"  fetched    {age(found.fetched_at)} ago: {answer}, {size(found.size_bytes or 0)}, {asked_times}")
    if found.links_dropped:
        lines.append(f"  links      {found.links_dropped} over the limit of one page were not followed")
    return lines


def snippets(found: RetrieveResponse) -> str:
    """The passages as an assistant would get them."""
    if not found.results:
        return "Nothing found."
    return "\n\n".join(result.snippet.formatted if result.snippet else result.content for result in found.results)


def progress(docset: DocsetResponse, rate: float) -> str:
    """What stands behind the bar: pages, chunks, speed, and what is being waited for."""
    counts = docset.index_status
    if counts.pending_pages and docset.message:
        waiting = docset.message
    elif counts.pending_pages:
        waiting = f"{counts.pending_pages} pages to go"
    elif counts.embedded_chunks < counts.total_chunks:
        waiting = f"{counts.total_chunks - counts.embedded_chunks} vectors to go"
    else:
        waiting = "done"
    return f"{counts.indexed_pages} pages, {counts.total_chunks} chunks, {rate:.0f} embedded/s, {waiting}"


def refreshing(docset: DocsetResponse) -> str:
    """How far a refresh is."""
    found = docset.refresh
    if found is None:
        return ""
    vectors = f", {found.pending_chunks} vectors to go" if found.pending_chunks else ""
    return f"{docset.name}: {found.pages - found.pending_pages} of {found.pages} pages found{vectors}"


def refreshed(docset: DocsetResponse) -> str:
    """What a refresh came to."""
    found = docset.last_refresh
    if found is None:
        return f"{docset.name}: not refreshed"
    said = (
        f"{docset.name}: {found.pages} pages, {found.changed} changed, {found.added} added, {found.removed} removed,"
        f" {found.embedded} texts embedded"
    )
    return f"{said}, {found.unsure} could not be had and are kept as they were" if found.unsure else said


def outcome(docset: DocsetResponse) -> str:
    """What an index run came to."""
    return "\n".join(_docset(docset))


def sessions(found: SessionsResponse) -> str:
    """The editors that are connected, a line each."""
    if not found.sessions:
        return "No editor is connected."
    rows = [
        (session.id, session.client_type, f"{age(session.connected_at)} ago", f"{age(session.last_heartbeat)} ago")
        for session in found.sessions
    ]
    return table([("session", "client", "connected", "last heartbeat"), *rows])


def size(number: int) -> str:
    """Bytes as people say them."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def age(then_ms: int) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0.0, time.time() - then_ms / 1000)
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def checks(found: DoctorResponse) -> str:
    """What was looked at, a line each."""
    lines = []
    for check in found.checks:
        state, colour = ("mended", "yellow") if check.fixed else ("ok", "green") if check.ok else ("wrong", "red")
        lines.append(f"{click.style(f'{state:7}', fg=colour)} {check.name}: {check.message}")
    return "\n".join(lines)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; the last one as it is."""
    widths = [max(len(cell) for cell in column) for column in list(zip(*rows, strict=True))[:-1]]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]).rstrip() for row in rows
    )
