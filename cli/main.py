"""The commands. Each asks the daemon, prints for people or as one JSON document, and ends with the exit code of its kind."""

import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import click

from cli import render
from cli.client import Address, Client, Failure, absent, find, flags_of
from cli.client import start as start_daemon
from cli.client import stop as stop_daemon
from cli.completion import DOCSET, completion
from cli.logs import logs
from cli.options import data_dir_option, json_option, say, sentences
from cli.restart import restart
from cli.service import service
from docworker import SCHEMA_VERSION, __version__
from docworker.contract import (
    Check,
    DocsetResponse,
    DoctorResponse,
    IndexResponse,
    PagesResponse,
    RefreshAllResponse,
    RefreshResponse,
    RegisterResponse,
    RetrieveResponse,
    SessionsResponse,
    StatusResponse,
    UnregisterResponse,
    WhyResponse,
)  # fmt: skip
from docworker.model import DocsetState, PageState
from docworker.settings import Loaded, Settings, load

_POLL_S = 0.5
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

no_start_option = click.option("--no-start", is_flag=True, help="Fail instead of starting the daemon when none answers.")
host_option = click.option("--host", help="Address to listen on (default 127.0.0.1).")
port_option = click.option("--port", type=int, help="Port to listen on (default 7432); 0 takes a free one.")
keep_alive_option = click.option("--keep-alive", is_flag=True, default=None, help="Do not stop with the last editor session.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="docworker")
def main() -> None:
    """Documentation for your assistant: crawled, kept fresh, and searched on this machine alone."""


def _settings() -> Settings:
    return load().settings


def _address(*, no_start: bool) -> Address:
    """The daemon's address; it is started when it does not run."""
    settings = _settings()
    if not no_start:
        return start_daemon(settings, {})
    address = find(settings)
    if address is None:
        raise absent(settings)
    return address


# -- the daemon's life


@main.command()
@host_option
@port_option
@data_dir_option
@keep_alive_option
@json_option
@sentences
def serve(host: str | None, port: int | None, data_dir: str | None, keep_alive: bool | None, as_json: bool) -> None:
    """Run the daemon in the foreground until Ctrl-C or SIGTERM."""
    from docworker.daemon import serve as run

    flags = {"host": host, "port": port, "keep_alive": keep_alive}
    settings = load({**flags, "data_dir": data_dir}).settings
    if as_json:
        click.echo(json.dumps({"pid": os.getpid(), "dataDir": str(settings.data_dir)}))
    run(settings, to_stderr=sys.stderr.isatty(), flags={name: flag for name, flag in flags.items() if flag is not None})


@main.command()
@host_option
@port_option
@data_dir_option
@keep_alive_option
@json_option
@sentences
def start(host: str | None, port: int | None, data_dir: str | None, keep_alive: bool | None, as_json: bool) -> None:
    """Start the daemon in the background and wait until it answers; does nothing when it runs."""
    flags = {"host": host, "port": port, "keep_alive": keep_alive}
    settings = load({**flags, "data_dir": data_dir}).settings
    address = start_daemon(settings, flags)
    given, ran = {name: flag for name, flag in flags.items() if flag is not None}, flags_of(settings)
    if any(ran.get(name) != flag for name, flag in given.items()):
        click.echo("It ran already, with other options; stop it first for these to hold (`docworker stop`).", err=True)
    say(as_json, {"url": address.url, "pid": address.pid}, f"docworker answers at {address.url} (pid {address.pid}).")


@main.command()
@json_option
@sentences
def stop(as_json: bool) -> None:
    """Stop the daemon; a crawl under way goes on at the next start."""
    stopped = stop_daemon(_settings())
    say(as_json, {"stopped": stopped}, "docworker has stopped." if stopped else "docworker does not run.")


# -- documentation


@main.command()
@click.argument("docset", type=DOCSET, required=False)
@click.option("--watch", is_flag=True, help="Show it again whenever something changes, until Ctrl-C.")
@json_option
@sentences
def status(docset: str | None, watch: bool, as_json: bool) -> None:
    """The daemon, its model, and each docset: pages by state, chunks, vectors, age, errors, size on disk."""
    if watch and as_json:
        raise click.UsageError("--json prints one document; to hear of each change as JSON, read GET /events.")
    address = _address(no_start=True)
    client = Client(address)
    query = {"docsetId": client.resolve(docset).id} if docset else None

    def show() -> None:
        found = client.call("GET", "/status", query=query)
        if watch and sys.stdout.isatty():
            click.clear()
        click.echo(found if as_json else render.status(StatusResponse.model_validate_json(found), address.url, address.version))

    show()
    if watch:
        try:
            for _ in client.changes(query["docsetId"] if query else None):
                show()
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            raise SystemExit(130) from None


def _headers(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    """What `--header` says; None when it is not given. An error never shows what stands there, which may be a secret."""
    found: dict[str, str] = {}
    for line in given:
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not name.strip():
            raise click.BadParameter("'Name: value' is expected.", context, parameter)
        found[name.strip()] = value.strip()
    return found if given else None


def _headers_env(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for line in given:
        name, mark, variable = line.partition("=")
        if not mark or not name.strip() or not _VARIABLE.fullmatch(variable.strip()):
            raise click.BadParameter("'Name=VARIABLE' is expected.", context, parameter)
        value = os.environ.get(variable.strip())
        if not value:
            raise click.BadParameter("the environment variable that is named is not set.", context, parameter)
        found[name.strip()] = value.strip()
    return found or None


@main.command()
@click.argument("url")
@click.option("--name", help="Name of the docset (default: the site's title).")
@click.option("--allow", "allowed", multiple=True, metavar="PATH", help="Path prefix to crawl; may be given again.")
@click.option("--max-pages", type=click.IntRange(1), help="Most pages to keep of this docset.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Path to take though it would be left out, as '/_modules/*'.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Path to leave out, as '/old/*'; both may be given again.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    callback=_headers,
    help="Send this to the site, and to no other; may be given again. '' removes all.",
)
@click.option(
    "--header-env",
    "headers_env",
    multiple=True,
    metavar="NAME=VARIABLE",
    callback=_headers_env,
    help="The same, of the value that this environment variable has.",
)
@click.option("--no-wait", is_flag=True, help="Return when the first page is indexed.")
@no_start_option
@json_option
@sentences
def index(
    url: str,
    name: str | None,
    allowed: tuple[str, ...],
    max_pages: int | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    headers: dict[str, str] | None,
    headers_env: dict[str, str] | None,
    no_wait: bool,
    no_start: bool,
    as_json: bool,
) -> None:
    """Index the documentation that begins at URL, and below its directory (or each --allow).

    Shows progress until all is searchable; Ctrl-C leaves it running. Ends with 1 if the first page, or more than half
    of all pages, failed.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    body: dict[str, object] = {
        "baseUrl": f"{parts.scheme}://{parts.netloc}",
        "seedSlug": (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        "name": name,
        "allowedPaths": list(allowed) or None,
        "maxPages": max_pages,
        "include": list(include) or None,
        "exclude": list(exclude) or None,
        "headers": None if headers is None and headers_env is None else (headers or {}) | (headers_env or {}),
    }
    client = Client(_address(no_start=no_start))
    try:
        made = IndexResponse.model_validate_json(client.call("POST", "/index", body))
        docset = client.docset(made.docset_id)
        if not no_wait:
            docset = _follow(client, made.docset_id, show=not as_json and sys.stderr.isatty())
    except KeyboardInterrupt:
        raise Failure("The crawl goes on; see `docworker status`.", 130) from None
    counts = docset.index_status
    say(as_json, json.loads(docset.model_dump_json(by_alias=True)), render.outcome(docset))
    if docset.status is DocsetState.ERROR or counts.error_pages * 2 > counts.total_pages:
        raise Failure(
            f"{counts.error_pages} of {counts.total_pages} pages failed; see `docworker pages {docset.id} --status error`."
        )


def _follow(client: Client, docset_id: str, *, show: bool) -> DocsetResponse:
    """Wait until a docset is crawled and, where there is a model, all its vectors are there; show the way."""
    begin = time.monotonic()
    bar = click.progressbar(
        length=1, file=sys.stderr, item_show_func=lambda item: item or "", show_eta=False, width=24, hidden=not show
    )
    with bar:
        for docset in client.follow(docset_id):
            counts = docset.index_status
            crawled = docset.status in (DocsetState.READY, DocsetState.ERROR)
            # a page is fetched and cut, then its chunks are embedded: the second takes the longer part
            bar.length = max(1, counts.total_pages + counts.total_chunks)
            bar.pos = counts.total_pages - counts.pending_pages + counts.embedded_chunks
            bar.current_item = render.progress(docset, counts.embedded_chunks / max(time.monotonic() - begin, 0.1))
            bar.render_progress()
            if crawled and (counts.embedded_chunks >= counts.total_chunks or client.status().model.state == "unavailable"):
                return docset
    raise AssertionError("events end with a Failure")


force_option = click.option("--force", is_flag=True, help="Also what is fresh.")


def _finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of hours.", context, parameter)
    return value


max_age_option = click.option(
    "--max-age",
    type=click.FloatRange(0, 1_000_000),
    callback=_finite,
    metavar="HOURS",
    help="What was asked for longer ago is stale (default 24).",
)
full_option = click.option("--full", is_flag=True, help="Read every page, and embed every text, anew.")
wait_option = click.option("--wait", is_flag=True, help="Return when it is done, and say what came of it.")


@main.command()
@click.argument("docset", type=DOCSET)
@force_option
@max_age_option
@full_option
@wait_option
@no_start_option
@json_option
@sentences
def refresh(docset: str, force: bool, max_age: float | None, full: bool, wait: bool, no_start: bool, as_json: bool) -> None:
    """Ask the site of DOCSET what has changed since it was crawled, if that is longer ago than a day (--max-age).

    The old state is searched until the new one is complete. Ends with 1 when the refresh failed: then nothing was changed.
    """
    client = Client(_address(no_start=no_start))
    body = {"docsetId": client.resolve(docset).id, "force": force, "maxAge": max_age, "fullReindex": full}
    answer = RefreshResponse.model_validate_json(client.call("POST", "/refresh", body))
    _refreshed(client, [answer], json.loads(answer.model_dump_json(by_alias=True)), wait=wait, as_json=as_json, say_more=True)


@main.command()
@force_option
@max_age_option
@full_option
@wait_option
@no_start_option
@json_option
@sentences
def refresh_all(force: bool, max_age: float | None, full: bool, wait: bool, no_start: bool, as_json: bool) -> None:
    """Refresh every docset that was crawled longer ago than a day (--max-age), or all of them (--force). For cron.

    Quiet when all is well. With --wait it ends with 1, and a line for each docset whose refresh failed.
    """
    client = Client(_address(no_start=no_start))
    body = {"force": force, "maxAge": max_age, "fullReindex": full}
    answer = RefreshAllResponse.model_validate_json(client.call("POST", "/refresh-all", body))
    document = json.loads(answer.model_dump_json(by_alias=True))
    _refreshed(client, answer.results, document, wait=wait, as_json=as_json, say_more=sys.stdout.isatty())


def _refreshed(
    client: Client, answers: Sequence[RefreshResponse], document: object, *, wait: bool, as_json: bool, say_more: bool
) -> None:
    """Say what was begun, or with `wait` what came of it."""
    if not wait:
        if as_json or say_more:
            say(as_json, document, "\n".join(answer.message for answer in answers) or "Nothing is indexed yet.")
        return
    show = not as_json and sys.stderr.isatty()
    try:
        done = [_follow_refresh(client, answer.docset_id, show=show) for answer in answers if answer.refreshed]
    except KeyboardInterrupt:
        raise Failure("The refresh goes on; see `docworker status`.", 130) from None
    failed = [docset for docset in done if _failed(docset)]
    if as_json:
        click.echo(json.dumps([json.loads(docset.model_dump_json(by_alias=True)) for docset in done]))
    elif say_more:
        fresh = [answer.message for answer in answers if not answer.refreshed]
        for line in [*fresh, *(render.refreshed(docset) for docset in done if docset not in failed)]:
            click.echo(line)
    if failed:
        raise Failure("\n".join(f"{docset.name} ({docset.id}): {docset.message or 'not refreshed'}" for docset in failed))


def _failed(docset: DocsetResponse) -> bool:
    report = docset.last_refresh
    return docset.status is DocsetState.ERROR or (report is not None and not report.done)


def _follow_refresh(client: Client, docset_id: str, *, show: bool) -> DocsetResponse:
    """Wait until a docset's refresh, or its crawl, has ended; show the way."""
    with click.progressbar(
        length=1, file=sys.stderr, item_show_func=lambda item: item or "", show_eta=False, width=24, hidden=not show
    ) as bar:
        for docset in client.follow(docset_id):
            if docset.refresh is None and docset.status in (DocsetState.READY, DocsetState.ERROR):
                bar.pos = bar.length or 1
                return docset
            if docset.refresh is not None:
                bar.length = max(1, docset.refresh.pages)
                bar.pos = docset.refresh.pages - docset.refresh.pending_pages
                bar.current_item = render.refreshing(docset)
                bar.render_progress()
    raise AssertionError("events end with a Failure")


@main.command()
@click.argument("query")
@click.option("-k", "--top-k", default=5, show_default=True, help="Number of passages, 1 to 100.")
@click.option("--docset", "chosen", type=DOCSET, multiple=True, help="Only this docset; may be given again.")
@click.option("--max-chars", type=click.IntRange(1), default=32_000, show_default=True, help="Budget of characters.")
@click.option("--per-page", type=click.IntRange(1), default=3, show_default=True, help="Most passages of one page.")
@no_start_option
@json_option
@sentences
def search(query: str, top_k: int, chosen: tuple[str, ...], max_chars: int, per_page: int, no_start: bool, as_json: bool) -> None:
    """Print the passages that answer QUERY, as an assistant would get them."""
    client = Client(_address(no_start=no_start))
    body: dict[str, object] = {
        "query": query,
        "topK": top_k,
        "docsetIds": [client.resolve(docset).id for docset in chosen] or None,
        "maxTotalChars": max_chars,
        "maxChunksPerPage": per_page,
    }
    answer = client.call("POST", "/retrieve", body)
    found = RetrieveResponse.model_validate_json(answer)
    if as_json:
        click.echo(answer)
    elif not found.results and not client.status().docsets:
        click.echo(render.NOTHING_INDEXED)
    else:
        click.echo(render.snippets(found))


@main.command()
@click.argument("docset", type=DOCSET)
@click.option("--status", "state", type=click.Choice([state.value for state in PageState]), help="Only pages in this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="Most pages to list.")
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True, help="How many pages to pass over.")
@no_start_option
@json_option
@sentences
def pages(docset: str, state: str | None, limit: int, offset: int, no_start: bool, as_json: bool) -> None:
    """What became of each page of DOCSET, and why those left out were."""
    client = Client(_address(no_start=no_start))
    query: dict[str, str | int | bool] = {"limit": limit, "offset": offset}
    if state is not None:
        query["status"] = state
    found = client.call("GET", f"/docset/{client.resolve(docset).id}/pages", query=query)
    click.echo(found if as_json else render.pages(PagesResponse.model_validate_json(found)))


@main.command()
@click.argument("url")
@click.option("--docset", type=DOCSET, help="Only what this docset knows of it.")
@no_start_option
@json_option
@sentences
def why(url: str, docset: str | None, no_start: bool, as_json: bool) -> None:
    """What became of URL: from which page it was found, what was decided, and why."""
    client = Client(_address(no_start=no_start))
    query: dict[str, str | int | bool] = {"url": url if "://" in url else f"https://{url}"}
    if docset is not None:
        query["docsetId"] = client.resolve(docset).id
    found = client.call("GET", "/why", query=query)
    click.echo(found if as_json else render.why(WhyResponse.model_validate_json(found)))


@main.command()
@click.argument("docset", type=DOCSET)
@click.option("--yes", is_flag=True, help="Do not ask.")
@no_start_option
@json_option
@sentences
def delete(docset: str, yes: bool, no_start: bool, as_json: bool) -> None:
    """Delete DOCSET with all its pages and vectors."""
    client = Client(_address(no_start=no_start))
    found = client.resolve(docset)
    if not yes:
        click.confirm(f"Delete {found.name} ({found.index_status.total_pages} pages)?", abort=True, err=True)
    answer = client.call("DELETE", f"/docset/{found.id}")
    click.echo(answer if as_json else f"{found.name} is deleted.")


# -- editors


@main.command()
@no_start_option
@json_option
@sentences
def sessions(no_start: bool, as_json: bool) -> None:
    """The editors that are connected."""
    found = Client(_address(no_start=no_start)).call("GET", "/sessions")
    click.echo(found if as_json else render.sessions(SessionsResponse.model_validate_json(found)))


@main.group()
def session() -> None:
    """Register an editor's session, keep it alive, end it: for plugins that are shell scripts."""


@session.command()
@click.argument("session_id", metavar="ID")
@click.option("--client", "client_type", metavar="TYPE", help="What kind of editor it is, such as vim.")
@no_start_option
@json_option
@sentences
def register(session_id: str, client_type: str | None, no_start: bool, as_json: bool) -> None:
    """Begin the session ID, or renew it. While there is one, the daemon runs; with the last one it ends."""
    body = {"sessionId": session_id, "clientType": client_type}
    answer = Client(_address(no_start=no_start)).call("POST", "/session/register", body)
    found = RegisterResponse.model_validate_json(answer)
    click.echo(answer if as_json else f"{found.session.id} is registered; {found.total_sessions} in all.")


@session.command()
@click.argument("session_id", metavar="ID")
@no_start_option
@json_option
@sentences
def heartbeat(session_id: str, no_start: bool, as_json: bool) -> None:
    """Renew the session ID; one that is not renewed for half an hour is over. Ends with 4 when it is."""
    answer = Client(_address(no_start=no_start)).call("POST", "/session/heartbeat", {"sessionId": session_id})
    click.echo(answer if as_json else f"{session_id} is renewed.")


@session.command()
@click.argument("session_id", metavar="ID")
@no_start_option
@json_option
@sentences
def unregister(session_id: str, no_start: bool, as_json: bool) -> None:
    """End the session ID. With the last one the daemon stops, after a moment; where none runs, none is started for this."""
    address = find(_settings())
    if address is None and not no_start:
        found = UnregisterResponse(success=True, existed=False, remaining_sessions=0, should_stop=False)
        answer = found.model_dump_json(by_alias=True)
    else:
        client = Client(address or _address(no_start=True))
        answer = client.call("POST", "/session/unregister", {"sessionId": session_id})
        found = UnregisterResponse.model_validate_json(answer)
    said = f"{session_id} is unregistered" if found.existed else f"There was no session {session_id}"
    then = "docworker stops, unless another one comes soon" if found.should_stop else f"{found.remaining_sessions} left"
    click.echo(answer if as_json else f"{said}; {then}.")


# -- about docworker itself


@main.command()
@json_option
@sentences
def config(as_json: bool) -> None:
    """Every setting, its value, and where it came from."""
    loaded: Loaded = load()
    values = {name: getattr(loaded.settings, name) for name in Settings.model_fields}
    if values["token"] is not None:
        values["token"] = "(set, not shown)"
    shown = {name: value if isinstance(value, int | float | None) else str(value) for name, value in values.items()}
    rows = [("setting", "value", "from", "meaning")]
    for name, field in Settings.model_fields.items():
        rows.append((name, str(shown[name]), loaded.origins[name], field.description or ""))
    say(
        as_json,
        {name: {"value": shown[name], "from": loaded.origins[name]} for name in shown},
        render.table(rows),
    )


@main.command()
@click.option("--fix", is_flag=True, help="Mend what can be mended; starts the daemon.")
@json_option
@sentences
def doctor(fix: bool, as_json: bool) -> None:
    """Check the data folder, the disk, the model, and that index and catalog agree; say what to do, or do it (--fix)."""
    from docworker.upkeep import examine

    settings = _settings()
    address = find(settings)
    checks = [] if address else examine(settings, fix=fix)
    if address is None and fix and all(check.ok for check in checks):
        address = start_daemon(settings, {})
    if address is None:
        said = "It does not run; `docworker start` starts it. Index and model are checked when it does."
        checks.append(Check(name="daemon", ok=True, message=said))
    else:
        checks.append(Check(name="daemon", ok=True, message=f"It answers at {address.url} (pid {address.pid})."))
        answer = Client(address).call("POST", "/doctor", {"fix": fix})
        checks += DoctorResponse.model_validate_json(answer).checks
    found = DoctorResponse(ok=all(check.ok for check in checks), checks=checks)
    say(as_json, json.loads(found.model_dump_json(by_alias=True)), render.checks(found))
    if not found.ok:
        raise Failure("Something is wrong." if fix else "Something is wrong; `docworker doctor --fix` mends what can be mended.")


@main.command()
@json_option
@sentences
def version(as_json: bool) -> None:
    """Versions of docworker, its model and its schema."""
    model = None
    if (address := find(_settings())) is not None:
        model = Client(address).status().model.id
    known = {"docworker": __version__, "schema": SCHEMA_VERSION, "model": model, "python": platform.python_version()}
    text = f"docworker {__version__}, schema {SCHEMA_VERSION}, model {model or 'not loaded'}, Python {known['python']}"
    say(as_json, known, text)


for command in (restart, logs, service, completion):
    main.add_command(command)
