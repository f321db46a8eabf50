# SPDX-License-Identifier: Apache-2.0
"""Credentials that do not change during a run."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Literal

from requests import PreparedRequest

__all__ = ["ApiKeyAuth", "BasicAuth", "BearerAuth"]


class _Fixed:
    def renew(self, request: PreparedRequest) -> bool:
        """Say that there is nothing newer."""
        del request
        return False


@dataclass(frozen=True)
class ApiKeyAuth(_Fixed):
    """A key in a header or in the query."""

    name: str
    value: str = field(repr=False)
    where: Literal["header", "query"] = "header"
    prefix: str = ""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the key."""
        if self.where == "header":
            request.headers[self.name] = self.prefix + self.value
        else:
            request.prepare_url(request.url, {self.name: self.value})
        return request


@dataclass(frozen=True)
class BearerAuth(_Fixed):
    """`Authorization: Bearer …`."""

    token: str = field(repr=False)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the token."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


@dataclass(frozen=True)
class BasicAuth(_Fixed):
    """`Authorization: Basic …`, in UTF-8."""

    user: str
    password: str = field(repr=False)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add user and password."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
        request.headers["Authorization"] = f"Basic {pair}"
        return request
