# SPDX-License-Identifier: Apache-2.0
"""Delivering webhooks: signatures, tries, the guard against addresses inside, several notifiers."""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.notify import Notifier, NotifierOptions, Outbox
from ipai_orchestrate.notify.address_guard import (
    AddressGuard,
    AddressRefusedError,
    Destination,
    is_public,
)
from ipai_orchestrate.notify.notifier import NotifierReport
from ipai_orchestrate.notify.posting import PostError, post
from ipai_orchestrate.notify.records import ClaimedDelivery
from ipai_orchestrate.notify.sending import Sender
from ipai_orchestrate.notify.signature import new_secret, signed_headers, signing_key
from ipai_orchestrate.notify.signing_secrets import SigningSecrets
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.secrets import RingFile, SecretStore

Connection = psycopg.Connection[tuple[Any, ...]]
SECRET, OLD_SECRET = new_secret(), new_secret()
REF, OLD_REF = "${HOOK_SECRET}", "${HOOK_SECRET_OLD}"
ENVIRONMENT = {"HOOK_SECRET": SECRET, "HOOK_SECRET_OLD": OLD_SECRET}


class Silent:
    """Keeps what a notifier says."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def say(self, event: str, /, level: str = "info", **fields: Any) -> None:
        self.said.append((event, {"level": level, **fields}))

    def events(self) -> list[str]:
        return [event for event, _ in self.said]


@pytest.fixture
def outbox(connection: Connection) -> Outbox:
    return Outbox(connection)


@pytest.fixture
def deliver(database: str, receiver: Any) -> Callable[..., NotifierReport]:
    """Return a function that runs a notifier until nothing is due; the receiver is allowed."""

    def run(journal: Silent | None = None, **options: Any) -> NotifierReport:
        sender = Sender(AddressGuard.allowing([receiver.url.removesuffix("/hook")]))
        options.setdefault("secrets", SigningSecrets(ENVIRONMENT))
        chosen = NotifierOptions(sender=sender, once=True, **options)
        return Notifier(Database(database), chosen, Stop(), journal or Silent()).work()

    return run


def due_now(connection: Connection) -> None:
    connection.execute("update connectors.webhook_deliveries set next_attempt_at = now()")


# -- what a receiver sees ----------------------------------------------------------------------


def test_a_receiver_with_the_standard_library_accepts_what_is_sent(
    outbox: Outbox,
    control_plane: ControlPlane,
    make_instance: Callable[..., str],
    receiver: Any,
    deliver: Callable[..., NotifierReport],
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    run = control_plane.claim(control_plane.enqueue(make_instance()), "worker")
    assert run is not None
    control_plane.complete(run, stateless=True)
    report = deliver()

    accepted = [Webhook(SECRET).verify(body, headers) for headers, body in receiver.got]
    assert sorted(one["type"] for one in accepted) == ["run.queued", "run.running", "run.succeeded"]
    assert {one["data"]["run_id"] for one in accepted} == {str(run.id)}
    assert [h["webhook-id"] for h, _ in receiver.got] == [one["id"] for one in accepted]
    assert receiver.got[0][0]["content-type"] == "application/json"
    assert (report.delivered, report.failed, report.dead) == (3, 0, 0)


def test_forged_replayed_and_old_posts_are_recognised_by_the_receiver(
    outbox: Outbox, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    outbox.send_test("one")
    deliver()
    headers, body = receiver.got[0]
    key = signing_key(SECRET, REF)
    six_minutes_ago = int(time.time()) - 360

    Webhook(SECRET).verify(body, headers)
    for forged in (body.replace(b"test", b"text"), body + b" "):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(forged, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, {**headers, "webhook-id": "another"})
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD_SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError, match="old"):
        Webhook(SECRET).verify(body, signed_headers("id", six_minutes_ago, body, [key]))


def test_while_a_secret_is_rotated_both_sign_and_afterwards_the_new_one_alone(
    outbox: Outbox, connection: Connection, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    outbox.create_endpoint("one", receiver.url, OLD_REF)
    outbox.rotate_secret("one", REF, timedelta(hours=1))
    outbox.send_test("one")
    deliver()
    headers, body = receiver.got[0]
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OLD_SECRET):
        Webhook(secret).verify(body, headers)

    connection.execute("update connectors.webhook_endpoints set previous_secret_until = now()")
    outbox.send_test("one")
    deliver()
    headers, body = receiver.got[1]
    Webhook(SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD_SECRET).verify(body, headers)


# -- trying again ------------------------------------------------------------------------------


def test_what_fails_is_sent_again_under_the_same_id_with_a_fresh_time(
    outbox: Outbox, connection: Connection, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    receiver.answers = [(500, {}), (503, {}), (200, {})]
    outbox.create_endpoint("one", receiver.url, REF)
    outbox.send_test("one")
    for _ in range(3):
        due_now(connection)
        deliver()
    (delivery,) = outbox.deliveries()

    assert (delivery.status, delivery.attempts, delivery.http_status) == ("delivered", 3, 200)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1
    for headers, body in receiver.got:
        Webhook(SECRET).verify(body, headers)


def test_after_the_last_try_a_dead_letter_stays_and_can_be_sent_again(
    outbox: Outbox, connection: Connection, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    receiver.answers = [(500, {})]
    outbox.create_endpoint("one", receiver.url, REF, retry_seconds=[0, 0])
    number = outbox.send_test("one")
    reports = [deliver() for _ in range(3)]

    assert [(one.failed, one.dead) for one in reports][-1] != (1, 0)
    assert len(receiver.got) == 3
    (dead,) = outbox.deliveries(in_status="dead")
    assert (dead.id, dead.attempts, dead.error) == (number, 3, "Answered 500.")
    receiver.answers = [(204, {})]
    outbox.retry([number])
    assert deliver().delivered == 1


def test_an_endpoint_that_is_gone_is_told_nothing_more(
    outbox: Outbox, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    receiver.answers = [(410, {})]
    outbox.create_endpoint("one", receiver.url, REF)
    for _ in range(3):
        outbox.send_test("one")
    report = deliver(concurrency=1)
    (endpoint,) = outbox.endpoints()

    assert len(receiver.got) == 1
    assert report.dead == 1
    assert (endpoint.status, endpoint.disabled_reason) == ("disabled", "it answered 410 Gone")
    assert [one.status for one in outbox.deliveries()] == ["dead"] * 3


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(
    outbox: Outbox, receiver: Any, deliver: Callable[..., NotifierReport], status: int
) -> None:
    receiver.answers = [(status, {"Location": receiver.url + "/elsewhere"})]
    outbox.create_endpoint("one", receiver.url, REF)
    outbox.send_test("one")
    deliver()
    (delivery,) = outbox.deliveries()

    assert len(receiver.got) == 1
    assert delivery.http_status == status
    assert "redirects are not followed" in (delivery.error or "")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "'HOOK_SECRET' with the signing secret is not set"),
        ({"HOOK_SECRET": "whsec_***"}, "'${HOOK_SECRET}' is not whsec_<base64>"),
        ({"HOOK_SECRET": "whsec_" + base64.b64encode(b"short").decode()}, "has 5 bytes"),
    ],
)
def test_without_a_usable_secret_nothing_is_sent_and_the_reason_is_kept(
    outbox: Outbox,
    receiver: Any,
    deliver: Callable[..., NotifierReport],
    environment: dict[str, str],
    words: str,
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    outbox.send_test("one")
    report = deliver(secrets=SigningSecrets(environment))

    assert words in (outbox.deliveries()[0].error or "")
    assert (report.failed, receiver.got) == (1, [])


# -- secrets of the vault ----------------------------------------------------------------------


@pytest.fixture
def vault(connection: Connection, tmp_path: Path) -> tuple[SecretStore, SigningSecrets]:
    """The vault, and a notifier's way to it with the same keys."""
    keys = RingFile(tmp_path / "keys")
    return SecretStore(connection, keys), SigningSecrets({}, keys)


