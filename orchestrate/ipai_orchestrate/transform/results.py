# SPDX-License-Identifier: Apache-2.0
"""What dbt said and did, as plain values: its JSON log lines and its run_results.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_FAILED = frozenset({"error", "fail", "runtime error", "partial success"})
_QUIET_EVENTS = frozenset({"Formatting"})
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class DbtEvent:
    """One line of dbt's log; `node` and `status` are set when it is about one model or test."""

    level: str
    message: str
    name: str = ""
    at: datetime | None = None
    node: str | None = None
    status: str | None = None


@dataclass(frozen=True)
class NodeResult:
    """The outcome of one model or test; `rows` are those written, or failing in a test."""

    name: str
    kind: str
    status: str
    seconds: float
    rows: int | None = None
    message: str | None = None
    relation: str | None = None

    @property
    def failed(self) -> bool:
        """Whether this outcome makes the whole run a failure."""
        return self.status in _FAILED


@dataclass(frozen=True)
class TransformResult:
    """The outcome of one run of dbt; `skipped` tells why it was not started at all."""

    ok: bool
    nodes: tuple[NodeResult, ...] = ()
    seconds: float = 0.0
    exit_code: int = 0
    error: str | None = None
    skipped: str | None = None

    @property
    def models(self) -> tuple[NodeResult, ...]:
        """Outcomes of models only."""
        return tuple(node for node in self.nodes if node.kind == "model")

    @property
    def failures(self) -> tuple[NodeResult, ...]:
        """Models and tests that failed."""
        return tuple(node for node in self.nodes if node.failed)

    @property
    def rows(self) -> int:
        """Rows written to Silver."""
        return sum(node.rows or 0 for node in self.models if not node.failed)

    def summary(self) -> str:
        """One line for logs: what was built, or what failed first."""
        if self.skipped:
            return f"dbt was not started: {self.skipped}"
        if self.ok:
            tests = sum(node.kind != "model" for node in self.nodes)
            return (
                f"dbt built {len(self.models)} models, {self.rows:,} rows written, "
                f"{tests:,} tests passed, in {self.seconds:.1f} s"
            )
        first = next(iter(self.failures), None)
        if first is None:
            return f"dbt failed: {self.error or f'exit code {self.exit_code}'}"
        return f"{len(self.failures)} of {len(self.nodes)} failed; {first.name}: {first.message}"


def parse_event(line: str) -> DbtEvent | None:
    """Read one line of `--log-format json`; other output becomes an event of level error."""
    text = line.strip()
    if not text:
        return None
    try:
        record = json.loads(text)
        info, data = record["info"], record["data"]
    except (ValueError, KeyError, TypeError):
        return DbtEvent(level="error", message=text, name="Output")
    message = _COLOUR.sub("", info["msg"]).strip()
    if info["name"] in _QUIET_EVENTS or not message:
        return None
    node = data.get("node_info") or {}
    return DbtEvent(
        level=info["level"],
        message=message,
        name=info["name"],
        at=datetime.fromisoformat(info["ts"]),
        node=node.get("node_name"),
        status=node.get("node_status"),
    )


def read_run_results(path: Path) -> tuple[NodeResult, ...]:
    """Outcomes of every node; none when dbt stopped before it wrote them."""
    try:
        results = json.loads(path.read_text())["results"]
    except FileNotFoundError:
        return ()
    return tuple(_node(result) for result in results)


def first_error(events: Iterable[DbtEvent]) -> str | None:
    """The text of a failure that belongs to no node, such as a parse error."""
    texts = [event.message for event in events if event.level == "error"]
    return "\n".join(texts[:5]) or None


def _node(result: Mapping[str, Any]) -> NodeResult:
    kind, _, *path = str(result["unique_id"]).split(".")
    status = str(result["status"])
    written = result.get("adapter_response", {}).get("rows_affected")
    failing = result.get("failures")
    rows = written if kind == "model" else failing
    return NodeResult(
        name=path[0] if path else kind,
        kind=kind,
        status=status,
        seconds=float(result["execution_time"]),
        # A view has no rows of its own: the driver answers -1.
        rows=rows if isinstance(rows, int) and rows >= 0 else None,
        message=None if status in {"success", "pass"} else _plain(result.get("message")),
        relation=result.get("relation_name"),
    )


def _plain(message: str | None) -> str | None:
    return None if message is None else _COLOUR.sub("", message).strip()
