# SPDX-License-Identifier: Apache-2.0
"""What lies in folders beside plain files: links, pipes, locks, folders that nobody may list."""

import os

import pytest
from fsspec.implementations.local import LocalFileSystem

ROW = "a\n1\n"


def names(found, stream="rows"):
    records = found.run.records.get(stream, [])
    return sorted(row["_sdc_source_file"].rsplit("/", 1)[1] for row in records)


def test_names_may_hold_anything(read, tmp_path):
    wanted = [
        "a b.csv",
        "a#b.csv",
        "a?b.csv",
        "a%20b.csv",
        "ü.csv",
        "[x].csv",
        "a\nb.csv",
        "%d.csv",
    ]
    for name in wanted:
        (tmp_path / name).write_text(ROW)
    (tmp_path / os.fsdecode(b"bad\xff.csv")).write_text(ROW)

    assert names(read(None, "*.csv")) == sorted([*wanted, "bad\\xff.csv"])
    for name in ("a#b.csv", "a%20b.csv", "[x].csv"):
        assert names(read(None, name)) == [name]


def test_hidden_files_locks_pipes_and_folders_are_left_out(read, tmp_path):
    for name in (".part.csv", "~$lock.csv", "good.csv"):
        (tmp_path / name).write_text(ROW)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "old.csv").write_text(ROW)
    os.mkfifo(tmp_path / "pipe.csv")
    found = read(None, "**/*.csv")

    assert names(found) == ["good.csv"]
    assert found.error is None
    assert names(read(None, ".*.csv")) == [".part.csv"]


def test_links_are_followed_and_those_that_lead_nowhere_are_named(read, tmp_path):
    (tmp_path / "kept").mkdir()
    path = tmp_path / "kept" / "rows.txt"
    path.write_text(ROW)
    for name, goal in [("good.csv", path), ("gone.csv", "no"), ("circle.csv", "circle.csv")]:
        (tmp_path / name).symlink_to(goal)
    (tmp_path / "folder.csv").symlink_to(tmp_path / "kept")
    first = read(None, "*.csv")
    path.write_text("a\n2\n")
    os.utime(path, (1, 1))
    second = read(None, "*.csv", state=first.state)

    assert names(first) == ["good.csv"]
    assert first.error.exit_code == 78
    told = " ".join(one["reason"] for one in first.events("file_failed"))
    assert "gone.csv" in told
    assert "circle.csv" in told
    assert second.rows() == [{"a": 2}]


def test_a_folder_that_may_not_be_listed_is_told_and_its_rows_are_not_gone(
    read, tmp_path, monkeypatch
):
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_text(ROW)
    first = read(None, "**/*.csv", deleted_files="delete")
    ls = LocalFileSystem.ls

    def refuse(self, path, *args, **kwargs):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return ls(self, path, *args, **kwargs)

    monkeypatch.setattr(LocalFileSystem, "ls", refuse)
    second = read(None, "**/*.csv", deleted_files="delete", state=first.state)

    assert len(first.rows()) == 2
    assert second.run.records.get("rows", []) == []
    assert second.error.exit_code == 77
    assert "closed'" in str(second.error)
    assert len(second.state["bookmarks"]["rows"]["files"]) == 2


@pytest.mark.parametrize("policy", ["keep", "delete"])
def test_an_empty_folder_is_rather_a_missing_mount_and_nothing_is_forgotten(read, tmp_path, policy):
    first = read(ROW, "rows.csv", path="*.csv", deleted_files=policy)
    (tmp_path / "rows.csv").unlink()
    second = read(None, "*.csv", deleted_files=policy, state=first.state)

    assert second.run.records.get("rows", []) == []
    assert second.state["bookmarks"]["rows"]["files"]
    assert second.events("all_files_gone")


def test_a_file_that_is_removed_after_it_was_listed_is_no_wrong_setting(
    read, tmp_path, monkeypatch
):
    from tap_files import stream

    listed = stream.list_files

    def remove(*args):
        found = list(listed(*args))
        (tmp_path / "b.csv").unlink()
        return found

    monkeypatch.setattr(stream, "list_files", remove)
    found = read({"a.csv": b"a\n1\n", "b.csv": b"a\n2\n"}, path="*.csv")

    assert found.rows() == [{"a": 1}]
    assert found.error.exit_code == 75
    assert "b.csv' is gone" in str(found.error)
