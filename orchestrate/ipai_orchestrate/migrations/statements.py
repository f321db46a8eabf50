# SPDX-License-Identifier: Apache-2.0
"""Cut an SQL script into statements the way the Supabase CLI does."""

from __future__ import annotations

import re

# One token of a script; order matters. `open` tokens are closed by hand because comments nest.
_TOKEN = re.compile(
    r"""
      (?P<line_comment>--[^\n]*)
    | (?P<block_comment>/\*)
    | (?P<escape_string>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
    | (?P<string>'(?:[^']|'')*(?:'|\Z))
    | (?P<name>"(?:[^"]|"")*(?:"|\Z))
    | (?P<dollar>(?<![\w$])\$(?:[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)?\$)
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def split_statements(script: str) -> list[str]:
    """Return the statements without their semicolons; comments stay with what follows them.

    Understands quotes, dollar quotes and nested comments. Bodies in `begin atomic` are not cut
    correctly, here as in the Supabase CLI: write function bodies in dollar quotes.
    """
    statements: list[str] = []
    start = position = 0
    blank = True  # nothing but white space and comments so far
    while (token := _TOKEN.search(script, position)) is not None:
        blank = blank and not script[position : token.start()].strip()
        if token.lastgroup == "end":
            if not blank:
                statements.append(script[start : token.start()].strip())
            start, blank = token.end(), True
        elif token.lastgroup not in ("line_comment", "block_comment"):
            blank = False
        position = _token_end(script, token)
    blank = blank and not script[position:].strip()
    if not blank:
        statements.append(script[start:].strip())
    return statements


def _token_end(script: str, token: re.Match[str]) -> int:
    if token.lastgroup == "block_comment":
        return _comment_end(script, token.end())
    if token.lastgroup == "dollar":
        closing = script.find(token.group(), token.end())
        return len(script) if closing < 0 else closing + len(token.group())
    return token.end()


def _comment_end(script: str, position: int) -> int:
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(script, position)) is not None:
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return len(script) if depth else position