def test_a_signing_secret_of_the_vault_is_read_in_two_phases_and_kept_for_a_while(
    outbox: Outbox,
    connection: Connection,
    receiver: Any,
    deliver: Callable[..., NotifierReport],
    vault: tuple[SecretStore, SigningSecrets],
) -> None:
    store, secrets = vault
    store.create("hooks/n8n", SECRET)
    outbox.create_endpoint("one", receiver.url, "${secret:hooks/n8n}")
    for _ in range(3):
        outbox.send_test("one")
    deliver(secrets=secrets)
    audit = connection.execute(
        "select action, detail from connectors.secret_audit where action in ('grant', 'read')"
    ).fetchall()

    assert len(receiver.got) == 3
    for headers, body in receiver.got:
        Webhook(SECRET).verify(body, headers)
    assert audit == [("grant", "webhook one"), ("read", None)]
    assert SECRET not in repr(secrets)


def test_while_the_vault_rotates_both_values_sign(
    outbox: Outbox,
    receiver: Any,
    deliver: Callable[..., NotifierReport],
    vault: tuple[SecretStore, SigningSecrets],
) -> None:
    store, secrets = vault
    store.create("n8n", OLD_SECRET)
    store.rotate("n8n", SECRET, overlap="1h")
    outbox.create_endpoint("one", receiver.url, "${secret:n8n}")
    outbox.send_test("one")
    deliver(secrets=secrets)
    headers, body = receiver.got[0]

    for secret in (SECRET, OLD_SECRET):
        Webhook(secret).verify(body, headers)


