# SPDX-License-Identifier: Apache-2.0
"""Bytes that a MySQL 9.7 put into its log, and the text that its tables showed for them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tap_jdbc.binlog.cells import _decimal
from tap_jdbc.binlog.json_cells import binary_json, double_number

LARGE = "01010000001400000013000000010007701101006b"


@pytest.mark.parametrize(
    ("packed", "value"),
    [
        ("", None),
        ("0400", None),
        ("0200000400", []),
        ("0000000400", {}),
        ("0affffffffffffffff", 18446744073709551615),
        ("090000000000000080", -9223372036854775808),
        ("0b0080e03779c34143", Decimal("1E+16")),
        ("0b00eb2af2548b1143", 1234567890123456),
        ("0f0b08e05ef8335dffffff", "-10:11:12.500000"),
        ("0f0b080000000591cbffff", "-838:59:59.000000"),
        ("0f0a08000000000044a519", "2020-01-02"),
        ("0f0c0820a107053144a519", "2020-01-02 03:04:05.500000"),
        ("0f0f0200ff", "base64:type15:AP8="),
        ("0ff6080d047fffff84ee6b", Decimal("-123.4500")),
        (
            (
                "000300460019000000190001001a0001000504000b1b000223006162000000000000f83f07002300"
                "05010005feff0b19000400000401000402000c21003b255fb8836ecb540178"
            ),
            {"": 4, "a": Decimal("1.5"), "b": [1, -2, Decimal("3E+100"), None, True, False, "x"]},
        ),
        (
            "000200280012000100130001000214000401006b7403001400070d000501000c11007011010002c3a9",
            {"k": [70000, 1, "é"], "t": True},
        ),
        (LARGE, {"k": 70000}),
    ],
)
def test_packed_json_has_the_values_of_its_text(packed, value):
    assert repr(value) == repr(binary_json(bytes.fromhex(packed), _decimal))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1, "0.1"), (-0.0, "-0.0"), (1e15, "1E+15"), (9.14e15, "9.14E+15"), (5e-324, "5E-324")],
)
def test_a_double_is_written_as_the_server_writes_it(value, shown):
    assert shown == str(double_number(value))


def test_an_unknown_kind_is_told():
    with pytest.raises(ValueError, match="of the kind 13"):
        binary_json(b"\x0d\x00", _decimal)
