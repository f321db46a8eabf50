# SPDX-License-Identifier: Apache-2.0
"""A lake of the test's own, and runs of the target inside or beside the test."""

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
import requests
from deltalake import DeltaTable
from moto.server import ThreadedMotoServer

from ipai_kit.testing.target_runs import (
    Line,
    Outcome,
    TargetProcess,
    land_here,
    record_message,
    schema_message,
    starting,
    state_message,
)
from target_bronze_lake.command import PROGRAM
from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.row_format import BRONZE
from target_bronze_lake.settings import read_settings
from target_bronze_lake.storage import Storage, open_storage


@dataclass
class LakeFolder:
    """A lake in a folder, and what landed in it."""

    folder: Path

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def path(self, stream: str = "things") -> Path:
        return self.folder / "ipai_bronze_core" / f"raw_singer_{stream}"

    def table(self, stream: str = "things") -> DeltaTable:
        return DeltaTable(self.path(stream))

    def files(self, path: Path) -> list[Path]:
        """The files that readers of a table see."""
        manifests = sorted((path / "_manifests").glob("*.json"))
        if manifests:
            listed = json.loads(manifests[-1].read_bytes())["files"]
            return [path / file["path"] for file in listed]
        return [Path(unquote(urlsplit(uri).path)) for uri in DeltaTable(path).file_uris()]

    def read(self, path: Path) -> list[dict[str, Any]]:
        return [
            {**row, "day": file.parent.name.partition("=")[2]}
            for file in self.files(path)
            for row in pq.ParquetFile(file).read().to_pylist()
        ]

    def rows(self, stream: str = "things") -> list[dict[str, Any]]:
        """Every row in the order of delivery."""
        found = self.read(self.path(stream))
        return sorted(found, key=lambda row: (row["loaded_at"], row["position"]))

    def records(self, stream: str = "things") -> list[str]:
        """Every version in the order of delivery, without tombstones."""
        return [row["record"] for row in self.rows(stream) if row["deleted_at"] is None]

    def newest(self, stream: str = "things", instance: str | None = None) -> dict[str, str]:
        """Record by key as the newest-wins view has it."""
        versions: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.rows(stream):
            if instance in {None, row["instance_id"]}:
                versions.setdefault((row["instance_id"], row["record_key"]), []).append(row)
        newest = {key: max(rows, key=_rank) for (_, key), rows in sorted(versions.items())}
        deleted = {
            key: [row["deleted_at"] for row in rows if row["deleted_at"] and not row["record"]]
            for (_, key), rows in versions.items()
        }
        return {
            key: row["record"]
            for key, row in newest.items()
            if row["deleted_at"] is None and all(row["emitted_at"] > at for at in deleted[key])
        }

    def letters(self) -> list[tuple[str, str, bytes]]:
        path = self.folder / "ipai_bronze_core" / "dead_letters"
        if not path.exists():
            return []
        return [(row["stream"], row["reason"], row["raw"]) for row in self.read(path)]


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["cursor"] or "", row["emitted_at"], row["loaded_at"], row["position"])


@pytest.fixture
def lake(tmp_path: Path) -> LakeFolder:
    return LakeFolder(tmp_path / "lake")


@pytest.fixture
def form() -> str:
    """The form of the lake; tests of what both forms promise are parametrised with it."""
    return "delta"