def test_a_secret_that_is_not_there_or_not_due_is_refused_and_the_refusal_logged(
    outbox: Outbox,
    connection: Connection,
    receiver: Any,
    deliver: Callable[..., NotifierReport],
    vault: tuple[SecretStore, SigningSecrets],
) -> None:
    store, secrets = vault
    store.create("other", SECRET)
    outbox.create_endpoint("one", receiver.url, "${secret:n8n}")
    outbox.send_test("one")
    deliver(secrets=secrets)
    assert "ipai secret set n8n" in (outbox.deliveries()[0].error or "")
    due_now(connection)
    (claimed,) = outbox.claim("n")

    assert outbox.request_secret(claimed, "other").outcome == "no_delivery"
    assert outbox.request_secret(replace(claimed, claim_token=uuid4()), "n8n").grant_id is None
    denied = connection.execute(
        "select count(*) from connectors.secret_audit where action = 'deny'"
    ).fetchone()
    assert denied == (3,)
    assert receiver.got == []


# -- where a webhook may go --------------------------------------------------------------------

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.0.10",
    "198.18.0.1",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]
OUTSIDE = ["1.1.1.1", "93.184.216.34", "::ffff:8.8.8.8", "2606:4700:4700::1111"]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_are_not(address: str) -> None:
    assert is_public(address)


