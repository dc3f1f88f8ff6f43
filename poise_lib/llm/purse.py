"""A task's allotment with its book, kept on disk so that a crash leaves the book too large, never too small.

A call's worst case is on the disk before the call is sent, and what it cost is added afterwards.  Every attempt of a
task writes a file of its own in one folder, so that no line is ever appended after one that a crash cut; all files of
the folder make the book.  The attempt writes its reservation first and looks at the sum then: of two attempts that are
alive at once both may be refused, but never both let through.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from poise_lib.artifacts.digest import canonical_json
from poise_lib.artifacts.store import disk_errors
from poise_lib.errors import StateError
from poise_lib.llm.errors import AllotmentSpent
from poise_lib.llm.ledger import Allotment, Book
from poise_lib.resources.llm import Spend


class Purse:
    """What a task may spend, and has spent.

    Args:
        allotment: over all attempts of the task.
        folder: of the task's books, one for each task; None keeps the book in memory, for a check outside a search.
        writer: name of this attempt's file; a new one each time.
    """

    def __init__(self, allotment: Allotment, folder: Path | None = None, writer: str = "") -> None:
        self.allotment = allotment
        self._folder = folder
        self._writer = writer or uuid.uuid4().hex
        self._memory = Book()
        self._count = 0

    @property
    def task(self) -> str:
        """Digest of the task's input, by which its books are kept; empty for a purse in memory."""
        return self._folder.name if self._folder is not None else ""

    @property
    def spent(self) -> Spend:
        """By this attempt and all before it; calls that were not settled count in full.

        Raises:
            StateError: a book cannot be read, or is damaged.
        """
        return self._book().charged

    def reserve(self, worst: Spend) -> str:
        """Set the worst case of a call aside, durably; returns the call's name.

        Raises:
            AllotmentSpent: it could cost more than is left; it must not be sent.
            StateError: the book cannot be written; the call must not be sent.
        """
        before = self._book()
        if not before.fits(worst, self.allotment):
            raise AllotmentSpent(self._refusal(before.charged, worst))
        name = f"{self._writer}-{self._count}"
        self._count += 1
        self._write({"call": name, "worst": worst.to_document()})
        after = self._book()
        if self._folder is not None and not self.allotment.allows(after.charged):
            self.settle(name, Spend())  # another attempt of this task was faster
            raise AllotmentSpent(self._refusal(after.charged, worst))
        return name

    def settle(self, call: str, actual: Spend) -> None:
        """What a call has cost.

        Raises:
            StateError: the book cannot be written; the call stays charged in full.
        """
        self._write({"call": call, "actual": actual.to_document()})

    def _refusal(self, charged: Spend, worst: Spend) -> str:
        tokens = f"{charged.tokens:,} of its {self.allotment.tokens:,} tokens"
        dollars, could = "", f"{worst.tokens:,} tokens"
        if self.allotment.usd is not None:
            dollars = f" and {charged.cost_usd:.4f} of its {self.allotment.usd:.4f} US dollars"
            could += f" or {worst.cost_usd:.4f} US dollars"
        return (
            f"the task has used {tokens}{dollars}, and the next call could take {could}: it was not sent; raise "
            "budget.llmTokens or budget.llmCostUSD, or lower proposer.llm.maxOutputTokens or contextTokens"
        )

    def _write(self, line: dict[str, Any]) -> None:
        if self._folder is None:
            self._memory = _entered(self._memory, line)
            return
        path = self._folder / f"{self._writer}.jsonl"
        with disk_errors(path):
            new = not path.exists()
            if new:
                self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(canonical_json(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                _sync_folder(self._folder)

    def _book(self) -> Book:
        return self._memory if self._folder is None else read_book(self._folder)


def book_folder(root: Path, task: str) -> Path:
    """Where a task's books lie.

    Args:
        root: of the artifact store, which outlives pods.
        task: digest of the task's input, as :attr:`~poise_lib.tasks.protocol.TaskRequest.digest` has it.
    """
    return root / "ledger" / task.removeprefix("sha256:")


def read_book(folder: Path) -> Book:
    """The book of a task: every attempt's calls; empty when there is none.

    Raises:
        StateError: a file cannot be read, or is damaged anywhere but in a last line that a crash cut.
    """
    book = Book()
    for path in sorted(folder.glob("*.jsonl")):
        with disk_errors(path):
            data = path.read_bytes()
        # A line without its end was never synchronised, so its call was not sent, or its settlement does not count.
        for number, line in enumerate(data.split(b"\n")[:-1], 1):
            try:
                book = _entered(book, json.loads(line))
            except (ValueError, KeyError, TypeError, ValidationError) as error:
                raise StateError(
                    f"{path}: line {number} is damaged, so that what the task has spent is not known; restore it, or "
                    "remove it and count the task's whole allotment as spent"
                ) from error
    return book


def _entered(book: Book, line: dict[str, Any]) -> Book:
    if "worst" in line:
        return book.reserved(line["call"], Spend.model_validate(line["worst"]))
    return book.settled(line["call"], Spend.model_validate(line["actual"]))


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable, and its folder's own."""
    for one in (folder, folder.parent):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
