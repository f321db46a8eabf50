# SPDX-License-Identifier: Apache-2.0
"""Performs one claimed run: tap into target, STATE into the control plane, then dbt."""

import json
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from ipai_kit.spec import ConnectorSpec, Redactor, secret_values
from ipai_orchestrate.catalog import (
    DEFAULT_TARGET,
    TRANSFORM,
    executable,
    installed_connector,
)
from ipai_orchestrate.control_plane import ClaimedRun
from ipai_orchestrate.database_tls import require_proof
from ipai_orchestrate.exceptions import OrchestrateError
from ipai_orchestrate.pipeline.connectors import (
    Connector,
    child_environment,
    discover,
    launchable,
)
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.lease import previous_status
from ipai_orchestrate.pipeline.ledger import LEASE_SECONDS, Ledger
from ipai_orchestrate.pipeline.log_line import LogLine, LogParser
from ipai_orchestrate.pipeline.observer import Nobody, Observer
from ipai_orchestrate.pipeline.outcome import (
    CONFIGURATION,
    Failure,
    class_of,
    handed_back,
    judge,
    nothing_selected,
    stopped_by,
)
from ipai_orchestrate.pipeline.process_group import Launch
from ipai_orchestrate.pipeline.selection import only
from ipai_orchestrate.pipeline.settings import resolve, within_quota
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipeline.tally import Tally
from ipai_orchestrate.pipeline.transfer import (
    PATIENCE,
    Ending,
    Listeners,
    Patience,
    Wish,
    transfer,
)
from ipai_orchestrate.pipeline.workdir import work_directory
from ipai_orchestrate.secrets import run_secrets
from ipai_orchestrate.transform import DbtEvent, TransformResult, run_dbt

STATE_KEEPER = "target-bronze-postgres"


@dataclass(frozen=True)
class RunOptions:
    """How a run is performed, whatever it runs."""

    work_root: Path
    transform: Literal["changed", "all", "nothing"] = "changed"
    target: str = DEFAULT_TARGET
    lease_seconds: int = LEASE_SECONDS
    patience: Patience = PATIENCE


@dataclass(frozen=True)
class RunResult:
    """What came of a run."""

    run_id: str
    instance_id: str
    mode: str
    seconds: float
    tally: Tally
    failure: Failure | None = None
    transform: TransformResult | None = None

    @property
    def exit_code(self) -> int:
        """What `ipai run` ends with: the class of the failure, or zero."""
        return self.failure.exit_code if self.failure else 0


def perform(
    database: Database,
    run: ClaimedRun,
    options: RunOptions,
    *,
    stop: Stop | None = None,
    observer: Observer | None = None,
) -> RunResult:
    """Do the claimed run and close it in the control plane, however it ends."""
    started = time.monotonic()
    with Ledger(database, run, lease_seconds=options.lease_seconds) as ledger:
        job = _Job(database, run, options, ledger, stop or Stop(), observer or Nobody())
        try:  # the directory stays to the very end: a runner killed before is found by it
            with work_directory(options.work_root, str(run.id), str(run.lease_token)) as directory:
                failure = ledger.end(job.attempt(directory))
        except OSError as error:
            summary = f"The work directory cannot be used: {error}. Set IPAI_HOME to another place."
            failure = ledger.end(Failure("configuration", summary, CONFIGURATION))
    return RunResult(
        run_id=str(run.id),
        instance_id=run.instance_id,
        mode=run.mode,
        seconds=time.monotonic() - started,
        tally=job.tally,
        failure=failure,
        transform=job.transformed,
    )


class _Stopped(Exception):  # noqa: N818 - not an error: the wish of whoever asked
    """Raised inside dbt's listener to end dbt."""


