# SPDX-License-Identifier: Apache-2.0
"""The tap: settings choose the way to Odoo, the server says which models there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from singer_sdk import Stream

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.rest import Reply, Verdict
from ipai_kit.rest.transport import Transport
from ipai_kit.sql.address import parse_address
from ipai_kit.tap import ConnectorTap
from tap_odoo.api.replies import classify_odoo
from tap_odoo.api.source import ApiSource
from tap_odoo.models import DECLARED, Shape, StreamModel, declared_shape
from tap_odoo.postgres.source import PostgresSource
from tap_odoo.source import Source
from tap_odoo.streams import OdooStream

__all__ = ["TapOdoo"]


class TapOdoo(ConnectorTap):
    """Singer tap for Odoo 16 to 19."""

    def __init__(self, **kwargs: Any) -> None:
        self.is_busy = False  # whether the stream before was refused for now
        super().__init__(**kwargs)

    def discover_streams(self) -> Sequence[Stream]:
        """Return a stream for each model that is installed; without an address, those we know."""
        if not any(self.config.get(name) for name in ("database_url", "url", "api_url")):
            shapes: Sequence[Shape] = [declared_shape(one) for one in DECLARED]
            return [OdooStream(self, shape) for shape in shapes]
        wanted = [*(one.model for one in DECLARED), *(self.config.get("models") or ())]
        installed = set(self.source.installed(wanted))
        streams = [one for one in DECLARED if one.model in installed]
        for name in self.config.get("models") or ():
            if name not in installed:
                raise self._not_installed(name)
            if all(one.model != name for one in streams):
                streams.append(StreamModel(name.replace(".", "_"), name))
        shapes = self.source.shapes(streams)
        self._refuse_abstract({one.stream.model for one in shapes})
        self.source.close()  # a run begins with a moment of its own
        return [OdooStream(self, shape) for shape in shapes]

    def _not_installed(self, name: str) -> ConfigurationError:
        near = get_close_matches(name, self.source.names(), n=3)
        like = f" Similar ones are {', '.join(map(repr, near))}." if near else ""
        message = f"The model {name!r} is not installed.{like}"
        next_step = "Install its module, or correct the setting 'models'."
        return ConfigurationError(message, next_step=next_step)

    def _refuse_abstract(self, found: Collection[str]) -> None:
        for name in self.config.get("models") or ():
            if name not in found:
                message = (
                    f"The model {name!r} has no table {name.replace('.', '_')!r}: "
                    "it is abstract, computed, or kept under another name."
                )
                raise ConfigurationError(
                    message, next_step="Take it out of 'models', or try transport api."
                )

    def classify(self, reply: Reply) -> Verdict:
        """Judge a reply by Odoo's rules."""
        return classify_odoo(reply)

    @property
    def api_url(self) -> str:
        """The address of the server."""
        return self._needed("url" if not self.config.get("api_url") else "api_url").rstrip("/")

    @cached_property
    def transport(self) -> Transport:
        """The door to the one server that the operator named; to none for a database."""
        hosts = [self.api_url] if self.config["transport"] == "api" else []
        return Transport(hosts, user_agent=f"{self.name}/{self.plugin_version}")

    @cached_property
    def source(self) -> Source:
        """The way to Odoo."""
        config = self.config
        scope: dict[str, Any] = {
            "companies": list(config.get("company_ids") or ()),
            "company": config.get("company_id"),
            "language": config["language"],
        }
        if config["transport"] == "api":
            return ApiSource(
                self.client,
                self.api_url,
                database=config.get("database") or "",
                login=config.get("login") or "",
                secret=config.get("api_key") or config.get("password") or "",
                page_size=config["page_size"],
                **scope,
            )
        address = parse_address(self._needed("database_url"))
        if address.kind != "postgresql":
            message = f"Setting 'database_url' leads to {address.kind!r}; Odoo is on PostgreSQL."
            raise ConfigurationError(message, next_step="Use postgresql://reader@host/database.")
        password = address.password or config.get("password") or ""
        return PostgresSource(
            replace(address, password=password),
            allow_insecure=config["allow_insecure"],
            check=self.waiting.check,
            **scope,
        )

    def _needed(self, name: str) -> str:
        if not self.config.get(name):
            transport = self.config["transport"]
            message = f"Setting {name!r} is missing; transport {transport!r} needs it."
            raise ConfigurationError(message, next_step=f"Set {name}, or another transport.")
        return str(self.config[name])

    def _sync_with(self, fetcher: Any) -> None:
        try:
            super()._sync_with(fetcher)
        finally:
            self.source.close()


if __name__ == "__main__":
    TapOdoo.cli()
