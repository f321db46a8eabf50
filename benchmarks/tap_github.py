#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How long tap-github and the best peer take for the same streams of the same repositories.

Both read a stand-in of GitHub on loopback that answers after 100 ms, one after the other, without
a token, by organization, from nothing. The peer is meltanolabs-tap-github in an environment of its
own, made by uv outside the checkout; streams for which it uses GraphQL are left out. The stand-in
counts requests and measures the busiest second.

    python benchmarks/tap_github.py [--repos 50] [--latency-ms 100] [--rate 150] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ipai_kit.testing import SandboxUrl, running_sandbox, selecting

PEER = "meltanolabs-tap-github==1.30.1"
GOAL = 8.0
ORGANIZATION = "octo-sandbox"
# Ours and the peer's name, where it is another.
STREAMS = {
    "repositories": "repositories",
    "branches": "branches",
    "tags": "tags",
    "commits": "commits",
    "pull_requests": "pull_requests",
    "pull_request_commits": "pull_request_commits",
    "reviews": "reviews",
    "review_comments": "review_comments",
    "issues": "issues",
    "issue_comments": "issue_comments",
    "issue_events": "issue_events",
    "labels": "labels",
    "milestones": "milestones",
    "releases": "releases",
    "contributors": "contributors",
    "workflows": "workflows",
    "workflow_runs": "workflow_runs",
    "workflow_jobs": "workflow_run_jobs",
    "deployments": "deployments",
    "deployment_statuses": "deployment_statuses",
}
SIZES = {
    "issues_per_repo": 20,
    "pulls_per_repo": 8,
    "commits_per_repo": 60,
    "runs_per_repo": 10,
    "deployments_per_repo": 2,
}


@dataclass(frozen=True)
class Result:
    """One run of one tap."""

    name: str
    seconds: float
    cpu_seconds: float
    requests: int
    peak_per_second: int
    peak_concurrency: int
    records: dict[str, int]


def peer_command() -> str:
    """The peer in its own environment; made once and kept in the cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipai-bench"
    home = base / PEER.replace("==", "-")
    command = home / "bin" / "tap-github"
    if command.exists():
        return str(command)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        message = "uv is not installed: the peer cannot be set up."
        raise SystemExit(message)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([uv, "venv", "-q", "-p", version, str(home)], check=True)
    into = [uv, "pip", "install", "-q", "--python", str(home / "bin" / "python"), PEER]
    if subprocess.run(into).returncode:
        shutil.rmtree(home)
        message = f"{PEER} cannot be installed: is the package index reachable?"
        raise SystemExit(message)
    return str(command)


def catalog_of(command: str, config: Path, streams: list[str]) -> dict[str, Any]:
    """The tap's own catalog with these streams selected."""
    discover = [command, "--config", str(config), "--discover"]
    done = subprocess.run(discover, capture_output=True, check=True)
    return selecting(json.loads(done.stdout), streams)


def run(
    name: str, command: str, config: Mapping[str, Any], streams: list[str], url: SandboxUrl
) -> Result:
    """Run a tap to its end; its messages go to a file."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {part: Path(folder) / part for part in ("config", "catalog", "out", "log")}
        paths["config"].write_text(json.dumps(config))
        paths["catalog"].write_text(json.dumps(catalog_of(command, paths["config"], streams)))
        url.reset()
        started = time.monotonic()
        with paths["out"].open("wb") as out, paths["log"].open("wb") as log:
            arguments = ["--config", str(paths["config"]), "--catalog", str(paths["catalog"])]
            process = subprocess.Popen([command, *arguments], stdout=out, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        if process.returncode:
            message = f"{name} failed:\n{paths['log'].read_text()[-3000:]}"
            raise SystemExit(message)
        stats = url.stats()
        return Result(
            name=name,
            seconds=round(seconds, 2),
            cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
            requests=stats["requests"],
            peak_per_second=stats["peak_requests_per_second"],
            peak_concurrency=stats["peak_concurrency"],
            records=dict(sorted(count_records(paths["out"]))),
        )


def count_records(path: Path) -> Iterator[tuple[str, int]]:
    """Records per stream."""
    seen: Counter[str] = Counter()
    with path.open("rb") as lines:
        for line in lines:
            message = json.loads(line)
            if message["type"] == "RECORD":
                seen[message["stream"]] += 1
    yield from seen.items()


@contextmanager
def stand_in(repos: int, latency_ms: float) -> Iterator[SandboxUrl]:
    """The API, in a process of its own."""
    quota = {"rate_limit": 10**9, "anonymous_rate_limit": 10**9}
    options = {"repos": repos, "specials": False, **SIZES, **quota}
    with running_sandbox("github", process=True, latency_ms=latency_ms, **options) as url:
        yield url


def main() -> int:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repos", type=int, default=50)
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--rate", type=float, default=150.0, help="our requests per second")
    parser.add_argument("--concurrency", type=int, default=24, help="our requests at once")
    parser.add_argument("--json", action="store_true", help="print figures for machines")
    arguments = parser.parse_args()

    ours = str(Path(sys.executable).parent / "tap-github")
    peer = peer_command()
    with stand_in(arguments.repos, arguments.latency_ms) as url:
        common = {"organizations": [ORGANIZATION]}
        rate = {"requests_per_second": arguments.rate, "concurrency": arguments.concurrency}
        mine = run("tap-github", ours, {**common, **rate, "api_url": url}, list(STREAMS), url)
        theirs = run(PEER, peer, {**common, "api_url_base": url}, list(STREAMS.values()), url)
    return report(mine, theirs, arguments)


def report(mine: Result, theirs: Result, arguments: argparse.Namespace) -> int:
    """Print the comparison; 1 when a goal is missed."""
    faster = theirs.seconds / mine.seconds
    missing = {
        stream: (mine.records.get(stream, 0), theirs.records.get(other, 0))
        for stream, other in STREAMS.items()
        if mine.records.get(stream, 0) != theirs.records.get(other, 0)
    }
    within = mine.peak_per_second <= arguments.rate
    if arguments.json:
        figures = {
            "repos": arguments.repos,
            "latency_ms": arguments.latency_ms,
            "rate": arguments.rate,
            "results": [asdict(mine), asdict(theirs)],
            "times_faster": round(faster, 2),
            "within_rate": within,
            "streams_that_differ": missing,
        }
        print(json.dumps(figures, indent=2))
    else:
        print(f"{arguments.repos} repositories, {arguments.latency_ms:g} ms latency")
        print(f"{'tap':34} {'wall s':>8} {'CPU s':>7} {'requests':>9} {'peak/s':>7} {'records':>8}")
        for one in (mine, theirs):
            print(
                f"{one.name:34} {one.seconds:8.1f} {one.cpu_seconds:7.1f} {one.requests:9}"
                f" {one.peak_per_second:7} {sum(one.records.values()):8}"
            )
        print(f"{faster:.1f} times faster (goal: {GOAL:g}); configured rate: {arguments.rate:g}/s")
        for stream, (left, right) in missing.items():
            print(f"  {stream}: {left} records of ours, {right} of theirs")
    return 0 if faster >= GOAL and within else 1


if __name__ == "__main__":
    sys.exit(main())
