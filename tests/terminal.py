"""A command on a terminal of its own, as a person sees it: what it shows is kept, keys can be pressed, the window closed."""

import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

CTRL_C = b"\x03"
_ROWS, _COLUMNS = 40, 200


class Terminal:
    """`python -m cli ARGUMENTS` as the foreground process of a pseudo-terminal."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        self._shown = b""
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            env={**environment, "TERM": "xterm"},
            preexec_fn=lambda: os.login_tty(slave),
        )
        os.close(slave)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        while True:
            try:
                more = os.read(self._master, 65_536)
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EBADF):  # that is how a terminal says that nobody is there any more
                    raise
                more = b""
            with self._changed:
                self._shown += more
                self._changed.notify_all()
            if not more:
                return

    @property
    def shown(self) -> str:
        """All that was shown so far, with what moves the cursor."""
        return self._shown.decode(errors="replace")

    def wait_for(self, text: str, timeout_s: float = 60) -> None:
        """Wait until something is shown."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while text not in self.shown:
                assert self._changed.wait(deadline - time.monotonic()), f"{text!r} was not shown: {self.shown[-2000:]!r}"

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def ended(self, timeout_s: float = 60) -> tuple[int, str]:
        """Wait for the end of the command; its exit code, and all that was shown."""
        code = self.process.wait(timeout_s)
        self._reading.join(10)
        return code, self.shown

    def close(self) -> None:
        """Close the terminal, as a window is closed: the system hangs up on what runs there."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self._reading.join(1)
        self.close()
