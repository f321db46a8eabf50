# SPDX-License-Identifier: Apache-2.0
"""Keeps secrets out of everything that is written down.

A secret is masked in each form in which it leaks: plain, URL-encoded, JSON-escaped, hexadecimal,
base64 at any offset, and line by line for keys of many lines. Texts of a vendor's token shape are
masked even when nobody told us about them.
"""

import base64
import html
import json
import re
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ipai_kit.spec.model import ConnectorSpec

MASK: Final = "***"
SHORTEST_ANYWHERE: Final = 4
_SHORTEST_ENCODED = 6
_SHORTEST_LINE = 12
_HELD_BACK = 4096
_LONGEST_LINE = 1_048_576


@dataclass(frozen=True, slots=True)
class _Shape:
    """A vendor's token: a literal to look for first, then the exact form."""

    kind: str
    literal: str
    pattern: re.Pattern[str]


def _shape(kind: str, literal: str, rest: str) -> _Shape:
    start = "" if literal.startswith("-") else r"(?<![A-Za-z0-9])"
    return _Shape(kind, literal, re.compile(start + re.escape(literal) + rest))


_KEY = r"[A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
_WORD = r"[A-Za-z0-9_-]"
_SHAPES: Final = (
    *(_shape("GitHub token", f"gh{letter}_", r"[A-Za-z0-9_.-]{20,}") for letter in "pousr"),
    _shape("GitHub token", "github_pat_", r"[A-Za-z0-9_]{20,}"),
    _shape("GitLab token", "glpat-", _WORD + r"{16,}"),
    _shape("Google access token", "ya29.", r"[A-Za-z0-9_.-]{16,}"),
    _shape("Google API key", "AIza", _WORD + r"{30,}"),
    _shape("Google refresh token", "1//0", _WORD + r"{20,}"),
    _shape("Google client secret", "GOCSPX-", _WORD + r"{20,}"),
    *(_shape("DigitalOcean token", f"do{letter}_v1_", r"[a-f0-9]{32,}") for letter in "por"),
    _shape("Supabase token", "sbp_", r"(?:v0_)?[A-Za-z0-9]{20,}"),
    _shape("Supabase key", "sb_secret_", _WORD + r"{16,}"),
    _shape("Slack token", "xox", r"[abeoprs]-[A-Za-z0-9-]{10,}"),
    _shape("Stripe key", "sk_live_", r"[A-Za-z0-9]{16,}"),
    _shape("AWS access key", "AKIA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _shape("JSON web token", "eyJ", rf"{_WORD}{{8,}}\.eyJ{_WORD}{{8,}}\.{_WORD}*"),
    _shape(
        "private key",
        "-----BEGIN ",
        # to its end; where that is missing, as far as it looks like a key
        rf"{_KEY}(?:[\s\S]{{0,16384}}?-----END {_KEY}|(?:\s*(?:[A-Za-z0-9+/=]+|\\+[nr]))*)",
    ),
)
_URL_PASSWORD = re.compile(r"(://[^\s/:@\"']*:)[^\s/@\"']+(?=@)")
_HEADER = re.compile(
    r"(?i)(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token|jwt)\s+)"
    r"[^\s\"',;]+"
)


def find_token(text: str) -> str | None:
    """The kind of credential a text contains by its shape, or None."""
    for shape in _SHAPES:
        if shape.literal in text and shape.pattern.search(text):
            return shape.kind
    return None


class Redactor:
    """Masks secrets in text and bytes; safe to share between threads."""

    def __init__(self, values: Iterable[object] = ()) -> None:
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self._needles: tuple[_Needle, ...] = ()
        self.add(*values)

    def add(self, *values: object) -> None:
        """Learn more secrets, e.g. an access token that was just issued."""
        new = {str(value) for value in values if value not in (None, "", True, False)}
        with self._lock:
            if new <= self._values:
                return
            self._values |= new
            needles = {needle for value in self._values for needle in _needles(value)}
            self._needles = tuple(sorted(needles, key=lambda one: (-len(one.text), one.text)))

    def text(self, text: str) -> str:
        """The text with every secret masked."""
        for needle in self._needles:
            if needle.text in text:
                text = needle.mask(text)
        return _masked_shapes(text)

    def data(self, data: bytes) -> bytes:
        """The bytes with every secret masked; bytes that are not UTF-8 stay as they are."""
        text = data.decode("utf-8", "surrogateescape")
        masked = self.text(text)
        return data if masked is text else masked.encode("utf-8", "surrogateescape")

    def stream(self) -> "RedactedStream":
        """A filter for bytes that arrive in pieces."""
        return RedactedStream(self)


class RedactedStream:
    """Masks a byte stream line by line, so a secret cut by a chunk boundary is still found."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece; give back what can be written already."""
        end = chunk.rfind(b"\n") + 1
        if end:
            ready, self._rest = self._rest + chunk[:end], chunk[end:]
            return self._redactor.data(ready)
        self._rest += chunk
        if len(self._rest) <= _LONGEST_LINE:
            return b""
        masked = self._redactor.data(self._rest)
        ready, self._rest = masked[:-_HELD_BACK], masked[-_HELD_BACK:]
        return ready

    def finish(self) -> bytes:
        """Give back the last line, when it has no line break."""
        rest, self._rest = self._rest, b""
        return self._redactor.data(rest)


@dataclass(frozen=True, slots=True)
class _Needle:
    """One form of one secret. ``pattern`` is set when the match is wider than the text."""

    text: str
    pattern: str = ""

    def mask(self, text: str) -> str:
        if not self.pattern:
            return text.replace(self.text, MASK)
        return re.sub(self.pattern, rf"\g<1>{MASK}\g<2>", text)


def _needles(value: str) -> Iterator[_Needle]:
    if not value.strip() or not value.strip("*"):
        return
    if len(value) < SHORTEST_ANYWHERE:
        yield _short_needle(value)
        return
    for form in _plain_forms(value):
        yield _Needle(form)
    lines = [line.strip() for line in value.splitlines()]
    for line in lines if len(lines) > 1 else ():
        if len(line) >= _SHORTEST_LINE and not line.startswith("-----"):
            for form in _plain_forms(line):
                yield _Needle(form)
    yield from _base64_needles(value.encode("utf-8", "surrogatepass"))


def _short_needle(value: str) -> _Needle:
    """Up to three characters occur everywhere: mask them only where a credential stands."""
    quoted = re.escape(value)
    names = r"(?:password|passwd|pwd|passphrase|secret|token|key|pin|code)"
    return _Needle(
        value, rf"(?i)({names}[\"']?\s*[=:]\s*[\"']?|://[^\s/:@]*:)(?-i:{quoted})([\"'\s,;&}}@]|\Z)"
    )


def _plain_forms(value: str) -> Iterator[str]:
    escaped = json.dumps(value)[1:-1]
    quoted = urllib.parse.quote(value, safe="", errors="surrogatepass")
    data = value.encode("utf-8", "surrogatepass")
    yield value
    for form in (escaped, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(escaped)[1:-1]):
        yield form
        yield form.replace("/", "\\/")
    for form in (
        quoted,
        urllib.parse.quote(value, errors="surrogatepass"),
        quoted.replace("%20", "+"),
    ):
        yield form
        yield re.sub("%..", lambda found: found[0].lower(), form)
    yield urllib.parse.quote(quoted, safe="")
    yield repr(value)[1:-1]
    yield html.escape(value)
    yield data.hex()
    yield data.hex().upper()


def _base64_needles(data: bytes) -> Iterator[_Needle]:
    """The characters of the base64 text that depend on the secret alone, at each offset."""
    for offset in range(3):
        core = base64.b64encode(bytes(offset) + data).decode("ascii").rstrip("=")
        start = (offset * 8 + 5) // 6
        end = (offset + len(data)) * 8 // 6
        core = core[start:end]
        if len(core) < _SHORTEST_ENCODED:
            continue
        for form in {core, core.replace("+", "-").replace("/", "_")}:
            before = "[A-Za-z0-9+/_-]?" if start else ""
            yield _Needle(form, rf"(){before}{re.escape(form)}[A-Za-z0-9+/_-]?={{0,2}}()")


def _masked_shapes(text: str) -> str:
    for shape in _SHAPES:
        if shape.literal in text:
            text = shape.pattern.sub(MASK, text)
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(rf"\g<1>{MASK}", text)
    if "uthorization" in text or "UTHORIZATION" in text:
        text = _HEADER.sub(rf"\g<1>{MASK}", text)
    return text


_SECRET_NAME = re.compile(
    r"(?i)(password|passwd|passphrase|secret|token|private_?key|api_?key|access_?key|credential)"
)
_NOT_SECRET_NAME = re.compile(r"(?i)(_url|_uri|_id|_name|_type|_endpoint|expires\w*)$")


def secret_values(spec: "ConnectorSpec | None", config: Mapping[str, Any]) -> list[str]:
    """Every secret text of a configuration: declared ones, and keys that are named like one."""
    declared = spec.secret_names if spec else frozenset()
    found: dict[str, None] = {}
    for name, value in config.items():
        if name in declared:
            found |= dict.fromkeys(_declared_texts(value))
        else:
            found |= dict.fromkeys(_named_texts(name, value))
    return list(found)


def _declared_texts(value: Any) -> Iterator[str]:
    """A declared secret whole, and the secret parts of a key file or an address."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named_texts(name, inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _declared_texts(inner)
    elif isinstance(value, bool) or value in (None, ""):
        return
    else:
        text = str(value)
        yield text
        if text.lstrip().startswith("{"):
            try:
                yield from _declared_texts(json.loads(text))
            except ValueError:
                return
        elif "://" in text and "@" in text:
            yield from _address_password(text)


def _address_password(text: str) -> Iterator[str]:
    try:
        password = urllib.parse.urlsplit(text).password
    except ValueError:
        return
    if password:
        yield password
        yield urllib.parse.unquote(password)


def _named_texts(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner_name, inner in value.items():
            yield from _named_texts(inner_name, inner)
    elif _SECRET_NAME.search(name) and not _NOT_SECRET_NAME.search(name):
        yield from _declared_texts(value)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named_texts(name, inner)
    elif isinstance(value, str) and "://" in value and "@" in value:
        yield from _address_password(value)
