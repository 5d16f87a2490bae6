"""What commands have in common: options, and how they end when docworker raises."""

import functools
import json
from collections.abc import Callable
from typing import ParamSpec

import click

from cli.client import Failure
from docworker.errors import DocworkerError, SettingsError

P = ParamSpec("P")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
data_dir_option = click.option("--data-dir", type=click.Path(file_okay=False), help="Folder of the index.")


def sentences(command: Callable[P, None]) -> Callable[P, None]:
    """End with one sentence and an exit code whatever docworker raises."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SettingsError as error:
            raise Failure(str(error), 2) from None
        except DocworkerError as error:
            raise Failure(str(error)) from None

    return run


def say(as_json: bool, document: object, text: str) -> None:
    """Print what a command found: one JSON document, or for people."""
    click.echo(json.dumps(document) if as_json else text)
