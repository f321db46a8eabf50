# SPDX-License-Identifier: Apache-2.0
"""A made-up shop in an SQLite file: customers, orders, their lines, and a view.

A step of its world changes an order, adds one, and deletes a line. The server beside it only tells
where the file is and what a tap should land.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from ipai_kit.sandbox import EPOCH, Sandbox, Seeded

__all__ = ["create_app"]

_SCHEMA = """
create table customers (id integer primary key, name text not null, city text);
create table orders (
    id integer primary key, customer_id integer not null references customers, total text not null,
    paid integer, updated_at text not null
);
create table order_lines (
    order_id integer not null, line integer not null, product text not null,
    quantity integer not null,
    primary key (order_id, line)
);
create view paid_orders as select id, customer_id, total from orders where paid = 1;
"""
_CITIES = ("Zürich", "Łódź", "São Paulo", "東京", None)
_PRODUCTS = ("Tea", "Coffee; ground", 'The "good" mug', "Kettle\n2 l")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "customers": ("id",),
    "orders": ("id",),
    "order_lines": ("order_id", "line"),
}


class _Shop:
    """The file and what happens in it."""

    def __init__(self, path: Path, orders: int, seed: int) -> None:
        self._path, self._orders, self._seeded = path, orders, Seeded(seed)
        self.reset()

    def reset(self) -> None:
        """Back to the first moment."""
        self._path.unlink(missing_ok=True)
        self._steps = 0
        with closing(sqlite3.connect(self._path)) as database, database:
            database.executescript(_SCHEMA)
            customers = max(self._orders // 4, 1)
            database.executemany(
                "insert into customers values (?, ?, ?)",
                [
                    (n, f"Customer {n}", self._seeded.choice(_CITIES, "city", n))
                    for n in range(1, customers + 1)
                ],
            )
            for number in range(1, self._orders + 1):
                self._order(database, number, customers)

    def _order(self, database: sqlite3.Connection, number: int, customers: int) -> None:
        draw = self._seeded
        cents = draw.number("total", number, low=100, high=99_999)
        order = (
            number,
            draw.number("customer", number, low=1, high=customers),
            f"{cents // 100}.{cents % 100:02}",
            draw.choice((0, 1, None), "paid", number),
            (EPOCH + timedelta(minutes=number)).isoformat(),
        )
        database.execute("insert into orders values (?, ?, ?, ?, ?)", order)
        lines = [
            (number, line, draw.choice(_PRODUCTS, "product", number, line), line)
            for line in range(1, draw.number("lines", number, low=1, high=3) + 1)
        ]
        database.executemany("insert into order_lines values (?, ?, ?, ?)", lines)

    def advance(self, steps: int) -> Mapping[str, Any]:
        """Change the oldest order, add one, delete its line, as often as told."""
        changed = []
        with closing(sqlite3.connect(self._path)) as database, database:
            for _ in range(steps):
                self._steps += 1
                moment = (EPOCH + timedelta(days=365, minutes=self._steps)).isoformat()
                database.execute(
                    "update orders set paid = 1, updated_at = ? where id = ?", (moment, self._steps)
                )
                database.execute("delete from order_lines where order_id = ?", (self._steps,))
                self._order(database, self._orders + self._steps, max(self._orders // 4, 1))
                changed += [self._steps, self._orders + self._steps]
        return {"orders": changed}

    def records(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows of a table as a tap should land them."""
        with closing(sqlite3.connect(self._path)) as database:
            database.row_factory = sqlite3.Row
            for row in database.execute(f"select * from {table}"):  # noqa: S608 - a name of ours
                yield dict(row)


def create_app(orders: int = 40, seed: int = 7) -> Starlette:
    """Make the shop in a folder of its own, which goes when the application does."""
    folder = Path(tempfile.mkdtemp(prefix="ipai-shop-"))
    path = folder / "shop.db"
    shop = _Shop(path, int(orders), int(seed))
    config = {
        "url": f"sqlite:///{path}",
        "tables": [f"main.{table}" for table in _KEYS],
        "cursor_columns": ["updated_at"],
    }
    sandbox = Sandbox("jdbc", world=shop, config=config)
    for table, key in _KEYS.items():
        sandbox.stream(f"main-{table}", key, partial(shop.records, table))
    app = sandbox.app()
    weakref.finalize(sandbox, shutil.rmtree, folder, ignore_errors=True)
    return app
