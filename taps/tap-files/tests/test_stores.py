# SPDX-License-Identifier: Apache-2.0
"""Stores as they are: an S3 server, a real sshd, a web server, a small Google Cloud Storage."""

import contextlib
import getpass
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import time
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ipai_kit.testing.loopback import Answer, loopback
from tap_files.failures import shown

BUCKET = "acme-exports"
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def workbook():
    book, content = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["a"])
    book.active.append([4])
    book.save(content)
    return content.getvalue()


def parquet():
    content = io.BytesIO()
    pq.write_table(pa.table({"a": [3]}), content)
    return content.getvalue()


FILES = {
    "in/one.csv": b"a\n1\n",
    "in/two.csv.gz": gzip.compress(b"a\n2\n"),
    "in/three.parquet": parquet(),
    "in/four.xlsx": workbook(),
    "in/deep/five.json": b'[{"a":5}]',
    "out/six.csv": b"a\n6\n",
}


def entries(base):
    return [
        {"name": "top", "path": f"{base}/in/*.*"},
        {"name": "all", "path": f"{base}/**/*.json"},
        {"name": "one", "path": f"{base}/in/one.csv"},
    ]


def values(found, stream):
    return sorted(row["a"] for row in found.rows(stream))


def assert_reads_all(run, config, base):
    found = run({**config, "files": entries(base)})
    again = run({**config, "files": entries(base)}, found.state)
    place = found.run.records["one"][0]

    assert found.error is None
    assert values(found, "top") == [1, 2, 3, 4]
    assert values(found, "all") == [5]
    assert values(found, "one") == [1]
    assert place["_sdc_source_file"] == f"{base}/in/one.csv"
    assert place["_sdc_source_size"] == 4
    assert place["_sdc_source_lastmodified"].endswith("+00:00")
    assert again.rows("top") == again.rows("one") == []
    return place