def resolving(*addresses: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A resolver that answers with these, and with the next ones each time it is asked."""
    answers = iter(addresses)

    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        found = next(answers).split(",")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    return resolve


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data",
        "http://1.1.1.1/",
        "https://user@1.1.1.1/",
        "https://1.1.1.1@127.0.0.1/",
        "https://exämple.com/",
        "https://1.1.1.1:99999/",
        "https://[::1/",
        "ftp://1.1.1.1/",
        "https:///x",
    ],
)
def test_urls_that_lead_inside_or_nowhere_are_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        AddressGuard().check(url)


def test_one_inside_address_among_public_ones_refuses_the_host() -> None:
    guard = AddressGuard(resolve=resolving("1.1.1.1,10.0.0.1"))

    with pytest.raises(AddressRefusedError, match=r"10\.0\.0\.1, which is not public"):
        guard.check("https://hooks.example.com/")


def test_a_host_without_address_is_told() -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(AddressRefusedError, match="has no address"):
        AddressGuard(resolve=fails).check("https://nowhere.example/")


def test_the_checked_address_is_the_one_connected_to_whatever_dns_says_next() -> None:
    """DNS rebinding: the second answer would be inside, but nobody asks twice."""
    guard = AddressGuard(resolve=resolving("93.184.216.34", "127.0.0.1"))
    destination = guard.check("https://hooks.example.com:8443/a?b=c")

    assert destination == Destination(
        "https", "hooks.example.com", 8443, "/a?b=c", ("93.184.216.34",)
    )
    assert destination.host_header == "hooks.example.com:8443"


def test_an_allowed_origin_passes_and_its_neighbours_do_not() -> None:
    guard = AddressGuard.allowing(["http://127.0.0.1:5678/", "https://N8N.internal"])

    assert guard.check("http://127.0.0.1:5678/webhook/x").target == "/webhook/x"
    for neighbour in ("http://127.0.0.1:5679/", "https://127.0.0.1:5678/", "http://127.0.0.2:5678"):
        with pytest.raises(AddressRefusedError):
            guard.check(neighbour)
    assert "https://n8n.internal:443" in guard.allowed


@pytest.mark.parametrize("origin", ["127.0.0.1:5678", "http://127.0.0.1:5678/path", "*"])
def test_what_is_no_origin_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="Allowed origin"):
        AddressGuard.allowing([origin])


# -- one post ----------------------------------------------------------------------------------


def a_delivery(url: str = "https://hooks.example.com/x") -> ClaimedDelivery:
    return ClaimedDelivery(
        delivery_id=1,
        claim_token=uuid4(),
        attempt=1,
        max_attempts=8,
        endpoint_id="one",
        url=url,
        secret_refs=[REF],
        timeout_seconds=5,
        event_id=uuid4(),
        event_type="webhook.test",
        body="{}",
    )


@pytest.fixture
def silent_port() -> Iterator[Callable[[bytes], int]]:
    """Return a function that opens a port which says these bytes one by one, then nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve(drip: bytes) -> int:
            def answer() -> None:
                taken, _ = listening.accept()
                with taken:
                    try:
                        for byte in drip:
                            taken.sendall(bytes([byte]))
                            time.sleep(0.05)
                        while taken.recv(1 << 16):
                            continue
                    except OSError:
                        return

            threading.Thread(target=answer, daemon=True).start()
            return int(listening.getsockname()[1])

        yield serve


@pytest.mark.parametrize(
    "drip", [b"", b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 100], ids=["silent", "drip by drip"]
)
def test_an_endpoint_that_does_not_come_to_an_end_is_left_at_the_deadline(
    silent_port: Callable[[bytes], int], drip: bytes
) -> None:
    port = silent_port(drip)
    destination = Destination("http", "127.0.0.1", port, "/", ("127.0.0.1",))

    with pytest.raises(PostError, match=r"No answer within 0\.3 s"):
        post(destination, b"{}", {}, 0.3)


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-OpenSSH\r\n\r\n", b"\r\n\r\n", b"\0\xff\0\r\n\r\n", b"HTTP/1.1 2\0 x\r\n\r\n"],
)
def test_what_does_not_speak_http_is_told_in_words(
    silent_port: Callable[[bytes], int], said: bytes
) -> None:
    destination = Destination("http", "127.0.0.1", silent_port(said), "/", ("127.0.0.1",))

    with pytest.raises(PostError, match=r"The answer is not HTTP\.$"):
        post(destination, b"{}", {}, 20)


def test_a_closed_port_is_told_and_the_next_address_is_tried(receiver: Any) -> None:
    port = int(receiver.url.split(":")[2].split("/")[0])
    closed = Destination("http", "localhost", 1, "/hook", ("127.0.0.1",))
    with pytest.raises(PostError, match="The connection failed"):
        post(closed, b"{}", {}, 5)
    both = Destination("http", "localhost", port, "/hook", ("127.0.0.9", "127.0.0.1"))

    assert post(both, b"{}", {}, 5).accepted


