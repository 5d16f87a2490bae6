"""The files that make docworker a service: systemd user units and launchd agents. Pure: nothing here reads, writes or runs.

All that a user gave stands in them quoted, so that a path may hold blanks, quotes and percent signs. A token is never
written: units are readable by others.
"""

import plistlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docworker.settings import ENV_PREFIX, Loaded

MARK = "Written by docworker service install; docworker service uninstall removes it."
SERVICE, REFRESH, TIMER = "docworker.service", "docworker-refresh.service", "docworker-refresh.timer"
AGENT, REFRESH_AGENT = "io.github.docworker", "io.github.docworker.refresh"
SECRET = "token"  # the setting that belongs into config.toml alone
# How often → (age in hours from which a docset is asked for, spread of the moment). The age is less than the period: what
# was refreshed late yesterday must not count as fresh today.
PERIODS: Mapping[str, tuple[float, str]] = {"hourly": (0.5, "5min"), "daily": (20, "15min"), "weekly": (160, "1h")}
_STOP_S, _RESTART_S = 20, 10
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_ESCAPED = re.compile(r'[\\"\x00-\x1f\x7f]')
_UNSAFE = re.compile(r"""["'\\\x00-\x1f\x7f]""")
_UNESCAPED = re.compile(r'\\(?:x([0-9a-f]{2})|([\\"]))|%%')


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to run: `command` is how this docworker is called, `refresh` one of PERIODS or `off`, `machine` its name."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    refresh: str
    machine: str

    @property
    def moment(self) -> int:
        """The minute of the week at which to refresh: always the same here, so that sites are not asked by all at once."""
        told = f"{self.machine}\0{self.environment.get(f'{ENV_PREFIX}DATA_DIR')}"
        return zlib.crc32(told.encode(errors="surrogateescape")) % (7 * 1440)


def environment(loaded: Loaded) -> dict[str, str]:
    """The variables that give a service the settings in force here that no file gives; never a token.

    The data folder is always among them, since a service does not see what a shell makes of XDG_DATA_HOME.
    """
    found = {}
    for name, origin in loaded.origins.items():
        given = origin == "flag" or origin.startswith(ENV_PREFIX)
        if name != SECRET and (given or name == "data_dir"):
            found[ENV_PREFIX + name.upper()] = str(getattr(loaded.settings, name))
    return dict(sorted(found.items()))


# -- systemd


def quoted(text: str) -> str:
    """`text` as one word of a unit file (systemd.syntax, systemd.service): in quotes, C escapes, %% for %."""
    return '"' + _ESCAPED.sub(_escape, text).replace("%", "%%") + '"'


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character in '\\"' else f"\\x{ord(character):02x}"


def environment_of(unit: str) -> dict[str, str]:
    """The variables that stand in a unit as `systemd_units` writes it."""
    words = re.findall(r'^Environment="(.*)"$', unit, re.MULTILINE)
    plain = [_UNESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2] or "%", word) for word in words]
    return dict(word.split("=", 1) for word in plain)


def systemd_units(wanted: Wanted) -> dict[str, str]:
    """The unit files by name.

    They ask for nothing that needs a mount or user namespace (PrivateTmp, ProtectSystem): where those are forbidden to users, a
    user manager could not start the service at all. The rest are system call filters, which NoNewPrivileges lets any user set.
    """
    units = {SERVICE: _service(wanted)}
    if wanted.refresh != "off":
        units |= {REFRESH: _refresh(wanted), TIMER: _timer(wanted)}
    return units


def _run(wanted: Wanted, *arguments: str) -> str:
    # systemd takes no program whose path holds such characters, but any argument; there a $ would begin a variable
    program, *others = ("/usr/bin/env", *wanted.command) if _UNSAFE.search(wanted.command[0]) else wanted.command
    words = [quoted(program), *(quoted(word).replace("$", "$$") for word in others), *arguments]
    lines = ["ExecStart=" + " ".join(words)]
    lines += [f"Environment={quoted(f'{name}={value}')}" for name, value in wanted.environment.items()]
    return "\n".join(lines)


