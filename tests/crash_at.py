"""The daemon, made to die at one step. Nothing is stubbed: what is wrapped is called, and the product knows nothing of it.

    python -m tests.crash_at before|inside|after|MILLISECONDS POINT N [--hold FILE]

At the Nth call of POINT the process kills itself with SIGKILL: before the real function, after it, or so many milliseconds
after its begin. POINT is `module:function` or `module:Class.method` below `docworker`. A function that takes the connection
`db` is one transaction: `before` is then before it begins, `inside` after the function and before COMMIT, `after` after COMMIT.
With `--hold`, the process stays where it is, goes on to answer questions, and makes FILE: who started it kills it.
"""

import argparse
import asyncio
import inspect
import os
import pkgutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Nothing of docworker is imported up here: each extraction process of the daemon imports this module once more.

_FOREVER_S = 3_600


class Trap:
    """Counts the calls of a point and ends the process at one of them."""

    def __init__(self, when: str, number: int, hold: Path | None) -> None:
        self.when = when
        self._number = number
        self._hold = hold
        self._calls = 0
        self._counting = threading.Lock()

    def sprung(self) -> bool:
        """Count a call; whether it is the deadly one."""
        with self._counting:
            self._calls += 1
            sprung = self._calls == self._number
        if sprung and self.when.isdigit():
            threading.Timer(int(self.when) / 1_000, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return sprung

    def end(self) -> None:
        """The end of this process, or of this thread of it."""
        if self._hold is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            self._hold.touch()
        time.sleep(_FOREVER_S)

    async def end_async(self) -> None:
        """The end of this process, or of this task of it."""
        if self._hold is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            self._hold.touch()
        await asyncio.sleep(_FOREVER_S)


def wrap(point: str, trap: Trap) -> None:
    """Put the trap around a point."""
    from docworker.store.catalog import Catalog

    found = pkgutil.resolve_name(f"docworker.{point}")
    path, _, name = point.rpartition("." if "." in point.partition(":")[2] else ":")
    owner = pkgutil.resolve_name(f"docworker.{path}")
    if next(iter(inspect.signature(found).parameters), None) == "db":
        Catalog.write = _transaction(Catalog.write, found, trap, 1)  # type: ignore[method-assign]
        Catalog.write_from = _transaction(Catalog.write_from, found, trap, 2)  # type: ignore[method-assign]
    elif trap.when == "inside":
        raise SystemExit(f"{point} is no transaction")
    elif inspect.iscoroutinefunction(found):
        setattr(owner, name, _async(found, trap))
    else:
        setattr(owner, name, _sync(found, trap))


def _transaction(real: Any, function: Callable[..., Any], trap: Trap, at: int) -> Any:
    """`Catalog.write` or `write_from`, whose argument number `at` is the function."""

    async def write(*args: Any, **named: Any) -> Any:
        if args[at] is not function:
            return await real(*args, **named)
        sprung = trap.sprung()
        if sprung and trap.when == "before":
            await trap.end_async()

        def and_end(*given: Any, **also: Any) -> Any:
            function(*given, **also)
            trap.end()

        chosen = and_end if sprung and trap.when == "inside" else function
        result = await real(*args[:at], chosen, *args[at + 1 :], **named)
        if sprung and trap.when == "after":
            await trap.end_async()
        return result

    return write


def _async(real: Any, trap: Trap) -> Any:
    async def call(*args: Any, **named: Any) -> Any:
        sprung = trap.sprung()
        if sprung and trap.when == "before":
            await trap.end_async()
        result = await real(*args, **named)
        if sprung and trap.when == "after":
            await trap.end_async()
        return result

    return call


def _sync(real: Any, trap: Trap) -> Any:
    def call(*args: Any, **named: Any) -> Any:
        sprung = trap.sprung()
        if sprung and trap.when == "before":
            trap.end()
        result = real(*args, **named)
        if sprung and trap.when == "after":
            trap.end()
        return result

    return call


def main() -> None:
    from docworker.daemon import serve
    from docworker.settings import load

    parser = argparse.ArgumentParser(description="Run the daemon until one step of it.")
    parser.add_argument("when", help="before, inside, after, or milliseconds")
    parser.add_argument("point")
    parser.add_argument("number", type=int)
    parser.add_argument("--hold", type=Path)
    given = parser.parse_args()
    wrap(given.point, Trap(given.when, given.number, given.hold))
    serve(load().settings, to_stderr=False)


if __name__ == "__main__":
    main()
