"""The commands as a shell runs them, against a real daemon: what they print, how they end, and which docset they mean."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from cli.main import main
from docworker import SCHEMA_VERSION, __version__
from docworker.settings import ENV_PREFIX, Settings
from tests import forked
from tests.daemon import Daemon
from tests.site import Answer, Site

README = Path(__file__).parent.parent / "README.md"
COMMANDS = sorted(main.commands)


def leaves() -> Iterator[str]:
    """Every command, with the subcommands of groups: `session register`."""
    for name, command in sorted(main.commands.items()):
        yield from (f"{name} {each}" for each in sorted(command.commands)) if isinstance(command, click.Group) else [name]


Finished = subprocess.CompletedProcess[str]


def run(daemon: Daemon, *arguments: str, stdin: str = "", **environment: str) -> Finished:
    """A command that ends, with the daemon's environment."""
    return forked.command(daemon.environment | environment, *arguments, stdin=stdin)


def done(finished: Finished, exit_code: int = 0) -> str:
    """What it printed, if it ended as it should."""
    assert finished.returncode == exit_code, finished.stderr
    return finished.stdout


def assert_one_sentence(finished: Finished, exit_code: int, match: str) -> None:
    """Ended with this code, nothing on stdout and one line on stderr."""
    assert finished.returncode == exit_code, finished.stderr
    assert finished.stdout == ""
    assert re.search(match, finished.stderr), finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert "Traceback" not in finished.stderr


def document(text: str) -> Any:
    """The one JSON document that `text` is."""
    return json.loads(text)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("cli") / "data", cache_dir, request_attempts=1) as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    pages: dict[str, str | Answer] = {
        "/docs/": "<title>Welcome — Almanac</title><h1>Welcome</h1><p>The almanac of the quokka.</p>"
        "<a href='more'>more</a> <a href='lost'>lost</a>",
        "/docs/more": "<title>More — Almanac</title><h1>More</h1><h2 id='food'>Food</h2><p>The quokka eats grass.</p>",
    }
    with Site(pages) as running:
        yield running


@pytest.fixture(scope="module")
def almanac(shared: Daemon, site: Site) -> str:
    """The id of the docset, indexed by the command."""
    return str(document(done(run(shared, "index", f"{site.url}/docs/", "--json")))["id"])


# -- every command


@pytest.mark.parametrize("command", list(leaves()))
def test_every_command_has_help_and_json(shared: Daemon, command: str) -> None:
    said = done(run(shared, *command.split(), "--help"))
    assert said.startswith(f"Usage: python -m cli {command}")
    assert "--json" in said
    assert len(said.split("\n")[2].strip()) > 10, "the help says what the command does"


def test_the_group_lists_every_command(shared: Daemon) -> None:
    said = done(run(shared, "--help"))
    assert [command for command in COMMANDS if not re.search(rf"^  {command} ", said, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["start"], {"url", "pid"}),
        (["status"], {"docsets", "model", "sizeBytes"}),
        (["status", "Almanac"], {"docsets", "model"}),
        (["search", "quokka"], {"query", "results", "totalChars", "truncated"}),
        (["search", "quokka", "-k", "1", "--docset", "Almanac", "--max-chars", "500", "--per-page", "1"], {"results"}),
        (["pages", "Almanac"], {"pages", "total", "limit", "offset"}),
        (["why", "{site}/docs/more"], {"url", "docsets"}),
        (["why", "{site}/docs/more", "--docset", "Almanac"], {"url", "docsets"}),
        (["config"], set(Settings.model_fields)),
        (["version"], {"docworker", "schema", "model", "python"}),
    ],
)
def test_json_output_is_one_document_and_nothing_else(
    shared: Daemon, site: Site, almanac: str, arguments: list[str], keys: set[str]
) -> None:
    finished = run(shared, *(argument.format(site=site.url) for argument in arguments), "--json")
    assert keys <= document(done(finished)).keys()
    assert finished.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["index"],
        ["search"],
        ["search", "x", "-k", "many"],
        ["status", "--nonsense"],
        ["why"],
    ],
)
def test_a_usage_error_ends_with_2(shared: Daemon, arguments: list[str]) -> None:
    finished = run(shared, *arguments)
    assert done(finished, 2) == ""
    assert "Traceback" not in finished.stderr


