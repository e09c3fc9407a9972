"""``mosaicfs agent init``: make this machine a node of a control plane that runs elsewhere."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import click
import msgspec

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext
    from mosaicfs_core.cli.service import Service
    from mosaicfs_core.home import Home
    from mosaicfs_core.security.enrolment import Enrolment

KEY_VARIABLE: Final = "MOSAICFS_ACCESS_KEY_ID"


class _Joined(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolment, and what was asked for: the name, and the access key that was given (None: neither)."""

    enrolment: Enrolment
    wanted: str | None = None
    key_id: str | None = None


def add(agent: click.Group, context: TerminalContext) -> None:
    """Add ``init`` to the group ``agent``."""

    @agent.command("init", short_help="Make this machine a node of the control plane at URL.")
    @click.argument("url")
    @click.option("--access-key-id", envvar=KEY_VARIABLE, show_envvar=True, help="The key made for this machine.")
    @click.option("--ca-fingerprint", help="Trust the control plane whose authority has this SHA-256 fingerprint.")
    @click.option("--name", help="What to call it (default: [agent] name, its host name).")
    @click.option("--install-service", is_flag=True, help="Write the file that starts the agent with the system.")
    @click.option(
        "--start/--no-start", default=None, help="Start the agent in the background (default: when on a terminal)."
    )
    def init(
        url: str,
        access_key_id: str | None,
        ca_fingerprint: str | None,
        name: str | None,
        install_service: bool,
        start: bool | None,
    ) -> None:
        """Make this machine a node of the control plane at URL (https://host:port).

        Make a key for it on the control plane first: `mosaicfs credentials create NAME --kind agent`. Its secret is
        read from the terminal, from MOSAICFS_SECRET_KEY, or from standard input. Running it again does no harm, and
        needs no key where this home was enrolled with that control plane and it knows the machine. A home that has lost
        its enrolment.json needs one, any that is not another machine's: the machine is the one that it was.

        Done on a terminal, it then starts the agent in the background, unless the system does that: with
        --install-service, or where its file is there already. `mosaicfs down` stops the agent.
        """
        from mosaicfs_core.cli import detach, service

        if install_service and start:
            raise click.UsageError("with --install-service the system starts the agent; leave out --start")
        url = url.rstrip("/")
        home = context.home.prepare()
        with home.lock():
            ca_pem, known = _pinned(context, url, ca_fingerprint)
            joined = asyncio.run(_joined(home, url, ca_pem, known, access_key_id, name))
        wanted = service.agent_service(home.path)
        starts = not install_service and _starts(context, wanted, start)
        if install_service:
            service.install(wanted)
        if context.json:
            pid = detach.start_agent(context) if starts else None
            started = {"path": str(wanted.path), "installed": install_service, "start": wanted.start}
            made = joined.enrolment
            facts = {"node_id": made.node_id, "control_plane_id": made.control_plane_id, "url": url}
            context.show({**facts, "service": started, "pid": pid})
            return
        _tell_joined(context, url, joined)
        if starts:
            _start(context, url)
        else:
            _tell_service(context, wanted, installed=install_service)


async def _joined(
    home: Home, url: str, ca_pem: str | None, known: Enrolment | None, access_key_id: str | None, name: str | None
) -> _Joined:
    """Enrol, with an access key, or by the machine's own key when it is known already and no access key was given."""
    from mosaicfs_core.cli.secrets import secret_for
    from mosaicfs_core.security import joining
    from mosaicfs_core.security.requests import Unreachable
    from mosaicfs_core.security.user_keys import UserSigner

    try:
        if known is not None and access_key_id is None:
            return _Joined(enrolment=await joining.join_again(home, url, ca_pem, known))
        key_id = _key_id(access_key_id)
        signer = UserSigner.from_secret(key_id, secret_for(key_id))
        wanted = name or _own_name(home, known)
        made = await joining.join(home, url, ca_pem, signer, wanted)
        return _Joined(enrolment=made, wanted=wanted, key_id=key_id)
    except Unreachable:
        if ca_pem is None:
            await asyncio.to_thread(_refuse_tls, url)
        raise


def _refuse_tls(url: str) -> None:
    """Raise ``UserError`` when what does not answer at a plain address speaks TLS there."""
    from mosaicfs_core.errors import MosaicError, UserError
    from mosaicfs_core.security import pinning

    secure = url.replace("http:", "https:", 1)
    try:
        pinning.fetch_authority(secure)
    except MosaicError:
        return
    raise UserError(f"{url} speaks TLS: give {secure}")