@pytest.mark.parametrize(
    ("status", "header", "low", "high"),
    [
        (429, "120", 120, 120),
        (503, timedelta(hours=1), 3000, 3600),
        (503, timedelta(hours=-1), 0, 0),
        (429, "99999999999999999999", 86400, 86400),
        (429, "soon", None, None),
        (429, "\xb2", None, None),
        (500, "120", None, None),
    ],
)
def test_how_long_to_wait_is_read_from_the_answer(
    receiver: Any,
    status: int,
    header: str | timedelta,
    low: float | None,
    high: float | None,
) -> None:
    if isinstance(header, timedelta):
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    receiver.answers = [(status, {"Retry-After": header})]
    found = AddressGuard.allowing([receiver.url[:-5]]).check(receiver.url)
    waits = post(found, b"{}", {}, 20).retry_after_seconds

    assert waits is None if low is None else low <= waits <= high


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for hooks.internal, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.internal")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.internal")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "hooks.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return pem


def test_the_certificate_is_checked_for_the_name_not_for_the_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            for _ in range(3):
                taken, _ = listening.accept()
                try:
                    with context.wrap_socket(taken, server_side=True) as speaking:
                        said = b""
                        while not said.endswith(b"{}"):
                            said += speaking.recv(1 << 16)
                        speaking.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                except OSError:
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        trusted = Destination("https", "hooks.internal", port, "/", ("127.0.0.1",))
        with pytest.raises(PostError, match="certificate is not valid"):
            post(trusted, b"{}", {}, 20)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(PostError, match="certificate is not valid"):
            post(replace(trusted, host="other.internal"), b"{}", {}, 20)
        assert post(trusted, b"{}", {}, 20).http_status == 204
        thread.join()


# -- the loop ----------------------------------------------------------------------------------


def started(database: str, receiver: Any, **options: Any) -> tuple[threading.Thread, Stop, Silent]:
    sender = Sender(AddressGuard.allowing([receiver.url[:-5]]))
    stop, journal = Stop(), Silent()
    chosen = NotifierOptions(sender=sender, secrets=SigningSecrets(ENVIRONMENT), **options)
    notifier = Notifier(Database(database), chosen, stop, journal)
    thread = threading.Thread(target=notifier.work)
    thread.start()
    return thread, stop, journal