# -- the daemon's life


def test_start_stop_and_status_where_nothing_runs_yet(idle: Daemon) -> None:
    assert done(run(idle, "stop")) == "docworker does not run.\n"
    assert document(done(run(idle, "stop", "--json"))) == {"stopped": False}
    assert_one_sentence(run(idle, "status"), 3, "docworker does not run; start it with")
    assert_one_sentence(run(idle, "search", "x", "--no-start"), 3, "docworker does not run")

    first = document(done(run(idle, "start", "--json")))
    assert document(done(run(idle, "start", "--json"))) == first
    assert str(first["pid"]) in done(run(idle, "start"))
    assert first["url"] in done(run(idle, "status"))

    assert document(done(run(idle, "stop", "--json"))) == {"stopped": True}
    assert_one_sentence(run(idle, "status", "--json"), 3, "docworker does not run")


def test_a_command_starts_the_daemon_when_none_answers(idle: Daemon) -> None:
    assert document(done(run(idle, "search", "anything", "--json")))["results"] == []
    assert document(done(run(idle, "stop", "--json"))) == {"stopped": True}


def test_a_session_that_ends_starts_no_daemon_which_nobody_would_stop(idle: Daemon) -> None:
    said = document(done(run(idle, "session", "unregister", "vim-1", "--json")))
    assert said == {"success": True, "existed": False, "remainingSessions": 0, "shouldStop": False}
    assert_one_sentence(run(idle, "session", "unregister", "vim-1", "--no-start"), 3, "docworker does not run")
    assert document(done(run(idle, "stop", "--json"))) == {"stopped": False}


def test_sessions_are_registered_renewed_listed_and_ended(idle: Daemon) -> None:
    made = document(done(run(idle, "session", "register", "vim-1", "--client", "vim", "--json")))
    assert (made["session"]["clientType"], made["totalSessions"]) == ("vim", 1)
    assert done(run(idle, "session", "register", "sh-1")) == "sh-1 is registered; 2 in all.\n"
    assert document(done(run(idle, "session", "heartbeat", "vim-1", "--json")))["session"]["id"] == "vim-1"
    assert_one_sentence(run(idle, "session", "heartbeat", "nobody"), 4, "no session 'nobody'")
    assert re.search(r"^vim-1 +vim +\d+ seconds ago", done(run(idle, "sessions")), re.MULTILINE)
    assert done(run(idle, "session", "unregister", "sh-1")) == "sh-1 is unregistered; 1 left.\n"
    assert document(done(run(idle, "session", "unregister", "vim-1", "--json")))["shouldStop"] is True
    assert done(run(idle, "session", "register", "vim-2")).startswith("vim-2")  # within the grace
    assert document(done(run(idle, "sessions", "--json")))["count"] == 1
    assert document(done(run(idle, "stop", "--json"))) == {"stopped": True}


def test_start_is_a_no_op_when_the_daemon_runs(shared: Daemon) -> None:
    assert shared.process is not None
    address = {"url": shared.url, "pid": shared.process.pid}
    assert document(done(run(shared, "start", "--json"))) == address
    finished = run(shared, "start", "--port", "0", "--json")  # its port does not stand on its command line
    assert json.loads(finished.stdout) == address
    assert finished.stderr == "It ran already, with other options; stop it first for these to hold (`docworker stop`).\n"


def test_status_shows_the_daemon_the_model_and_every_docset(shared: Daemon, almanac: str) -> None:
    said = done(run(shared, "status"))
    for expected in (__version__, shared.url, "all-MiniLM-L6-v2", "Almanac", almanac, "ready", "2 indexed", "1 skipped"):
        assert expected in said
    assert "\x1b[" not in said


# -- index


def test_index_off_a_terminal_prints_the_outcome_and_no_progress(shared: Daemon, site: Site, almanac: str) -> None:
    finished = run(shared, "index", f"{site.url}/docs/")
    said = done(finished)
    assert said.startswith(f"Almanac  {almanac}  ready\n")
    assert re.search(r"pages   2 indexed, 1 skipped\n", said)
    assert finished.stderr == ""
    assert "\x1b" not in said + finished.stderr
    assert "\r" not in said + finished.stderr


