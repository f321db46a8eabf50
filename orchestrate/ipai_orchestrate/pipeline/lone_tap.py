# SPDX-License-Identifier: Apache-2.0
"""Runs a tap without a target: for dry runs and checks, where records are looked at, not loaded."""

import signal
from dataclasses import dataclass, field

from ipai_kit.spec import Redactor
from ipai_orchestrate.pipeline.line_reader import LONGEST_LOG_LINE, LineReader, OnLine
from ipai_orchestrate.pipeline.log_line import LogLine, LogParser
from ipai_orchestrate.pipeline.outcome import Failure, judge, stopped_by
from ipai_orchestrate.pipeline.process_group import Launch, ProcessGroup
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipeline.tally import Tally
from ipai_orchestrate.pipeline.transfer import TICK_SECONDS, Ending


@dataclass
class Hearing:
    """What a tap said besides its records, and how it ended."""

    tally: Tally = field(default_factory=Tally)
    last_errors: dict[str, LogLine] = field(default_factory=dict)
    failure: Failure | None = None

    def hear(self, line: LogLine) -> None:
        """Keep figures and the last error."""
        self.tally.hear(line)
        if line.level in {"error", "critical"}:
            self.last_errors[line.source] = line


def watch_tap(launch: Launch, on_record: OnLine, redactor: Redactor, stop: Stop) -> Hearing:
    """Run a tap to its end, or until it is stopped."""
    hearing = Hearing()
    log = LogParser("tap", hearing.hear)
    with ProcessGroup(launch) as tap, LineReader() as reader:
        reader.watch(tap.output, on_record)
        reader.watch(tap.log, lambda line: log.feed(redactor.data(line)), LONGEST_LOG_LINE)
        asked = False
        while reader.read(TICK_SECONDS) or tap.exit_code is None:
            if stop.urgent or tap.exit_code is not None:
                tap.kill()
            elif stop.signum and not asked:
                tap.terminate()
                asked = True
        log.finish()
        code = tap.exit_code if tap.exit_code is not None else -signal.SIGKILL
    if stop.signum:
        hearing.failure = stopped_by(stop.signum)
    else:
        hearing.failure = judge(Ending(code, 0, stopped=False), hearing.last_errors)
    return hearing
