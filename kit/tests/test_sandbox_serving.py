# SPDX-License-Identifier: Apache-2.0
"""A stand-in that is really served: routes, limits, faults, control, and its command."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from starlette.routing import Route

from ipai_kit import sandbox
from ipai_kit.sandbox.command import OptionError, main, make_app, read_options
from ipai_kit.sandbox.server import address, listening_socket, served
from ipai_kit.testing import running_sandbox

GOOD = {"authorization": "Bearer good"}
SOURCE = """
import asyncio
from ipai_kit.sandbox import *

class World:
    def __init__(self, count):
        self.first = count
        self.reset()
    def reset(self):
        self.count = self.first
    def advance(self, steps):
        self.count += steps
        return {"items": steps}
    def items(self):
        return LazyRecords(self.count, lambda index: {"id": index, "name": f"item {index}"})

def create_app(
    seed: int = 7, items: int = 35, quota: int = 1000, strict: bool = False,
    at_once: int | None = None, share: float = 0.5, label: str = "demo",
):
    world = World(items)
    limits = [WindowQuota(quota)] + ([ConcurrencyLimit(at_once)] if at_once else [])
    sandbox = Sandbox(label, auth=TokenAuth({"good"}), limits=limits, world=world, etags=True,
                      config={"token": "good", "nested": {"list": [1]}})
    @sandbox.get("/items")
    def items_(request):
        return link_header(request, world.items())
    @sandbox.get("/open", public=True)
    def open_(request):
        return {"open": True}
    @sandbox.post("/echo")
    async def echo(request):
        return Reply({"got": await request.json()}, 201, {"x-made": "yes"})
    @sandbox.get("/gone")
    def gone(request):
        raise Refused(410, "It is gone")
    @sandbox.get("/wrong")
    def wrong(request):
        return 1 / 0
    @sandbox.get("/text")
    def text(request):
        return Reply(b"plain", media_type="text/plain")
    @sandbox.get("/nothing")
    def nothing(request):
        return Reply(None, 204)
    sandbox.stream("items", key=("id",), records=world.items)
    sandbox.stream("none", key=("id",), records=list)
    return sandbox.app()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A package with a sandbox, as pip would install it; gives the folder to put on the path."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "tap_standin.py").write_text(SOURCE)
    info = folder / "standin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: standin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ipai.sandboxes]\nstandin = tap_standin:create_app\n")
    return folder


@pytest.fixture(autouse=True)
def on_the_path(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(installed), path])))


@pytest.fixture
def url():
    with running_sandbox("standin") as address:
        yield address


def get(url, path, **headers):
    return requests.get(url + path, headers={**GOOD, **headers}, timeout=10)


# -- requests -----------------------------------------------------------------------------------


def test_serves_pages_as_declared(url):
    reply = get(url, "/items?page=2")

    assert [item["id"] for item in reply.json()] == [30, 31, 32, 33, 34]
    assert reply.links["prev"]["url"] == f"{url}/items?page=1"
    assert reply.headers["x-ratelimit-remaining"] == "999"


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/open", 200, b'{"open":true}'),
        ("/gone", 410, b'{"message":"It is gone"}'),
        ("/text", 200, b"plain"),
        ("/nothing", 204, b""),
        ("/unknown/path", 404, b'{"message":"Not Found"}'),
    ],
)
def test_replies_are_what_handlers_return(url, path, status, body):
    reply = get(url, path)

    assert (reply.status_code, reply.content) == (status, body)


def test_async_handlers_read_bodies(url):
    reply = requests.post(f"{url}/echo", json={"a": 1}, headers=GOOD, timeout=10)

    assert (reply.status_code, reply.json()) == (201, {"got": {"a": 1}})
    assert reply.headers["x-made"] == "yes"


def test_callers_without_a_token_reach_public_routes_only(url):
    assert requests.get(f"{url}/items", timeout=10).status_code == 401
    assert requests.get(f"{url}/open", timeout=10).status_code == 200


def test_a_mistake_in_a_handler_is_logged_with_its_traceback(url, caplog):
    reply = get(url, "/wrong")

    assert reply.status_code == 500
    assert "failed with ZeroDivisionError" in reply.json()["message"]
    assert "ZeroDivisionError: division by zero" in caplog.text


