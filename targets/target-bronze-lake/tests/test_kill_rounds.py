# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at any point: STATE is never ahead of the data, and every version is there exactly once.

A process that has everything loaded forks a run per round; the run kills itself after some time or
at some step of the store, before or after it.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 50
LENGTH = 3000
KEYS = 400

FORKER = """
import json, os, random, signal, sys, threading
import pyarrow.parquet
from ipai_kit.landing.command import land
from target_bronze_lake import lake, compaction, vacuum, delta_log, manifest_log
from target_bronze_lake.command import PROGRAM
from target_bronze_lake.storage import Storage

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def run(task):
    with open(task["output"], "ab", 0) as output:
        os.dup2(output.fileno(), 1)
    if "seconds" in task:
        threading.Timer(task["seconds"], die).start()
    steps = iter(range(task.get("step", 1 << 30) + 1))
    def breaking(method):
        def step(*arguments, **named):
            last = next(steps, None) is None
            if last and task["before"]:
                die()
            result = method(*arguments, **named)
            if last:
                die()
            return result
        return step
    for owner, name in ((Storage, "write"), (delta_log.DeltaLog, "commit"),
                        (manifest_log.ManifestLog, "_put"), (lake.Lake, "commit")):
        setattr(owner, name, breaking(getattr(owner, name)))
    with open(task["input"], "rb") as stream:
        os._exit(land(PROGRAM, task["config"], stream))

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(json.loads(line))
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def fork_run(
    tmp_path: Path, lake: Any, form: str
) -> Iterator[Callable[..., tuple[int, list[int]]]]:
    """Run the target on some messages, perhaps to be killed; gives exit status and STATEs."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def run(lines: list[Any], death: dict[str, Any], **config: Any) -> tuple[int, list[int]]:
        (tmp_path / "input").write_text("".join(json.dumps(line) + "\n" for line in lines))
        output = tmp_path / "output"
        output.write_bytes(b"")
        task = {
            "input": str(tmp_path / "input"),
            "output": str(output),
            "config": {"lake_url": lake.url, "format": form, **config},
            **death,
        }
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        status = os.waitstatus_to_exitcode(int(process.stdout.readline()))
        return status, [int(line) for line in output.read_text().split("\n")[:-1]]

    yield run
    process.communicate()


def long_stream(seed: int) -> list[Any]:
    """Updates of some keys in the order of their cursor, with a STATE now and then."""
    dice = random.Random(seed)
    messages: list[Any] = []
    for position in range(LENGTH):
        if position % 37 == 36:
            messages.append({"type": "STATE", "value": position})
        else:
            stream = dice.choice("ab")
            row = {"id": dice.randrange(KEYS), "u": position, "v": dice.random()}
            messages.append({"type": "RECORD", "stream": stream, "record": row})
    return [*messages, {"type": "STATE", "value": LENGTH}]


def death(dice: random.Random) -> dict[str, Any]:
    if dice.random() < 0.5:
        return {"seconds": dice.random() * 0.15}
    return {"step": dice.randrange(12), "before": dice.random() < 0.5}


def delivered(messages: list[Any], stream: str) -> list[str]:
    return [
        json.dumps(message["record"])
        for message in messages
        if message["type"] == "RECORD" and message["stream"] == stream
    ]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_killed_again_and_again_the_lake_holds_every_version_once(
    lake: Any, fork_run: Callable[..., Any], schema: Callable[..., Any], form: str
) -> None:
    dice = random.Random(7)
    messages = long_stream(7)
    schemas = [schema(stream, cursor="u", u={}) for stream in "ab"]
    stored, killed = -1, 0
    for _ in range(ROUNDS // 2):
        size = dice.randrange(20, 200)
        rest = messages[stored + 1 :]
        status, states = fork_run(
            [*schemas, *rest], death(dice), batch_size_rows=size, optimize_after=40
        )
        killed += status == -9
        if states and dice.random() < 0.7:  # else whoever stores STATE was killed too
            stored = dice.choice(states)
        if stored >= 0:
            for stream in "ab":
                found = lake.records(stream)
                assert set(delivered(messages[: stored + 1], stream)) <= set(found)

    status, states = fork_run([*schemas, *messages[stored + 1 :]], {}, optimize_after=0)

    assert (status, states[-1]) == (0, LENGTH)
    assert killed > ROUNDS // 5
    for stream in "ab":
        assert sorted(lake.records(stream)) == sorted(delivered(messages, stream))
