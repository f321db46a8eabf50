# SPDX-License-Identifier: Apache-2.0
"""What a tap's ``sandbox.py`` is made of: a truthful stand-in for its source's API on loopback.

def create_app(seed: int = 7, repositories: int = 3) -> Starlette:
    world = World(Seeded(seed), repositories)
    sandbox = Sandbox("github", auth=TokenAuth({"good"}), limits=[WindowQuota()], world=world)

    @sandbox.get("/repos/{owner}/{name}/issues")
    def issues(request: Request) -> Page:
        return link_header(request, world.issues(request.path_params["name"]))

    sandbox.stream("issues", key=("_repository_id", "id"), records=world.landed_issues)
    return sandbox.app()
"""

from ipai_kit.sandbox.app import Sandbox, World
from ipai_kit.sandbox.auth import (
    ANONYMOUS,
    AnyAuth,
    ApiKeyAuth,
    BasicAuth,
    JwtAuth,
    OAuthServer,
    TokenAuth,
    credentials,
    form_fields,
    open_access,
)
from ipai_kit.sandbox.data import EPOCH, LazyRecords, Seeded, zulu
from ipai_kit.sandbox.faults import Fault, FaultError, parse_fault, read_fault
from ipai_kit.sandbox.limits import (
    GITHUB_HEADERS,
    BurstLimit,
    ConcurrencyLimit,
    Limit,
    Verdict,
    WindowQuota,
)
from ipai_kit.sandbox.paging import (
    Page,
    PageSize,
    cursor_token,
    link_header,
    next_url,
    offset,
    page_number,
    whole_number,
)
from ipai_kit.sandbox.replies import Refused, Reply

__all__ = [
    "ANONYMOUS",
    "EPOCH",
    "GITHUB_HEADERS",
    "AnyAuth",
    "ApiKeyAuth",
    "BasicAuth",
    "BurstLimit",
    "ConcurrencyLimit",
    "Fault",
    "FaultError",
    "JwtAuth",
    "LazyRecords",
    "Limit",
    "OAuthServer",
    "Page",
    "PageSize",
    "Refused",
    "Reply",
    "Sandbox",
    "Seeded",
    "TokenAuth",
    "Verdict",
    "WindowQuota",
    "World",
    "credentials",
    "cursor_token",
    "form_fields",
    "link_header",
    "next_url",
    "offset",
    "open_access",
    "page_number",
    "parse_fault",
    "read_fault",
    "whole_number",
    "zulu",
]
