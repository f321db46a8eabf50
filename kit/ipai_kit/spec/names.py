# SPDX-License-Identifier: Apache-2.0
"""Every generated name of the platform, in one place, within Postgres' limit of 63 bytes.

A name is kept as it is where it can be. Where it must change (foreign characters, capitals, too
long) it gets a hash of what it was made from, so that two streams never share a table. A hyphen,
with which SQL taps join schema and table, becomes two underscores: those belong to it alone.
"""

import hashlib
import re
from typing import Final, Literal

Domain = Literal["core", "marketing", "devops", "erp"]
SyncMode = Literal["full_table", "incremental", "cdc"]

DOMAINS: Final[tuple[Domain, ...]] = ("core", "marketing", "devops", "erp")
SYNC_MODES: Final[tuple[SyncMode, ...]] = ("full_table", "incremental", "cdc")
MAX_NAME_BYTES: Final = 63
PLATINUM_SCHEMA: Final = "ipai_platinum_core"

SOURCE_TYPE_PATTERN: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_HYPHENATED = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_HYPHEN = "__"
_FOREIGN = re.compile(r"[^a-z0-9_]+")
_HASHED = re.compile(r"_h[0-9a-f]{10}")
_HASH_LENGTH = 12


def bronze_schema(domain: str) -> str:
    """Schema of the raw tables of a domain, e.g. ``ipai_bronze_devops``."""
    return f"ipai_bronze_{_known_domain(domain)}"


def silver_schema(domain: str) -> str:
    """Schema of the cleaned tables of a domain, e.g. ``ipai_silver_devops``."""
    return f"ipai_silver_{_known_domain(domain)}"


def gold_schema(domain: str) -> str:
    """Schema of the documented views of a domain, e.g. ``ipai_gold_devops``."""
    return f"ipai_gold_{_known_domain(domain)}"


def bronze_table(source: str, stream: str) -> str:
    """Raw table of a stream, e.g. ``raw_github_issues``; ``raw_jdbc_public__orders``."""
    if _HYPHEN in f"{source}_{stream}":
        return _hashed("raw", source, stream)
    if "-" in stream and _HYPHENATED.fullmatch(stream):
        name = _plain("raw", source, stream.replace("-", _HYPHEN))
        return name or _hashed("raw", source, stream)
    return _bounded("raw", source, stream)


def silver_table(source: str, entity: str) -> str:
    """Cleaned table of an entity, e.g. ``github_issues``."""
    return _bounded(source, entity)


def gold_view(domain: str, entity: str) -> str:
    """Documented view of an entity, e.g. ``gold_devops_ci_health``."""
    return _bounded("gold", _known_domain(domain), entity)


def job_name(source: str, stream: str, mode: str) -> str:
    """Job of one stream in one mode, e.g. ``sync_github_issues_incremental``."""
    if mode not in SYNC_MODES:
        message = f"Unknown sync mode {mode!r}. Use one of: {', '.join(SYNC_MODES)}."
        raise ValueError(message)
    return _bounded("sync", source, stream, mode)


def definition_name(source_type: str) -> str:
    """Name of a connector definition, e.g. ``ipai_connector_github``."""
    return f"ipai_connector_{_known_source(source_type)}"


def distribution_name(source_type: str) -> str:
    """Name of the installable package, e.g. ``ipai-connector-github``."""
    return definition_name(source_type).replace("_", "-")


def command_name(source_type: str) -> str:
    """Singer command, folder and Meltano plugin, e.g. ``tap-google-ads``."""
    return f"tap-{_known_source(source_type)}".replace("_", "-")


def module_name(source_type: str) -> str:
    """Python package of a tap, e.g. ``tap_google_ads``."""
    return f"tap_{_known_source(source_type)}"


def name_clashes(streams: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Raw tables that more than one of these (source, stream) pairs would use.

    Only ``a`` + ``b_c`` and ``a_b`` + ``c`` can share a plain ``raw_a_b_c``: who installs two such
    sources has to rename one.
    """
    users: dict[str, list[tuple[str, str]]] = {}
    for source, stream in dict.fromkeys(streams):
        users.setdefault(bronze_table(source, stream), []).append((source, stream))
    return {name: pairs for name, pairs in users.items() if len(pairs) > 1}


def _known_domain(domain: str) -> str:
    if domain not in DOMAINS:
        message = f"Unknown domain {domain!r}. Use one of: {', '.join(DOMAINS)}."
        raise ValueError(message)
    return domain


def _known_source(source_type: str) -> str:
    if not SOURCE_TYPE_PATTERN.fullmatch(source_type):
        message = (
            f"Source type {source_type!r} is not a valid name. "
            "Use lower-case letters, digits and single underscores, e.g. google_ads."
        )
        raise ValueError(message)
    return source_type


def _bounded(*parts: str) -> str:
    """Join the parts; add a hash of them when the plain name would not be theirs alone."""
    return _plain(*parts) or _hashed(*parts)


def _plain(*parts: str) -> str | None:
    """The parts joined, if that may be a name as it is."""
    name = "_".join(parts)
    is_name = all(parts) and not _FOREIGN.search(name) and not _HASHED.search(name)
    return name if is_name and len(name) <= MAX_NAME_BYTES else None


def _hashed(*parts: str) -> str:
    name = _FOREIGN.sub("_", "_".join(parts).lower())
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    kept = name[: MAX_NAME_BYTES - _HASH_LENGTH].rstrip("_")
    return f"{kept}_h{digest[: _HASH_LENGTH - 2]}"
