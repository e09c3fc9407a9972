"""Parsing takes whatever a stranger sends; nonces are seen once within a bounded window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.documents import times
from mosaicfs_core.errors import ClockSkew, NotSignedIn, UserError
from mosaicfs_core.security import signatures
from mosaicfs_core.security.nonces import SLOT_S, Nonces
from mosaicfs_core.security.signatures import Target
from mosaicfs_core.security.user_keys import UserSigner

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
GOOD = signatures.authorization(b"k", "node-a-aaaa", Target(method="GET", destination="d", path="/"), now=NOW)
FIELD = st.sampled_from(["AccessKeyId", "Timestamp", "Nonce", "Signature", "accesskeyid", "X"])
VALUE = st.text(max_size=80) | st.sampled_from([part.split("=")[1] for part in GOOD.split(" ", 1)[1].split(", ")])


@given(st.text() | st.text(max_size=200).map(lambda text: f"{signatures.SCHEME} {text}"))
def test_any_text_is_a_refusal(header: str) -> None:
    with pytest.raises(NotSignedIn):
        signatures.parse(header)


@given(st.lists(st.tuples(FIELD, VALUE), max_size=6), st.sampled_from([",", ", ", " ,", ";", "\n"]))
def test_nothing_hostile_passes(fields: list[tuple[str, str]], between: str) -> None:
    header = f"{signatures.SCHEME} " + between.join(f"{name}={value}" for name, value in fields)
    try:
        claim = signatures.parse(header)
    except NotSignedIn:
        return
    assert sorted(name for name, _ in fields) == ["AccessKeyId", "Nonce", "Signature", "Timestamp"]
    assert not signatures.holds(b"another key", claim, Target(method="GET", destination="d", path="/"))


@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_one_altered_character_never_passes(at: int, other: str) -> None:
    header = GOOD[:at] + other + GOOD[at + 1 :]
    target = Target(method="GET", destination="d", path="/")
    try:
        claim = signatures.parse(header)
    except NotSignedIn:
        return
    same = (
        header.replace(signatures.SCHEME.lower(), signatures.SCHEME) == GOOD
        or header.partition(" ")[2] == (GOOD.partition(" ")[2])
    )
    assert signatures.holds(b"k", claim, target) == same


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_two_requests_have_the_same_text(path: str, range_: str, method: str) -> None:
    one = Target(method=method, destination="d", path=path, range=range_)
    try:
        text = signatures.canonical(one, "k", "t", "n")
    except (UserError, UnicodeEncodeError):
        return
    assert text.count(b"\n") == 8


def test_control_characters_are_not_signed() -> None:
    for bad in ("/a\nb", "/a\rb", "/a\0b"):
        with pytest.raises(UserError):
            signatures.authorization(b"k", "node-a-aaaa", Target(method="GET", destination="d", path=bad))
        claim = signatures.parse(GOOD)
        assert not signatures.holds(b"k", claim, Target(method="GET", destination="d", path=bad))


@pytest.mark.parametrize(("seconds", "allowed"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_the_window(seconds: int, allowed: bool) -> None:
    claim = signatures.parse(GOOD)
    if allowed:
        assert signatures.skew_of(claim, NOW - seconds * SECOND) == seconds
    else:
        with pytest.raises(ClockSkew):
            signatures.skew_of(claim, NOW - seconds * SECOND)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (180.2, "3 min 0 s ahead of"),
        (-603.0, "10 min 3 s behind"),
        (-7325, "2 h 2 min behind"),
        (200_000, "2 d 7 h ahead of"),
    ],
)
def test_how_a_skew_is_told(seconds: float, told: str) -> None:
    assert signatures.describe_skew(seconds) == told


def test_a_nonce_is_good_once_for_each_key() -> None:
    nonces = Nonces()
    assert nonces.first_time("a", "n", NOW, NOW)
    assert not nonces.first_time("a", "n", NOW, NOW + 200 * SECOND)
    assert nonces.first_time("b", "n", NOW, NOW)
    assert nonces.first_time("a", "m", NOW, NOW)


def test_what_cannot_come_again_is_forgotten() -> None:
    nonces = Nonces()
    for second in range(2000):
        now = NOW + second * SECOND
        assert nonces.first_time("a", f"n{second}", now, now)
    assert len(nonces) <= signatures.REFUSED_SKEW_S + 3 * SLOT_S


@given(st.lists(st.tuples(st.integers(-300, 300), st.integers(0, 30)), max_size=200))
def test_nothing_is_taken_twice_even_when_memory_is_short(asked: list[tuple[int, int]]) -> None:
    nonces, taken = Nonces(max_per_key=10), set()
    for skew, number in asked:
        signed_at = NOW + skew * SECOND
        if nonces.first_time("a", f"n{number}", signed_at, NOW):
            assert (signed_at, number) not in taken
            taken.add((signed_at, number))
    assert len(nonces) <= 10


def test_many_keys_do_not_stay_when_they_fall_silent() -> None:
    nonces = Nonces(max_keys=10)
    for number in range(100):
        now = NOW + number * 60 * SECOND
        assert nonces.first_time(f"k{number}", "n", now, now)
    assert len(nonces) <= 20
    assert times.MICROS_PER_SECOND == SECOND


def test_what_is_no_access_key_is_called_so_before_and_after_it_was_sent() -> None:
    said = "'mosaicfs_0123' is not an access key id, which is MOSAICFS_ and 16 hexadecimal digits"
    with pytest.raises(UserError, match=said):
        UserSigner.from_secret("mosaicfs_0123", "secret")
    header = (
        "MOSAICFS-HMAC-SHA256 AccessKeyId=mosaicfs_0123, Timestamp=2026-01-01T00:00:00.000000Z, "
        f"Nonce={'n' * 22}, Signature={'0' * 64}"
    )
    with pytest.raises(NotSignedIn, match=said):
        signatures.parse(header)
