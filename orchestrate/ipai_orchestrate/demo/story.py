# SPDX-License-Identifier: Apache-2.0
"""The demo itself: each step says what it does, does it, and says what came of it."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from ipai_kit.spec import ConnectorSpec, InstalledConnector
from ipai_orchestrate.catalog import installed_connector
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.demo.closing import show_closing
from ipai_orchestrate.demo.layers import forget_rows
from ipai_orchestrate.demo.plan import SOURCE, TOKEN_VARIABLE, Bookmark, DemoFile, DemoPlan
from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.instances import save_instance
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.runner import RunOptions, RunResult
from ipai_orchestrate.pipeline.start import (
    RunRequest,
    close_abandoned,
    default_work_root,
    run_now,
)
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.progress import LiveProgress
from ipai_orchestrate.report import headline, show_run
from ipai_orchestrate.sandbox import Sandbox, running_sandbox

STEPS = 5
TICK_SECONDS = 0.2
# What a stand-in on the same machine can bear; the real API gets what the connector's spec says.
SANDBOX_SPEED = {"requests_per_second": 300, "concurrency": 16}


@dataclass
class _Stage:
    """What all steps share."""

    console: Console
    database: Database
    plan: DemoPlan
    stop: Stop
    connector: InstalledConnector
    number: int = 0

    def step(self, title: str, text: str) -> None:
        """Announce the next step."""
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}/{STEPS}[/] [bold]{title}[/]")
        self.console.print(escape(text))

    @property
    def spec(self) -> ConnectorSpec:
        """The connector's own description."""
        return self.connector.spec()


def tell(
    console: Console, database: Database, plan: DemoPlan, stop: Stop, *, keep: bool = False
) -> int:
    """Show everything once; returns the exit code."""
    started = time.monotonic()
    stage = _Stage(console, database, plan, stop, installed_connector(SOURCE))
    where = "named by IPAI_DATABASE_URL" if database.revive is None else f"in {home_of().root}"
    stage.step("A database", f"Postgres {where}, with an up-to-date control plane.")
    told = _live(stage) if plan.is_live else _on_stand_in(stage, keep=keep)
    if isinstance(told, int):
        return told
    seconds = time.monotonic() - started
    console.print(f"\nAll of it took {seconds:.0f} seconds.")
    return 0


# -- on the stand-in ---------------------------------------------------------------------------


def _on_stand_in(stage: _Stage, *, keep: bool) -> int | None:
    file = DemoFile(home_of().root, stage.database.dsn)
    bookmark = file.resume(stage.plan.size)
    options = ["--option", f"repos={stage.plan.size}"]
    with running_sandbox(SOURCE, options) as sandbox:
        _describe(stage, sandbox, unfinished=bookmark is not None)
        with _reachable(stage, sandbox):
            bookmark = bookmark or _begin(stage, file)
            if failed := _both_syncs(stage, sandbox, file, bookmark):
                return failed
            if keep:
                _keep(stage, sandbox)
    return None


def _describe(stage: _Stage, sandbox: Sandbox, *, unfinished: bool) -> None:
    stage.step(
        "A source",
        f"A stand-in of GitHub's API at {sandbox.url}: a made-up organization with paging, quota "
        "and odd cases (a renamed, an empty, a blocked repository). Nothing leaves this machine.",
    )
    if unfinished:
        stage.console.print("[yellow]An earlier demo was not finished: going on where it was.[/]")


@contextmanager
def _reachable(stage: _Stage, sandbox: Sandbox) -> Iterator[None]:
    """Store the instance; its token goes into the environment, as a real one would."""
    config = sandbox.config()
    os.environ[TOKEN_VARIABLE] = config["auth_token"]
    config |= {"auth_token": f"${{{TOKEN_VARIABLE}}}", **SANDBOX_SPEED}
    _save(stage, config)
    try:
        yield
    finally:
        os.environ.pop(TOKEN_VARIABLE, None)