def _service(wanted: Wanted) -> str:
    return f"""# {MARK}
[Unit]
Description=docworker, the local documentation daemon
StartLimitIntervalSec=10min
StartLimitBurst=5

[Service]
Type=exec
{_run(wanted, "serve", "--keep-alive")}
Restart=on-failure
RestartSec={_RESTART_S}s
# a setting that is wrong is not mended by trying again
RestartPreventExitStatus=2
# the workers go on with their pages until the daemon has given them back
KillMode=mixed
TimeoutStopSec={_STOP_S}s
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""


def _refresh(wanted: Wanted) -> str:
    age_h, _ = PERIODS[wanted.refresh]
    return f"""# {MARK}
[Unit]
Description=docworker asks the sites what has changed
Wants={SERVICE}
After={SERVICE}
StartLimitIntervalSec=30min
StartLimitBurst=5

[Service]
Type=oneshot
{_run(wanted, "refresh-all", "--wait", "--no-start", "--max-age", f"{age_h:g}")}
# again only when the daemon does not answer yet (3)
Restart=on-failure
RestartSec=1min
RestartPreventExitStatus=1 2 4
Nice=10
IOSchedulingClass=idle
UMask=0077
NoNewPrivileges=yes
"""


def _timer(wanted: Wanted) -> str:
    day, hour, minute = _moment(wanted)
    when = {
        "hourly": f"*-*-* *:{minute:02}:00",
        "daily": f"*-*-* {hour:02}:{minute:02}:00",
        "weekly": f"{_DAYS[day]} *-*-* {hour:02}:{minute:02}:00",
    }
    _, spread = PERIODS[wanted.refresh]
    return f"""# {MARK}
[Unit]
Description=docworker asks the sites what has changed, {wanted.refresh}

[Timer]
OnCalendar={when[wanted.refresh]}
RandomizedDelaySec={spread}
Persistent=true

[Install]
WantedBy=timers.target
"""


def _moment(wanted: Wanted) -> tuple[int, int, int]:
    return wanted.moment // 1440, wanted.moment // 60 % 24, wanted.moment % 60


# -- launchd


def launchd_agents(wanted: Wanted, log: Path) -> dict[str, bytes]:
    """The property lists by file name; `log` takes what is said before the daemon has a log of its own."""
    agents = {f"{AGENT}.plist": _plist(_agent(wanted, log))}
    if wanted.refresh != "off":
        agents[f"{REFRESH_AGENT}.plist"] = _plist(_refresh_agent(wanted, log))
    return agents


def _agent(wanted: Wanted, log: Path) -> dict[str, object]:
    return {
        "Label": AGENT,
        "ProgramArguments": [*wanted.command, "serve", "--keep-alive"],
        "EnvironmentVariables": dict(wanted.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _RESTART_S,
        "ExitTimeOut": _STOP_S,
        "Umask": 0o077,
        "StandardErrorPath": str(log),
    }


def _refresh_agent(wanted: Wanted, log: Path) -> dict[str, object]:
    day, hour, minute = _moment(wanted)
    age_h, _ = PERIODS[wanted.refresh]
    when = {"Weekday": day, "Hour": hour, "Minute": minute}
    kept = {"hourly": ("Minute",), "daily": ("Hour", "Minute"), "weekly": tuple(when)}[wanted.refresh]
    return {
        "Label": REFRESH_AGENT,
        "ProgramArguments": [*wanted.command, "refresh-all", "--wait", "--no-start", "--max-age", f"{age_h:g}"],
        "EnvironmentVariables": dict(wanted.environment),
        "StartCalendarInterval": {name: when[name] for name in kept},
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Nice": 10,
        "Umask": 0o077,
        "StandardErrorPath": str(log),
    }


def _plist(content: dict[str, object]) -> bytes:
    head, plist, rest = plistlib.dumps(content).partition(b"<plist")
    return head + f"<!-- {MARK} -->\n".encode() + plist + rest
