"""Settings: defaults < `config.toml` in the data folder < `DOCWORKER_*` < command-line flags.

Owns every default and the only look at the process's environment. An unknown key is an error, wherever it stands:
a typo must not be silently ignored.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from docworker.errors import SettingsError
from docworker.folder import NotOwn, read_own

ENV_PREFIX = "DOCWORKER_"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,200}")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_MAX_FILE_BYTES = 2**20
Ranking = Literal["scored", "rrf", "words", "vectors"]


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


Folder = Annotated[Path, AfterValidator(_absolute)]


class Settings(BaseModel):
    """Every setting with its default. Names end in their unit; the description is what `docworker config` prints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_dir: Annotated[Folder, Field(description="folder of the index; one daemon per folder")] = Field(
        default_factory=lambda: platformdirs.user_data_path("docworker")
    )
    cache_dir: Annotated[Folder, Field(description="folder of prepared embedding models; safe to delete")] = Field(
        default_factory=lambda: platformdirs.user_cache_path("docworker")
    )
    host: Annotated[str, Field(description="address to listen on; another than loopback only with a token")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="port to listen on; 0 takes a free one")] = 7432
    token: Annotated[
        SecretStr | None,
        Field(description="what every request has to show, as Authorization: Bearer TOKEN; needed beyond loopback"),
    ] = None
    keep_alive: Annotated[bool, Field(description="do not stop when the last editor session ends")] = False
    session_lease_s: Annotated[float, Field(gt=0, le=604_800, description="how long a session lives without a heartbeat")] = (
        1_800.0
    )
    stop_grace_s: Annotated[
        float, Field(ge=0, le=86_400, description="how long a new session is waited for when the last one has ended")
    ] = 10.0
    model_dir: Annotated[Folder | None, Field(description="folder with all-MiniLM-L6-v2 as model.onnx or model.safetensors")] = (
        None
    )
    model_download: Annotated[bool, Field(description="let fastembed download the model when it is nowhere else")] = True
    model_retry_s: Annotated[float, Field(gt=0, le=86_400, description="pause before looking for the model again")] = 60.0
    embed_threads: Annotated[int, Field(ge=1, le=64, description="threads that embed")] = min(os.cpu_count() or 2, 4)
    extract_workers: Annotated[int, Field(ge=1, le=16, description="processes that extract text")] = 1
    extract_timeout_s: Annotated[float, Field(gt=0, le=600, description="longest extraction of one page")] = 60.0
    requests_per_host: Annotated[int, Field(ge=1, le=32, description="requests to one host at once")] = 4
    pause_s: Annotated[float, Field(ge=0, le=60, description="shortest pause between requests to a host; none on loopback")] = 0.2
    max_rest_s: Annotated[float, Field(ge=0, le=86_400, description="longest rest a site may ask for with Retry-After")] = 3_600.0
    down_pause_s: Annotated[
        float, Field(gt=0, le=900, description="first pause when a site does not answer; the next are longer")
    ] = 15.0
    ignore_robots: Annotated[
        bool, Field(description="do not ask for robots.txt nor obey noindex and nofollow; for sites of your own")
    ] = False
    request_timeout_s: Annotated[float, Field(gt=0, le=600, description="longest one request to a site may take")] = 20.0
    request_attempts: Annotated[int, Field(ge=1, le=10, description="attempts at one request")] = 4
    proxy: Annotated[
        str | None, Field(pattern=r"^http://[^/@\s]+:[0-9]{1,5}/?$", description="HTTP proxy that sites are reached through")
    ] = None
    max_redirects: Annotated[int, Field(ge=0, le=50, description="most redirects from a link to its page")] = 10
    max_response_bytes: Annotated[int, Field(ge=1_024, le=2**30, description="largest page as the site sends it")] = 16 * 2**20
    max_page_bytes: Annotated[int, Field(ge=1_024, le=2**30, description="largest page when it is unpacked")] = 16 * 2**20
    max_total_bytes: Annotated[int, Field(ge=1_024, le=2**40, description="most bytes received for one docset")] = 2 * 2**30
    max_pages: Annotated[int, Field(ge=1, le=1_000_000, description="most pages of one docset")] = 10_000
    max_depth: Annotated[int, Field(ge=0, le=10_000, description="most links from the first page to another")] = 100
    max_queries_per_path: Annotated[
        int, Field(ge=0, le=1_000_000, description="most URLs kept that differ from others only in their query, of each path")
    ] = 100
    refresh_hours: Annotated[
        float, Field(ge=0, le=10_000, description="refresh by itself what was last crawled so long ago; 0: only when told to")
    ] = 0.0
    ranking: Annotated[
        Ranking, Field(description="how results are ranked: scored, or for comparison rrf, words or vectors alone")
    ] = "scored"
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$", description="lowest level logged")] = "info"

    @field_validator("token")
    @classmethod
    def _hard_to_guess(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("16 to 200 letters, digits and -._~+/= are expected, such as `openssl rand -hex 16` prints")
        return token

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        if not _HOST.fullmatch(host):
            raise ValueError("an address is expected, such as 127.0.0.1, ::1 or localhost")
        return host.lower()

    @model_validator(mode="after")
    def _no_strangers(self) -> Self:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(
                f"host: {self.host} can be reached by others, which needs a token; set one ({ENV_PREFIX}TOKEN, or token in"
                " config.toml), or use a loopback address, such as 127.0.0.1, ::1 or localhost"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force and where each came from: `default`, `config.toml`, an environment variable or `flag`."""

    settings: Settings
    origins: Mapping[str, str]


def load(flags: Mapping[str, object | None] | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Settings from all four sources; a flag that is None counts as not given.

    Raises SettingsError naming the source, the key and what was expected.
    """
    environ = os.environ if environ is None else environ
    names = Settings.model_fields
    values: dict[str, object] = {}
    origins = dict.fromkeys(names, "default")

    from_env: dict[str, str] = {}
    for variable, value in environ.items():
        if variable.startswith(ENV_PREFIX):
            name = variable.removeprefix(ENV_PREFIX).lower()
            if name not in names or variable != variable.upper():
                raise SettingsError(f"{variable} is not a setting{_nearest(name)}; unset it or correct its name.")
            if value:  # set to nothing counts as not set
                from_env[name] = value
    from_flags = {name: value for name, value in (flags or {}).items() if value is not None}

    data_dir = _absolute(
        Path(str(from_flags.get("data_dir") or from_env.get("data_dir") or platformdirs.user_data_path("docworker")))
    )
    for name, given in _read_file(data_dir / "config.toml").items():
        if name == "data_dir":
            raise SettingsError(f"data_dir cannot stand in {data_dir / 'config.toml'}; use {ENV_PREFIX}DATA_DIR or --data-dir.")
        if name not in names:
            raise SettingsError(f"{name} in {data_dir / 'config.toml'} is not a setting{_nearest(name)}.")
        values[name], origins[name] = given, "config.toml"
    for name, text in from_env.items():
        values[name], origins[name] = text, ENV_PREFIX + name.upper()
    for name, flag in from_flags.items():
        values[name], origins[name] = flag, "flag"
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        expected = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise SettingsError(f"{expected}.") from None
        name = str(first["loc"][0])
        got = "" if name == "token" else f", got {first['input']!r}"  # it is nobody's business, not even half of it
        raise SettingsError(f"{name} (from {origins[name]}): {expected}{got}.") from None
    return Loaded(settings, origins)


def _read_file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(read_own(path, _MAX_FILE_BYTES).decode())
    except FileNotFoundError:
        return {}
    except NotOwn as error:
        raise SettingsError(f"{path} is not used, for {error}; make it yours alone, or delete it.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.") from error


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def user_config_dir() -> Path:
    """The folder below which programs of this user keep their settings, such as ~/.config; docworker's own lie in `data_dir`."""
    return _absolute(platformdirs.user_config_path())
