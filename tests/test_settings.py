"""Settings come from four sources in order, and nothing wrong in any of them is ignored."""

import os
from pathlib import Path

import pytest

from docworker.errors import SettingsError
from docworker.settings import Loaded, Settings, load


def loaded(folder: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: object | None) -> Loaded:
    """Settings of the data folder `folder` with `toml` as its config file."""
    if toml:
        (folder / "config.toml").write_text(toml, "utf-8")
    return load({"data_dir": folder, **flags}, environ or {})


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    result = loaded(tmp_path)
    assert result.settings == Settings(data_dir=tmp_path)
    assert result.origins["port"] == "default"
    assert result.origins.keys() == Settings.model_fields.keys()


def test_file_overrides_default_environment_overrides_file_and_flag_overrides_all(tmp_path: Path) -> None:
    toml = "port = 1\nmax_pages = 1\nrequest_attempts = 1"
    environ = {"DOCWORKER_PORT": "2", "DOCWORKER_MAX_PAGES": "2"}
    result = loaded(tmp_path, toml, environ, port=3)
    assert (result.settings.port, result.settings.max_pages, result.settings.request_attempts) == (3, 2, 1)
    assert result.settings.extract_workers == Settings().extract_workers
    assert {name: result.origins[name] for name in ("port", "max_pages", "request_attempts", "extract_workers")} == {
        "port": "flag",
        "max_pages": "DOCWORKER_MAX_PAGES",
        "request_attempts": "config.toml",
        "extract_workers": "default",
    }


def test_a_flag_that_is_none_was_not_given_and_one_that_is_false_was(tmp_path: Path) -> None:
    result = loaded(tmp_path, "keep_alive = true\nmodel_download = true", port=None, keep_alive=False)
    assert (result.settings.port, result.settings.keep_alive) == (Settings().port, False)
    assert (result.origins["port"], result.origins["keep_alive"]) == ("default", "flag")


def test_the_file_stands_in_the_folder_that_flag_or_environment_name(tmp_path: Path) -> None:
    for name, port in (("env", 1), ("flag", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(f"port = {port}")
    environ = {"DOCWORKER_DATA_DIR": str(tmp_path / "env")}
    assert load({}, environ).settings.port == 1
    result = load({"data_dir": tmp_path / "flag"}, environ)
    assert (result.settings.port, result.settings.data_dir, result.origins["data_dir"]) == (2, tmp_path / "flag", "flag")


def test_the_data_folder_is_made_absolute() -> None:
    assert load({"data_dir": "some/folder"}, {}).settings.data_dir == Path.cwd() / "some/folder"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_an_environment_variable_may_be_a_switch(tmp_path: Path, text: str, value: bool) -> None:
    assert loaded(tmp_path, environ={"DOCWORKER_KEEP_ALIVE": text}).settings.keep_alive is value


def test_other_environment_variables_do_not_matter(tmp_path: Path) -> None:
    assert loaded(tmp_path, environ={"PORT": "1", "DOCWORKERX": "1", "MY_DOCWORKER_PORT": "1"}).settings == Settings(
        data_dir=tmp_path
    )


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("DOCWORKER_PROT", "did you mean port?"),
        ("DOCWORKER_MAX_PAGE", "did you mean max_pages?"),
        ("DOCWORKER_REQUESTS_PER_DOCSET", "did you mean requests_per_host?"),
        ("DOCWORKER_XYZZY", "DOCWORKER_XYZZY is not a setting;"),
        ("DOCWORKER_port", "DOCWORKER_port is not a setting"),
        ("DOCWORKER_", "DOCWORKER_ is not a setting"),
    ],
)
def test_an_unknown_environment_variable_is_refused_by_name(tmp_path: Path, variable: str, hint: str) -> None:
    with pytest.raises(SettingsError) as error:
        loaded(tmp_path, environ={variable: "1"})
    assert variable in str(error.value)
    assert hint in str(error.value)