def wait_until(is_so: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_a_hint_of_the_database_wakes_it_long_before_the_next_look(
    outbox: Outbox, database: str, receiver: Any
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    thread, stop, journal = started(database, receiver, poll_seconds=3600)
    wait_until(lambda: "notifier_started" in journal.events())
    outbox.send_test("one")
    wait_until(lambda: receiver.got)
    stop.request(signal.SIGTERM)
    thread.join()

    assert journal.events() == ["notifier_started", "webhook_delivered", "notifier_ended"]
    assert SECRET not in str(journal.said)
    assert receiver.url not in str(journal.said)


def test_it_goes_on_when_the_database_comes_back(
    outbox: Outbox, connection: Connection, server: Any, database: str, receiver: Any
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    thread, stop, journal = started(database, receiver, poll_seconds=0.2)
    wait_until(lambda: "notifier_started" in journal.events())
    server.execute(
        sql.SQL(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = {} and pid <> {} and application_name = 'ipai-runner'"
        ).format(
            sql.Literal(connection.info.dbname),
            sql.Literal(connection.info.backend_pid),
        )
    )
    wait_until(lambda: "database_lost" in journal.events())
    outbox.send_test("one")
    wait_until(lambda: receiver.got)
    stop.request(signal.SIGTERM)
    thread.join()

    assert outbox.deliveries()[0].status == "delivered"


def test_old_events_are_dropped_on_the_way(
    outbox: Outbox, connection: Connection, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    outbox.send_test("one")
    deliver()
    connection.execute("update connectors.connector_events set at = at - interval '8 days'")
    journal = Silent()
    deliver(journal, keep_days=7)

    assert ("events_purged", {"level": "info", "events": 1}) in journal.said
    assert outbox.events() == []


def test_a_database_without_the_outbox_ends_it(empty_database: str, receiver: Any) -> None:
    notifier = Notifier(Database(empty_database), NotifierOptions(), Stop(), Silent())

    with pytest.raises(ConfigurationError, match="ipai db migrate"):
        notifier.work()


_KILLED = """
import os, random, sys
from ipai_orchestrate.notify import Notifier, NotifierOptions
from ipai_orchestrate.notify.address_guard import AddressGuard
from ipai_orchestrate.notify.sending import Sender
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop

class Killed(Sender):
    def send(self, delivery, keys):
        before, after = map(float, sys.argv[2:])
        if random.random() < before:
            os.kill(os.getpid(), 9)
        outcome = super().send(delivery, keys)
        if random.random() < after:
            os.kill(os.getpid(), 9)
        return outcome

class Silent:
    def say(self, event, /, level="info", **fields): pass

sender = Killed(AddressGuard.allowing([sys.argv[1]]))
options = NotifierOptions(sender=sender, once=True, lease_seconds=1)
Notifier(Database(os.environ["DSN"]), options, Stop(), Silent()).work()
"""


def test_what_a_killed_notifier_had_sent_is_sent_again_under_the_same_id(
    outbox: Outbox, database: str, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    outbox.send_test("one")
    environment = {**os.environ, "DSN": database, **ENVIRONMENT}
    command = [sys.executable, "-c", _KILLED, receiver.url[:-5], "0", "1"]
    killed = subprocess.run(command, env=environment, check=False)
    assert (killed.returncode, len(receiver.got)) == (-signal.SIGKILL, 1)
    wait_until(lambda: deliver().delivered)

    assert len(receiver.got) == 2
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert outbox.deliveries()[0].status == "delivered"


@pytest.mark.slow
def test_nothing_is_lost_while_notifiers_are_killed_again_and_again(
    outbox: Outbox, database: str, receiver: Any
) -> None:
    outbox.create_endpoint("one", receiver.url, REF, retry_seconds=[1] * 20)
    numbers = {outbox.send_test("one") for _ in range(60)}
    environment = {**os.environ, "DSN": database, **ENVIRONMENT}
    command = [sys.executable, "-c", _KILLED, receiver.url[:-5], "0.04", "0.08"]
    running: list[subprocess.Popen[bytes]] = []
    ends: list[int] = []
    while {one.id for one in outbox.deliveries(in_status="delivered", limit=1000)} != numbers:
        ends += [one.returncode for one in running if one.poll() is not None]
        running = [one for one in running if one.poll() is None]
        running += [subprocess.Popen(command, env=environment) for _ in range(3 - len(running))]
        time.sleep(0.1)
    ends += [one.wait() for one in running]

    sent = [headers["webhook-id"] for headers, _ in receiver.got]
    assert -signal.SIGKILL in ends
    assert len(set(sent)) == len(numbers)
    assert set(sent) == {str(one.event_id) for one in outbox.deliveries(limit=1000)}


def test_a_result_that_comes_after_the_lease_is_left_to_the_other_notifier(
    outbox: Outbox, connection: Connection, receiver: Any, deliver: Callable[..., NotifierReport]
) -> None:
    outbox.create_endpoint("one", receiver.url, REF)
    outbox.send_test("one")
    journal = Silent()
    taken = threading.Event()

    class Overtaken(Sender):
        def send(self, delivery: ClaimedDelivery, keys: Sequence[bytes]) -> Any:
            outcome = super().send(delivery, keys)
            if not taken.is_set():
                taken.set()
                connection.execute(
                    "update connectors.webhook_deliveries set next_attempt_at = now()"
                )
                (theirs,) = outbox.claim("other")
                outbox.finish(theirs, 200)
            return outcome

    sender = Overtaken(AddressGuard.allowing([receiver.url[:-5]]))
    options = NotifierOptions(sender=sender, secrets=SigningSecrets(ENVIRONMENT), once=True)
    dsn = connection.info.dsn
    report = Notifier(Database(dsn), options, Stop(), journal).work()

    assert report == NotifierReport(0, 0, 0)
    assert "webhook_taken_over" in journal.events()
