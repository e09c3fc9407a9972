"""The names and addresses by which other machines may know this one."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# Addresses for documentation: nothing is sent to them, the system only says from which address it would send.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_SIOCGIFADDR: Final = 0x8915  # linux/sockios.h


def is_loopback(address: str) -> bool:
    """Whether an address, as the system writes it, is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def names_this_machine(host: str | None) -> bool:
    """Whether a URL's host is this machine over its loopback, by address or by name."""
    return host == "localhost" or is_loopback(host or "")


def is_private(url: str) -> bool:
    """Whether nobody between the two ends reads what goes to an ``http`` URL: by TLS, or because it is this machine's
    own loopback. False for what is no such URL."""
    try:
        parsed = urlsplit(url)
        host, _ = parsed.hostname or "", parsed.port
    except ValueError:
        return False
    if parsed.scheme != "http":
        return parsed.scheme == "https" and host != ""
    return names_this_machine(host)


def host_names() -> tuple[str, ...]:
    """This machine's name, alone and as multicast DNS knows it."""
    name = socket.gethostname().rstrip(".").lower()
    return (name,) if not name or "." in name else (name, f"{name}.local")


def machine_addresses() -> tuple[str, ...]:
    """The addresses of this machine that others may reach, the one it sends from first; neither loopback nor
    link-local ones, which mean nothing elsewhere."""
    found: dict[str, None] = {}
    for address in (*_sending_addresses(), *_interface_addresses(), *_resolved_addresses()):
        parsed = ipaddress.ip_address(address)
        if not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast):
            found[str(parsed)] = None
    return tuple(found)


def _sending_addresses() -> list[str]:
    found = []
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            found.append(str(probe.getsockname()[0]))
    return found


def _interface_addresses() -> list[str]:
    """What the kernel tells of its interfaces, on Linux."""
    if sys.platform != "linux":
        return []
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    with contextlib.suppress(OSError):  # a kernel without IPv6
        lines = Path("/proc/net/if_inet6").read_text("ascii").splitlines()
        found += [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in lines]
    return found


def _resolved_addresses() -> list[str]:
    try:
        answers = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]).partition("%")[0] for _, _, _, _, address in answers]
