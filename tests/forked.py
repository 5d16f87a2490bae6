"""Commands that need not import first: each is a process of its own, forked from one that has `cli` at hand.

A command costs a thirtieth of what `python -m cli` does, and is all of it but the imports: its environment, its standard
streams (which are no terminal), its exit code. Who looks at more of a process, at signals, a terminal, a reader that goes away
or what is imported, starts a real one.
"""

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import docworker

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["cli.main", "docworker.daemon", "tests.forked"])


def command(
    environment: Mapping[str, str], *arguments: str, stdin: str = "", timeout_s: float = 120, program: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """`python -m cli ARGUMENTS`, or a program that is a Python file, to its end.

    Raises subprocess.TimeoutExpired when it does not end in time.
    """
    with TemporaryDirectory() as folder:
        streams = [str(Path(folder) / name) for name in ("in", "out", "err")]
        for stream, text in zip(streams, (stdin, "", ""), strict=True):
            Path(stream).write_text(text, "utf-8")
        process = _forks.Process(target=_become, args=(dict(environment), streams, arguments, program))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, timeout_s)
        out, err = (Path(stream).read_text("utf-8") for stream in streams[1:])
        return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def _become(environment: Mapping[str, str], streams: list[str], arguments: tuple[str, ...], program: Path | None) -> None:
    """What the fork does: from here on it is the command."""
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(docworker)  # it sets variables
    time.tzset()
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDWR), number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, encoding="utf-8") for number, mode in enumerate("rww"))
    sys.argv = [str(program or "cli"), *arguments]
    if program is None:
        runpy.run_module("cli", run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(program), run_name="__main__")