def _save(stage: _Stage, config: Mapping[str, Any]) -> None:
    with stage.database.connect() as connection:
        plane = ControlPlane(connection)
        close_abandoned(plane, default_work_root())
        save_instance(plane, stage.plan.instance_id, stage.connector, config)


def _begin(stage: _Stage, file: DemoFile) -> Bookmark:
    """Start from nothing: the made-up world starts anew too, and would be behind its own rows."""
    with stage.database.connect() as connection:
        ControlPlane(connection).state_set(stage.plan.instance_id, {})
        forget_rows(connection, stage.spec, stage.plan.instance_id)
    return file.begin(stage.plan.size)


def _both_syncs(stage: _Stage, sandbox: Sandbox, file: DemoFile, bookmark: Bookmark) -> int | None:
    stage.step(
        "First sync",
        "tap-github reads everything, target-bronze-postgres lands it as delivered in Bronze.",
    )
    if bookmark.steps:
        stage.console.print("Done by the earlier demo.")
    elif (first := _sync(stage, transform=False)).failure:
        return _give_up(stage, first)
    bookmark = file.move(bookmark)
    changed: dict[str, int] = sandbox.advance(bookmark.steps).get("changed", {})
    stage.step(
        "Second sync",
        f"{_news(changed)}\nOnly what may be new is read, then dbt builds the layers.",
    )
    second = _sync(stage, transform=True)
    if second.failure:
        return _give_up(stage, second)
    file.move(bookmark, finished=True)
    _close(stage, second)
    return None


def _news(changed: Mapping[str, int]) -> str:
    if not changed:
        return "The source has gone on."
    most = sorted(changed.items(), key=lambda one: -one[1])[:4]
    parts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in most)
    return f"The source has gone on: {sum(changed.values())} records changed, among them {parts}."


def _keep(stage: _Stage, sandbox: Sandbox) -> None:
    out = stage.console
    out.print("\n[bold]Kept running[/] until Ctrl-C. In another terminal:")
    out.print(f"  export {TOKEN_VARIABLE}={os.environ[TOKEN_VARIABLE]}")
    out.print(f"  curl -X POST {sandbox.url}/_sandbox/advance   # let its world go on")
    out.print(f"  ipai run {stage.plan.instance_id}")
    while not stage.stop.signum:
        time.sleep(TICK_SECONDS)


# -- on a real repository ----------------------------------------------------------------------


def _live(stage: _Stage) -> int | None:
    plan = stage.plan
    quota = "with GITHUB_TOKEN" if plan.streams is None else "without a token: 60 requests an hour"
    stage.step("A source", f"{plan.repository} at GitHub, {quota}.")
    _save(stage, plan.settings)
    stage.step("First sync", "Everything, or what is new since an earlier demo of this repository.")
    first = _sync(stage, transform=False)
    if first.failure:
        return _give_up(stage, first)
    stage.step("Second sync", "Only what has changed since a moment ago, then dbt.")
    second = _sync(stage, transform=True)
    if second.failure:
        return _give_up(stage, second)
    _close(stage, second)
    return None


# -- both --------------------------------------------------------------------------------------


def _sync(stage: _Stage, *, transform: bool) -> RunResult:
    options = RunOptions(default_work_root(), transform="all" if transform else "nothing")
    request = RunRequest(stage.plan.instance_id, stage.plan.streams, triggered_by="demo")
    with LiveProgress(stage.console) as progress:
        result = run_now(stage.database, request, options, stop=stage.stop, observer=progress)
    if result.failure is None:
        stage.console.print(f"[green]Done.[/] {headline(result)}.")
        if result.transform:
            stage.console.print(escape(f"{result.transform.summary()}."))
    return result


def _give_up(stage: _Stage, result: RunResult) -> int:
    show_run(stage.console, result)
    stage.console.print("\nWhat is committed is kept. Start the same demo again to go on.")
    return result.exit_code


def _close(stage: _Stage, second: RunResult) -> None:
    stage.step("The result", "Rows per stream and layer, and what the second sync found.")
    with stage.database.connect() as connection:
        show_closing(stage.console, connection, stage.spec, second)
