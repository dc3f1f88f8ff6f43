"""The records of finished steps: what ``schedule`` sees, and what a restart reads back.

One JSON line a step, appended as soon as the step's updates are done and before a checkpoint of it is written.  A run
that resumes from a checkpoint after N steps finds the first N records again, and drops those of steps that the
checkpoint does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from poise_lib.evaluation.trajectory import STEP

HISTORY_FILE: Final = "history.jsonl"


def read_history(path: Path, steps_done: int) -> list[dict[str, float]]:
    """The records of the first ``steps_done`` steps, as far as the file has them."""
    records: list[dict[str, float]] = []
    if steps_done and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            record = _parsed(line)
            if record is not None and record[STEP] == len(records) < steps_done:
                records.append(record)
    return records


class History:
    """Records of steps, in memory and in a file."""

    def __init__(self, path: Path, steps_done: int) -> None:
        """Read what an earlier process left, up to ``steps_done``."""
        self._path = path
        self._records = read_history(path, steps_done)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in self._records), encoding="utf-8")

    @property
    def records(self) -> tuple[Mapping[str, float], ...]:
        """One read-only record for each finished step, in order."""
        return tuple(MappingProxyType(record) for record in self._records)

    def append(self, record: Mapping[str, float]) -> None:
        """Add the record of the step that has just finished."""
        self._records.append(dict(record))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")


def _parsed(line: str) -> dict[str, float] | None:
    """A line as a record; None for the half line of a process that was killed while it wrote."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and STEP in record else None
