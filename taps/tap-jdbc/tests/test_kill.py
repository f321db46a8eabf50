# SPDX-License-Identifier: Apache-2.0
"""A tap that is killed in the middle of a table goes on there, and Bronze has every row once."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

ROWS = 200_000
STREAM = "public-big"


def start(config_path, state_path=None):
    command = [sys.executable, "-m", "tap_jdbc.tap", "--config", str(config_path)]
    command += ["--state", str(state_path)] if state_path else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def read_until(tap, share):
    """What a target would have taken when the tap was killed: records up to the last STATE."""
    sure, waiting, state = [], [], None
    for line in tap.stdout:
        message = json.loads(line)
        if message["type"] == "RECORD":
            waiting.append(message["record"]["id"])
        elif message["type"] == "STATE":
            sure, waiting, state = sure + waiting, [], message["value"]
            if len(sure) >= share * ROWS:
                break
        if len(waiting) % 20_000 == 1:
            time.sleep(0.2)  # a target that is slower than the tap, so that STATE has its time
    return sure, state


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"cursor_columns": ["at"]}], ids=["full", "incremental"])
def test_killed_at_40_percent_it_goes_on_at_40_percent(source, tmp_path, settings, parallel):
    source.execute(
        "create table big (id int primary key, at timestamptz not null, note text)",
        f"""insert into big
            select n, timestamptz '2026-01-01' + n * interval '1 second', repeat('x', 50)
            from generate_series(1, {ROWS}) n""",
    )
    config = tmp_path / "config.json"
    chunks = {"chunk_rows": 10_000, "parallel": parallel}
    config.write_text(json.dumps(source.config(**settings, **chunks)))

    first = start(config)
    delivered, state = read_until(first, 0.4)
    first.kill()
    first.wait()
    first.stdout.close()
    (tmp_path / "state.json").write_text(json.dumps(state))
    second = start(config, tmp_path / "state.json")
    rest, final = read_until(second, 2)
    second.stdout.close()

    assert second.wait() == 0
    assert 0.4 * ROWS <= len(delivered) < 0.9 * ROWS
    assert delivered == list(range(1, len(delivered) + 1))
    assert rest == list(range(len(delivered) + 1, ROWS + 1))
    assert "snapshot" not in final["bookmarks"][STREAM]
    if settings:
        assert final["bookmarks"][STREAM]["replication_key_value"].startswith("2026-01-03T")
