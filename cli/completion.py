"""`docworker completion`: the scripts that teach a shell to complete docworker's commands, and what completes a docset.

A shell asks on every Tab. So the daemon is asked only if it answers at once, it is never started, and nothing is said of
what goes wrong.
"""

import json
import re

import click
from click.shell_completion import CompletionItem, get_completion_class

from cli.client import glance
from cli.options import json_option
from docworker.contract import StatusResponse
from docworker.errors import DocworkerError
from docworker.settings import load

_PROGRAM = "docworker"
_ANSWER_S = 0.3  # of each of two requests
_PLAIN = re.compile(r"[\w.@%+/-]+")  # what no shell reads as anything but a word, and its completion does not cut


class DocsetType(click.types.StringParamType):
    """An id, the beginning of one, a name, or a URL inside; completed by ids and names."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """The docsets whose id or name begins so: by their name where a shell takes it as one word, else by their id."""
        try:
            answer = glance(load().settings, "/status", _ANSWER_S)
            known = StatusResponse.model_validate_json(answer).docsets if answer is not None else []
        except (DocworkerError, ValueError):
            return []
        begun, found = incomplete.casefold(), []
        for docset in known:
            if docset.name.casefold().startswith(begun):
                found.append((docset.name if _PLAIN.fullmatch(docset.name) else docset.id, docset))
            if begun and docset.id.startswith(begun):
                found.append((docset.id, docset))
        return [CompletionItem(value, help=f"{docset.name}, {docset.base_url}") for value, docset in dict(found).items()]


DOCSET = DocsetType()


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print the script that makes SHELL complete commands, options and docsets; the README says where to put it."""
    kind = get_completion_class(shell)
    assert kind is not None
    # without its own look at the version of the bash on PATH, which need not be the one that will read this
    maker = kind(click.Group(), {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE")
    script = maker.source_template % maker.source_vars()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script, nl=as_json)
