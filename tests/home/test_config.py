"""Protects the promise about a wrong configuration: file, line, key and what was expected; and that every key can be
set in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaicfs_core.config import FIELDS, Config, line_of, load
from mosaicfs_core.errors import ConfigError


def test_no_file_and_no_environment_means_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "mosaicfs.toml", {}) == Config()


def test_values_come_from_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "mosaicfs.toml"
    file.write_text('[server]\nhost = "0.0.0.0"\nport = 1\n\n[agent]\nname = "Büro"\n', "utf-8")
    config = load(file, {"MOSAICFS_SERVER_PORT": "9000", "MOSAICFS_CRASH_ROUNDS": "5"})
    assert (config.server.host, config.server.port, config.agent.name) == ("0.0.0.0", 9000, "Büro")


@pytest.mark.parametrize(
    ("text", "line", "key", "expected"),
    [
        ("[server]\n# the port\nport = 70000\n", 3, "server.port", "an integer from 0 to 65535, not 70000"),
        ('[server]\nport = "many"\n', 2, "server.port", "an integer from 0 to 65535"),
        ("[server]\nport = true\n", 2, "server.port", "an integer from 0 to 65535"),
        ('[server]\nport = "6672"\n', 2, "server.port", "an integer from 0 to 65535"),
        ('[agent]\ndisabled_plugins = "x"\n', 2, "agent.disabled_plugins", "a list of plugin names"),
        ('[agent]\nendpoints = "https://a:1"\n', 2, "agent.endpoints", "a list of https addresses"),
        ('server.host = "a b"\n', 1, "server.host", "a host name or an IP address"),
        ('[agent]\nnightly_crawl = "25:00"\n', 2, "agent.nightly_crawl", 'a time "HH:MM"'),
        ('[agent]\nendpoints = ["http://192.0.2.1:6673"]\n', 2, "agent.endpoints", "a list of https addresses"),
        ('[logging]\n\n"level" = "loud"\n', 3, "logging.level", "one of debug, info, warning, error"),
        ("[server]\nport = 1\nprot = 2\n", 3, "server.prot", "unknown key; expected one of host, port"),
        ("[agent]\n[sever]\nport = 1\n", 2, "sever", "unknown section; expected one of [server], [agent], "),
        ("server = 3\n", 1, "server", "expected a section [server]"),
        ("[server]\nport = \n", 2, "", "expected valid TOML"),
        ('[server]\nhost = "a', 2, "", "expected valid TOML"),
    ],
)
def test_a_wrong_file_names_file_line_key_and_expected(
    tmp_path: Path, text: str, line: int, key: str, expected: str
) -> None:
    file = tmp_path / "mosaicfs.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    message = caught.value.message
    assert message.startswith(f"{file}, line {line}")
    assert key in message
    assert expected in message


def test_a_variable_separates_the_names_of_a_list_by_commas(tmp_path: Path) -> None:
    config = load(tmp_path / "none", {"MOSAICFS_AGENT_DISABLED_PLUGINS": "one, two,", "MOSAICFS_SERVER_NAMES": ""})
    assert (config.agent.disabled_plugins, config.server.names) == (("one", "two"), ())


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "mosaicfs.toml"
    file.write_bytes(b"[agent]\nname = '\xff'\n")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        load(file, {})


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="environment variable MOSAICFS_SERVER_PORT: expected an integer"):
        load(tmp_path / "none", {"MOSAICFS_SERVER_PORT": "x"})
    with pytest.raises(ConfigError, match="MOSAICFS_SERVER_PROT: unknown; expected one of MOSAICFS_SERVER_HOST"):
        load(tmp_path / "none", {"MOSAICFS_SERVER_PROT": "1"})


def test_every_field_has_a_default_that_passes_its_own_check() -> None:
    for field in FIELDS:
        default = getattr(getattr(Config(), field.section), field.key)
        assert field.convert(default) == default
        assert field.variable == f"MOSAICFS_{field.section.upper()}_{field.key.upper()}"


def test_lines_of_inline_tables_and_spaced_headers() -> None:
    assert line_of("\nserver = { port = 1 }\n", "server", "port") == 2
    assert line_of("[ agent ]\n name = 1\n", "agent", "name") == 2
    assert line_of("", "agent", "name") == 1
