"""`docworker restart`: the daemon as it ran, begun anew; by systemd or launchd where one of them runs it."""

import click

from cli import service
from cli.client import EXIT_UNREACHABLE, Failure, await_another, find, flags_of, start, stop
from cli.options import json_option, say, sentences
from docworker.settings import load


@click.command()
@json_option
@sentences
def restart(as_json: bool) -> None:
    """Stop the daemon, and start it with the flags that it ran with; start it when it does not run.

    A crawl under way goes on. A daemon on a free port (--port 0) may come back on another one.
    """
    before = find(load().settings)
    flags = flags_of(load().settings) if before else {}
    manager = service.runs(before.pid) if before else None
    settings = load(flags).settings  # what is wrong with them is said before anything is stopped
    if before is not None and manager is not None:
        manager.restart()
        address = await_another(settings, before)
        if address is None:
            raise Failure("The service does not answer after its restart; see `docworker logs`.", EXIT_UNREACHABLE)
    else:
        stop(settings)
        address = start(settings, flags)
    said = f"docworker answers at {address.url} (pid {address.pid})."
    if before is None:
        said += " It did not run before."
    elif before.url != address.url:
        said += f" It was at {before.url} before."
    document = {"url": address.url, "pid": address.pid, "ran": before is not None}
    say(as_json, document, said)