@pytest.fixture
def run_target(
    lake: LakeFolder, form: str, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Land messages within this process."""

    def run(lines: list[Line] | bytes, **config: Any) -> Outcome:
        return land_here(PROGRAM, {"lake_url": lake.url, "format": form, **config}, lines, capfd)

    return run


@pytest.fixture
def start_target(
    lake: LakeFolder, form: str, tmp_path: Path
) -> Iterator[Callable[..., TargetProcess]]:
    """Start the command as a process."""
    with starting("target_bronze_lake", tmp_path) as start:
        yield lambda **config: start({"lake_url": lake.url, "format": form, **config})


@pytest.fixture
def schema() -> Callable[..., dict[str, Any]]:
    """Make SCHEMA messages."""
    return schema_message


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Make RECORD messages; `at` and `version` belong to the message."""
    return record_message


@pytest.fixture
def state() -> Callable[[Any], dict[str, Any]]:
    """Make STATE messages."""
    return state_message


KEY = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


@dataclass
class Bucket:
    """A bucket of an S3 server, and what landed in it."""

    endpoint: str
    name: str

    @property
    def config(self) -> dict[str, Any]:
        url = f"s3://{self.name}/some/prefix"
        return {"lake_url": url, "endpoint_url": self.endpoint, "retry_seconds": 20, **KEY}

    @property
    def storage(self) -> Storage:
        return open_storage(read_settings(self.config, {}))

    def table(self, form: str, stream: str = "things") -> LakeTable:
        path = f"ipai_bronze_core/raw_singer_{stream}"
        table = LakeTable.at(self.storage, path, BRONZE, form)
        table.open()
        return table

    def records(self, form: str, stream: str = "things") -> list[str]:
        """Every version that a reader sees."""
        table = self.table(form, stream)
        return [
            record
            for file in table.log.files()
            for batch in table.read(file, ["record"])
            for record in batch.column(0).to_pylist()
        ]

    def objects(self) -> list[str]:
        return [found.path for found in self.storage.objects("ipai_bronze_core")]

    def open_uploads(self) -> int:
        answer = requests.get(f"{self.endpoint}/{self.name}?uploads", timeout=30)
        return answer.text.count("<UploadId>")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server that honours conditional puts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> Bucket:
    """A bucket of the test's own."""
    name = f"lake-{uuid4().hex}"
    requests.put(f"{s3_server}/{name}", timeout=30).raise_for_status()
    return Bucket(s3_server, name)


@dataclass
class Fault:
    """What the proxy does to some requests: answers itself, or cuts the connection."""

    method: str
    path: str
    how: str
    """A status; `cut` before, `cut_after` the server did it; `slow`; `unconditional`."""
    left: int = 1
    skip: int = 0


@dataclass
class FaultyStore:
    """A proxy in front of the S3 server that does what its faults say."""

    bucket: Bucket
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def fault_for(self, method: str, path: str) -> str | None:
        self.seen.append(f"{method} {path}")
        for fault in self.faults:
            if fault.method == method and fault.path in path and fault.left:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.left -= 1
                return fault.how
        return None


def make_handler(store: FaultyStore, upstream: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 20

        def log_message(self, *_: Any) -> None:
            pass

        def relay(self) -> None:
            fault = store.fault_for(self.command, self.path)
            length = int(self.headers.get("Content-Length") or 0)
            if fault == "cut":
                self.rfile.read(min(length, 1000))
                self.close()
                return
            body = self.rfile.read(length)
            if fault == "slow":
                time.sleep(3)
            if fault is not None and fault.isdigit():
                code = {"403": "AccessDenied", "412": "PreconditionFailed"}.get(fault, "SlowDown")
                self.answer(int(fault), {}, f"<Error><Code>{code}</Code></Error>".encode())
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            if fault == "unconditional":
                headers = {k: v for k, v in headers.items() if k.lower() != "if-none-match"}
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
            with contextlib.closing(connection):
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            if fault == "cut_after":
                self.close()
                return
            self.answer(answer.status, dict(answer.getheaders()), content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay  # noqa: N815 - http.server

        def close(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                    self.send_header(name, value)
            if "content-length" not in {name.lower() for name in headers}:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


@pytest.fixture
def faulty(bucket: Bucket) -> Iterator[FaultyStore]:
    """A bucket behind a proxy; `faulty.bucket` is reached through it."""
    store = FaultyStore(bucket)
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(store, bucket.endpoint))
    server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    store.bucket = Bucket(f"http://127.0.0.1:{server.server_address[1]}", bucket.name)
    yield store
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fault() -> type[Fault]:
    """Make faults."""
    return Fault