def test_index_waits_for_every_vector(shared: Daemon, almanac: str) -> None:
    counts = shared.get(f"/docset/{almanac}")["indexStatus"]
    assert counts["embeddedChunks"] == counts["totalChunks"] > 0


def test_index_takes_a_name_paths_and_a_limit(shared: Daemon) -> None:
    pages = {f"/{part}/": f"<h1>{part}</h1><p>Part {part}.</p><a href='/b/'>b</a><a href='/c/'>c</a>" for part in "abc"}
    with Site(pages) as site:
        options = ["--name", "Parts", "--allow", "/a", "--allow", "/b", "--max-pages", "5", "--no-wait", "--json"]
        made = document(done(run(shared, "index", f"{site.url}/a/", *options)))
        assert (made["name"], made["allowedPaths"]) == ("Parts", ["/a", "/b"])
        assert shared.wait_ready(made["id"])["indexStatus"]["totalPages"] == 2


def test_index_takes_patterns_of_what_to_leave_out_and_what_to_take(shared: Daemon) -> None:
    links = "<a href='_modules/x.html'>x</a><a href='_modules/y.html'>y</a><a href='old/z'>z</a>"
    pages: dict[str, str | Answer] = {"/docs/": f"<title>Patterned</title><h1>Docs</h1><p>Text.</p>{links}"}
    pages |= {f"/docs/_modules/{name}.html": f"<h1>{name}</h1><p>Code of {name}.</p>" for name in "xy"}
    with Site(pages | {"/docs/old/z": "<h1>z</h1><p>Old.</p>"}) as site:
        options = ["--include", "/docs/_modules/x*", "--exclude", "*/old/*", "--exclude", "/docs/never", "--json"]
        made = document(done(run(shared, "index", f"{site.url}/docs/", *options)))
        assert (made["include"], made["exclude"]) == (["/docs/_modules/x*"], ["*/old/*", "/docs/never"])
        assert set(site.requests) == {"/robots.txt", "/sitemap.xml", "/docs/", "/docs/_modules/x.html"}
    said = done(run(shared, "pages", made["id"], "--status", "skipped")).splitlines()
    assert len(said) == 2
    assert "Sphinx's listing of source code. To have it: --include '/docs/_modules/y.html'." in said[0]
    assert said[1].endswith("/docs/old/z  Left out by the pattern '*/old/*' of the docset.")


def test_a_pattern_that_is_none_ends_with_2(shared: Daemon, site: Site) -> None:
    assert_one_sentence(run(shared, "index", f"{site.url}/docs/", "--exclude", "old/*"), 2, "^exclude")


def test_a_seed_that_fails_ends_with_1_and_says_why(shared: Daemon, site: Site) -> None:
    assert_one_sentence(run(shared, "index", f"{site.url}/none/"), 1, r"/none/ could not be indexed: .*404")
    assert_one_sentence(run(shared, "index", "http://127.0.0.1:9/docs", "--json"), 1, r"could not be indexed")


def test_more_failed_pages_than_others_end_with_1(shared: Daemon) -> None:
    pages: dict[str, str | Answer] = {"/docs/": "<h1>Docs</h1><p>Text.</p><a href='1'>1</a><a href='2'>2</a>"}
    with Site(pages | {"/docs/1": Answer(500), "/docs/2": Answer(500)}) as failing:
        finished = run(shared, "index", f"{failing.url}/docs/")
    assert "2 failed" in done(finished, 1)
    assert re.fullmatch(r"2 of 3 pages failed; see `docworker pages [0-9a-f]+ --status error`\.\n", finished.stderr)


# -- search and pages


def test_search_prints_passages_as_an_assistant_gets_them(shared: Daemon, site: Site, almanac: str) -> None:
    said = done(run(shared, "search", "what does the quokka eat", "-k", "1", "--docset", almanac))
    assert said == f"## More\nSource: {site.url}/docs/more#food\nSection: Food\n\nThe quokka eats grass.\n"


