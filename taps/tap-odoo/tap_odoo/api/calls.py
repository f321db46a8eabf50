# SPDX-License-Identifier: Apache-2.0
"""Calls of a method of a model: JSON-RPC until 18, JSON-2 with a bearer key from 19 on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from ipai_kit.exceptions import ConfigurationError, CredentialsError, StreamUnavailableError
from ipai_kit.rest import Reply, Verdict
from ipai_kit.rest.calls import Call
from ipai_kit.rest.client import Client
from tap_odoo.api.replies import classify_odoo

__all__ = ["Caller", "Json2", "JsonRpc", "sign_in"]

_OLDEST, _FIRST_WITH_JSON2 = 16, 19
_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Caller(Protocol):
    """Calls methods as one user."""

    version: int
    user_id: int

    def call(self, model: str, method: str, stream: str | None = None, **values: Any) -> Any:
        """Return what a method answers; `ids` in the values are the records it is called on."""
        ...


class JsonRpc:
    """The API of 16 to 18; later versions still answer it, for a while."""

    def __init__(self, client: Client, url: str, database: str) -> None:
        self._client = client
        self._url = f"{url}/jsonrpc"
        self._database = database
        self._secret = ""
        self.version = 0
        self.user_id = 0

    def ask_version(self) -> int:
        """Return the major version, which is told to everyone."""
        told = self._ask("common", "version", [])["server_version_info"][0]
        self.version = int(str(told).removeprefix("saas~"))
        return self.version

    def authenticate(self, login: str, secret: str) -> None:
        """Sign in; a wrong password is no error to Odoo but the answer `false`."""
        found = self._ask("common", "authenticate", [self._database, login, secret, {}])
        if not found:
            message = f"Odoo refuses the password of {login!r}."
            raise CredentialsError(
                message, url=self._url, next_step="Correct login and password, or make an API key."
            )
        self.user_id, self._secret = int(found), secret

    def call(self, model: str, method: str, stream: str | None = None, **values: Any) -> Any:
        """Return what a method answers."""
        ids = values.pop("ids", None)
        who = [self._database, self.user_id, self._secret]
        place = [model, method, [] if ids is None else [ids], values]
        return self._ask("object", "execute_kw", [*who, *place], stream)

    def _ask(self, service: str, method: str, args: list[Any], stream: str | None = None) -> Any:
        params = {"service": service, "method": method, "args": args}
        body = {"jsonrpc": "2.0", "method": "call", "id": 1, "params": params}
        call = Call(self._url, "POST", body=body, stream=stream)
        return self._client.fetch(call, _result, classify_odoo)


class Json2:
    """The API from 19 on: one address for each method, the key in a header."""

    def __init__(self, client: Client, url: str, database: str, key: str, version: int) -> None:
        self._client = client
        self._url = f"{url}/json/2"
        database_header = {"X-Odoo-Database": database} if database else {}
        self._headers = {"Authorization": f"bearer {key}", **database_header}
        self.version = version
        self.user_id = 0

    def authenticate(self) -> None:
        """Ask whose key it is."""
        self.user_id = int(self.call("res.users", "context_get")["uid"])

    def call(self, model: str, method: str, stream: str | None = None, **values: Any) -> Any:
        """Return what a method answers."""
        url = f"{self._url}/{model}/{method}"
        call = Call(url, "POST", headers=self._headers, body=values, stream=stream)
        return self._client.fetch(call, _plain, classify_odoo)


def sign_in(client: Client, url: str, settings: Mapping[str, str]) -> Caller:
    """Return the way that this server and these credentials allow."""
    rpc = JsonRpc(client, url, settings["database"])
    version = _version_of(rpc)
    if version and version < _OLDEST:
        message = f"Odoo {version} is too old."
        raise ConfigurationError(message, url=url, next_step=f"Use {_OLDEST} or later.")
    if not settings["secret"]:
        message = "Settings 'api_key' and 'password' are both missing."
        raise ConfigurationError(message, next_step="Set one of them for transport 'api'.")
    if version >= _FIRST_WITH_JSON2 and not settings["login"]:
        key = settings["secret"]
        json2 = Json2(client, url, settings["database"], key, version)
        json2.authenticate()
        return json2
    for name in ("database", "login"):
        if not settings[name]:
            message = f"Setting {name!r} is missing; the API of Odoo {version} needs it."
            raise ConfigurationError(message, next_step=f"Set {name}.")
    rpc.authenticate(settings["login"], settings["secret"])
    return rpc


def _version_of(rpc: JsonRpc) -> int:
    """A server that knows JSON-RPC no longer is younger than all we know."""
    try:
        return rpc.ask_version()
    except StreamUnavailableError:
        return _FIRST_WITH_JSON2


def _result(reply: Reply, verdict: Verdict) -> Any:
    del verdict
    body = _decoded(reply)
    if not isinstance(body, dict) or "result" not in body:
        message = "no answer of JSON-RPC"
        raise msgspec.DecodeError(message)
    return body["result"]


def _plain(reply: Reply, verdict: Verdict) -> Any:
    del verdict
    return _decoded(reply)


def _decoded(reply: Reply) -> Any:
    """Python writes NaN and Infinity, which JSON does not have."""
    try:
        return _decoder.decode(reply.body)
    except msgspec.DecodeError:
        if b"NaN" not in reply.body and b"Infinity" not in reply.body:
            raise
    try:
        return json.loads(reply.body, parse_float=Decimal, parse_constant=Decimal)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error
