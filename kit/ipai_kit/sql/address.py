# SPDX-License-Identifier: Apache-2.0
"""Where a database is: `jdbc:…` or SQLAlchemy URLs, and the demand for TLS on the way there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ipai_kit.exceptions import ConfigurationError

__all__ = ["Address", "address_from_settings", "parse_address"]

_KINDS = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
    "sqlite": "sqlite",
    "duckdb": "duckdb",
    "sqlserver": "mssql",
    "mssql": "mssql",
    "oracle": "oracle",
}
_FILES = ("sqlite", "duckdb")
_HOST = re.compile(
    r"^(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:/\\;,]*))(?:\\[^:;]*)?(?::(?P<port>\d+))?$"
)
_SECRET_OPTION = re.compile(r"pass(word|wd|phrase)?$|secret|token", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A parsed address; `kind` is `jdbc` where only a driver jar knows the database."""

    kind: str
    host: str = ""
    port: int | None = None
    database: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    jdbc: str = field(default="", repr=False)
    """The address as given, where it is one of JDBC."""

    @property
    def is_remote(self) -> bool:
        """Whether the way there leaves this machine."""
        host = self.host.strip("[]")
        if not host or host.startswith("/") or host == "localhost" or self.kind in _FILES:
            return False
        try:
            return not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return True

    @property
    def shown(self) -> str:
        """The address for people, without user, password and options."""
        place = self.host + (f":{self.port}" if self.port else "")
        return f"{self.kind}://{place}/{self.database}" if place else f"{self.kind}:{self.database}"

    def url(self, driver: str) -> str:
        """Return the URL for SQLAlchemy and a driver, e.g. `mysql+pymysql`, with the password."""
        user = quote(self.user, safe="")
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        port = f":{self.port}" if self.port else ""
        at = f"{user}{secret}@" if user else ""
        database = self.database if self.kind in _FILES else quote(self.database, safe="")
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"{driver}://{at}{host}{port}/{database}{query}"


def address_from_settings(config: Mapping[str, Any]) -> Address:
    """Return the address that `url`, or its parts, give; parts win over the URL."""
    given = str(config.get("url") or "").strip()
    kind = str(config.get("dialect") or "").lower()
    if not given and not kind:
        message = "Settings 'url' and 'dialect' are both missing."
        raise ConfigurationError(message, next_step="Set url, or dialect, host and database.")
    if not given and kind not in _KINDS:
        message = f"Setting 'dialect' is unknown: {kind!r}."
        raise ConfigurationError(message, next_step=f"Use one of: {', '.join(sorted(_KINDS))}.")
    address = parse_address(given) if given else Address(_KINDS[kind])
    parts = {name: str(config[name]) for name in ("host", "database", "user") if config.get(name)}
    if config.get("password"):
        parts["password"] = str(config["password"])
    options = {**address.options, **(config.get("connect_options") or {})}
    port = config.get("port") or address.port
    return replace(address, **parts, port=int(port) if port else None, options=options)


def parse_address(text: str) -> Address:
    """Read `jdbc:…` or an address as SQLAlchemy writes it."""
    if text.lower().startswith("jdbc:"):
        return _from_jdbc(text)
    scheme, separator, _ = text.partition(":")
    kind = _KINDS.get(scheme.lower().partition("+")[0])
    if not separator or kind is None:
        message = f"The database's address has an unknown scheme: {scheme[:20]!r}."
        raise ConfigurationError(
            message,
            next_step="Use jdbc:… or e.g. postgresql://host/database, mysql://…, sqlite:///file.",
        )
    return _from_url(kind, text)


def _from_url(kind: str, text: str) -> Address:
    if kind in _FILES:
        path = text.partition(":")[2].partition("?")[0]
        path = path.removeprefix("///") if path.startswith("///") else path.removeprefix("//")
        return Address(kind, database=unquote(path))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        message = "The database's address has no valid host and port."
        raise ConfigurationError(
            message, next_step="Write it as scheme://host:port/name."
        ) from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Address(
        kind,
        host=unquote(options.pop("host", "") or parts.hostname or ""),
        port=port,
        database=unquote(parts.path.removeprefix("/")),
        user=unquote(parts.username or options.pop("user", "")),
        password=unquote(parts.password or options.pop("password", "")),
        options=options,
    )


def _from_jdbc(text: str) -> Address:
    scheme, _, rest = text[len("jdbc:") :].partition(":")
    kind = _KINDS.get(scheme.lower(), "jdbc")
    if kind in _FILES:
        return Address(kind, database=rest.partition("?")[0], jdbc=text)
    if kind == "mssql":
        return _from_sqlserver(text, rest)
    if kind == "oracle":
        return _from_oracle(text, rest)
    if kind == "jdbc":
        return Address(kind, host=_host_of_any(rest), database=scheme, jdbc=text)
    if not rest.startswith("//"):
        rest = f"//localhost/{rest}"  # jdbc:postgresql:database
    return replace(_from_url(kind, f"{kind}:{rest}"), jdbc=text)


def _from_sqlserver(text: str, rest: str) -> Address:
    place, *options = rest.removeprefix("//").split(";")
    host, port = _host_port(place)
    known = {}
    for option in options:
        name, _, value = option.partition("=")
        if name:
            known[name.strip()] = value.strip()
    found = {name.lower(): value for name, value in known.items()}
    rest_options = {
        name: value
        for name, value in known.items()
        if name.lower() not in {"user", "username", "password", "database", "databasename"}
    }
    return Address(
        "mssql",
        host=host,
        port=port,
        database=found.get("databasename") or found.get("database", ""),
        user=found.get("user") or found.get("username", ""),
        password=found.get("password", ""),
        options=rest_options,
        jdbc=text,
    )


def _from_oracle(text: str, rest: str) -> Address:
    place = rest.removeprefix("thin:").removeprefix("oci:")
    login, at, place = place.rpartition("@")
    if not at:
        message = "The database's address is none of Oracle."
        raise ConfigurationError(message, next_step="Write jdbc:oracle:thin:@//host:port/service.")
    user, _, password = login.partition("/")
    found = re.fullmatch(
        r"(?:(?P<protocol>tcps?):)?/?/?(?P<host>[^:/]+)(?::(?P<port>\d+))?[:/](?P<name>[^?]+).*",
        place,
    )
    if found is None:
        return Address("oracle", database=place, user=user, password=password, jdbc=text)
    options = {"protocol": found["protocol"]} if found["protocol"] else {}
    port = int(found["port"]) if found["port"] else None
    return Address(
        "oracle", found["host"], port, found["name"], user, password, options=options, jdbc=text
    )


def _host_port(place: str) -> tuple[str, int | None]:
    found = _HOST.match(place)
    if found is None:
        message = f"The database's address has no valid host and port: {place!r}."
        raise ConfigurationError(message, next_step="Write host:port.")
    return found["six"] or found["host"], int(found["port"]) if found["port"] else None


def _host_of_any(rest: str) -> str:
    """The host in an address of an unknown driver; embedded databases have none."""
    found = re.search(r"//(?:[^@/;]*@)?(\[[^\]]+\]|[^:/;?]*)", rest)
    return found[1].strip("[]") if found else ""


def hidden(text: str) -> tuple[str, ...]:
    """The secrets within an address, which no log may show."""
    try:
        address = parse_address(text)
    except ConfigurationError:
        return ()
    pairs = re.findall(r"[?;&]([^=;&]+)=([^;&]*)", text)
    found = [unquote(value) for name, value in pairs if _SECRET_OPTION.search(name)]
    return tuple(one for one in [address.password, *found] if one)