@pytest.mark.parametrize("url", ["https://me:s3cret@docs.example/", "ftp://me:s3cret@x/"])
def test_a_password_in_a_url_is_not_shown_again(shared: Daemon, url: str) -> None:
    finished = run(shared, "index", url)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("baseUrl: expected an http or https address")
    assert "s3cret" not in finished.stderr + shared.log()


def test_search_where_nothing_is_indexed_says_so(idle: Daemon) -> None:
    assert done(run(idle, "search", "quokka")) == "Nothing is indexed yet: docworker index URL\n"
    assert document(done(run(idle, "search", "quokka", "--json")))["results"] == []


def test_search_without_a_hit_says_so(shared: Daemon, almanac: str) -> None:
    assert done(run(shared, "search", "zzyzx xylophone", "--docset", almanac)) == "Nothing found.\n"


def test_a_search_that_is_refused_ends_with_2(shared: Daemon) -> None:
    assert_one_sentence(run(shared, "search", "  "), 2, "^query: ")


def test_pages_are_listed_and_filtered(shared: Daemon, site: Site, almanac: str) -> None:
    said = done(run(shared, "pages", almanac)).splitlines()
    assert said == [
        f"indexed  {site.url}/docs/  Welcome",
        f"indexed  {site.url}/docs/more  More",
        f"skipped  {site.url}/docs/lost  The site has no such page (404).",
    ]
    assert done(run(shared, "pages", almanac, "--status", "skipped")).splitlines() == said[2:]
    assert done(run(shared, "pages", almanac, "--status", "error")) == "No pages.\n"
    assert done(run(shared, "pages", almanac, "--limit", "1")).splitlines() == [said[0], "… 2 more: --offset 1"]


def test_why_tells_what_became_of_a_url(shared: Daemon, site: Site, almanac: str) -> None:
    said = done(run(shared, "why", f"{site.url}/docs/more#food")).splitlines()
    assert (said[0], said[2], said[3]) == (
        f"Almanac  {almanac}", "  title      More", f"  found by   {site.url}/docs/ → {site.url}/docs/more"
    )  # fmt: skip
    assert re.fullmatch(r"  indexed: It is indexed, with 1 chunks?\.", said[1])
    assert re.fullmatch(r"  depth      1 links? from there", said[4])
    assert f"  scope      It is inside the docset: {site.url} below /docs." in said
    assert "  robots     The site has no robots.txt, or an empty one: everything is allowed." in said
    assert re.fullmatch(r"  fetched    .+ ago: HTTP 200, .+, 1 request", said[-1])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/docs/", "  found by   it is where the crawl began"),
        ("/docs/lost", "  skipped: The site has no such page (404)."),
        ("/docs/never", "  not met: No page that was read links to it, and no sitemap names it."),
        ("/blog", "  not met: It is outside the docset: {site} below /docs."),
    ],
)
def test_why_tells_what_kept_a_url_out(shared: Daemon, site: Site, almanac: str, path: str, said: str) -> None:
    lines = done(run(shared, "why", site.url + path, "--docset", almanac)).splitlines()
    assert said.format(site=site.url) in lines


def test_why_shows_where_a_redirect_leads(shared: Daemon) -> None:
    pages: dict[str, str | Answer] = {
        "/docs/": "<title>Moved</title><h1>Docs</h1><p>Text.</p><a href='old'>old</a>",
        "/docs/old": Answer(301, headers={"Location": "/docs/new"}),
        "/docs/new": "<h1>New</h1><p>New text.</p>",
    }
    with Site(pages) as site:
        done(run(shared, "index", f"{site.url}/docs/", "--name", "Moved"))
        said = done(run(shared, "why", f"{site.url}/docs/old")).splitlines()
    assert f"  redirect   {site.url}/docs/old → {site.url}/docs/new (HTTP 301)" in said
    assert f"  page       {site.url}/docs/new" in said
    assert f"  also at    {site.url}/docs/old" in said