def test_an_unchanged_reply_costs_nothing(url):
    first = get(url, "/items")

    again = get(url, "/items", **{"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["x-ratelimit-remaining"] == first.headers["x-ratelimit-remaining"]
    assert get(url, "/items", **{"if-none-match": '"other"'}).status_code == 200


def test_a_spent_quota_is_refused_with_its_headers():
    with running_sandbox("standin", quota=1) as url:
        get(url, "/items")
        reply = get(url, "/items")

    assert reply.status_code == 429
    assert reply.headers["x-ratelimit-remaining"] == "0"
    assert 3590 < int(reply.headers["retry-after"]) <= 3601


def test_requests_at_the_same_time_are_counted_and_limited():
    with running_sandbox("standin", latency_ms=600, at_once=3) as url:
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: get(url, "/items").status_code, range(8)))
        stats = url.stats()

    assert sorted(statuses) == [200] * 3 + [429] * 5
    assert stats["peak_concurrency"] == stats["peak_requests_per_second"] == 8


def test_latency_is_waited_for_without_blocking_others():
    with running_sandbox("standin", latency_ms=200) as url, ThreadPoolExecutor(10) as pool:
        start = time.monotonic()
        list(pool.map(lambda _: get(url, "/items"), range(10)))
        elapsed = time.monotonic() - start

    assert 0.2 <= elapsed < 1.9


# -- faults -------------------------------------------------------------------------------------


def test_a_status_fault_happens_once_with_its_headers_and_body(url):
    url.fault("status", status=503, headers={"retry-after": "7"}, body={"why": "test"})
    first, second = get(url, "/items"), get(url, "/items")

    assert (first.status_code, first.headers["retry-after"]) == (503, "7")
    assert first.json() == {"why": "test"}
    assert second.status_code == 200


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_cut_connection_ends_in_the_middle_of_the_body(url, share):
    url.fault("cut", share=share)

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(url, "/items")
    assert get(url, "/items").status_code == 200


def test_a_cut_empty_reply_is_noticed_too(url):
    url.fault("cut")

    with pytest.raises(requests.exceptions.RequestException):
        requests.get(f"{url}/text", headers=GOOD, timeout=10, params={"x": "1"})


def test_broken_json_has_the_length_it_says(url):
    url.fault("broken_json")
    reply = get(url, "/items")

    assert int(reply.headers["content-length"]) == len(reply.content)
    assert "etag" not in reply.headers
    with pytest.raises(ValueError, match=r"."):
        reply.json()


def test_a_field_changes_its_type(url):
    url.fault("retype", field="id", to="string")

    assert get(url, "/items").json()[1]["id"] == "1"
    assert get(url, "/items").json()[1]["id"] == 1


def test_a_slow_reply_is_slow(url):
    url.fault("latency", seconds=0.3)
    start = time.monotonic()
    get(url, "/items")

    assert 0.3 <= time.monotonic() - start < 2


def test_a_silent_server_lets_the_caller_time_out(url):
    url.fault("timeout", seconds=30)

    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(f"{url}/items", headers=GOOD, timeout=0.2)
    assert get(url, "/items").status_code == 200


def test_a_silent_server_hangs_up_in_the_end(url):
    url.fault("timeout", seconds=0.1)

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(url, "/items")


def test_faults_given_at_the_start_are_waiting():
    with running_sandbox("standin", faults=["status:502*2@GET /items"]) as url:
        statuses = [get(url, "/items").status_code for _ in range(3)]

    assert statuses == [502, 502, 200]


# -- control ------------------------------------------------------------------------------------


def test_the_oracle_knows_every_record_and_the_source_advances(url):
    assert url.streams() == {"items": ("id",), "none": ("id",)}
    assert len(url.records("items")) == 35
    assert url.records("none") == []
    assert url.advance(2) == {"items": 2}
    assert url.records("items")[-1] == {"id": 36, "name": "item 36"}
    url.reset()
    assert len(url.records("items")) == 35


def test_the_oracle_streams_any_size_one_record_a_line():
    with running_sandbox("standin", items=20_000) as url:
        text = requests.get(f"{url}/_sandbox/streams/items", timeout=30).text

    assert len(json.loads(text)) == 20_000
    assert json.loads(text.splitlines()[1].rstrip(",")) == {
        "key": [0],
        "record": {"id": 0, "name": "item 0"},
    }


def test_an_unknown_stream_is_named_with_the_known_ones(url):
    with pytest.raises(ValueError, match=r"404.*No stream 'x'\. Use one of: items, none"):
        url.records("x")


def test_statistics_tell_routes_statuses_and_faults_and_leave_control_out(url):
    url.fault("status", status=500, match="GET /items")
    get(url, "/items")
    get(url, "/items")
    get(url, "/nowhere")
    url.records("none")
    stats = url.stats()

    assert stats["requests"] == 3
    assert stats["statuses"] == {"200": 1, "404": 1, "500": 1}
    assert stats["routes"]["GET /items"] == {"requests": 2, "statuses": {"200": 1, "500": 1}}
    assert stats["faults"] == {"status": 1}
    url.reset()
    assert url.stats()["requests"] == 0