@pytest.mark.parametrize(
    ("toml", "hint"),
    [
        ("prot = 1", "did you mean port?"),
        ("ignore_robot = true", "did you mean ignore_robots?"),
        ("xyzzy = 1", "xyzzy"),
        ("[server]\nport = 1", "server"),
        ("data_dir = '/tmp'", "data_dir"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused_with_the_files_name(tmp_path: Path, toml: str, hint: str) -> None:
    with pytest.raises(SettingsError) as error:
        loaded(tmp_path, toml)
    assert hint in str(error.value)
    assert str(tmp_path / "config.toml") in str(error.value)


def test_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="prot"):
        loaded(tmp_path, prot=1)


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("port = 65536", "port"),
        ("port = -1", "port"),
        ("port = 7432.5", "port"),
        ("port = 'http'", "port"),
        ("request_attempts = 0", "request_attempts"),
        ("request_timeout_s = 0", "request_timeout_s"),
        ("extract_timeout_s = nan", "extract_timeout_s"),
        ("max_page_bytes = 1000", "max_page_bytes"),
        ("max_response_bytes = 1000", "max_response_bytes"),
        ("max_total_bytes = 1000", "max_total_bytes"),
        ("requests_per_host = 0", "requests_per_host"),
        ("requests_per_host = 33", "requests_per_host"),
        ("pause_s = -0.1", "pause_s"),
        ("pause_s = 61", "pause_s"),
        ("pause_s = nan", "pause_s"),
        ("max_rest_s = -1", "max_rest_s"),
        ("max_rest_s = inf", "max_rest_s"),
        ("down_pause_s = 0", "down_pause_s"),
        ("down_pause_s = 901", "down_pause_s"),
        ("ignore_robots = 'perhaps'", "ignore_robots"),
        ("max_redirects = -1", "max_redirects"),
        ("max_redirects = 51", "max_redirects"),
        ("max_depth = -1", "max_depth"),
        ("max_queries_per_path = -1", "max_queries_per_path"),
        ("keep_alive = 'perhaps'", "keep_alive"),
        ("log_level = 'loud'", "log_level"),
        ('log_level = "info\\n"', "log_level"),
        ("host = 1", "host"),
        ("port = [1]", "port"),
    ],
)
def test_a_value_that_is_wrong_or_out_of_range_is_refused_with_key_and_source(tmp_path: Path, toml: str, key: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{key} \(from config\.toml\): "):
        loaded(tmp_path, toml)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("pause_s", 0),
        ("max_rest_s", 0),
        ("max_redirects", 0),
        ("max_depth", 0),
        ("max_queries_per_path", 0),
        ("request_attempts", 1),
    ],
)
def test_a_limit_may_be_the_least_there_is(tmp_path: Path, name: str, least: int) -> None:
    assert getattr(loaded(tmp_path, f"{name} = {least}").settings, name) == least


def test_a_site_is_asked_with_care_unless_it_is_said_otherwise() -> None:
    defaults = Settings()
    assert (defaults.requests_per_host, defaults.pause_s, defaults.ignore_robots) == (4, 0.2, False)
    assert (defaults.request_attempts, defaults.max_redirects) == (4, 10)


def test_the_message_names_the_source_that_won_and_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^port \(from DOCWORKER_PORT\): .*'high'"):
        loaded(tmp_path, "port = 1", {"DOCWORKER_PORT": "high"})
    with pytest.raises(SettingsError, match=r"^port \(from flag\): .*-5"):
        loaded(tmp_path, "port = 1", port=-5)


@pytest.mark.parametrize("content", [b"port = ", b"port 1", b"port = 1\nport = 2", b"\xff\xfe"])
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"config\.toml cannot be read"):
        loaded(tmp_path)


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        loaded(tmp_path)


def test_the_data_folder_in_its_own_file_is_not_answered_with_itself(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        loaded(tmp_path, "data_dir = '/tmp'")
    assert "did you mean data_dir" not in str(error.value)


def test_the_file_is_read_from_a_data_folder_that_begins_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text("port = 1")
    result = load({}, {"DOCWORKER_DATA_DIR": "~"})
    assert result.settings.data_dir == tmp_path
    assert result.settings.port == 1


@pytest.mark.parametrize("name", ["cache_dir", "model_dir"])
def test_a_tilde_is_the_home_folder_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert getattr(loaded(tmp_path, f"{name} = '~/models'").settings, name) == tmp_path / "models"


def test_an_empty_data_folder_is_not_the_working_directory() -> None:
    try:
        folder = load({}, {"DOCWORKER_DATA_DIR": ""}).settings.data_dir
    except SettingsError:
        return
    assert folder != Path.cwd()


def test_without_an_environment_given_the_process_s_own_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("DOCWORKER_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DOCWORKER_MAX_PAGES", "17")
    assert load({"data_dir": tmp_path}).settings.max_pages == 17
