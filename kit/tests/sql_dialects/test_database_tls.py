# SPDX-License-Identifier: Apache-2.0
"""The way to a server that calls itself db.example.com, with certificates made here."""

from __future__ import annotations

import datetime
import os
import select
import socket
import socketserver
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_kit.exceptions import ConfigurationError, ConnectorError, CredentialsError
from ipai_kit.sql.address import parse_address
from ipai_kit.sql.dialects import open_dialect
from ipai_kit.sql.postgres.connection import connect
from ipai_kit.testing.mariadb import MYSQL_PROGRAM, MariaDBServer, running_mariadb, running_mysql
from ipai_kit.testing.postgres import PostgresServer, running_postgres

pytest.importorskip("cryptography")
NAME, OTHER = "db.example.com", "other.example.com"
RUNNING = {"mariadb": running_mariadb, "mysql": running_mysql}


class Papers:
    """Authorities and what they signed, as files that everybody may read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority("ca")
        self.authority("stranger")
        self.sign("server", NAME)
        self.sign("expired", NAME, days=-1)
        self.sign("client", "reader")

    def authority(self, name: str) -> None:
        """Make an authority."""
        self._write(name, name, None, 1)

    def sign(self, name: str, subject: str, days: int = 1) -> None:
        """Make a certificate of the first authority."""
        self._write(name, subject, "ca", days)

    def __getitem__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def key(self, name: str) -> str:
        """The file of a private key."""
        return str(self.folder / f"{name}.key")

    def _write(self, name: str, subject: str, issuer: str | None, days: int) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        signer = key
        if issuer is not None:
            found = serialization.load_pem_private_key(Path(self.key(issuer)).read_bytes(), None)
            assert isinstance(found, ec.EllipticCurvePrivateKey)
            signer = found
        called = lambda text: x509.Name(  # noqa: E731
            [x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]
        )
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(called(subject))
            .issuer_name(called(issuer or subject))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=9))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), False)
            .sign(signer, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        Path(self[name]).write_bytes(made.public_bytes(pem))
        Path(self.key(name)).write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        Path(self.key(name)).chmod(0o600)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def give(papers: Papers, name: str, home: Path, owner: int) -> list[str]:
    """Put a certificate where a server reads it."""
    files = {"cert": papers[name], "key": papers.key(name), "ca": papers["ca"]}
    for kind, source in files.items():
        target = home / f"tls-{kind}.pem"
        target.write_bytes(Path(source).read_bytes())
        target.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(target, owner, owner)
    return [str(home / f"tls-{kind}.pem") for kind in files]


# -- MariaDB and MySQL --------------------------------------------------------------------


class Listening:
    """A server whose certificate can be changed."""

    def __init__(self, kind: str, papers: Papers, folder: Path) -> None:
        self.kind, self.port, self.papers, self.folder = kind, free_port(), papers, folder
        self.stack = ExitStack()
        folder.chmod(0o755)
        self.give("server")
        flags = ["--skip-networking=0", "--bind-address=127.0.0.1", f"--port={self.port}"]
        flags += [f"--ssl-{one}={folder / f'tls-{one}.pem'}" for one in ("cert", "key", "ca")]
        self.server: MariaDBServer = self.stack.enter_context(RUNNING[kind](*flags))
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER free IDENTIFIED BY 'a-secret'")
            cursor.execute("CREATE USER known IDENTIFIED BY 'a-secret' REQUIRE X509")

    def give(self, name: str) -> None:
        """Take another certificate."""
        give(self.papers, name, self.folder, 0)
        for path in self.folder.iterdir():
            path.chmod(0o644)

    def reload(self, name: str) -> None:
        """Take another certificate while running."""
        self.give(name)
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("FLUSH SSL")


def kinds() -> list[str]:
    return ["mariadb", "mysql"] if os.environ.get(MYSQL_PROGRAM) else ["mariadb"]


@pytest.fixture(scope="module", params=kinds())
def listening(request, papers) -> Iterator[Listening]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        found = Listening(request.param, papers, Path(folder))
        with found.stack:
            yield found


@pytest.fixture
def by_name(monkeypatch) -> None:
    """Both names lead to this machine, as those of another one."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **options: resolve(
            "127.0.0.1" if host in (NAME, OTHER) else host, *more, **options
        ),
    )


