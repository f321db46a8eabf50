# SPDX-License-Identifier: Apache-2.0
"""The stream that a REST tap declares in about ten lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from singer_sdk import Stream
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib import SchemaMessage
from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL

from ipai_kit.exceptions import InternalError
from ipai_kit.resources import package_file
from ipai_kit.rest.calls import Call, Reply, fill_path
from ipai_kit.rest.extraction import Slice, Window
from ipai_kit.rest.paginators import Paginator, SinglePage
from ipai_kit.rest.reading import PageReader
from ipai_kit.rest.retry import Action, Verdict

if TYPE_CHECKING:
    from ipai_kit.rest.prefetch import Key
    from ipai_kit.tap import ConnectorTap

__all__ = ["RestStream"]

_GONE = (404, 410, 451)


class RestStream(Stream):
    """One kind of record behind an HTTP API.

    Subclasses set class attributes; see CONTRIBUTING for an example. Hooks are for the exceptions:
    `partitions`, `path_for`, `records_path_for`, `start_params`, `accepts_context`, `post_process`.
    """

    name: str
    path: ClassVar[str] = ""
    method: ClassVar[str] = "GET"
    params: ClassVar[Mapping[str, Any]] = {}
    headers: ClassVar[Mapping[str, str]] = {}
    body: ClassVar[Mapping[str, Any] | None] = None
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # Bronze lands what was delivered
    records_path: ClassVar[str | None] = None
    records_optional: ClassVar[bool] = False  # the records path may be absent: no records
    primary_keys: Sequence[str] = ()
    replication_key: str | None = None
    cursor_param: ClassVar[str | None] = None
    sort: ClassVar[Literal["ascending", "descending"] | None] = None
    paginator: ClassVar[Paginator] = SinglePage()
    empty_on: ClassVar[Mapping[int, str]] = {}
    skip_on: ClassVar[Collection[int]] = ()
    quota_bucket: ClassVar[str] = "default"
    result_cap: ClassVar[int | None] = None  # most records a query with a window gives

    parent: ClassVar[type[RestStream] | None] = None
    context_from_parent: ClassVar[Mapping[str, str]] = {}  # context key <- field of parent's record
    context_fields: ClassVar[Mapping[str, str]] = {}  # field of the record <- context key

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Tell singer-sdk the parent by the name it knows."""
        super().__init_subclass__(**kwargs)
        cls.parent_stream_type = cls.parent

    def __init__(self, tap: ConnectorTap) -> None:
        self.tap = tap
        spec = tap.stream_spec(type(self).name)
        self.lookback: timedelta = spec.lookback if spec else timedelta()
        self.selected_by_default = spec.selected if spec else True
        super().__init__(tap)

    # -- what a tap may override ------------------------------------------------------------

    def path_for(self, context: Mapping[str, Any]) -> str:
        """Return the path template for a context, where it depends on it."""
        del context
        return self.path

    def records_path_for(self, context: Mapping[str, Any]) -> str | None:
        """Return the dotted path of the records, where it depends on the context."""
        del context
        return self.records_path

    def start_params(self, start: Any, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the query parameters that make the source filter from `start` on."""
        del context
        return {self.cursor_param: start} if self.cursor_param else {}

    def accepts_context(self, context: Mapping[str, Any]) -> bool:
        """Say whether a parent's record needs a request of this stream at all."""
        del context
        return True

    def partition_windows(self, start: Any, context: Mapping[str, Any]) -> Sequence[Window] | None:
        """Return the time windows to query one by one; None where one query gives everything.

        A window whose total reaches `result_cap` is divided until each part fits.
        """
        del start, context
        return None

    def window_params(self, window: Window) -> Mapping[str, Any]:
        """Return the query parameters that confine a query to a window."""
        raise NotImplementedError

    @property
    def partitions(self) -> list[dict[str, Any]] | None:
        """The contexts of a root stream; None for a single one without values."""
        return None

    # -- what singer-sdk asks ---------------------------------------------------------------

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The schema file of this stream in its package."""
        file = package_file(type(self), "schemas", f"{self.name}.json")
        if file is None or not file.is_file():
            message = f"The stream {self.name!r} has no schema file."
            raise InternalError(message, next_step=f"Add schemas/{self.name}.json to its package.")
        return cast("dict[str, Any]", json.loads(file.read_text("utf-8")))

    @property
    def replication_method(self) -> str:
        """Driven streams are incremental too: they see only what their parent saw change."""
        if self.forced_replication_method is None and self.driven:
            return str(REPLICATION_INCREMENTAL)
        return super().replication_method

    @property
    def emit_activate_version_messages(self) -> bool:
        """Keep singer-sdk from activating a version before its records: we do it after them."""
        return False

    def get_replication_key_signpost(self, context: Mapping[str, Any] | None = None) -> None:
        """Leave the bound to our bookmarks, which keep no markers in STATE."""
        del context

    def get_batch_config(self, config: Mapping[str, Any]) -> None:
        """Keep singer-sdk from making files: the writer does, for every kind of stream."""
        del config

    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        for message in super()._generate_schema_messages():
            schema = message.schema if self.reader.mapped else self.schema
            message.schema = {**schema, "x-ipai": self.tap.annotation}
            yield message

    def log(self, message: str, *args: Any, level: int = logging.DEBUG, **kwargs: Any) -> None:
        """Leave out the SDK's line about an error that the command reports with its cause."""
        if not message.startswith("An unhandled error"):
            super().log(message, *args, level=level, **kwargs)

    def write_schema(self) -> None:
        """Write the SCHEMA message."""
        self._write_schema_message()

    def write_records(self, records: Iterable[dict[str, Any]], version: int | None) -> None:
        """Write built records through singer-sdk's own selection, stream maps and flattening."""
        self._stream_version = version
        for record in records:
            self._write_record_message(record)

    def get_records(self, context: Mapping[str, Any] | None) -> Iterable[dict[str, Any]]:
        """Yield the records of one context as dicts, one request after the other."""
        return self.tap.run.records(self, dict(context or {}))

    def _sync_records(
        self, context: Mapping[str, Any] | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        """Hand the whole tree below this root to the run; nothing is left to yield."""
        del write_messages
        self.tap.run.emit_tree(self, context)
        yield from ()

    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Do nothing: bookmarks are written when a slice is complete."""
        del state

    # -- how the tree fits together ---------------------------------------------------------

    @property
    def rest_children(self) -> list[RestStream]:
        """The child streams."""
        return [child for child in self.child_streams if isinstance(child, RestStream)]

    @property
    def wanted(self) -> bool:
        """Whether this stream or a descendant was selected."""
        return self.selected or self.has_selected_descendents

    @property
    def incremental(self) -> bool:
        """Whether this stream reads by its own replication key."""
        return bool(self.replication_key) and super().replication_method == REPLICATION_INCREMENTAL

    @property
    def driven(self) -> bool:
        """Whether this stream sees only what an incremental ancestor saw change."""
        above = self.parent_stream
        if above is None or self.ignore_parent_replication_key:
            return False
        return above.incremental or above.driven

    @cached_property
    def parent_stream(self) -> RestStream | None:
        """The parent's stream object."""
        found = (one for one in self.tap.streams.values() if type(one) is self.parent)
        return cast("RestStream | None", next(found, None))

    @cached_property
    def reader(self) -> PageReader:
        """How this stream's replies become rows."""
        return PageReader(self)

    def rest_descendants(self) -> list[RestStream]:
        """Return all streams below this one, parents first."""
        return [one for child in self.rest_children for one in [child, *child.rest_descendants()]]

    def driven_descendants(self) -> list[RestStream]:
        """Return the streams whose completeness hangs on this stream's cursor."""
        driven = [child for child in self.rest_children if child.driven]
        return [one for child in driven for one in [child, *child.driven_descendants()]]

    def may_run_ahead(self, piece: Slice) -> bool:
        """Say whether later pages may be fetched before this one was looked at."""
        return not (self.sort == "descending" and piece.fetch_start is not None)

    # -- requests and slices ----------------------------------------------------------------

    def first_call(self, context: Mapping[str, Any], start: Any) -> Call:
        """Return the request for the first page of a slice."""
        params = dict(self.params)
        if start is not None:
            params |= self.start_params(start, context)
        try:
            path = fill_path(self.path_for(context), context)
        except KeyError as error:
            message = f"The path needs {error.args[0]!r}, which the context lacks: {context!r}."
            raise InternalError(message, stream=self.name) from error
        url = path if "://" in path else self.tap.api_url.rstrip("/") + path
        call = Call(
            url,
            self.method,
            params,
            self.headers,
            self.body,
            stream=self.name,
            bucket=self.quota_bucket,
        )
        return self.paginator.begin(call)

    def classify(self, reply: Reply) -> Verdict:
        """Judge a reply: this stream's own exceptions first, then the tap's rules."""
        if reply.status in self.empty_on:
            return Verdict(Action.EMPTY, self.empty_on[reply.status])
        if reply.status in self.skip_on:
            return Verdict(
                Action.SKIP, "The source does not have this.", lasting=reply.status in _GONE
            )
        return self.tap.classify(reply)

    def context_values(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that the context adds to each record."""
        return {field: context[key] for field, key in self.context_fields.items()}

    def state_context(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of the context that names a partition in STATE."""
        keys = self.state_partitioning_keys
        return dict(context) if keys is None else {key: context[key] for key in keys}

    def own_slice(self, context: Mapping[str, Any], key: Key) -> Slice:
        """Return the slice of a stream that keeps its own bookmark."""
        keeper = self.tap.run.keeper
        piece = Slice(self, context, key, emits=self.selected)
        if not self.incremental:
            piece.etag = keeper.etag(self, context)
            return piece
        starts = piece.child_starts = keeper.starts(self, context)
        piece.start = starts.get(self.name)
        if starts and None not in starts.values():
            piece.fetch_start = min(starts.values(), key=self.reader.cursor.order)
        piece.known = keeper.known_at(self, context, piece.start)
        return piece

    def child_slice(
        self, context: dict[str, Any], key: Key, above: Slice, driver: Any
    ) -> Slice | None:
        """Return the slice below a parent's record; None when it was read before."""
        if not self.driven:
            return self.own_slice(context, key)
        holder = above.holder
        starts, cursor = holder.child_starts, holder.stream.reader.cursor
        fresh = {
            one.name
            for one in [self, *self.driven_descendants()]
            if one.selected and not cursor.before(driver, starts.get(one.name))
        }
        if not fresh:
            return None
        return Slice(self, context, key, owner=holder, driver=driver, emits=self.name in fresh)