def _pinned(context: TerminalContext, url: str, fingerprint: str | None) -> tuple[str | None, Enrolment | None]:
    """The control plane's authority as PEM, once the user or what is known already vouches for it; None on loopback
    without TLS. And the enrolment with it that there is already. Raises ``NotAllowed`` when the authority is not the
    expected one."""
    from mosaicfs_core.errors import NotAllowed
    from mosaicfs_core.security import certificates, joining, pinning

    if _is_plain_loopback(url):
        return None, joining.refuse_other(context.home, url, None)
    found = pinning.fetch_authority(url)
    if fingerprint is not None:
        pinning.require_same(url, fingerprint, found)
    pem = certificates.pem_of(found)
    known = joining.refuse_other(context.home, url, pem, vouched=fingerprint is not None)
    if known is None and fingerprint is None:
        if not sys.stdin.isatty():
            raise NotAllowed(
                f"nobody vouches for the authority of {url}; give --ca-fingerprint, as `mosaicfs system fingerprint`"
                " shows it on the control plane's machine"
            )
        shown = certificates.fingerprint(found)
        click.echo(f"The authority of {url} has the SHA-256 fingerprint\n\n  {shown}\n", err=True)
        click.echo("On the control plane's machine, `mosaicfs system fingerprint` shows the right one.", err=True)
        if not click.confirm("Are they the same?", err=True):
            raise NotAllowed("the authority was not confirmed; nothing was changed")
    return pem, known


def _is_plain_loopback(url: str) -> bool:
    """Whether the address is plain HTTP on this machine. Raises ``UserError`` for plain HTTP to another one."""
    from urllib.parse import urlsplit

    from mosaicfs_core.errors import UserError
    from mosaicfs_core.security.addresses import names_this_machine

    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    if not names_this_machine(parts.hostname):
        raise UserError(f"{url} is not encrypted; expected https://host:port (the control plane has TLS by itself)")
    return True


def _key_id(given: str | None) -> str:
    from mosaicfs_core.errors import UserError
    from mosaicfs_core.security.user_keys import KEY_ID_PATTERN

    if given is None:
        if not sys.stdin.isatty():
            raise UserError(f"the access key id is needed: give --access-key-id, or set {KEY_VARIABLE}")
        given = str(click.prompt("Access key id", err=True))
    key_id = given.strip()
    if KEY_ID_PATTERN.fullmatch(key_id) is None:
        raise UserError(f"{key_id!r} is no access key id: expected MOSAICFS_ and 16 hexadecimal digits")
    return key_id


def _own_name(home: Home, known: Enrolment | None) -> str:
    """What this machine is called, as far as nobody says otherwise."""
    import socket

    from mosaicfs_core import config as configuration

    if known is not None:
        return known.name
    return configuration.load(home.config_file).agent.name or socket.gethostname() or "node"


def _starts(context: TerminalContext, wanted: Service, asked: bool | None) -> bool:
    """Whether to start the agent. A script starts it itself, and so does the system where it has been told to."""
    if asked is not None:
        return asked
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty() and not context.json
    return on_terminal and not wanted.path.exists()


def _start(context: TerminalContext, url: str) -> None:
    from mosaicfs_core.cli import detach

    context.say("Starting its agent…")
    detach.start_agent(context)
    context.say(f"{context.home.further_folders()}.")
    context.say("To have the system start it from now on:")
    context.say(f"  mosaicfs down && mosaicfs agent init {url} --install-service")


def _tell_joined(context: TerminalContext, url: str, joined: _Joined) -> None:
    """Who it is now, and what came out otherwise than it was asked for."""
    made = joined.enrolment
    context.say(f"This machine is {made.node_id} of {url}.")
    if joined.wanted not in (None, made.name):
        context.say(
            f"It is called {made.name} there, not {joined.wanted}: a name is one machine's, and a machine that is known"
            f" keeps its own. Another name: mosaicfs nodes rename {made.node_id} NAME, on the control plane."
        )
    if joined.key_id is not None and made.access_key_id not in (None, joined.key_id):
        context.say(
            f"It was known there already and proved itself with its own key: its access key is {made.access_key_id} as"
            f" before, and {joined.key_id} is free for another machine."
        )
    _warn_of_few_watches(context)


def _tell_service(context: TerminalContext, wanted: Service, *, installed: bool) -> None:
    lines = ["Start its agent with: mosaicfs agent run"]
    if installed:
        lines += [f"Written: {wanted.path}. Have it started from now on with:", f"  {wanted.start}"]
    else:
        lines += [f"Or have the system start it: put this into {wanted.path}", "", *wanted.text.split("\n")]
        lines += ["and run:", f"  {wanted.start}", "(--install-service writes the file.)"]
    for line in lines:
        context.say(line)


def _warn_of_few_watches(context: TerminalContext) -> None:
    from mosaicfs_core.cli.doctor_checks import check_inotify

    found = check_inotify(context.home)
    if found.status != "ok":
        click.echo(f"Note: {found.detail}. {found.mend}", err=True)
