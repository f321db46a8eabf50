# SPDX-License-Identifier: Apache-2.0
"""Odoo's external API as a source: pages by id, or by moments of change where these suffice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from ipai_kit.exceptions import ConfigurationError, InternalError, StreamUnavailableError
from ipai_kit.rest.client import Client
from tap_odoo.api.calls import Caller, sign_in
from tap_odoo.api.records import RecordMaker, fields_to_ask
from tap_odoo.fields import Field, Model
from tap_odoo.models import Shape, StreamModel, shape_of
from tap_odoo.source import Block, Position, Scope

__all__ = ["ApiSource"]

_ATTRIBUTES = ["type", "string", "store", "relation", "translate", "company_dependent"]
_IDS_AT_ONCE = 10_000
# Before it some models' own `search_read` does not take `load`, which spares the names of links.
_FIRST_WITH_BARE_LINKS = 18
_UNREAD = ("one2many", "binary")
_RELATED = "account.move"


class ApiSource:
    """One user's view of one database."""

    def __init__(
        self,
        client: Client,
        url: str,
        *,
        database: str,
        login: str,
        secret: str,
        page_size: int,
        companies: Sequence[int],
        company: int | None,
        language: str,
    ) -> None:
        self._client = client
        self._url = url
        self._settings = {"database": database, "login": login, "secret": secret}
        self._page_size = page_size
        self._wanted = companies
        self._first = company
        self._language = language
        self._models: dict[str, Model] = {}

    # -- what there is ----------------------------------------------------------------------

    @cached_property
    def _caller(self) -> Caller:
        return sign_in(self._client, self._url, self._settings)

    @property
    def version(self) -> int:
        """The major version."""
        return self._caller.version

    @cached_property
    def scope(self) -> Scope:
        """Whose records are read: the user's companies at most."""
        plain = {"active_test": False}
        fields, ids = ["company_ids", "company_id"], [self._caller.user_id]
        (user,) = self._caller.call(
            "res.users", "read", ids=ids, fields=fields, load=None, context=plain
        )
        known = sorted(user["company_ids"])
        for one in [*self._wanted, *([self._first] if self._first else [])]:
            if one not in known:
                message = f"The user does not see company {one!r}, only {known}."
                raise ConfigurationError(
                    message, next_step="Allow it to the user, or correct company_ids."
                )
        chosen = [one for one in known if not self._wanted or one in self._wanted]
        chosen.sort(key=lambda one: (one != self._first, one))
        return Scope(chosen, bool(self._wanted), self._language)

    def installed(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of these models the server has."""
        return [name for name in dict.fromkeys(names) if self._model(name).fields]

    def names(self) -> Sequence[str]:
        """Return all models; none where the user may not see them."""
        try:
            found = self._caller.call("ir.model", "search_read", domain=[], fields=["model"])
        except StreamUnavailableError:
            return []
        return [row["model"] for row in found]

    def _model(self, name: str) -> Model:
        if name not in self._models:
            try:
                found = self._caller.call(name, "fields_get", attributes=_ATTRIBUTES)
            except StreamUnavailableError as error:
                if not error.lasting:
                    raise
                found = {}
            self._models[name] = Model(name, fields={one: _field(one, found[one]) for one in found})
        return self._models[name]

    def shapes(self, streams: Sequence[StreamModel]) -> Sequence[Shape]:
        """Return how this server can give these streams."""
        related = {}
        if any(one.model == "account.payment" for one in streams):
            related[_RELATED] = self._model(_RELATED)
        return [shape_of(one, self._model(one.model), related) for one in streams]

    # -- reading ----------------------------------------------------------------------------

    def high_water(self, shape: Shape) -> str | None:
        """Return the last moment of change, in whole seconds."""
        if not shape.model.has_write_date:
            return None
        values = {"fields": ["write_date"], "order": "write_date desc", "limit": 1}
        domain = [*self._domain(shape), ["write_date", "!=", False]]
        found = self._search_read(shape, domain, values)
        moment = found[0]["write_date"] if found else None
        return f"{moment.replace(' ', 'T')}+00:00" if moment else None

    def read(self, shape: Shape, position: Position) -> Iterator[Block]:
        """Yield records page by page."""
        maker = RecordMaker(shape, self.scope, self._companies_above)
        domain = self._domain(shape)
        if position.not_before:
            domain.append(["write_date", ">=", _odoo_time(position.not_before)])
        if position.among is not None:
            domain.append(["id", "in", list(position.among)])
        pages = (
            self._by_id(shape, domain, position.after_id or 0)
            if position.since is None
            else self._by_moment(shape, domain, _odoo_time(position.since))
        )
        for page in pages:
            others = self._of_companies(shape, page)
            moment = page[-1].get("write_date") or None
            yield Block(
                [row["id"] for row in page],
                rows=[maker.record(row, others) for row in page],
                latest=f"{moment.replace(' ', 'T')}+00:00" if moment else None,
            )

    def _by_id(self, shape: Shape, domain: list[Any], after: int) -> Iterator[list[Any]]:
        size = self._page_size
        while True:
            values = {"fields": fields_to_ask(shape), "order": "id asc", "limit": size}
            page = self._search_read(shape, [*domain, ["id", ">", after]], values)
            if page:
                yield page
            if len(page) < size:
                return
            after = page[-1]["id"]

    def _by_moment(self, shape: Shape, domain: list[Any], since: str) -> Iterator[list[Any]]:
        """Page by whole seconds: the server compares microseconds but does not tell them.

        A transaction writes all its records at one moment, so a second may fill many pages; it is
        then read by id.
        """
        size = self._page_size
        fields = fields_to_ask(shape)
        while True:
            values = {"fields": fields, "order": "write_date asc, id asc", "limit": size}
            page = self._search_read(shape, [*domain, ["write_date", ">=", since]], values)
            if len(page) < size:
                if page:
                    yield page
                return
            last = page[-1]["write_date"]
            complete = [row for row in page if row["write_date"] < last]
            if complete:
                yield complete
                since = last
            else:
                after = _odoo_time(last, seconds=1)
                second = [["write_date", ">=", last], ["write_date", "<", after]]
                yield from self._by_id(shape, [*domain, *second], 0)
                since = after

    def ids(self, shape: Shape, not_before: str | None = None) -> Iterator[Sequence[int]]:
        """Yield the ids of all records, or of those changed since."""
        after = 0
        since = [["write_date", ">=", _odoo_time(not_before)]] if not_before else []
        while True:
            domain = [*self._domain(shape), *since, ["id", ">", after]]
            values = {"order": "id asc", "limit": _IDS_AT_ONCE, "context": self._context()}
            found = self._list(shape, "search", domain=domain, **values)
            yield found
            if len(found) < _IDS_AT_ONCE:
                return
            after = found[-1]

    def _search_read(self, shape: Shape, domain: Sequence[Any], values: Mapping[str, Any]) -> Any:
        bare = {} if self.version < _FIRST_WITH_BARE_LINKS else {"load": None}
        values = {"context": self._context(), **bare, **values}
        return self._list(shape, "search_read", domain=domain, **values)

    def _list(self, shape: Shape, method: str, **values: Any) -> list[Any]:
        """Call a method of a stream's model that answers a list."""
        found = self._caller.call(shape.model.name, method, shape.stream.name, **values)
        if not isinstance(found, list):
            message = f"{method!r} of {shape.model.name!r} answers {type(found).__name__}, no list."
            raise InternalError(message, stream=shape.stream.name, next_step="Report it.")
        return found

    def _domain(self, shape: Shape) -> list[Any]:
        domain: list[Any] = []
        if shape.stream.only:
            column, values = shape.stream.only
            domain.append([column, "in", list(values)])
        if self.scope.limited and shape.scope:
            of_ours = [shape.scope, "in", list(self.scope.companies)]
            domain += (
                [of_ours] if shape.scope == "id" else ["|", [shape.scope, "=", False], of_ours]
            )
        return domain

    def _context(self, company: int | None = None) -> dict[str, Any]:
        """All companies are allowed, the first one counts; archived records are wanted."""
        companies = sorted(self.scope.companies, key=lambda one: one != company)
        return {
            "active_test": False,
            "lang": self._language,
            "allowed_company_ids": companies if company else list(self.scope.companies),
        }

    # -- values by company ------------------------------------------------------------------

    def _of_companies(self, shape: Shape, page: Sequence[Any]) -> dict[int, dict[int, Any]]:
        """Return by company and record what the other companies have."""
        names = [one.source.name for one in shape.outputs if one.by_company and one.source]
        if not names:
            return {}
        domain = [["id", "in", [row["id"] for row in page]]]
        found = {}
        for company in self.scope.companies:
            values = {"fields": names, "context": self._context(company)}
            rows = self._search_read(shape, domain, values)
            found[company] = {row["id"]: row for row in rows}
        return found

    @cached_property
    def _companies_above(self) -> Mapping[int, Sequence[int]]:
        """The companies above each company and itself; branches exist from 17 on."""
        fields = ["parent_id"] if "parent_id" in self._model("res.company").fields else ["id"]
        context = {"active_test": False, "allowed_company_ids": list(self.scope.companies)}
        rows = self._caller.call(
            "res.company", "search_read", domain=[], fields=fields, load=None, context=context
        )
        parents = {row["id"]: row.get("parent_id") or None for row in rows}
        return {one: _chain(one, parents) for one in parents}

    def close(self) -> None:
        """Nothing stays open here."""


def _chain(one: int, parents: Mapping[int, int | None]) -> list[int]:
    found = [one]
    while (above := parents.get(found[-1])) is not None and above not in found:
        found.append(above)
    return found


def _field(name: str, about: Mapping[str, Any]) -> Field:
    ttype = str(about["type"])
    return Field(
        name,
        ttype,
        stored=bool(about.get("store")) and ttype not in _UNREAD,
        translated=bool(about.get("translate")),
        company_dependent=bool(about.get("company_dependent")),
        relation=str(about.get("relation") or ""),
        label=str(about.get("string") or ""),
    )


def _odoo_time(text: str, *, seconds: int = 0) -> str:
    """Write a moment as Odoo does: UTC, whole seconds, no zone."""
    moment = datetime.fromisoformat(text)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return (moment + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")
