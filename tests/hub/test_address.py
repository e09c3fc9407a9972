"""Protects the hub's password: it comes from a private file or the environment, and is shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaicfs_core.config import Config, HubConfig, load
from mosaicfs_core.errors import ConfigError
from mosaicfs_core.home import Home
from mosaicfs_core.logs import redact
from mosaicfs_core.security.authority import Authority
from mosaicfs_core.server.hub import hub_address

URL = "https://couch.example:6984/mosaicfs"
SECRET = "s3cret phrase"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


def put(home: Home, text: str, mode: int = 0o600, name: str = "hub_password") -> Path:
    file = home.path / name
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_password_comes_from_the_file_in_the_home(home: Home) -> None:
    put(home, f"{SECRET}\n# what it is for\n")
    address = hub_address(home, HubConfig(url=URL, user="mosaicfs"), {})
    assert (address.url, address.user, address.password) == (URL, "mosaicfs", SECRET)
    assert SECRET not in repr(address)


def test_the_variable_wins_and_needs_no_file(home: Home) -> None:
    config = HubConfig(url=URL, user="mosaicfs")
    assert hub_address(home, config, {"MOSAICFS_HUB_PASSWORD": SECRET}).password == SECRET


def test_without_a_user_nobody_signs_in(home: Home) -> None:
    address = hub_address(home, HubConfig(url=URL), {"MOSAICFS_HUB_PASSWORD": SECRET})
    assert (address.user, address.password) == ("", "")


def test_a_file_that_others_can_read_is_refused(home: Home) -> None:
    put(home, SECRET, 0o640)
    with pytest.raises(ConfigError, match=r"can be read by others \(mode 0640\): run chmod 600") as caught:
        hub_address(home, HubConfig(url=URL, user="mosaicfs"), {})
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("text", ["", "\n", "\nsecond line", "x" * 5000])
def test_a_file_without_a_password(home: Home, text: str) -> None:
    put(home, text)
    with pytest.raises(ConfigError, match="expected the hub's password in the first line"):
        hub_address(home, HubConfig(url=URL, user="mosaicfs"), {})


def test_a_missing_file_says_what_to_do(home: Home) -> None:
    with pytest.raises(ConfigError, match=r"put the hub's password there .mode 0600., or set MOSAICFS_HUB_PASSWORD"):
        hub_address(home, HubConfig(url=URL, user="mosaicfs"), {})
    with pytest.raises(ConfigError, match=r"hub\.ca_file: there is no file"):
        hub_address(home, HubConfig(url=URL, ca_file="ca.pem"), {})


def test_the_authority_is_read_from_its_file(home: Home, tmp_path: Path) -> None:
    authority = Authority.of_home(home)
    put(home, authority.pem, 0o644, "ca.pem")
    assert hub_address(home, HubConfig(url=URL, ca_file="ca.pem"), {}).ca_pem == authority.pem
    elsewhere = tmp_path / "elsewhere.pem"
    elsewhere.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"hub\.ca_file: .*elsewhere\.pem: the authority's certificate is damaged"):
        hub_address(home, HubConfig(url=URL, ca_file=str(elsewhere)), {})


@pytest.mark.parametrize(
    "url",
    [
        "https://mosaicfs:pass-word@couch.example/mosaicfs",
        "https://:pass-word@couch.example/mosaicfs",
        "https://pass-word@couch.example/mosaicfs",
        "https://couch.example/mosaicfs?pass-word@x",
    ],
)
def test_an_address_with_a_password_is_refused_without_repeating_it(home: Home, url: str) -> None:
    home.config_file.write_text(f'[hub]\nurl = "{url}"\n')
    with pytest.raises(ConfigError, match=r"line 2, hub\.url: has a user or a password in it.*hub\.user") as caught:
        load(home.config_file, {})
    assert "pass-word" not in caught.value.message
    with pytest.raises(ConfigError, match="MOSAICFS_HUB_URL: has a user or a password in it"):
        load(home.path / "none", {"MOSAICFS_HUB_URL": url})


@pytest.mark.parametrize(
    "url",
    [
        "couch.example/mosaicfs",
        "ftp://couch.example/mosaicfs",
        "https://couch.example",
        "https://couch.example/",
        "https://couch.example/MosaicFS",
        "https://couch.example/_users",
        "https://couch.example/mosaicfs?x=1",
        "https://couch.example/mosaicfs#x",
        "https://couch.example:port/mosaicfs",
        "https:///mosaicfs",
        "https://couch example/mosaicfs",
    ],
)
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="expected the address of a database"):
        load(tmp_path / "none", {"MOSAICFS_HUB_URL": url})


def test_addresses_that_are_good(tmp_path: Path) -> None:
    for url in (URL, "http://127.0.0.1:5984/mosaicfs", "https://host/couch/my-files_2", "http://[::1]:5984/x"):
        assert load(tmp_path / "none", {"MOSAICFS_HUB_URL": url}).hub.url == url
    assert load(tmp_path / "none", {"MOSAICFS_HUB_URL": f"{URL}/"}).hub.url == URL
    assert load(tmp_path / "none", {"MOSAICFS_HUB_PASSWORD": SECRET}) == Config()


def test_logs_hide_what_signs_in_to_a_hub() -> None:
    assert redact("GET https://me:pass@host/x") == "GET https://[hidden]@host/x"
    assert redact("Authorization: Basic bWU6cGFzcw==, then") == "Authorization: Basic [hidden], then"
    assert redact("see http://host:5984/x and me@host") == "see http://host:5984/x and me@host"