def test_faults_can_be_listed_refused_and_cleared(url):
    control = f"{url}/_sandbox/faults"
    many = [{"kind": "cut"}, {"kind": "status", "times": None}]
    waiting = requests.post(control, json=many, timeout=10).json()
    refused = requests.post(control, json={"kind": "explode"}, timeout=10)
    unreadable = requests.post(control, data="{", timeout=10)
    requests.delete(control, timeout=10)

    assert [fault["kind"] for fault in waiting] == ["cut", "status"]
    assert (refused.status_code, unreadable.status_code) == (422, 422)
    assert "'explode'" in refused.json()["message"]
    assert requests.get(control, timeout=10).json() == []


def test_the_settings_for_a_tap_carry_the_address(url):
    assert url.config() == {"api_url": str(url), "token": "good", "nested": {"list": [1]}}


def test_settings_may_say_themselves_where_the_address_goes():
    app = sandbox.Sandbox("x", config={"host": "{url}/v1"}).app()
    with running_sandbox(app) as url:
        assert url.config() == {"host": f"{url}/v1"}


def test_what_a_stand_in_cannot_do_it_says():
    with running_sandbox(sandbox.Sandbox("plain").app()) as url:
        with pytest.raises(ValueError, match=r"501.*cannot advance"):
            url.advance()
        with pytest.raises(ValueError, match=r"501.*issues no tokens"):
            url.expire_tokens()


def test_access_tokens_can_be_ended():
    server = sandbox.OAuthServer({"c": "s"})
    box = sandbox.Sandbox("oauth", auth=server)
    box.post("/token", public=True)(server.token)
    box.get("/items")(lambda _: [])
    form = {"grant_type": "client_credentials", "client_id": "c", "client_secret": "s"}
    with running_sandbox(box.app()) as url:
        token = requests.post(f"{url}/token", data=form, timeout=10).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        before = requests.get(f"{url}/items", headers=headers, timeout=10).status_code
        url.expire_tokens()
        after = requests.get(f"{url}/items", headers=headers, timeout=10).status_code

    assert (before, after) == (200, 401)


# -- the server and its command -----------------------------------------------------------------


def test_many_threads_can_serve_at_once_and_leave_nothing_behind():
    before = threading.active_count()
    with running_sandbox("standin") as one, running_sandbox("standin", items=1) as two:
        assert (len(one.records("items")), len(two.records("items"))) == (35, 1)

    assert threading.active_count() == before


def test_a_server_that_cannot_start_is_reported(monkeypatch):
    monkeypatch.setattr("ipai_kit.sandbox.server.START_SECONDS", 0.01)
    monkeypatch.setattr("ipai_kit.sandbox.server.SandboxServer.run", lambda *_: None)

    with pytest.raises(TimeoutError, match="did not start"), served(make_app("standin")):
        pass


def test_addresses_of_both_families_are_urls():
    with listening_socket("127.0.0.1", 0) as four:
        assert address(four) == f"http://127.0.0.1:{four.getsockname()[1]}"
    if socket.has_ipv6:
        with listening_socket("::1", 0) as six:
            assert address(six) == f"http://[::1]:{six.getsockname()[1]}"


def test_options_are_converted_by_the_annotations_of_the_factory():
    app = make_app("standin", ["items=3", "strict=true", "share=0.25", "label=x", "at_once=2"])

    assert app.state.sandbox.source == "x"
    assert [limit.__class__.__name__ for limit in app.state.sandbox.limits] == [
        "WindowQuota",
        "ConcurrencyLimit",
    ]
    assert make_app("standin", ["at_once="], latency_ms=5).state.sandbox.latency_seconds == 0.005


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["itms=3"], "Unknown sandbox option 'itms=3'. Use key=value with: seed, items"),
        (["items"], "Unknown sandbox option 'items'"),
        (["items=many"], "'items' is not a number: 'many'"),
        (["strict=1"], "'strict' is not true or false: '1'"),
    ],
)
def test_options_that_make_no_sense_are_explained(options, message):
    from tap_standin import create_app

    with pytest.raises(OptionError, match=message.replace(".", r"\.")):
        read_options(create_app, options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "No sandbox for source 'nowhere'. Known: "),
        (["standin", "--option", "x=1"], "Unknown sandbox option 'x=1'"),
        (["standin", "--fault", "explode"], "Fault {'kind': 'explode'} is not valid"),
        (["standin", "--host", "192.0.2.1"], "address"),
    ],
)
def test_a_command_that_cannot_work_exits_with_78(capsys, arguments, message):
    assert main(arguments) == 78
    line = json.loads(capsys.readouterr().err)
    assert message in line["event"]
    assert line["level"] == "error"


