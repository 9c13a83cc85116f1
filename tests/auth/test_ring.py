from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.auth.keys import KeyDraft, NewKey, create_key, revoke_key
from backend.auth.ring import (
    ADMIN,
    CONSOLE,
    LOCAL,
    KeyRing,
    LiveKeys,
    UnsafeBinding,
    console_credential,
    identify_admin,
    is_loopback,
    read_ring,
    require_keys_for,
    require_scope,
)
from backend.call import Identity
from backend.errors import Forbidden, Unauthenticated
from backend.settings.live import LiveSettings
from backend.settings.signature import Signature
from db.engine import Engine, writing
from db.tables import keys
from tests.databases import open_sqlite

SECRET = b"installation secret"
ANA = Signature("ana", "a try")
ADMIN_KEY = "correct horse battery"


def make(engine: Engine, draft: KeyDraft | None = None) -> NewKey:
    return create_key(engine, SECRET, draft or KeyDraft(name="search"), ANA)


def bearing(credential: str | bytes) -> Mapping[bytes, bytes]:
    raw = credential.encode() if isinstance(credential, str) else credential
    return {b"authorization": b"Bearer " + raw, b"content-type": b"application/json"}


def refusal(ring: KeyRing, headers: Mapping[bytes, bytes]) -> bytes:
    with pytest.raises(Unauthenticated) as caught:
        ring.identify(headers)
    return caught.value.body()


def test_a_valid_key_is_known_by_its_tenant_rights_and_attribution(engine: Engine) -> None:
    draft = KeyDraft("search", ("call",), ("gpt-4o",), {"feature": "search"}, tenant="blue")
    new = make(engine, draft)
    identity = read_ring(engine, SECRET).identify(bearing(new.credential))
    assert identity == Identity("blue", new.id, ("gpt-4o",), frozenset({"call"}), {"feature": "search"})


def test_a_key_is_valid_in_every_header_that_clients_use(sqlite: Engine) -> None:
    new = make(sqlite)
    ring = read_ring(sqlite, SECRET)
    for name in (b"x-api-key", b"api-key"):
        assert ring.identify({name: new.credential.encode()}).key_id == new.id