def answer(papers: Papers, port: int, url: str, **settings: Any) -> ConnectorError | None:
    """Connect; return what went wrong."""
    user = "" if "@" in url else "free:a-secret@"
    host, _, options = url.rpartition("@")[2].partition("?")
    user = user or f"{url.partition('@')[0]}@"
    for name in ("ca", "stranger", "client"):
        options = options.replace(f"<{name}>", papers[name]).replace(
            f"<{name}.key>", papers.key(name)
        )
    address = parse_address(f"mysql://{user}{host}:{port}/?{options}")
    database = open_dialect(address, settings)
    try:
        database.check()
    except ConnectorError as error:
        return error
    finally:
        database.close()
    return None


UNTRUSTED = "offers no TLS that can be trusted"


@pytest.mark.usefixtures("by_name")
@pytest.mark.parametrize(
    ("url", "kind", "text"),
    [
        (f"{NAME}?ssl_ca=<ca>", None, ""),
        (f"{NAME}?sslmode=verify-full&ssl_ca=<ca>", None, ""),
        (f"{NAME}?sslmode=verify-ca&ssl_ca=<ca>", None, ""),
        (f"{OTHER}?sslmode=verify-ca&ssl_ca=<ca>", None, ""),
        (f"{OTHER}?sslmode=require", None, ""),
        (f"{OTHER}?ssl_ca=<ca>", ConfigurationError, "Hostname mismatch"),
        (NAME, ConfigurationError, UNTRUSTED),
        (f"{NAME}?ssl_ca=<stranger>", ConfigurationError, UNTRUSTED),
        (f"{NAME}?sslmode=verify-ca&ssl_ca=<stranger>", ConfigurationError, UNTRUSTED),
        (f"{NAME}?sslmode=disable", ConfigurationError, "would not be encrypted"),
        (f"{NAME}?ssl_ca=/no/such", ConfigurationError, "certificates cannot be read"),
        (f"{NAME}?ssl_ca=<ca>&ssl_cert=/no/such", ConfigurationError, "client's certificate"),
        (f"known:a-secret@{NAME}?ssl_ca=<ca>", CredentialsError, "Access denied"),
        (
            f"known:a-secret@{NAME}?ssl_ca=<ca>&ssl_cert=<client>&ssl_key=<client.key>",
            None,
            "",
        ),
        (f"free:wr0ng@{NAME}?ssl_ca=<ca>", CredentialsError, "Access denied"),
    ],
)
def test_who_answers_for_mariadb_is_proved(listening, papers, url, kind, text):
    error = answer(papers, listening.port, url)

    assert kind is (type(error) if error else None)
    assert error is None or text in error.message
    assert error is None or error.next_step


@pytest.mark.usefixtures("by_name")
def test_a_certificate_that_has_expired_is_refused(listening, papers):
    if listening.kind == "mysql":
        pytest.skip("MySQL itself does not start to use such a certificate")
    listening.reload("expired")
    try:
        error = answer(papers, listening.port, f"{NAME}?ssl_ca=<ca>")
    finally:
        listening.reload("server")

    assert isinstance(error, ConfigurationError)
    assert "expired" in error.message


@contextmanager
def port_of(path: Path) -> Iterator[int]:
    """A port that leads to a server's socket."""

    class Passage(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as inner:
                inner.connect(str(path))
                ends = {inner: self.request, self.request: inner}
                while True:
                    for ready in select.select(list(ends), [], [])[0]:
                        if not (data := ready.recv(65536)):
                            return
                        ends[ready].sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passage) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@pytest.mark.usefixtures("by_name")
def test_a_server_without_tls_is_refused_unless_that_is_allowed(mariadb, papers):
    with port_of(mariadb.socket) as port:
        for options in ("", "?sslmode=require", "?ssl_ca=<ca>"):
            error = answer(papers, port, f"root@{NAME}{options}")
            assert isinstance(error, ConfigurationError)
            assert UNTRUSTED in error.message
        assert answer(papers, port, f"root@{NAME}", allow_insecure=True) is None


# -- PostgreSQL ---------------------------------------------------------------------------

HBA = """
local all all trust
hostssl all reader 127.0.0.1/32 cert
host all postgres 127.0.0.1/32 trust
"""


