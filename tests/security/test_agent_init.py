"""``mosaicfs agent init`` as its user runs it, against a control plane on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from mosaicfs_core.agent.link.wanted import WantedFolders
from mosaicfs_core.cli import service
from mosaicfs_core.cli.detach import holder
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli
from mosaicfs_core.home import Home
from mosaicfs_core.security import enrolment
from mosaicfs_core.security.addresses import host_names
from mosaicfs_core.store import Store

PROGRAM = (sys.executable, "-c", "from mosaicfs_core.cli.main import main; main()")


class Machine:
    """A machine that runs the command line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = Home(path / "home")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("MOSAICFS_")} | {
            "HOME": str(path),
            "XDG_CONFIG_HOME": str(path / "config"),
            "MOSAICFS_HOME": str(self.home.path),
        }

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment | environment,
        )
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "machine").mkdir()
    return Machine(tmp_path / "machine")


async def test_a_machine_joins_and_may_run_it_again(
    control: Any, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    key_id, secret = await control.key()
    pin = ("--ca-fingerprint", control.server.identity.authority.fingerprint)
    arguments = ("agent", "init", control.url + "/", "--access-key-id", key_id, *pin, "--name", "Laptop")
    with caplog.at_level(logging.DEBUG):
        code, out, err = await machine.run(*arguments, stdin=secret + "\n")
    assert code == 0, err
    known = enrolment.load(machine.home)
    assert known is not None
    assert known.urls == (control.url,)
    assert f"This machine is {known.node_id}" in out
    assert "ExecStart=" in out
    assert "mosaicfs agent run" in out
    # Again, this time with nothing but what is known; and the secret from the environment.
    again = ("--json", "agent", "init", control.url, "--install-service")
    code, out, err = await machine.run(*again, MOSAICFS_SECRET_KEY=secret, MOSAICFS_ACCESS_KEY_ID=key_id)
    assert code == 0, err
    told = json.loads(out)
    assert told["node_id"] == known.node_id
    assert told["service"]["installed"]
    # Nobody but the person at the keyboard has the secret.
    places = [out, err, caplog.text, *arguments]
    places += [file.read_bytes().decode("latin-1") for file in machine.path.rglob("*") if file.is_file()]
    places += [file.read_bytes().decode("latin-1") for file in control.harness.home.path.rglob("*") if file.is_file()]
    assert not any(secret in place for place in places)
    assert "Signature=" not in caplog.text


@pytest.fixture(autouse=True)
def _away_from_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What ``--install-service`` wrote for the whole system, as root, goes away again."""
    yield
    written = service.agent_service(tmp_path / "machine" / "home").path
    if written.exists() and str(tmp_path) in written.read_text():
        written.unlink()


async def test_no_option_takes_a_secret() -> None:
    context = click.Context(cli, info_name="mosaicfs", obj=TerminalContext())
    group = cli.get_command(context, "agent")
    assert isinstance(group, click.Group)
    init = group.get_command(context, "init")
    assert init is not None
    names = {name for parameter in init.params for name in parameter.opts}
    assert names == {"url", "--access-key-id", "--ca-fingerprint", "--name", "--install-service", "--start"}


@pytest.mark.parametrize(
    ("given", "terminal", "starts"),
    [((), True, True), (("--no-start",), True, False), (("--start",), False, True), ((), False, False)],
    ids=["terminal", "terminal --no-start", "--start", "script"],
)
async def test_on_a_terminal_or_when_it_is_asked_to_it_starts_the_agent(
    control: Any, machine: Machine, given: tuple[str, ...], terminal: bool, starts: bool
) -> None:
    key_id, secret = await control.key()
    pin = ("--ca-fingerprint", control.server.identity.authority.fingerprint)
    words = ("agent", "init", control.url, "--access-key-id", key_id, *pin, *given)
    settings = {"MOSAICFS_SECRET_KEY": secret, "MOSAICFS_AGENT_API_PORT": "0", "MOSAICFS_AGENT_LISTEN_PORT": "0"}
    code, out = await (on_terminal(machine, *words, **settings) if terminal else _quietly(machine, *words, **settings))
    try:
        assert code == 0, out
        pid = holder(machine.home)
        assert (pid is not None) == starts, out
        assert (f"It runs as process {pid}; `mosaicfs down` stops it" in out) == starts, out
        assert ("Start its agent with: mosaicfs agent run" in out) != starts
        if pid is not None:
            assert secret.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
            assert "--install-service" in out
    finally:
        code, out, err = await machine.run("down")
    assert (code, "Stopped process" in out) == (0, starts), err


async def test_the_system_or_a_command_starts_it_not_both(control: Any, machine: Machine) -> None:
    code, _, err = await machine.run("agent", "init", control.url, "--install-service", "--start")
    assert (code, "leave out --start" in err) == (2, True), err


async def _quietly(machine: Machine, *words: str, **settings: str) -> tuple[int, str]:
    code, out, err = await machine.run(*words, **settings)
    return code, out + err


async def on_terminal(machine: Machine, *words: str, **settings: str) -> tuple[int, str]:
    """Exit code, and what a command shows on a terminal of its own."""
    ours, theirs = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *words, stdin=theirs, stdout=theirs, stderr=theirs, env=machine.environment | settings
        )
    finally:
        os.close(theirs)
    shown = asyncio.create_task(asyncio.to_thread(_all_of, ours))
    code = await asyncio.wait_for(process.wait(), 60)
    return code, await shown


def _all_of(terminal: int) -> str:
    """What is shown until nobody has the terminal open any more."""
    shown = b""
    with contextlib.closing(os.fdopen(terminal, "rb", buffering=0)) as read, contextlib.suppress(OSError):
        while part := read.read(65536):
            shown += part
    return " ".join(shown.decode().split())


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"--ca-fingerprint": "AB" * 32}, 4, "shows another authority than expected"),
        ({"--ca-fingerprint": "AB"}, 2, "64 hexadecimal digits"),
        ({"--ca-fingerprint": None}, 4, "nobody vouches"),
        ({"--access-key-id": "MOSAICFS_0000000000000000"}, 4, "not known here"),
        ({"--access-key-id": "nonsense"}, 2, "no access key id"),
        ({"secret": "nonsense"}, 2, "no secret of an access key"),
        ({"secret": "mosaicfs_" + "x" * 43}, 4, "does not hold"),
        ({"secret": ""}, 2, "no secret of an access key"),
        ({"url": "https://127.0.0.1:9"}, 3, "cannot be reached"),
        ({"url": "http://192.0.2.1:1"}, 2, "not encrypted"),
        ({"url": "nas"}, 2, "expected https://host:port"),
        ({"url": "https://nas:port"}, 2, "not the address"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_said_and_changes_nothing(
    control: Any, machine: Machine, change: dict[str, Any], code: int, told: str
) -> None:
    key_id, secret = await control.key()
    options = {"--access-key-id": key_id, "--ca-fingerprint": control.server.identity.authority.fingerprint} | {
        name: value for name, value in change.items() if name.startswith("--")
    }
    given = [word for name, value in options.items() if value is not None for word in (name, value)]
    url = change.get("url", control.url)
    found, out, err = await machine.run("agent", "init", url, *given, stdin=change.get("secret", secret) + "\n")
    assert (found, out) == (code, ""), err
    assert told in err
    assert "Traceback" not in err
    assert not machine.home.enrolment_file.exists()
    assert not (machine.home.path / "node_id").exists()


async def test_a_changed_authority_is_told_and_nothing_is_changed(
    control: Any, running: Any, machine: Machine, tmp_path: Path
) -> None:
    key_id, secret = await control.key()
    pin = ("--ca-fingerprint", control.server.identity.authority.fingerprint)
    assert (await machine.run("agent", "init", control.url, "--access-key-id", key_id, *pin, stdin=secret))[0] == 0
    known = enrolment.load(machine.home)
    assert known is not None
    async with running(tmp_path / "other") as other:
        # The address that the machine knows leads to another instance now.
        enrolment.save(machine.home, enrolment.msgspec.structs.replace(known, urls=(other.url,)))
        before = machine.home.enrolment_file.read_bytes()
        code, _, err = await machine.run("agent", "init", other.url, "--access-key-id", key_id, stdin=secret)
        assert code == 4
        assert "Nothing was changed" in err
        assert machine.home.enrolment_file.read_bytes() == before


async def test_an_authority_made_anew_is_taken_over_with_its_fingerprint_and_no_key(
    running: Any, machine: Machine, tmp_path: Path
) -> None:
    async with running(tmp_path / "nas") as nas:
        known = await nas.enrol(machine.home)
        port = nas.url.rpartition(":")[2]
    shutil.rmtree(tmp_path / "nas" / "certs")
    listener = {"port": int(port)}
    async with running(tmp_path / "nas", **listener) as nas:
        code, _, err = await machine.run("agent", "init", nas.url)
        assert code == 4
        assert "--ca-fingerprint" in err
        assert enrolment.load(machine.home) == known
        fingerprint = nas.server.identity.authority.fingerprint
        code, out, err = await machine.run("agent", "init", nas.url, "--ca-fingerprint", fingerprint)
        assert code == 0, err
        assert f"This machine is {known.node_id}" in out
        again = enrolment.load(machine.home)
        assert again is not None
        assert again.ca_pem == nas.ca_pem
        assert (again.name, again.access_key_id) == (known.name, known.access_key_id)
        assert (await nas.status_of(nas.as_node(machine.home, again), "GET", "/api/auth/whoami"))[0] == 200
        # At another address it is the same one; another control plane is told apart, whoever vouches for it.
        code, _, err = await machine.run("agent", "init", nas.url.replace("127.0.0.1", "localhost"))
        assert code == 0, err
    async with running(tmp_path / "other", **listener) as other:
        fingerprint = other.server.identity.authority.fingerprint
        code, _, err = await machine.run("agent", "init", other.url, "--ca-fingerprint", fingerprint)
        assert code == 1, err
        assert "is another one" in err
    kept = enrolment.load(machine.home)
    assert kept is not None
    assert kept.ca_pem == again.ca_pem


async def test_a_machine_that_is_forgotten_is_told_to_use_a_key(running: Any, machine: Machine, tmp_path: Path) -> None:
    async with running(tmp_path / "nas"):
        pass
    shutil.copytree(tmp_path / "nas", tmp_path / "copy")
    async with running(tmp_path / "nas") as nas:
        known = await nas.enrol(machine.home)
        port = nas.url.rpartition(":")[2]
    async with running(tmp_path / "copy", port=int(port)) as restored:
        code, _, err = await machine.run("agent", "init", restored.url)
        assert code == 4
        assert "--access-key-id" in err
        key_id, secret = await restored.key()
        code, _, err = await machine.run("agent", "init", restored.url, "--access-key-id", key_id, stdin=secret)
        assert code == 0, err
        again = enrolment.load(machine.home)
        assert again is not None
        assert again.node_id == known.node_id


async def test_a_damaged_enrolment_is_made_anew_with_a_further_key(control: Any, machine: Machine) -> None:
    known = await control.enrol(machine.home, name="tab")
    machine.home.enrolment_file.write_text("{")
    code, _, err = await machine.run("agent", "init", control.url)
    assert (code, "delete it and run `mosaicfs agent init URL` with a further key" in err) == (2, True), err
    machine.home.enrolment_file.unlink()
    key_id, secret = await control.key()
    pin = ("--ca-fingerprint", control.server.identity.authority.fingerprint)
    init = ("agent", "init", control.url, "--access-key-id", key_id, *pin, "--name", "other")
    code, out, err = await machine.run(*init, stdin=secret)
    assert code == 0, err
    assert f"This machine is {known.node_id}" in out
    assert "It is called tab there, not other" in out
    assert f"its access key is {known.access_key_id} as before, and {key_id} is free for another machine" in out


async def test_the_command_line_elsewhere_signs_with_a_key(control: Any, machine: Machine) -> None:
    key_id, secret = await control.key("user")
    environment = {"MOSAICFS_URL": control.url, "MOSAICFS_ACCESS_KEY_ID": key_id, "MOSAICFS_SECRET_KEY": secret}
    code, _, err = await machine.run("--json", "credentials", "list", **environment)
    assert code == 3
    assert "MOSAICFS_CA_FINGERPRINT" in err
    environment["MOSAICFS_CA_FINGERPRINT"] = control.server.identity.authority.fingerprint
    code, out, err = await machine.run("--json", "credentials", "list", **environment)
    assert code == 0, err
    assert [item["id"] for item in json.loads(out)["items"]] == [key_id]
    code, out, err = await machine.run("credentials", "create", "Desktop", "--kind", "agent", **environment)
    assert code == 0, err
    assert "On that machine: mosaicfs agent init https://" in out
    wrong = environment | {"MOSAICFS_CA_FINGERPRINT": "AB" * 32}
    assert (await machine.run("credentials", "list", **wrong))[0] == 4


async def test_the_command_line_at_home_finds_an_instance_with_tls(control: Any, machine: Machine) -> None:
    home = str(control.harness.home.path)
    code, out, err = await machine.run("--json", "credentials", "list", "--home", home)
    assert code == 0, err
    code, out, err = await machine.run("system", "fingerprint", "--home", home)
    assert out.strip() == control.server.identity.authority.fingerprint, err


async def test_before_the_first_start_the_fingerprint_says_what_makes_an_authority(machine: Machine) -> None:
    code, _, err = await machine.run("system", "fingerprint")
    assert code == 1
    assert f"the home {machine.home.path} has no authority yet" in err
    assert "`mosaicfs server run --host 0.0.0.0`" in err


async def test_a_control_plane_shows_its_fingerprint_when_it_starts(machine: Machine) -> None:
    ports = {"MOSAICFS_SERVER_PORT": "0", "MOSAICFS_SERVER_TLS": "on"}
    server = await asyncio.create_subprocess_exec(
        *PROGRAM, "server", "run", env=machine.environment | ports, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        said = await asyncio.wait_for(server.stdout.readuntil(b"Ctrl-C"), 60)
        _, out, _ = await machine.run("system", "fingerprint")
        assert f"\nAuthority {out.strip()}\n" in said.decode()
    finally:
        server.terminate()
        await asyncio.wait_for(server.communicate(), 60)


async def test_an_agent_has_no_authority_and_no_instance_key_of_its_own(
    control: Any, running: Any, machine: Machine
) -> None:
    await control.enrol(machine.home)
    certificate = (machine.home.certs_dir / "server.pem").read_bytes()
    # Its own API is for this machine, whatever its configuration says of TLS.
    async with running(machine.home.path) as agent:
        assert agent.url.startswith("http:")
        code, out, err = await machine.run("system", "fingerprint")
    assert (code, out.strip()) == (0, control.server.identity.authority.fingerprint), err
    assert control.url in err
    assert (machine.home.certs_dir / "server.pem").read_bytes() == certificate
    kept = {file.name for file in machine.home.path.rglob("*")}
    assert kept.isdisjoint({"ca.key", "ca.pem", "instance_key"})


async def test_a_machine_is_called_what_its_configuration_says(control: Any, machine: Machine) -> None:
    key_id, secret = await control.key()
    machine.home.prepare()
    machine.home.config_file.write_text('[agent]\nname = "Attic"\n')
    pin = ("--ca-fingerprint", control.server.identity.authority.fingerprint)
    code, _, err = await machine.run("agent", "init", control.url, "--access-key-id", key_id, *pin, stdin=secret)
    assert code == 0, err
    known = enrolment.load(machine.home)
    assert known is not None
    assert known.name == "Attic"
    assert known.node_id.startswith("node-attic-")


async def test_what_has_the_home_must_end_first(control: Any, machine: Machine) -> None:
    with machine.home.lock():
        code, _, err = await machine.run("agent", "init", control.url)
        assert (code, "down` ends it" in err, "folders" in err) == (1, True, False), err
        code, _, err = await machine.run("agent", "run")
        assert (code, "folders add` gives it further folders" in err) == (1, True), err
    known = await control.enrol(machine.home)
    with machine.home.lock():
        code, _, err = await machine.run("agent", "run")
    told = f"`mosaicfs folders add --node {known.node_id}` on its control plane gives it further folders as it runs"
    assert (code, told in err) == (1, True), err


async def test_plain_http_to_a_control_plane_that_speaks_tls_is_told(control: Any, machine: Machine) -> None:
    key_id, secret = await control.key()
    plain = control.url.replace("https:", "http:")
    code, _, err = await machine.run("agent", "init", plain, "--access-key-id", key_id, stdin=secret)
    assert code == 2
    assert f"speaks TLS: give {control.url}" in err


async def test_a_key_for_another_machine_comes_with_an_address_that_leads_here(
    control: Any, running: Any, machine: Machine, tmp_path: Path
) -> None:
    make = ("credentials", "create", "Desktop", "--kind", "agent", "--home")
    code, out, err = await machine.run(*make, str(control.harness.home.path))
    assert code == 0, err
    assert "listens on this machine alone" in out
    assert "https://" not in out
    async with running(tmp_path / "nas", host="0.0.0.0") as nas:
        code, out, err = await machine.run(*make, str(nas.harness.home.path))
    assert code == 0, err
    assert f"agent init https://{host_names()[0]}:" in out
    assert nas.server.identity.authority.fingerprint in out


async def test_an_agent_that_waits_for_its_first_contact_says_so(
    running: Any, machine: Machine, tmp_path: Path
) -> None:
    async with running(tmp_path / "nas") as nas:
        await nas.enrol(machine.home)
    code, _, err = await machine.run("agent", "status")
    assert (code, "start it with: mosaicfs agent run" in err) == (3, True), err
    ports = {"MOSAICFS_AGENT_API_PORT": "0", "MOSAICFS_AGENT_LISTEN_PORT": "0"}
    agent = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "agent",
        "run",
        str(tmp_path),
        env=machine.environment | ports,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        for _ in range(1200):
            if machine.home.starting() is not None:
                break
            await asyncio.sleep(0.05)
        code, _, err = await machine.run("agent", "status")
        assert code == 3
        assert f"process {agent.pid}) and is not ready yet: waiting for the control plane" in err
        assert nas.url in err
        code, out, _ = await machine.run("--json", "doctor")
        (found,) = [one for one in json.loads(out) if one["check"] == "instance"]
        assert "is not ready yet" in found["detail"]
    finally:
        agent.terminate()
        await asyncio.wait_for(agent.communicate(), 60)
    assert machine.home.starting() is None
    assert not machine.home.starting_file.exists()
    async with await Store.open(machine.home.replica) as store:
        assert await WantedFolders(store).waiting() == [str(tmp_path)], "the next one need not be told again"