def test_unknown_expired_revoked_and_malformed_get_the_same_answer(sqlite: Engine) -> None:
    make(sqlite)
    expiring = make(sqlite, KeyDraft("old", expires_at=time.time_ns() // 1_000_000 + 60_000))
    with writing(sqlite) as connection:
        connection.execute(keys.update().where(keys.c.id == expiring.id).values(expires_at=1))
    revoked = make(sqlite)
    revoke_key(sqlite, revoked.id, ANA)
    ring = read_ring(sqlite, SECRET)
    presented = (
        expiring.credential,
        revoked.credential,
        "gov-unknown-x",
        "sk-proj-1",
        "",
        "gov-",
        "ü" * 5000,
        b"\x00\xff",
    )
    answers = {refusal(ring, bearing(each)) for each in presented} | {refusal(ring, {})}
    assert len(answers) == 1
    assert b"API key is missing or not valid" in answers.pop()


def test_a_key_expires_without_a_reload(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.time_ns() // 1_000_000 + 60_000
    headers = bearing(make(sqlite, KeyDraft("short", expires_at=moment)).credential)
    ring = read_ring(sqlite, SECRET)
    assert ring.identify(headers).key_id
    monkeypatch.setattr(time, "time_ns", lambda: moment * 1_000_000)
    assert refusal(ring, headers)


@given(data=st.data())
def test_no_credential_but_the_whole_one_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    ring, credentials = _shared_ring(tmp_path_factory)
    real = data.draw(st.sampled_from(credentials))
    other = data.draw(st.sampled_from(credentials))
    cut = data.draw(st.integers(0, len(real)))
    forged = data.draw(st.sampled_from([real[:cut], real[cut:], real[:cut] + other[cut:], real + "x", real.lower()]))
    headers = bearing(forged)
    if forged in credentials:
        assert forged.startswith(f"gov-{ring.identify(headers).key_id}-")
    else:
        assert refusal(ring, headers)


_SHARED: list[tuple[KeyRing, list[str]]] = []


def _shared_ring(factory: pytest.TempPathFactory) -> tuple[KeyRing, list[str]]:
    if not _SHARED:
        engine = open_sqlite(factory.mktemp("ring"))
        credentials = [make(engine).credential for _ in range(5)]
        _SHARED.append((read_ring(engine, SECRET), credentials))
    return _SHARED[0]


def test_under_another_installation_secret_no_key_is_valid(sqlite: Engine) -> None:
    new = make(sqlite)
    assert refusal(read_ring(sqlite, b"another"), bearing(new.credential))


def test_while_no_key_was_ever_made_anybody_here_may_call_with_any_token(sqlite: Engine) -> None:
    ring = read_ring(sqlite, SECRET)
    assert [ring.identify(headers) for headers in ({}, bearing("sk-anything"))] == [LOCAL, LOCAL]
    assert LOCAL.scopes == {"call"}


@pytest.mark.parametrize("origin", [b"http://localhost:3000", b"http://127.0.0.1", b"https://[::1]:8443"])
def test_a_page_of_this_machine_may_call_an_open_gateway(sqlite: Engine, origin: bytes) -> None:
    assert read_ring(sqlite, SECRET).identify({b"origin": origin}) is LOCAL


@pytest.mark.parametrize(
    "origin", [b"https://evil.example", b"null", b"", b"http://localhost.evil.example", b"http://[", b"\xff"]
)
def test_a_page_from_elsewhere_may_not_call_an_open_gateway(sqlite: Engine, origin: bytes) -> None:
    with pytest.raises(Forbidden):
        read_ring(sqlite, SECRET).identify({b"origin": origin})


def test_revoking_the_last_key_locks_the_gateway_instead_of_opening_it(sqlite: Engine) -> None:
    new = make(sqlite)
    revoke_key(sqlite, new.id, ANA)
    ring = read_ring(sqlite, SECRET)
    assert not ring.is_open
    assert refusal(ring, {})


def test_a_database_that_lost_its_keys_does_not_open_a_running_gateway(sqlite: Engine) -> None:
    new = make(sqlite)
    live = LiveKeys(sqlite, SECRET)
    with writing(sqlite) as connection:
        connection.execute(keys.delete())
    live.reload()
    for headers in ({}, bearing(new.credential)):
        with pytest.raises(Unauthenticated):
            live.identify(headers)


def test_a_running_gateway_learns_of_made_and_revoked_keys_by_one_look(engine: Engine) -> None:
    settings, live = LiveSettings(engine), LiveKeys(engine, SECRET)
    settings.on_change("keys", live.reload)
    assert live.identify({}) is LOCAL
    new = make(engine)
    settings.refresh()
    assert live.identify(bearing(new.credential)).key_id == new.id
    with pytest.raises(Unauthenticated):
        live.identify({})
    revoke_key(engine, new.id, ANA)
    settings.refresh()
    with pytest.raises(Unauthenticated):
        live.identify(bearing(new.credential))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_loopback_may_be_bound_without_a_key(sqlite: Engine, host: str) -> None:
    require_keys_for(host, read_ring(sqlite, SECRET))
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.5", "gateway.example", "127.0.0.1.example", "::ffff:10.0.0.5"]
)
def test_any_other_address_needs_a_key_first(tmp_path: Path, sqlite: Engine, host: str) -> None:
    with pytest.raises(UnsafeBinding, match="governor keys create"):
        require_keys_for(host, read_ring(sqlite, SECRET))
    make(sqlite)
    require_keys_for(host, read_ring(sqlite, SECRET))


def test_control_is_open_to_the_admin_key_and_to_keys_with_the_scope(sqlite: Engine) -> None:
    new = make(sqlite, KeyDraft("ops", ("admin",)))
    ring = read_ring(sqlite, SECRET)
    assert identify_admin(bearing(ADMIN_KEY), ring, ADMIN_KEY) is ADMIN
    identity = identify_admin(bearing(new.credential), ring, None)
    assert identity.scopes == {"admin", "read"}
    require_scope(identity, "read")
    with pytest.raises(Forbidden, match="scope call"):
        require_scope(identity, "call")


@pytest.mark.parametrize("presented", ["", "correct horse batter", "correct horse batteryy", "anything"])
def test_an_open_gateway_has_no_open_control(sqlite: Engine, presented: str) -> None:
    ring = read_ring(sqlite, SECRET)
    for admin_key in (None, ADMIN_KEY):
        with pytest.raises(Unauthenticated):
            identify_admin(bearing(presented), ring, admin_key)


@pytest.mark.parametrize("has_keys", [False, True])
def test_the_console_of_the_installation_may_control_with_and_without_keys(sqlite: Engine, has_keys: bool) -> None:
    if has_keys:
        make(sqlite)
    ring, credential = read_ring(sqlite, SECRET), console_credential(SECRET)
    identity = identify_admin(bearing(credential), ring, None, credential)
    assert identity is CONSOLE
    assert identity.scopes == {"admin", "read"}


@pytest.mark.parametrize("has_keys", [False, True])
def test_the_console_of_another_installation_may_not(sqlite: Engine, has_keys: bool) -> None:
    if has_keys:
        make(sqlite)
    ring, ours, theirs = read_ring(sqlite, SECRET), console_credential(SECRET), console_credential(b"another")
    assert ours != theirs
    for presented in (theirs, ours[:-1], ours.upper(), "gov-console-", ""):
        with pytest.raises(Unauthenticated):
            identify_admin(bearing(presented), ring, ADMIN_KEY, ours)
    with pytest.raises(Unauthenticated):
        identify_admin(bearing(ours), ring, ADMIN_KEY)


def test_the_console_may_make_no_calls(sqlite: Engine) -> None:
    make(sqlite)
    assert refusal(read_ring(sqlite, SECRET), bearing(console_credential(SECRET)))
    assert "call" not in CONSOLE.scopes


def test_work_left_behind_is_its_keys_as_long_as_the_key_holds(sqlite: Engine) -> None:
    before = read_ring(sqlite, SECRET)
    assert before.find(None) == LOCAL
    kept, revoked = make(sqlite), make(sqlite)
    revoke_key(sqlite, revoked.id, ANA)
    ring = read_ring(sqlite, SECRET)
    assert ring.find(kept.id) == ring.identify(bearing(kept.credential))
    for gone in (revoked.id, "unknown", None):
        with pytest.raises(Unauthenticated):
            ring.find(gone)
    with writing(sqlite) as connection:
        connection.execute(keys.update().where(keys.c.id == kept.id).values(expires_at=1))
    live = LiveKeys(sqlite, SECRET)
    with pytest.raises(Unauthenticated):
        live.find(kept.id)