class SafePostgres:
    """A server that listens, whose certificate can be changed."""

    def __init__(self, server: PostgresServer, port: int, papers: Papers) -> None:
        self.server, self.port, self.papers = server, port, papers

    def say(self, *statements: str) -> None:
        """Run statements, then have the server read its settings again."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as one:
            for statement in (*statements, "select pg_reload_conf()"):
                one.execute(statement.encode())

    def tls(self, name: str) -> None:
        """Begin to use a certificate; none where there is no name."""
        if name:
            paths = give(self.papers, name, self.server.home, self.owner)
            settings = zip(("cert", "key", "ca"), paths, strict=True)
            self.say(*(f"alter system set ssl_{one}_file = '{path}'" for one, path in settings))
        self.say(f"alter system set ssl = '{'on' if name else 'off'}'")
        until = time.monotonic() + 30
        while (self.offered() or "") != (name and self.papers[name]):
            assert time.monotonic() < until
            time.sleep(0.02)

    @property
    def owner(self) -> int:
        """Whom the server runs as."""
        return self.server.data.stat().st_uid

    def offered(self) -> str | None:
        """Which certificate the server shows now."""
        with socket.create_connection(("127.0.0.1", self.port)) as door:
            door.sendall(bytes.fromhex("0000000804d2162f"))
            if door.recv(1) != b"S":
                return None
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(door) as safe:
                shown = safe.getpeercert(binary_form=True) or b""
        known = {name: Path(self.papers[name]).read_text() for name in ("server", "expired")}
        pem = ssl.DER_cert_to_PEM_cert(shown)
        return next((self.papers[name] for name, text in known.items() if text == pem), "")


@pytest.fixture(scope="module")
def postgres(papers) -> Iterator[SafePostgres]:
    port = free_port()
    with tempfile.NamedTemporaryFile("w", dir="/tmp", suffix=".hba") as hba:
        hba.write(HBA)
        hba.flush()
        Path(hba.name).chmod(0o644)
        listen = {"listen_addresses": "127.0.0.1", "port": str(port), "hba_file": hba.name}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGPORT", str(port))
            with running_postgres(**listen) as server:
                found = SafePostgres(server, port, papers)
                found.say("create role reader login")
                found.tls("server")
                yield found


NO_TRUST = "no TLS that can be trusted"


@pytest.mark.parametrize(
    ("certificate", "url", "kind", "text"),
    [
        ("server", f"{NAME}?sslmode=verify-full&sslrootcert=<ca>", None, ""),
        ("server", f"{OTHER}?sslmode=verify-ca&sslrootcert=<ca>", None, ""),
        ("server", OTHER, None, ""),
        ("server", f"{OTHER}?sslmode=verify-full&sslrootcert=<ca>", ConfigurationError, NO_TRUST),
        ("server", f"{NAME}?sslmode=verify-full&sslrootcert=<stranger>", ConfigurationError, "ver"),
        ("server", f"{NAME}?sslmode=verify-ca&sslrootcert=<stranger>", ConfigurationError, "verif"),
        ("server", f"{NAME}?sslmode=verify-full&sslrootcert=/no", ConfigurationError, NO_TRUST),
        ("server", f"reader@{NAME}?sslmode=require", CredentialsError, "ertificate"),
        (
            "server",
            f"reader@{NAME}?sslrootcert=<ca>&sslcert=<client>&sslkey=<client.key>",
            None,
            "",
        ),
        ("expired", f"{NAME}?sslmode=verify-full&sslrootcert=<ca>", ConfigurationError, "verif"),
        ("", NAME, ConfigurationError, NO_TRUST),
        ("", f"{NAME}?sslmode=verify-full&sslrootcert=<ca>", ConfigurationError, NO_TRUST),
    ],
)
def test_who_answers_for_postgres_is_proved(postgres, papers, certificate, url, kind, text):
    if (postgres.offered() or "") != (certificate and papers[certificate]):
        postgres.tls(certificate)
    user, _, rest = url.rpartition("@")
    host, _, options = rest.partition("?")
    for name in ("ca", "stranger", "client"):
        options = options.replace(f"<{name}>", papers[name])
        options = options.replace(f"<{name}.key>", papers.key(name))
    more = f"hostaddr=127.0.0.1&{options}"
    address = f"postgresql://{user or 'postgres'}@{host}:{postgres.port}/postgres?{more}"

    error = None
    try:
        connect(parse_address(address), allow_insecure=False).close()
    except ConnectorError as caught:
        error = caught

    assert kind is (type(error) if error else None)
    assert error is None or text in error.message
    assert error is None or error.next_step