# -- S3 -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3():
    """A server that speaks S3's protocol, with a bucket of files."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "key"}
    url = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)
    for name, content in FILES.items():
        client.put_object(Bucket=BUCKET, Key=name, Body=content)
    yield {
        "s3_endpoint_url": url,
        "s3_access_key_id": "id",
        "s3_secret_access_key": "key",
        "s3_region": "us-east-1",
    }
    client.close()
    server.stop()


def test_reads_from_s3(run, s3):
    place = assert_reads_all(run, s3, f"s3://{BUCKET}")

    assert place["_sdc_source_etag"] == hashlib.md5(FILES["in/one.csv"]).hexdigest()


def test_a_bucket_that_is_not_there_is_named(run, s3):
    for name in ("one.csv", "in/*.csv"):
        found = run({**s3, "files": [{"name": "rows", "path": f"s3://nobody-has-this/{name}"}]})

        assert found.error.exit_code == 78
        assert f"no file 's3://nobody-has-this/{name}'" in str(found.error)


def test_a_pattern_that_nothing_in_a_bucket_fits_is_no_error(run, s3):
    found = run({**s3, "files": [{"name": "rows", "path": f"s3://{BUCKET}/later/*.csv"}]})

    assert found.error is None


# -- Google Cloud Storage ------------------------------------------------------------------------


def google(asked):
    """As much of the JSON API as reading needs."""
    if asked.headers.get("authorization", "") not in {"", "Bearer good"}:
        return Answer({"error": {"message": "Invalid Credentials", "code": 401}}, 401)
    parts = unquote(asked.path).split("/o/", 1)
    if asked.path.endswith("/o"):
        prefix, delimiter = asked.query.get("prefix", ""), asked.query.get("delimiter", "")
        names = [name for name in FILES if name.startswith(prefix)]
        cut = {
            n[: n.index(delimiter, len(prefix)) + 1]
            for n in names
            if delimiter and delimiter in n[len(prefix) :]
        }
        items = [about(n) for n in names if not any(n.startswith(one) for one in cut)]
        return Answer({"kind": "storage#objects", "items": items, "prefixes": sorted(cut)})
    name = parts[1] if len(parts) == 2 else ""
    if name not in FILES:
        return Answer({"error": {"message": "Not Found", "code": 404}}, 404)
    if asked.query.get("alt") != "media" and "/download/" not in asked.path:
        return Answer(about(name))
    content, wanted = FILES[name], asked.headers.get("range", "")
    if wanted:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        content = content[int(first) : int(last) + 1 if last else None]
    return Answer(content, 206 if wanted else 200)


def about(name):
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": BUCKET,
        "size": str(len(FILES[name])),
        "updated": "2026-01-31T10:00:00.000Z",
        "etag": hashlib.md5(FILES[name]).hexdigest(),
        "generation": "1",
        "storageClass": "STANDARD",
    }


def test_reads_from_google_cloud_storage(run):
    with loopback(google) as server:
        config = {"gcs_endpoint_url": server.url, "anonymous": True}
        place = assert_reads_all(run, config, f"gs://{BUCKET}")

    assert place["_sdc_source_lastmodified"] == "2026-01-31T10:00:00+00:00"


@pytest.mark.parametrize(("status", "code"), [(403, 77), (404, 78)])
def test_what_google_refuses_has_its_code(run, status, code):
    with loopback(lambda _: Answer({"error": {"message": "no", "code": status}}, status)) as server:
        found = run(
            {
                "gcs_endpoint_url": server.url,
                "anonymous": True,
                "files": [{"name": "rows", "path": f"gs://{BUCKET}/in/one.csv"}],
            }
        )

    assert found.error.exit_code == code


def test_google_credentials_that_are_no_json_are_refused(run):
    found = run({"gcs_credentials": "{", "files": [{"name": "rows", "path": "gs://a/b.csv"}]})

    assert "'gcs_credentials' is no JSON" in str(found.error)


# -- SFTP ---------------------------------------------------------------------------------------


def keygen(path, *arguments):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path), *arguments]
    subprocess.run(command, check=True)
    return path.read_text(), path.with_suffix(".pub").read_text()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def sftp(tmp_path_factory):
    """A real sshd with a key of its own that lets the user of this process in by key."""
    if not Path(SSHD).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("openssh-server is not installed")
    home = tmp_path_factory.mktemp("sshd")
    for name, content in FILES.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    _, host_key = keygen(home / "host")
    private, public = keygen(home / "user")
    (home / "authorized").write_text(public)
    (home / "authorized").chmod(0o600)
    port = free_port()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\n"
        f"AuthorizedKeysFile {home}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    command = [SSHD, "-D", "-e", "-f", str(home / "config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
        try:
            wait_for(port, server)
            yield {
                "base": f"sftp://127.0.0.1:{port}{home}",
                "config": {
                    "sftp_user": getpass.getuser(),
                    "sftp_private_key": private,
                    "sftp_host_key": host_key,
                },
            }
        finally:
            server.terminate()


def wait_for(port, server):
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if server.poll() is not None:
            pytest.skip(f"sshd did not start: {server.stderr.read().decode()[:200]}")
        time.sleep(0.05)


def test_reads_from_sftp(run, sftp):
    assert_reads_all(run, sftp["config"], sftp["base"])


def test_sftp_follows_links_and_names_may_hold_what_addresses_may_not(run, sftp):
    folder = Path("/" + sftp["base"].partition("//")[2].partition("/")[2]) / "odd"
    folder.mkdir()
    for name in ("a?b.csv", "a#b.csv", "a%20b.csv"):
        (folder / name).write_text("a\n1\n")
    (folder / "link.csv").symlink_to("a#b.csv")
    config = {**sftp["config"], "files": [{"name": "rows", "path": sftp["base"] + "/odd/*.csv"}]}
    found = run(config)
    config["files"][0]["path"] = sftp["base"] + "/odd/link?csv"
    again = run(config, found.state)
    config["files"][0]["path"] = sftp["base"] + "/nowhere/*.csv"
    missing = run(config)

    assert found.error is None
    assert len(found.rows()) == 4
    assert again.error is None
    assert again.rows() == []
    assert missing.error.exit_code == 78
    assert "There is no folder" in str(missing.error)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"sftp_user": "nobody-here"}, 77, "credentials do not open"),
        ({"sftp_private_key": "no key"}, 78, "no private key that can be read"),
        ({"sftp_host_key": ""}, 78, "If this is its key, set it: ssh-ed25519 AAAA"),
        ({"sftp_host_key": "ssh-ed25519 AAAAother"}, 78, "another key than 'sftp_host_key'"),
    ],
)
def test_what_sftp_refuses_has_its_code(run, sftp, change, code, says):
    entry = {"name": "rows", "path": sftp["base"] + "/in/one.csv"}
    found = run({**sftp["config"], **change, "files": [entry]})

    assert found.error.exit_code == code
    assert says in str(found.error)
    assert found.rows() == []


def test_a_server_without_a_known_key_is_taken_only_on_request(run, sftp):
    config = {**sftp["config"], "sftp_host_key": "", "sftp_accept_any_host_key": True}
    found = run({**config, "files": [{"name": "rows", "path": sftp["base"] + "/in/one.csv"}]})

    assert found.rows() == [{"a": 1}]


def test_a_password_has_no_place_in_an_address(run):
    found = run({"files": [{"name": "rows", "path": "sftp://me:pass@host/x.csv"}]})

    assert "holds a password" in str(found.error)
    assert "pass@" not in found.run.stderr


# -- web servers --------------------------------------------------------------------------------


def web(asked):
    """A server with pages that list files, but without byte ranges."""
    name = asked.path.lstrip("/")
    if name in FILES:
        stamp = {"Last-Modified": formatdate(1_769_853_600, usegmt=True)}
        return Answer(FILES[name], headers=stamp)
    below = [one for one in FILES if one.startswith(name)]
    if not below:
        return Answer(b"no", 404)
    names = {one[len(name) :].lstrip("/").split("/")[0] for one in below}
    is_folder = {one: not any(f == f"{name}{one}" for f in FILES) for one in names}
    links = "".join(f'<a href="{n}{"/" if is_folder[n] else ""}">{n}</a>\n' for n in sorted(names))
    return Answer(links.encode(), headers={"Content-Type": "text/html"})


def test_reads_from_a_web_server_without_ranges(run):
    with loopback(web) as server:
        entry = {"name": "top", "path": f"{server.url}/in/*.csv*"}
        parts = {"name": "table", "path": f"{server.url}/in/three.parquet"}
        found = run({"files": [entry, parts]})

    assert values(found, "top") == [1, 2]
    assert found.rows("table") == [{"a": 3}]


def test_a_file_larger_than_a_block_needs_no_ranges(run):
    """fsspec asks for blocks of 5 MiB, which such a server answers with all of the file."""
    content = b"a\n" + (b"x" * 1_000_000 + b"\n") * 6
    with loopback(lambda _: Answer(content)) as server:
        found = run({"files": [{"name": "rows", "path": f"{server.url}/x.csv"}]})

    assert found.error is None
    assert len(found.rows()) == 6


def test_a_file_without_tag_and_time_is_read_each_time(run):
    with loopback(lambda _: Answer(b"a\n1\n")) as server:
        config = {"files": [{"name": "rows", "path": f"{server.url}/x.csv"}]}
        first = run(config)
        second = run(config, first.state)

    assert first.rows() == second.rows() == [{"a": 1}]


@pytest.mark.parametrize(
    ("answer", "path", "says"),
    [
        (Answer(b"", 302, headers={"Location": "/x.csv"}), "/x.csv", "redirected too often"),
        (Answer(b"no", 404), "/in/*.csv", "There is no file"),
    ],
)
def test_a_wrong_address_of_a_web_server_is_a_wrong_setting(run, answer, path, says):
    with loopback(lambda _: answer) as server:
        found = run({"files": [{"name": "rows", "path": server.url + path}]})

    assert found.error.exit_code == 78
    assert says in str(found.error)


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 77), (403, 77), (404, 78), (410, 78), (418, 78), (500, 75), (429, 75)],
)
def test_what_a_web_server_refuses_has_its_code(run, status, code):
    with loopback(lambda _: Answer(b"no", status)) as server:
        found = run({"files": [{"name": "rows", "path": f"{server.url}/x.csv?token=geheim"}]})

    assert found.error.exit_code == code
    assert "geheim" not in found.run.stderr + str(found.error)


def test_the_query_of_an_address_is_no_part_of_the_name_and_is_not_shown(run):
    with loopback(web) as server:
        good = {"name": "rows", "path": f"{server.url}/in/one.csv?token=geheim&day=1"}
        bad = {"name": "bad", "path": f"{server.url}/in/?token=geheim"}
        found = run({"files": [good, bad]})

    assert found.rows() == [{"a": 1}]
    assert found.lines() == [2]
    assert "does not tell its format" in str(found.error)
    assert "geheim" not in found.run.stderr + str(found.error) + str(found.run.lines)


def test_a_token_goes_over_https_alone(run):
    entry = {"name": "rows", "path": "http://files.example.com/x.csv"}
    found = run({"http_token": "t0ken", "files": [entry]})

    assert "in clear text" in str(found.error)


@pytest.mark.parametrize(
    "path",
    [
        "http://127.0.0.1:9/x.csv",
        "sftp://127.0.0.1:9/x.csv",
        pytest.param("s3://b/x.csv", marks=pytest.mark.slow),
    ],
)
def test_an_unreachable_store_is_to_be_tried_again(run, path):
    settings = {"s3_endpoint_url": "http://127.0.0.1:9", "anonymous": True, "sftp_user": "me"}
    found = run({**settings, "files": [{"name": "rows", "path": path}]})

    assert found.error.exit_code == 75
    assert found.error.stream == "rows"


def test_a_missing_extra_is_named(run, monkeypatch):
    import fsspec

    def missing(*_, **__):
        raise ImportError("Install s3fs", name="s3fs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    found = run({"files": [{"name": "rows", "path": "s3://b/x.csv"}]})

    assert "ipai-connector-files[s3]" in str(found.error)


def test_addresses_are_shown_without_secrets():
    assert shown("https://me:pass@host/x.csv?sig=abc&day=1") == "https://host/x.csv?sig=***&day=1"
    assert json.dumps(shown("/data/x.csv")) == '"/data/x.csv"'
