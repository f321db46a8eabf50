# SPDX-License-Identifier: Apache-2.0
"""The external API of the stand-in: JSON-RPC with its errors of status 200, JSON-2 from 19 on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request

from ipai_kit.sandbox import Reply, Sandbox
from tap_odoo.fields import canonical, kind_of
from tap_odoo.models import DECLARED
from tap_odoo.sandbox.domains import matches
from tap_odoo.sandbox.versions import WireField, wire_fields
from tap_odoo.sandbox.world import COMPANIES, World

__all__ = ["Database", "OdooError", "create_app", "expected"]

DATABASE, LOGIN, SECRET, USER = "sandbox", "reader@example.com", "sandbox-key", 1
_FIRST_WITH_JSON2 = 19


# An exception as the server names it, and the status that JSON-2 gives it.
_NO_MODEL = ("odoo.exceptions.UserError", 404)
_NO_METHOD = ("builtins.AttributeError", 404)
_NO_FIELD = ("builtins.ValueError", 422)
_NO_DATABASE = ("psycopg2.OperationalError", 500)
_DENIED = ("odoo.exceptions.AccessDenied", 403)
_FORBIDDEN = ("odoo.exceptions.AccessError", 403)


class OdooError(Exception):
    """The server's refusal."""

    def __init__(self, kind: tuple[str, int], message: str) -> None:
        super().__init__(message)
        self.name, self.status = kind


