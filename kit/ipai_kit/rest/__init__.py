# SPDX-License-Identifier: Apache-2.0
"""REST streams: declared in a few lines, fetched in parallel, emitted in order."""

from ipai_kit.rest.calls import Call, Reply
from ipai_kit.rest.extraction import Window
from ipai_kit.rest.paginators import (
    LinkHeader,
    NextToken,
    NextUrl,
    Offset,
    PageNumber,
    Paginator,
    SinglePage,
)
from ipai_kit.rest.retry import Action, Verdict, classify_rest
from ipai_kit.rest.streams import RestStream

__all__ = [
    "Action",
    "Call",
    "LinkHeader",
    "NextToken",
    "NextUrl",
    "Offset",
    "PageNumber",
    "Paginator",
    "Reply",
    "RestStream",
    "SinglePage",
    "Verdict",
    "Window",
    "classify_rest",
]
