# SPDX-License-Identifier: Apache-2.0
"""A server older than PostgreSQL 15 is refused before anything is asked of it."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ServerTooOldError
from ipai_orchestrate.migrations import migrate, migration_status, revert
from ipai_orchestrate.pipeline.database import Database

WORDS = r"PostgreSQL '14\.9 \(Debian\)' is too old: 15 is the oldest that works\. Upgrade"
ENCRYPTION_REQUESTS = {80877103, 80877104}


class Greeting(socketserver.StreamRequestHandler):
    """Lets everybody in, names its version, and answers nothing else."""

    def handle(self) -> None:
        length, code = struct.unpack("!ii", self.rfile.read(8))
        while code in ENCRYPTION_REQUESTS:
            self.wfile.write(b"N")
            length, code = struct.unpack("!ii", self.rfile.read(8))
        self.rfile.read(length - 8)
        said = b"server_version\x0014.9 (Debian)\0"
        self.wfile.write(b"R" + struct.pack("!ii", 8, 0))
        self.wfile.write(b"S" + struct.pack("!i", 4 + len(said)) + said)
        self.wfile.write(b"Z" + struct.pack("!i", 5) + b"I")
        asked = self.rfile.read(1)
        assert asked in {b"X", b""}, f"a server too old was asked: {asked!r}"


@pytest.fixture
def old_server() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"postgresql://me@127.0.0.1:{server.server_address[1]}/postgres"
        server.shutdown()
        thread.join()


def connect(dsn: str) -> None:
    with ControlPlane.connect(dsn):
        pytest.fail("it was let in")


@pytest.mark.parametrize(
    "use",
    [
        migrate,
        migration_status,
        lambda dsn: revert(dsn, "0"),
        connect,
        lambda dsn: Database(dsn).connect(),
    ],
    ids=["migrate", "status", "revert", "control plane", "run"],
)
def test_a_server_older_than_15_is_refused_whatever_is_wanted(
    old_server: str, use: Callable[[str], object]
) -> None:
    with pytest.raises(ServerTooOldError, match=WORDS):
        use(old_server)


@pytest.mark.parametrize("command", [("db", "migrate"), ("runs", "list"), ("worker", "--once")])
def test_commands_say_so_and_end_with_78(
    old_server: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", old_server)

    result = CliRunner().invoke(main, command)

    assert result.exit_code == 78, result.output
    assert "is too old" in result.output
    assert "Traceback" not in result.output
