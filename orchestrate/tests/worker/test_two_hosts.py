# SPDX-License-Identifier: Apache-2.0
"""Two hosts on one queue, one of which is cut off in the middle of a run."""

import os
import shutil
import signal
import subprocess

import psycopg
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RECORDS = 60
READ_SLOWLY = f"""
for number in range(start + 1, {RECORDS + 1}):
    time.sleep(0.1)
    read(number)
"""
WORKER = ("worker", "--sources", "scripted", "--no-transform", "--json")
DATABASE, NETWORK = "10.77.231.10", "10.77.231.0/24"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """Network namespaces on one switch."""

    def __init__(self):
        self.mine = f"ipai{os.getpid()}"
        self.made = []

    def _add(self, name):
        ip("netns", "add", name)
        self.made.append(name)

    def build(self, addresses):
        switch = f"{self.mine}-sw"
        self._add(switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge")
        ip("-n", switch, "link", "set", "br0", "up")
        for host, address in addresses.items():
            name = f"{self.mine}-{host}"
            self._add(name)
            ip(
                "-n",
                switch,
                "link",
                "add",
                host,
                "type",
                "veth",
                "peer",
                "name",
                "e0",
                "netns",
                name,
            )
            ip("-n", switch, "link", "set", host, "master", "br0", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "e0")
            for device in ("e0", "lo"):
                ip("-n", name, "link", "set", device, "up")

    def within(self, host):
        return ("ip", "netns", "exec", f"{self.mine}-{host}")

    def turn(self, host, way):
        ip("-n", f"{self.mine}-sw", "link", "set", host, way)

    def remove(self):
        for name in self.made:
            ip("netns", "del", name)


@pytest.fixture
def hosts():
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip")
    found = Hosts()
    try:
        try:
            found.build({"db": DATABASE, "h1": "10.77.231.11", "h2": "10.77.231.12"})
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine allows no network namespaces: {error.stderr.strip()}")
        yield found
    finally:
        found.remove()


@pytest.fixture
def database(hosts, serve):
    """The server is a host too; this test reaches it by its socket whatever is cut off."""
    return serve(DATABASE, NETWORK, hosts.within("db"))


def test_the_other_host_takes_over_and_late_writes_are_refused(hosts, bench, connection):
    bench.tap(READ_SLOWLY)
    (name,) = bench.instances(1)
    bench.plane.enqueue(name, max_attempts=5)

    def worker(host):
        address = f"postgresql://postgres@{DATABASE}/postgres"
        return bench.ipai(*WORKER, home=host, within=hosts.within(host), dsn=address)

    def runs(*columns):
        query = f"select {', '.join(columns)} from connectors.connector_runs order by started_at"
        return connection.execute(query).fetchall()

    first = worker("h1")
    bench.wait(lambda: len(bench.landed()) >= 5, "the first rows")
    second = worker("h2")
    hosts.turn("h1", "down")
    bench.wait(lambda: bench.count("error_class = 'worker_lost'"), "the lease to expire")
    first_run, token = runs("id", "lease_token")[0]
    connection.execute(
        "update connectors.connector_runs set run_after = clock_timestamp() where status = 'queued'"
    )
    bench.wait(lambda: bench.count("status = 'succeeded'"), "the other host's run")
    ended = runs("id", "status", "error_class", "worker", "state_version")
    bench.wait(lambda: not bench.connectors("h1/runs"), "the lost run's processes to be ended")
    hosts.turn("h1", "up")

    with pytest.raises(psycopg.Error) as refused:
        connection.execute(
            "select connectors.save_connector_state(%s, %s, %s)",
            (first_run, token, '{"bookmarks": {}}'),
        )
    assert "PT410" == refused.value.sqlstate
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
    assert [0, 0] == [one.wait(60) for one in (first, second)], bench.logs_of_children()
    assert [(name, number) for number in range(1, RECORDS + 1)] == bench.landed()
    assert ended == runs("id", "status", "error_class", "worker", "state_version")
    assert ["worker_lost", None] == [row[2] for row in ended]
    stored = bench.plane.state_get(name).state_json["bookmarks"]["issues"]
    assert RECORDS == stored["replication_key_value"]
    assert [] == bench.connectors()