@dataclass
class _Job:
    """One run while it happens."""

    database: Database
    run: ClaimedRun
    options: RunOptions
    ledger: Ledger
    stop: Stop
    observer: Observer
    tally: Tally = field(default_factory=Tally)
    transformed: TransformResult | None = None
    last_errors: dict[str, LogLine] = field(default_factory=dict)
    redactor: Redactor = field(default_factory=Redactor)

    def attempt(self, directory: Path) -> Failure | None:
        """Do everything; turn what goes wrong into a failure."""
        self.redactor.add(*secret_values(None, {"database_url": self.database.dsn}))
        try:
            require_proof(self.database.dsn, self.run.env)
            if self.run.source_type == TRANSFORM:
                self.observer.started(str(self.run.id), self.run.instance_id, self.run.mode)
                return self._build(select=self.run.config.get("select"))
            return self._extract_and_load(directory) or self._transform()
        except OrchestrateError as error:
            reason = self.redactor.text(str(error))
            return self._failed(Failure(class_of(error), reason, error.exit_code))
        except Exception as error:  # noqa: BLE001 - the worker's edge: a run must end with a reason
            text = self.redactor.text(traceback.format_exc())
            self.hear(LogLine("runner", f"{error!r}", "critical", fields={"traceback": text}))
            reason = self.redactor.text(f"{type(error).__name__}: {error}")
            return Failure("internal", f"The runner failed. {reason}", OrchestrateError.exit_code)

    # -- tap and target ----------------------------------------------------------------------

    def _extract_and_load(self, directory: Path) -> Failure | None:
        spec = msgspec.convert(self.run.spec, ConnectorSpec)
        secrets = run_secrets(self.database, self.run)
        settings = within_quota(resolve(spec, self.run.config, os.environ, secrets), self.run.quota)
        self.redactor.add(*secrets.to_mask, *secret_values(spec, settings))
        self.observer.started(str(self.run.id), self.run.instance_id, self.run.mode)
        with (
            secrets.handed_over(self.run.config, self.redactor.add) as door,
            self._tap({**settings, **door}, directory) as tap,
            self._target(spec, directory) as target,
        ):
            ending = self._transfer(tap, target)
        self.ledger.use(ending.usage)
        return self._judge(ending)

    @contextmanager
    def _tap(self, settings: Mapping[str, Any], directory: Path) -> Iterator[Launch]:
        program = executable(installed_connector(self.run.source_type).command)
        # A stream that was read in full tells which of its rows are gone.
        config = {"emit_activate_version_messages": True, **settings}
        if self.run.mode == "full_table":
            config["full_refresh"] = True
        files: dict[str, Mapping[str, Any]] = {"state": self.run.state}
        if self.run.streams is not None:
            catalog = discover(Connector(program, config), directory, self.redactor)
            files["catalog"] = only(catalog, self.run.streams)
        connector = Connector(program, config, files=files)
        with launchable(connector, directory, self._environment(directory)) as launch:
            yield launch

    @contextmanager
    def _target(self, spec: ConnectorSpec, directory: Path) -> Iterator[Launch]:
        config: dict[str, Any] = {
            "database_url": self.database.dsn,
            "instance_id": self.run.instance_id,
            "run_id": str(self.run.id),
            "source": spec.source_type,
            "domain": spec.domain,
        }
        if self._keeps_state:
            token = str(self.run.lease_token)
            self.redactor.add(token)
            config |= {"state_in_transaction": True, "lease_token": token}
        connector = Connector(executable(self.options.target), config)
        with launchable(connector, directory, self._environment(directory)) as launch:
            yield launch

    @property
    def _keeps_state(self) -> bool:
        """Whether the target saves STATE with its rows, for it lands where the control plane is."""
        return self.options.target == STATE_KEEPER

    def _environment(self, directory: Path) -> dict[str, str]:
        return child_environment(
            directory, IPAI_RUN_ID=str(self.run.id), IPAI_INSTANCE_ID=self.run.instance_id
        )

    def _transfer(self, tap: Launch, target: Launch) -> Ending:
        logs = {"tap": LogParser("tap", self.hear), "target": LogParser("target", self.hear)}
        listeners = Listeners(
            on_state=self._take_state,
            on_tap_log=lambda line: logs["tap"].feed(self.redactor.data(line)),
            on_target_log=lambda line: logs["target"].feed(self.redactor.data(line)),
            wish=self._wish,
        )
        try:
            return transfer(tap, target, listeners, self.options.patience)
        finally:
            for parser in logs.values():
                parser.finish()

    def _wish(self) -> Wish:
        if self.ledger.wish == "kill" or self.stop.urgent:
            return "kill"
        return "stop" if self.ledger.wish == "stop" or self.stop.signum else "go_on"

    def _take_state(self, line: bytes) -> None:
        try:
            state = json.loads(line)
        except ValueError:
            state = None
        if not isinstance(state, dict):
            text = self.redactor.data(line).decode("utf-8", "replace")
            self.hear(LogLine("target", text, "warning"))
        elif state and self._keeps_state:
            self.ledger.has_state = True
        elif state:
            self.ledger.save(state)

    def hear(self, line: LogLine) -> None:
        """Count what is a figure, keep what is a log line."""
        if self.tally.hear(line):
            self.ledger.count(self.tally)
            self.observer.counted(self.tally)
            if line.message == "progress":
                return
        if line.level in {"error", "critical"}:
            self.last_errors[line.source] = line
        self.ledger.log(line)
        self.observer.said(line)

    def _judge(self, ending: Ending) -> Failure | None:
        if ending.stopped and self.stop.signum:
            return self._stopped()
        if ending.stopped:
            return self.ledger.failure or Failure("internal", "A keeper process was killed.", 70)
        failure = judge(ending, self.last_errors)
        return self._failed(failure) if failure else None

    def _stopped(self) -> Failure:
        why = handed_back if self.stop.hand_back else stopped_by
        return self._failed(why(self.stop.signum))

    def _failed(self, failure: Failure) -> Failure:
        self.hear(
            LogLine("runner", failure.summary, "error", fields={"class": failure.error_class})
        )
        return failure

    # -- Silver and Gold ---------------------------------------------------------------------

    def _transform(self) -> Failure | None:
        if self.options.transform == "nothing" or not (streams := self._streams_to_transform()):
            return None
        self.observer.transforming(len(streams))
        return self._build(streams=[(self.run.source_type, stream) for stream in streams])

    def _build(
        self,
        streams: Sequence[tuple[str, str]] | None = None,
        select: Sequence[str] | None = None,
    ) -> Failure | None:
        """Let dbt build what depends on these streams, what it selects, or everything."""
        try:
            self.transformed = run_dbt(
                self.database.dsn,
                streams=streams,
                select=select,
                on_event=self._hear_dbt,
                on_wait=self._obey,
            )
        except _Stopped:
            return self.ledger.failure or self._stopped()
        self.hear(LogLine("dbt", self.transformed.summary()))
        if self.transformed.ok and select and not self.transformed.nodes:
            return self._failed(nothing_selected(select))
        if self.transformed.ok:
            return None
        if self.stop.signum:  # a terminal tells dbt as well, which may have ended by itself
            return self._stopped()
        return self._failed(Failure("transform", self.transformed.summary(), 1))

    def _streams_to_transform(self) -> list[str]:
        """What changed; after a run that did not get as far as dbt, everything that may have."""
        if self.options.transform == "all":
            return [stream["name"] for stream in self.run.spec["streams"]]
        with self.database.connect() as connection:
            before = previous_status(connection, self.run)
        if before not in {None, "succeeded"}:
            return [stream["name"] for stream in self.run.spec["streams"]]
        return self.tally.changed_streams()

    def _hear_dbt(self, event: DbtEvent) -> None:
        level = {"warn": "warning"}.get(event.level, event.level)
        if event.status in {"started", "pass"}:
            level = "debug"
        fields = {"node": event.node, "status": event.status} if event.node else {}
        self.hear(LogLine("dbt", self.redactor.text(event.message), level, fields=fields))
        self._obey()

    def _obey(self) -> None:
        """End dbt when the run is to stop, also while dbt has nothing to say."""
        if self._wish() != "go_on":
            raise _Stopped
