# SPDX-License-Identifier: Apache-2.0
"""A database on another host proves who it is in production: a real server with TLS."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ipai_orchestrate import embedded
from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.database_tls import require_proof
from ipai_orchestrate.embedded.binaries import installations
from ipai_orchestrate.embedded.process_user import server_user
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.meltano_state.backend import IpaiStateStoreManager
from ipai_orchestrate.migrations import migrate
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.runner import RunOptions, perform


def certificate(address: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for an address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return made.public_bytes(pem), key.private_bytes(pem, form, serialization.NoEncryption())


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks for the way there
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address


@dataclass(frozen=True)
class Remote:
    """A server with TLS on an address that is not loopback."""

    address: str
    port: int
    trusted: Path
    stranger: Path

    def dsn(self, **options: object) -> str:
        words = {"host": self.address, "port": self.port, "user": "postgres", "password": "s3cret"}
        words |= {"dbname": "postgres", **options}
        return " ".join(f"{name}={value}" for name, value in words.items())


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    """A PostgreSQL that was built with TLS, where there is one, with a self-signed certificate."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    home = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    home.chmod(0o711)
    try:
        for binaries in installations():
            if not server_user().can("-x", binaries.tool("postgres")):
                continue
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("IPAI_PG_BIN", str(binaries.bin))
                with embedded.open_database(home / "tls", migrated=False) as dsn:
                    if (port := _with_tls(dsn, home, address)) is not None:
                        migrate(dsn)
                        yield Remote(address, port, home / "trusted.pem", home / "stranger.pem")
                        return
            shutil.rmtree(home / "tls")
        pytest.skip("no PostgreSQL of this machine was built with TLS")
    finally:
        shutil.rmtree(home)


def _with_tls(dsn: str, home: Path, address: str) -> int | None:
    """Turn TLS on and return the port; None when the server was built without it."""
    cert, key = certificate(address)
    (home / "trusted.pem").write_bytes(cert)
    (home / "stranger.pem").write_bytes(certificate(address)[0])
    with psycopg.connect(dsn, autocommit=True) as owner:
        library, data, port = owner.execute(
            "select current_setting('ssl_library'), current_setting('data_directory'),"
            " current_setting('port')::integer"
        ).fetchone() or ("", "", 0)
        if not library:
            return None
        for name, content in (("server.crt", cert), ("server.key", key)):
            file = Path(data) / name
            file.write_bytes(content)
            file.chmod(0o600)
            status = Path(data).stat()
            shutil.chown(file, status.st_uid, status.st_gid)
        owner.execute("alter system set ssl = on")
        owner.execute(f"alter system set listen_addresses = '{address}'".encode())
        with (Path(data) / "pg_hba.conf").open("a") as rules:
            rules.write(f"hostssl all all {address}/32 trust\n")
    embedded.stop(home / "tls", force=True)
    embedded.start(home / "tls")
    return int(port)


@pytest.mark.parametrize("mode", ["", "prefer", "require", "verify-ca"])
def test_production_refuses_an_address_that_trusts_whoever_answers(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("IPAI_ENV", "production")
    options = {"sslmode": mode} if mode else {}
    monkeypatch.setenv("IPAI_DATABASE_URL", remote.dsn(**options))

    said = CliRunner().invoke(main, ["runs"])

    assert said.exit_code == 78
    text = " ".join(said.output.split())
    assert f"The database on {remote.address!r} is not asked to prove who it is" in text
    assert f"(sslmode {mode or 'prefer'!r})" in text
    assert "sslmode=verify-full" in text
    assert "s3cret" not in said.output
    with pytest.raises(ConfigurationError, match="prove who it is"):
        IpaiStateStoreManager(dsn=remote.dsn(**options)).plane  # noqa: B018 - it connects


def test_outside_production_any_mode_may_be_used(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", remote.dsn(sslmode="require"))

    assert CliRunner().invoke(main, ["runs"]).exit_code == 0


@pytest.mark.parametrize("env", ["production", "dev"])
def test_a_server_that_is_not_trusted_is_not_spoken_to(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, env: str
) -> None:
    monkeypatch.setenv("IPAI_ENV", env)
    dsn = remote.dsn(sslmode="verify-full", sslrootcert=remote.stranger)
    monkeypatch.setenv("IPAI_DATABASE_URL", dsn)

    said = CliRunner().invoke(main, ["runs"])

    assert said.exit_code == 75
    assert "certificate verify failed" in said.output
    assert "s3cret" not in said.output


def test_a_server_that_proves_who_it_is_is_used(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_ENV", "production")
    dsn = remote.dsn(sslmode="verify-full", sslrootcert=remote.trusted)
    monkeypatch.setenv("IPAI_DATABASE_URL", dsn)

    assert CliRunner().invoke(main, ["runs"]).exit_code == 0
    with Database(dsn).connect() as connection:
        query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        assert connection.execute(query).fetchone() == (True,)


def test_a_run_of_a_production_instance_asks_for_proof_wherever_it_is_performed(
    remote: Remote, tmp_path: Path
) -> None:
    proved = remote.dsn(sslmode="verify-full", sslrootcert=remote.trusted)
    with ControlPlane.connect(proved) as plane:
        plane.connection.execute(
            "select * from connectors.register_connector_definition('tls', 'x', '{}')"
        )
        plane.ensure_instance("tls", "ipai_connector_tls", {})
        run = plane.claim(plane.enqueue("tls", max_attempts=1), "worker")
        assert run is not None

    promoted = replace(run, env="production")
    done = perform(Database(remote.dsn(sslmode="require")), promoted, RunOptions(tmp_path))

    assert done.failure is not None
    assert (done.failure.error_class, done.exit_code) == ("configuration", 78)
    assert "prove who it is (sslmode 'require'), which production demands" in done.failure.summary


def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        require_proof("postgresql://user:s3cret@[x", "production")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("env", [None, "dev", "staging"])
def test_nothing_is_asked_where_nothing_is_at_stake(env: str | None) -> None:
    require_proof("host=db.example.com", env, {"IPAI_ENV": "staging"})