def _start(*arguments, **options):
    command = [sys.executable, "-m", "ipai_kit.sandbox", "standin", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_the_command_says_where_it_listens_and_stops_cleanly_on_sigterm():
    with _start("--option", "items=2", "--fault", "status:500@GET /never") as server:
        ready = json.loads(server.stdout.readline())
        records = requests.get(f"{ready['url']}/_sandbox/streams/items", timeout=10).json()
        server.send_signal(signal.SIGTERM)
        rest, errors = server.communicate(timeout=10)

    assert (ready["source"], ready["pid"]) == ("standin", server.pid)
    assert len(records) == 2
    assert (server.returncode, rest, errors) == (0, "", "")


def test_it_stops_though_a_reply_hangs():
    with _start("--fault", "timeout:60") as server:
        url = json.loads(server.stdout.readline())["url"]
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as caller:
            caller.sendall(b"GET /open HTTP/1.1\r\nhost: x\r\n\r\n")
            time.sleep(0.3)
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=10)

    assert server.returncode == 0


def test_it_is_ready_within_a_second_and_a_half_of_processor_time():
    with _start() as server:
        server.stdout.readline()
        used = psutil.Process(server.pid).cpu_times()
        server.terminate()
        server.communicate(timeout=10)

    assert used.user + used.system < 1.5


def test_it_dies_with_its_parent_when_asked():
    command = [sys.executable, "-m", "ipai_kit.sandbox", "standin", "--exit-with-parent"]
    code = (
        "import json, subprocess, sys\n"
        f"child = subprocess.Popen({command!r}, stdout=subprocess.PIPE, text=True)\n"
        "print(json.loads(child.stdout.readline())['pid'], flush=True)\n"
        "sys.stdin.readline()\n"
        "import os; os._exit(9)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        alive = psutil.pid_exists(pid)
        parent.communicate("\n", timeout=10)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
        assert time.monotonic() < deadline, "the sandbox outlived its parent"
        time.sleep(0.05)

    assert alive


def test_a_sandbox_can_run_in_a_process_of_its_own():
    options = {"items": 4, "strict": True, "at_once": None}
    faults = ["status:500@GET /items"]
    with running_sandbox("standin", process=True, latency_ms=1, faults=faults, **options) as url:
        assert len(url.records("items")) == 4
        assert get(url, "/items").status_code == 500


def test_a_process_needs_an_installed_sandbox_that_starts():
    app = sandbox.Sandbox("x").app()
    with (
        pytest.raises(TypeError, match="Only an installed sandbox"),
        running_sandbox(app, process=True),
    ):
        pass
    with (
        pytest.raises(ValueError, match="'nowhere' did not start"),
        running_sandbox("nowhere", process=True),
    ):
        pass


@pytest.mark.slow
def test_serves_hundreds_of_small_pages_a_second_with_latency_on_one_core():
    """800 a second and more on an idle core; half of it must do beside other work."""
    with running_sandbox("standin", process=True, latency_ms=100, quota=10**6) as url:
        process = psutil.Process(_pid_of(url))
        before = process.cpu_times()
        _load(url, callers=200, requests_each=20)
        after = process.cpu_times()
    used = after.user + after.system - before.user - before.system

    assert 4000 / used > 800


def _pid_of(url):
    port = int(url.rpartition(":")[2])
    return next(
        one.pid
        for child in psutil.Process().children()
        for one in [child]
        if any(link.laddr.port == port for link in child.net_connections() if link.laddr)
    )


def _load(url, *, callers, requests_each):
    """Keep-alive clients on plain sockets: what they cost must not hide what the server costs."""
    import asyncio

    host, _, port = url.removeprefix("http://").partition(":")
    request = b"GET /items?per_page=10 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n"

    async def call():
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(requests_each):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r")[0]))
        writer.close()
        await writer.wait_closed()

    async def everyone():
        await asyncio.gather(*[call() for _ in range(callers)])

    asyncio.run(everyone())


def test_the_application_keeps_its_sandbox_and_its_routes():
    app = make_app("standin")
    paths = [route.path for route in app.routes if isinstance(route, Route)]

    assert "/_sandbox/stats" in paths
    assert paths[-1] == "/{path:path}"
    assert Path(__file__).exists()