class Database:
    """Answers the methods of models from the facts, in the spelling of one version."""

    def __init__(
        self, world: World, version: int, missing: Sequence[str], denied: Sequence[str]
    ) -> None:
        self.world = world
        self.version = version
        self._missing = missing
        self._denied = denied

    def call(self, model: str, method: str, values: dict[str, Any]) -> Any:
        """Call a method of a model."""
        if (model, method) == ("ir.model", "search_read"):
            return [{"id": n, "model": name} for n, name in enumerate(self.world.records, 1)]
        if model not in self.world.records or model in self._missing:
            raise OdooError(_NO_MODEL, f"Object {model} doesn't exist")
        if (model, method) == ("res.users", "context_get"):
            return {"lang": "en_US", "tz": "UTC", "uid": USER}
        if model in self._denied and method != "fields_get":
            raise OdooError(_FORBIDDEN, f"You are not allowed to access {model!r} records.")
        known: dict[str, Callable[..., Any]] = {
            "fields_get": self._fields_get,
            "search": self._search,
            "search_read": self._search_read,
            "read": self._read,
        }
        if method not in known:
            raise OdooError(_NO_METHOD, f"{model!r} has no method {method!r}")
        return known[method](model, **values)

    @cache  # noqa: B019 -- lives as long as the stand-in
    def fields(self, model: str) -> dict[str, WireField]:
        """Return the fields of a model."""
        return {one.name: one for one in wire_fields(model, self.version)}

    def _fields_get(self, model: str, **_: Any) -> dict[str, Any]:
        return {
            one.name: {
                "type": one.ttype,
                "string": one.name.replace("_", " ").capitalize(),
                "store": one.stored,
                "translate": one.translated,
                "company_dependent": bool(one.by_company) and one.name != "code",
            }
            for one in self.fields(model).values()
        }

    def _search(self, model: str, domain: Sequence[Any], **values: Any) -> list[int]:
        ids = [one for one in self.world.records[model] if self._fits(model, one, domain)]
        if "active" in self.fields(model) and (values.get("context") or {}).get(
            "active_test", True
        ):
            ids = [one for one in ids if self.world.records[model][one].get("active", True)]
        for part in reversed((values.get("order") or "id").split(",")):
            name, _, way = part.strip().partition(" ")
            ids.sort(key=lambda one: self._compared(model, one, name), reverse=way == "desc")
        start = values.get("offset") or 0
        return ids[start:][: values.get("limit")]

    def _search_read(self, model: str, **values: Any) -> list[dict[str, Any]]:
        reading = {name: values.pop(name, None) for name in ("fields", "load")}
        ids = self._search(model, **values)
        return self._read(model, ids=ids, context=values.get("context"), **reading)

    def _read(
        self,
        model: str,
        ids: Sequence[int],
        fields: Sequence[str],
        load: str | None = "_classic_read",
        context: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        known = self.fields(model)
        for name in fields:
            if name not in known:
                message = f"Invalid field {name!r} on model {model!r}"
                raise OdooError(_NO_FIELD, message)
        company = ((context or {}).get("allowed_company_ids") or COMPANIES)[0]
        return [
            {"id": one}
            | {name: self._wire(model, one, known[name], company, load) for name in fields}
            for one in ids
        ]

    def _wire(self, model: str, one: int, field: WireField, company: int, load: Any) -> Any:
        record = self.world.records[model][one]
        value = field.value(record)
        if field.by_company:
            value = record[field.by_company].get(str(company))
        if field.ttype == "float":
            return float(value or 0)
        if field.ttype == "integer":
            return value or 0
        if value is None:
            return [] if field.ttype == "many2many" else False
        if field.ttype == "datetime":
            return value[:19].replace("T", " ")
        return [value, f"Record {value}"] if field.ttype == "many2one" and load else value

    def _fits(self, model: str, one: int, domain: Sequence[Any]) -> bool:
        return matches(domain, lambda name: self._compared(model, one, name))

    def _compared(self, model: str, one: int, name: str) -> Any:
        """A value as the database compares it: moments to the microsecond."""
        if name == "write_date":
            return self.world.moments[model, one]
        field = self.fields(model).get(name)
        if field is None:
            raise OdooError(_NO_FIELD, f"Invalid field {model}.{name}")
        value = field.value(self.world.records[model][one])
        is_time = field.ttype == "datetime" and value
        return datetime.fromisoformat(value).astimezone(UTC) if is_time else value


def expected(world: World, stream: str, version: int) -> Iterator[dict[str, Any]]:
    """Yield what a tap should land: the facts, less what the version does not have."""
    model = next(one.model for one in DECLARED if one.name == stream)
    fields = wire_fields(model, version)
    for record in world.of_stream(stream):
        if (model, version) == ("project.task", 16) and record["date_deadline"]:
            record["date_deadline"] = f"{record['date_deadline'][:10]}T00:00:00+00:00"
        for one in fields:
            kind = kind_of(one.ttype)
            if one.name not in record and kind and one.name in ("detailed_type", "active"):
                record[one.name] = canonical(kind, one.value(record))
        yield record


def create_app(seed: int = 7, version: int = 18, missing: str = "", denied: str = "") -> Starlette:
    """Make the stand-in; names of models that it lacks or refuses are separated by commas."""
    world = World(seed)
    database = Database(world, version, missing.split(","), denied.split(","))
    config: dict[str, Any] = {
        "transport": "api",
        "url": "{url}",
        "database": DATABASE,
        "api_key": SECRET,
    }
    if version < _FIRST_WITH_JSON2:
        config["login"] = LOGIN
    sandbox = Sandbox("odoo", world=world, config=config)
    _serve_json_rpc(sandbox, database)
    if version >= _FIRST_WITH_JSON2:
        _serve_json2(sandbox, database)
    for one in DECLARED:
        sandbox.stream(one.name, ("id",), partial(expected, world, one.name, version))
    return sandbox.app()


def _serve_json_rpc(sandbox: Sandbox, database: Database) -> None:
    @sandbox.post("/jsonrpc")
    async def json_rpc(request: Request) -> Reply:
        params = msgspec.json.decode(await request.body())["params"]
        try:
            result = _service(database, params["service"], params["method"], params["args"])
        except OdooError as error:
            data = {"name": error.name, "debug": "", "message": str(error), "context": {}}
            told = {"code": 200, "message": "Odoo Server Error", "data": data}
            return Reply({"jsonrpc": "2.0", "id": 1, "error": told})
        return Reply({"jsonrpc": "2.0", "id": 1, "result": result})


def _service(database: Database, service: str, method: str, args: list[Any]) -> Any:
    if (service, method) == ("common", "version"):
        return {"server_version_info": [database.version, 0, 0, "final", 0, ""]}
    name, login, secret = args[:3]
    if name != DATABASE:
        message = f'FATAL:  database "{name}" does not exist'
        raise OdooError(_NO_DATABASE, message)
    if method == "authenticate":
        return USER if (login, secret) == (LOGIN, SECRET) else False
    if (login, secret) != (USER, SECRET):
        denied = "Access Denied"
        raise OdooError(_DENIED, denied)
    model, called, positional, values = args[3:7]
    ids = {"ids": positional[0]} if positional else {}
    return database.call(model, called, {**ids, **values})


def _serve_json2(sandbox: Sandbox, database: Database) -> None:
    @sandbox.post("/json/2/{model}/{method}")
    async def json_2(request: Request) -> Reply:
        if request.headers.get("authorization") != f"bearer {SECRET}":
            name = "werkzeug.exceptions.Unauthorized"
            return Reply({"name": name, "message": "Invalid apikey"}, 401)
        values = msgspec.json.decode(await request.body())
        model, method = request.path_params["model"], request.path_params["method"]
        try:
            result = database.call(model, method, values)
        except OdooError as error:
            return Reply({"name": error.name, "message": str(error)}, error.status)
        return Reply(result)
