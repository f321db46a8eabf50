# SPDX-License-Identifier: Apache-2.0
"""Which batches may be committed when STATE is committed in the transaction of its rows.

A row that is committed without the STATE behind it would be read again after a crash. So a batch
ends at a STATE. Only when more comes between two of them than a batch may hold is it handed over
as an open batch: the store writes it, and commits it together with the one that brings the STATE.
"""

from dataclasses import dataclass, field

from ipai_kit.landing.batch import DeadLetter, FlushBatch


@dataclass
class CommitOrder:
    """What may be committed and is not handed over yet, and whether open batches wait for it."""

    _settled: FlushBatch | None = None
    _has_open: bool = False
    _open_letters: list[DeadLetter] = field(default_factory=list)

    @property
    def is_awaited(self) -> bool:
        """Whether open batches can be committed with what is here."""
        return self._has_open and self._settled is not None

    def settle(self, batch: FlushBatch) -> None:
        """Everything in the batch, and what came before it, may be committed."""
        if self._settled is None:
            self._settled = batch
        else:
            self._settled.absorb(batch)

    def divide(
        self, rest: FlushBatch, *, is_full: bool, whole: bool
    ) -> tuple[list[FlushBatch], FlushBatch]:
        """What is handed over, and what waits in memory for its STATE.

        `whole` says that nothing may wait; `is_full` that there is no room to wait in.
        """
        batches = [] if self._settled is None else [self._settled]
        if self._settled is not None:
            self._settled.closes = self._has_open
            self._settled, self._has_open, self._open_letters = None, False, []
        if not (whole or (is_full and not batches)):
            return batches, rest
        if rest.holds_anything:
            rest.is_open = self._has_open = True
            self._open_letters += rest.dead_letters
        return [*batches, rest], FlushBatch()

    def cut(self, rest: FlushBatch) -> list[FlushBatch]:
        """What may be committed of an input that breaks off, and the letters of what may not."""
        batches, rest = self.divide(rest, is_full=False, whole=False)
        letters = self._open_letters + rest.dead_letters
        return [*batches, FlushBatch(dead_letters=letters, drops_open=self._has_open)]
