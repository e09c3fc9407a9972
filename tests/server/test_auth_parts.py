"""The pure parts of sign-in: what is kept of a secret, what a token proves, what a flood of attempts can cost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import NotSignedIn, UserError
from mosaicfs_core.security import user_keys
from mosaicfs_core.server.auth import keys
from mosaicfs_core.server.auth.limits import RateLimit, address_group
from mosaicfs_core.server.auth.revocations import still_holds
from mosaicfs_core.server.auth.tokens import DOWNLOAD_SECONDS, SESSION_SECONDS, Tokens

INSTANCE_KEY = bytes(range(32))


def test_a_secret_matches_its_own_hash_alone() -> None:
    secret = keys.new_secret_key()
    phc = keys.hash_secret(secret)
    assert user_keys.SECRET_PATTERN.fullmatch(secret)
    assert phc.startswith("$argon2id$")
    assert secret not in phc
    assert keys.verify_secret(phc, secret)
    assert not keys.verify_secret(phc, keys.new_secret_key())
    assert not keys.verify_secret("no hash at all", secret)
    assert not keys.verify_secret(keys.dummy_hash(), secret)


def test_the_signing_key_is_the_same_on_both_sides_and_salted_by_the_key_id() -> None:
    first, second = ids.new_access_key_id(), ids.new_access_key_id()
    assert user_keys.KEY_ID_PATTERN.fullmatch(first)
    secret = keys.new_secret_key()
    assert user_keys.derive_signing_key(first, secret) == user_keys.derive_signing_key(first, secret)
    assert user_keys.derive_signing_key(first, secret) != user_keys.derive_signing_key(second, secret)
    assert len(user_keys.derive_signing_key(first, secret)) == 32


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=64))
def test_a_wrapped_signing_key_comes_back(instance_key: bytes, signing_key: bytes) -> None:
    wrapping = keys.subkey(instance_key, "credential wrapping")
    wrapped = keys.wrap_signing_key(wrapping, "MOSAICFS_00", signing_key)
    assert keys.unwrap_signing_key(wrapping, "MOSAICFS_00", wrapped) == signing_key
    assert keys.wrap_signing_key(wrapping, "MOSAICFS_00", signing_key) != wrapped


@pytest.mark.parametrize("damage", ["key", "id", "text", "form"])
def test_a_wrapped_signing_key_opens_for_nobody_else(damage: str) -> None:
    wrapping = keys.subkey(INSTANCE_KEY, "credential wrapping")
    wrapped = keys.wrap_signing_key(wrapping, "MOSAICFS_00", b"k" * 32)
    if damage == "key":
        wrapping = keys.subkey(INSTANCE_KEY, "session tokens")
    elif damage == "text":
        wrapped = wrapped[:-4] + ("AAAA" if wrapped[-4:] != "AAAA" else "BBBB")
    elif damage == "form":
        wrapped = "plain." + wrapped
    with pytest.raises(UserError):
        keys.unwrap_signing_key(wrapping, "MOSAICFS_01" if damage == "id" else "MOSAICFS_00", wrapped)


def test_a_session_token_holds_until_its_end_and_no_longer() -> None:
    now = [1_000_000.0]
    tokens = Tokens(INSTANCE_KEY, clock=lambda: now[0])
    token, expires = tokens.issue_session("MOSAICFS_00", "s1")
    assert expires == 1_000_000 + SESSION_SECONDS
    claims = tokens.check_session(token)
    assert (claims.access_key_id, claims.session, claims.expires) == ("MOSAICFS_00", "s1", expires)
    now[0] = float(expires)
    with pytest.raises(NotSignedIn):
        tokens.check_session(token)


def test_tokens_of_one_kind_or_instance_are_nothing_to_another() -> None:
    tokens, others = Tokens(INSTANCE_KEY), Tokens(bytes(32))
    session, _ = tokens.issue_session("MOSAICFS_00", "s1")
    download, _ = tokens.issue_download("MOSAICFS_00", "node-a.1")
    assert tokens.check_download(download, "node-a.1").access_key_id == "MOSAICFS_00"
    assert DOWNLOAD_SECONDS > SESSION_SECONDS
    for check in (
        lambda: tokens.check_session(download),
        lambda: tokens.check_download(session, "node-a.1"),
        lambda: tokens.check_download(download, "node-a.2"),
        lambda: others.check_session(session),
    ):
        with pytest.raises(NotSignedIn):
            check()


@settings(max_examples=300)
@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_made_up_token_is_taken(text: str) -> None:
    with pytest.raises(NotSignedIn):
        Tokens(INSTANCE_KEY).check_session(text)


@given(st.data())
def test_no_altered_token_is_taken(data: st.DataObject) -> None:
    tokens = Tokens(INSTANCE_KEY)
    token, _ = tokens.issue_session("MOSAICFS_00", "s1")
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."))
    altered = token[:at] + letter + token[at + 1 :]
    if altered == token:
        return
    try:
        claims = tokens.check_session(altered)
    except NotSignedIn:
        return
    # The last character of base64 text has bits that carry nothing; such a twin says and proves the same.
    assert claims == tokens.check_session(token)
    assert at == len(token) - 1


def test_a_bucket_empties_and_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(3, 10.0, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.take("a") == pytest.approx(10.0)
    assert limit.take("b") == 0.0
    now[0] = 4.0
    assert limit.take("a") == pytest.approx(6.0)
    now[0] = 10.0
    assert limit.take("a") == 0.0
    assert limit.take("a") > 0
    limit.forget("a")
    assert limit.take("a") == 0.0


@given(st.lists(st.integers(0, 200), max_size=300))
def test_memory_of_the_limiter_is_bounded(callers: list[int]) -> None:
    limit = RateLimit(2, 5.0, max_tracked=20)
    for caller in callers:
        limit.take(str(caller))
        assert len(limit) <= 20


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=60))
def test_no_more_than_the_burst_and_the_refill_get_through(steps: list[tuple[float, bool]]) -> None:
    now = [0.0]
    limit = RateLimit(4, 7.0, clock=lambda: now[0])
    passed = 0
    for pause, _ in steps:
        now[0] += pause
        passed += limit.take("a") == 0.0
    assert passed <= 4 + now[0] / 7.0 + 1e-6


def test_addresses_are_counted_as_one_caller_can_hold_them() -> None:
    assert address_group("192.0.2.7") == "192.0.2.7"
    assert address_group("2001:db8::1") == address_group("2001:db8::ffff:2")
    assert address_group("2001:db8::1") != address_group("2001:db8:0:1::1")
    assert address_group("") == ""


@pytest.mark.parametrize(
    ("document", "remembered", "holds"),
    [
        (None, None, False),
        (None, 0, False),
        ({}, None, True),
        ({}, 0, True),
        ({"enabled": False}, None, False),
        ({"enabled": False}, 7, False),
        ({"enabled": None}, 7, False),
        ({"enabled": 1}, 7, False),
        ({"revocation": {"number": 2}}, None, True),
        ({"revocation": {"number": 2}}, 1, False),
        ({"revocation": {"number": 2}}, 2, True),
        ({"revocation": {"number": 2}}, 3, True),
        ({"revocation": {"number": 2}, "enabled": False}, 2, False),
    ],
)
def test_a_key_opens_what_it_opened_unless_it_was_disabled_since(
    document: dict[str, object] | None, remembered: int | None, holds: bool
) -> None:
    """Enabled again is not enough: whoever had it when it was disabled has it still."""
    credential = None if document is None else {"_id": "credential::MOSAICFS_00", "enabled": True, **document}
    assert still_holds(credential, remembered) is holds
