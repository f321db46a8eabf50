# SPDX-License-Identifier: Apache-2.0
"""The n8n workflows: always sound in structure; run by a real n8n where IPAI_N8N names one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / "n8n").glob("*.json"))
# Versions that were seen running in n8n 1.123.
VERSIONS = {"webhook": 2, "code": 2, "if": 2, "set": 3.4, "httpRequest": 4.2, "stickyNote": 1}
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_promised_workflows_are_here():
    promised = {"connector-sync-complete", "connector-failure-alert", "connector-alert"}
    assert promised <= {p.stem for p in WORKFLOWS}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_is_sound(path):
    workflow = read(path)
    nodes = {node["name"]: node for node in workflow["nodes"]}
    ids = [node["id"] for node in workflow["nodes"]]

    assert workflow["name"] == path.stem
    assert re.fullmatch(r"[A-Za-z0-9]{8,36}", workflow["id"])
    assert workflow["active"] is False
    assert workflow["pinData"] == {}
    assert len(nodes) == len(workflow["nodes"]) == len(set(ids))
    for node in nodes.values():
        assert uuid.UUID(node["id"])
        assert VERSIONS[node["type"].removeprefix("n8n-nodes-base.")] == node["typeVersion"]
        assert "credentials" not in node


def reachable(workflow, start):
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            outputs = workflow["connections"].get(name, {}).get("main", [])
            waiting += [link["node"] for output in outputs for link in output]
    return seen


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_every_node_is_reached_from_a_webhook_that_is_checked_first(path):
    workflow = read(path)
    nodes = {n["name"]: n for n in workflow["nodes"] if not n["type"].endswith("stickyNote")}
    (hook,) = [n for n in nodes.values() if n["type"].endswith(".webhook")]
    linked = {
        link["node"]
        for outputs in workflow["connections"].values()
        for output in outputs["main"]
        for link in output
    }

    assert reachable(workflow, hook["name"]) == set(nodes)
    assert linked | {hook["name"]} == set(nodes)
    assert set(workflow["connections"]) <= set(nodes)
    assert re.fullmatch(r"[a-z0-9-]+", hook["parameters"]["path"])
    assert hook["parameters"]["httpMethod"] == "POST"
    assert hook["parameters"]["options"]["rawBody"] is True
    (first,) = workflow["connections"][hook["name"]]["main"][0]
    assert "timingSafeEqual" in nodes[first["node"]]["parameters"]["jsCode"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_reads_only_fields_that_events_have(path):
    used = set(re.findall(r"\$json\.data\.(\w+)", path.read_text(encoding="utf-8")))
    about = "alert" if path.stem == "connector-alert" else "run"
    schema = json.loads((ROOT / f"schemas/{about}_event.schema.json").read_text(encoding="utf-8"))
    data = schema["$defs"]["run"] if about == "run" else schema["properties"]["data"]

    assert used
    assert used <= set(data["properties"])


def test_no_two_workflows_share_a_path_or_an_id():
    flows = [read(path) for path in WORKFLOWS]
    hooks = [flow["nodes"][0]["parameters"]["path"] for flow in flows]

    assert len({flow["id"] for flow in flows}) == len(flows)
    assert len({node["id"] for flow in flows for node in flow["nodes"]}) == sum(
        len(flow["nodes"]) for flow in flows
    )
    assert len(set(hooks)) == len(flows)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_holds_no_secret_and_no_address(path):
    text = path.read_text(encoding="utf-8")

    assert "whsec_" not in text.replace("/^whsec_/", "").replace("whsec_...", "")
    assert re.findall(r"https?://[^\s\"']+", text) == []


# -- a real n8n --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chat():
    """Where the workflows post their messages."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.got = got
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def n8n(tmp_path_factory, chat):
    """The address of an n8n that runs both workflows."""
    program = os.environ.get("IPAI_N8N")
    if not program:
        pytest.skip("IPAI_N8N does not name an n8n program")
    home = tmp_path_factory.mktemp("n8n")
    port = 5678
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HOME": str(home),
        "N8N_USER_FOLDER": str(home),
        "N8N_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_PORT": str(port),
        "N8N_DIAGNOSTICS_ENABLED": "false",
        "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
        "N8N_TEMPLATES_ENABLED": "false",
        "N8N_RUNNERS_ENABLED": "false",
        "N8N_BLOCK_ENV_ACCESS_IN_NODE": "false",
        "NODE_FUNCTION_ALLOW_BUILTIN": "crypto",
        "IPAI_WEBHOOK_SECRET": SECRET,
        "IPAI_CHAT_URL": f"http://127.0.0.1:{chat.server_port}/",
    }
    for path in WORKFLOWS:
        for command in (
            ["import:workflow", f"--input={path}"],
            ["update:workflow", f"--id={read(path)['id']}", "--active=true"],
        ):
            subprocess.run(
                [program, *command], env=environment, check=True, capture_output=True, timeout=300
            )
    with (home / "n8n.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "start"], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for path in WORKFLOWS:  # unsigned: an active workflow refuses it, an inactive is 404
                hook = read(path)["nodes"][0]["parameters"]["path"]
                wait_for(f"{address}/webhook/{hook}", process, home / "n8n.log")
            yield address
        finally:
            process.terminate()
            process.wait(60)


def wait_for(hook, process, log):
    """Until the workflow behind the hook is active."""
    deadline = time.monotonic() + 240
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(OSError):
            if send(hook, b"{}", secret="whsec_") == 500:
                return
        time.sleep(0.5)


def event(kind, **data):
    facts = {
        "run_id": str(uuid.uuid4()),
        "instance_id": "github-acme",
        "env": "dev",
        "attempt": 1,
        "max_attempts": 3,
        "rows_processed": 42,
        "started_at": "2026-11-21T10:00:00.000000Z",
        "ended_at": "2026-11-21T10:00:07.000000Z",
        "error_class": None,
        "error_summary": None,
        "retried_as": None,
    }
    return json.dumps({"id": str(uuid.uuid4()), "type": kind, "data": {**facts, **data}}).encode()


def send(url, body, *, secret=SECRET, at=None):
    """Post as the notifier does; the status of the answer."""
    timestamp = int(at or time.time())
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.digest(key, f"m1.{timestamp}.".encode() + body, hashlib.sha256)
    headers = {
        "content-type": "application/json",
        "webhook-id": "m1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.n8n
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_n8n_tells_the_chat_what_it_should_and_nothing_forged(n8n, chat):
    done, alert = f"{n8n}/webhook/ipai-sync-complete", f"{n8n}/webhook/ipai-failure-alert"
    failed = event("run.failed", error_class="tap", error_summary="It broke.")

    assert send(done, event("run.succeeded")) == 200
    assert send(done, event("run.queued")) == 200
    assert send(alert, failed) == 200
    assert send(alert, event("run.failed", error_class="tap", retried_as="x")) == 200
    assert send(alert, failed, secret="whsec_" + base64.b64encode(bytes(32)).decode()) == 500
    assert send(alert, failed, at=time.time() - 600) == 500
    texts = [one["text"] for one in chat.got]
    alerts = f"{n8n}/webhook/ipai-alert"
    facts = {"severity": "critical", "condition": "worker_lost", "change": "opened", "alert_id": 7}
    facts |= {"status": "opened", "summary": "Worker w is gone.", "owners": ["me"]}
    assert send(alerts, event("alert.opened", **facts)) == 200
    assert send(alerts, event("webhook.test")) == 200
    assert chat.got.pop()["text"] == (
        "CRITICAL worker_lost (opened): Worker w is gone. Owners: me."
        " Look after it: ipai alerts ack 7"
    )
    assert len(texts) == 2, texts
    assert texts[0].startswith("github-acme (dev): 42 rows in 7 s. Run ")
    assert texts[1].startswith("FAILED github-acme (dev) after attempt 1 of 3: tap: It broke. Look")
