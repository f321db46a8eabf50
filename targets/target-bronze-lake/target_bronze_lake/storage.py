# SPDX-License-Identifier: Apache-2.0
"""Where the lake lies: a folder, or a prefix of an S3-compatible bucket."""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from ipai_kit.exceptions import ConfigurationError
from target_bronze_lake.settings import Settings

_PART_BYTES: Final = 8 << 20
_PARTS_AT_ONCE: Final = 4
_UNFINISHED: Final = ".unfinished"
_TIMEOUT: Final = 60
_CONNECT_TIMEOUT: Final = 10
_RETRIES: Final = 3
_MARK: Final = "_ipai/conditional-put"
_MARK_TEXT: Final = b"Creating this object again must fail.\n"


@dataclass(frozen=True)
class StoredObject:
    """An object by its path below the lake's URL."""

    path: str
    changed_at: datetime

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass
class Storage:
    """Objects below the lake's URL, by path."""

    url: str
    store: ObjectStore
    folder: Path | None
    options: dict[str, str] = field(repr=False, default_factory=dict)
    """What the Delta library needs to reach the same place."""

    def write(self, path: str, pieces: Iterable[bytes]) -> int:
        """Store an object whole or not at all, durably, as its pieces come; returns its size."""
        if self.folder is None:
            return self._upload(path, iter(pieces))
        target = self.folder / path
        unfinished = target.with_name(target.name + _UNFINISHED)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            unfinished.rename(target)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
        return size

    def _upload(self, path: str, pieces: Iterator[bytes]) -> int:
        """Put a small object at once, a larger one in parts, which are aborted when one fails."""
        first: list[bytes] = []
        size = 0
        for piece in pieces:
            first.append(piece)
            size += len(piece)
            if size > 2 * _PART_BYTES:
                break
        else:
            obstore.put(self.store, path, b"".join(first), use_multipart=False)
            return size

        def everything() -> Iterator[bytes]:
            nonlocal size
            first.reverse()
            while first:
                yield first.pop()
            for piece in iter(lambda: maker.submit(next, pieces, None).result(), None):
                size += len(piece)
                yield piece

        # obstore asks from within its runtime, where what makes the pieces must not read from it
        with ThreadPoolExecutor(1) as maker:
            obstore.put(
                self.store,
                path,
                everything(),
                use_multipart=True,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        return size

    def create(self, path: str, data: bytes) -> None:
        """Store an object unless there is one; raises obstore's AlreadyExistsError."""
        obstore.put(self.store, path, data, mode="create", use_multipart=False)
        if self.folder is not None:
            sync_file(self.folder / path)

    def delete(self, path: str) -> None:
        """Remove an object."""
        obstore.delete(self.store, path)

    def objects(self, path: str) -> list[StoredObject]:
        """Every object below a path."""
        return [
            StoredObject(item["path"], item["last_modified"])
            for page in obstore.list(self.store, f"{path}/")
            for item in page
        ]

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders directly below a path."""
        found = obstore.list_with_delimiter(self.store, f"{path}/" if path else None)
        return [prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]

    def read(self, path: str) -> bytes:
        """An object's content."""
        return bytes(obstore.get(self.store, path).bytes())

    def open_file(self, path: str) -> Any:
        """An object to read parts of, as Parquet readers do."""
        if self.folder is not None:
            return (self.folder / path).open("rb")
        return RemoteFile(obstore.open_reader(self.store, path))


class RemoteFile(io.RawIOBase):
    """An object as a file of Python's, read in ranges."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the object reaches."""
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = memoryview(data).cast("B")
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on reading elsewhere."""
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        """Where reading goes on."""
        return int(self._reader.tell())


def honours_conditional_puts(storage: Storage) -> bool:
    """Whether the store refuses to create what exists, on which every commit relies."""
    for _ in range(2):
        try:
            storage.create(_MARK, _MARK_TEXT)
        except AlreadyExistsError:
            return True
        except BaseError as error:
            if "NotImplemented" not in str(error):
                raise
            return False
    return False


def require_conditional_puts(storage: Storage) -> None:
    """Refuse a store on which two commits could both believe to be the next."""
    if not honours_conditional_puts(storage):
        message = f"The store of {storage.url!r} ignores conditional puts: commits could be lost."
        step = "Use a store that refuses `If-None-Match: *` for an object that exists."
        raise ConfigurationError(message, next_step=step)


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name; asks nothing of it yet."""
    parts = urlsplit(settings.lake_url)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            message = f"Setting 'lake_url' cannot be {settings.lake_url!r}: there is a file."
            raise ConfigurationError(message, next_step="Name a folder.") from error
        return Storage(folder.as_uri(), LocalStore(folder), folder)
    given = {
        "endpoint": settings.endpoint_url,
        "region": settings.region or os.environ.get("AWS_REGION") or "us-east-1",
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
        "session_token": settings.session_token,
        "virtual_hosted_style_request": not settings.path_style,
    }
    known = {name: value for name, value in given.items() if value is not None}
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=known,  # type: ignore[arg-type]
        client_options={
            "allow_http": settings.allow_http,
            "timeout": timedelta(seconds=_TIMEOUT),
            "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT),
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_TIMEOUT)},
    )
    return Storage(settings.lake_url, store, None, _delta_options(known, settings))


def _delta_options(known: dict[str, Any], settings: Settings) -> dict[str, str]:
    options = {
        f"aws_{name}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in known.items()
    }
    return options | {
        "allow_http": str(settings.allow_http).lower(),
        "aws_conditional_put": "etag",
        "timeout": f"{_TIMEOUT}s",
        "connect_timeout": f"{_CONNECT_TIMEOUT}s",
        "max_retries": str(_RETRIES),
        "retry_timeout": f"{_TIMEOUT}s",
    }


def sync_file(path: Path) -> None:
    """Bring a file and its name to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