def test_why_a_url_of_no_docset_ends_with_4_or_2(shared: Daemon, almanac: str) -> None:
    assert_one_sentence(run(shared, "why", "no-docset.example/docs"), 4, "No docset is of no-docset.example")
    assert_one_sentence(run(shared, "why", "mailto://x@example.org"), 2, "^url: ")


def test_output_piped_to_head_ends_quietly(shared: Daemon, almanac: str) -> None:
    command = f'"{sys.executable}" -m cli config | head -n 1; echo "ends ${{PIPESTATUS[0]}}"'
    finished = subprocess.run(
        ["bash", "-c", command], env=shared.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert finished.stdout.splitlines()[0].startswith("setting")
    assert finished.stderr == ""


def test_a_reader_that_is_gone_before_anything_is_printed_ends_it_quietly(shared: Daemon, almanac: str) -> None:
    command = [sys.executable, "-m", "cli", "pages", almanac]
    with subprocess.Popen(command, env=shared.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(60)


# -- DOCSET


def test_a_docset_is_meant_by_id_prefix_name_or_a_url_inside(shared: Daemon, site: Site, almanac: str) -> None:
    others = {docset["id"] for docset in shared.get("/status")["docsets"]} - {almanac}
    prefix = next(almanac[:n] for n in range(1, 13) if not any(other.startswith(almanac[:n]) for other in others))
    for docset in (almanac, prefix, "Almanac", "almanac", f"{site.url}/docs/more", f"{site.url}/docs/", f"{site.url}/docs"):
        (found,) = document(done(run(shared, "status", docset, "--json")))["docsets"]
        assert found["id"] == almanac


@pytest.mark.parametrize("docset", ["nonsense", "http://[bad"])
@pytest.mark.parametrize("command", [["pages"], ["status"], ["delete", "--yes"], ["search", "x", "--docset"]])
def test_an_unknown_docset_ends_with_4(shared: Daemon, almanac: str, command: list[str], docset: str) -> None:
    assert_one_sentence(run(shared, *command, docset), 4, f"There is no docset '{re.escape(docset)}'. Known: .*{almanac}")


def test_a_url_outside_every_docset_ends_with_4(shared: Daemon, site: Site, almanac: str) -> None:
    assert_one_sentence(run(shared, "pages", f"{site.url}/docsets"), 4, "There is no docset")


def test_a_name_of_several_docsets_lists_them_and_ends_with_4(shared: Daemon) -> None:
    pages = {"/a/": "<h1>A</h1><p>First.</p>", "/b/": "<h1>B</h1><p>Second.</p>"}
    with Site(pages) as site:
        ids = [
            document(done(run(shared, "index", f"{site.url}{path}", "--name", "Double", "--no-wait", "--json")))["id"]
            for path in pages
        ]
    finished = run(shared, "pages", "Double")
    assert_one_sentence(finished, 4, "means several docsets")
    assert all(id_ in finished.stderr for id_ in ids)


# -- delete


def test_delete_asks_and_deletes_only_on_yes(shared: Daemon) -> None:
    with Site({"/docs/": "<title>Doomed</title><h1>Doomed</h1><p>Soon gone.</p>"}) as site:
        made = document(done(run(shared, "index", f"{site.url}/docs/", "--name", "Doomed", "--json")))
    for answer in ("n\n", "\n", ""):
        finished = run(shared, "delete", "Doomed", stdin=answer)
        assert finished.returncode == 1
        assert "Delete Doomed (1 pages)?" in finished.stderr
        assert finished.stdout == ""
        assert shared.get(f"/docset/{made['id']}")["id"] == made["id"]
    assert done(run(shared, "delete", "Doomed", stdin="y\n")) == "Doomed is deleted.\n"
    assert shared.request("GET", f"/docset/{made['id']}").status_code == 404
    assert_one_sentence(run(shared, "delete", "Doomed", "--yes"), 4, "There is no docset 'Doomed'")


def test_delete_with_yes_does_not_ask(shared: Daemon) -> None:
    with Site({"/docs/": "<h1>Doomed</h1><p>Soon gone.</p>"}) as site:
        made = document(done(run(shared, "index", f"{site.url}/docs/", "--name", "Doomed too", "--json")))
    finished = run(shared, "delete", "Doomed too", "--yes", "--json")
    assert document(done(finished)) == {"success": True, "docsetId": made["id"]}
    assert finished.stderr == ""


# -- settings


def test_an_unknown_setting_in_the_environment_ends_with_2_and_the_nearest_name(shared: Daemon) -> None:
    for command in (["config"], ["status"], ["start"], ["serve"], ["search", "x"]):
        finished = run(shared, *command, DOCWORKER_MAX_PAGE="5")
        assert_one_sentence(finished, 2, r"DOCWORKER_MAX_PAGE is not a setting \(did you mean max_pages\?\)")


@pytest.mark.parametrize(
    ("variable", "value", "match"),
    [
        ("DOCWORKER_PORT", "99999", r"^port \(from DOCWORKER_PORT\): .*65535.*99999"),
        ("DOCWORKER_MAX_PAGES", "many", r"^max_pages \(from DOCWORKER_MAX_PAGES\): .*'many'"),
        ("DOCWORKER_LOG_LEVEL", "loud", r"^log_level \(from DOCWORKER_LOG_LEVEL\): .*'loud'"),
    ],
)
def test_a_setting_out_of_range_ends_with_2_and_where_it_came_from(shared: Daemon, variable: str, value: str, match: str) -> None:
    assert_one_sentence(run(shared, "config", **{variable: value}), 2, match)


def test_config_shows_every_value_and_its_origin(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(max_pages=7)
    daemon.settings.data_dir.mkdir(parents=True)
    (daemon.settings.data_dir / "config.toml").write_text("max_pages = 5\nrequest_timeout_s = 3.5\n", "utf-8")
    shown = document(done(run(daemon, "config", "--json")))
    assert shown.keys() == Settings.model_fields.keys()
    assert shown["max_pages"] == {"value": 7, "from": "DOCWORKER_MAX_PAGES"}
    assert shown["request_timeout_s"] == {"value": 3.5, "from": "config.toml"}
    assert shown["host"] == {"value": "127.0.0.1", "from": "default"}
    assert shown["data_dir"] == {"value": str(daemon.settings.data_dir), "from": "DOCWORKER_DATA_DIR"}
    said = done(run(daemon, "config"))
    assert re.search(r"^max_pages +7 +DOCWORKER_MAX_PAGES +most pages", said, re.MULTILINE)
    assert not (daemon.settings.data_dir / "daemon.json").exists()


def test_a_broken_config_file_ends_with_2(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    daemon.settings.data_dir.mkdir(parents=True)
    file = daemon.settings.data_dir / "config.toml"
    file.write_text("max_pagse = 5\n", "utf-8")
    assert_one_sentence(
        run(daemon, "config"), 2, rf"max_pagse in {re.escape(str(file))} is not a setting \(did you mean max_pages"
    )
    file.write_text("max_pages = = 5\n", "utf-8")
    assert_one_sentence(run(daemon, "config"), 2, f"{re.escape(str(file))} cannot be read")


def test_version_tells_docworker_schema_and_model(shared: Daemon) -> None:
    said = document(done(run(shared, "version", "--json")))
    assert (said["docworker"], said["schema"]) == (__version__, SCHEMA_VERSION)
    assert said["model"].startswith("all-MiniLM-L6-v2-")
    assert done(run(shared, "version")).startswith(f"docworker {__version__}, schema {SCHEMA_VERSION}, model all-MiniLM-L6-v2-")
    assert done(run(shared, "--version")) == f"docworker, version {__version__}\n"


def test_version_without_a_daemon_does_not_start_one(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    assert "model not loaded" in done(run(daemon, "version"))
    assert not daemon.settings.data_dir.exists()


# -- the README


def test_the_readme_names_every_command_and_every_setting() -> None:
    text = README.read_text("utf-8")
    missing = [command for command in COMMANDS if not re.search(rf"`(docworker )?{command}\b", text)]
    missing += [
        name for name in Settings.model_fields if f"`{name}`" not in text and f"{ENV_PREFIX}{name.upper()}" not in text
    ]  # fmt: skip
    assert missing == []
