# SPDX-License-Identifier: Apache-2.0
"""Bytes that are not what they seem: other encodings, half characters, cut-off archives."""

import bz2
import io
import lzma
import zipfile

import pytest


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["Αθήνα και άλλα", "東京都一区", "Москва", "Müller"])
def test_finds_utf16_without_a_mark_in_any_script(read, encoding, text):
    found = read(f"名,n\r\n{text * 20},1\r\n".encode(encoding))

    assert found.rows() == [{"名": text * 20, "n": 1}]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_one_bad_byte_makes_no_other_encoding_of_utf8(read, name):
    good, bad = "größer".encode(), b"gr\xf6\xdfer"
    line = b"%s\n" if name.endswith("csv") else b'{"a":"%s"}\n'
    header = b"a\n" if name.endswith("csv") else b""
    found = read(header + line % good * 3 + line % bad + line % good, name)

    assert found.rows() == [{"a": "größer"}] * 4
    ((_, reason, _),) = found.rejected()
    assert "utf-8" in reason


def test_half_a_character_of_utf16_costs_one_row(read):
    lines = ["a,b", "1,x", "2,\ud83d", "3,z"]
    found = read("\n".join(lines).encode("utf-16", "surrogatepass"))

    assert found.rows() == [{"a": 1, "b": "x"}, {"a": 3, "b": "z"}]
    assert [line for line, _, _ in found.rejected()] == [3]


def test_obeys_excels_line_about_the_delimiter_before_any_line_end(read):
    assert read("sep=;\ra;b\r1;2,5\r").rows() == [{"a": 1, "b": "2,5"}]


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.csv.zst", "rows.jsonl.bz2"])
def test_an_empty_archive_is_a_transfer_that_failed(read, name):
    found = read(b"", name)

    assert found.error.exit_code == 1
    assert name in str(found.error)
    assert "empty" in str(found.error)


@pytest.mark.parametrize("packer", [bz2, lzma])
def test_every_part_of_an_archive_is_read_and_a_damaged_one_is_told(read, packer):
    first, second = packer.compress(b"a\n1\n2\n"), packer.compress(b"3\n4\n")
    whole = read(first + bytes(8) + second, "whole.csv")
    broken = read(first + b"?" + second[1:], "broken.csv")
    cut = read(first + second[:-3], "cut.csv")

    assert [row["a"] for row in whole.rows()] == [1, 2, 3, 4]
    assert whole.error is None
    for found in (broken, cut):
        assert found.error.exit_code == 1
        assert "damaged" in str(found.error)
    assert [row["a"] for row in broken.rows()] == [1, 2]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_told(read):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("rows.csv", "a\n1\n")
        archive.writestr("rows.csv", "a\n2\n")
    found = read(made.getvalue(), "rows.zip")

    assert found.error.exit_code == 1
    assert "two members 'rows.csv'" in str(found.error)
