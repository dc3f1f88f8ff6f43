"""Rows of problems from the files that people have: JSON, JSON lines, CSV, parquet, or a data set of the hub."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import EngineError, InvalidInputError

Row = Mapping[str, Any]
SUFFIXES: Final = (".jsonl", ".json", ".csv", ".parquet")
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_LISTS: Final = ("data", "rows", "problems", "examples", "test", "train")
"""Keys under which files of one JSON object keep their rows."""


def read_rows(source: str, split: str = "train") -> list[dict[str, Any]]:
    """All rows of a file, or of a split of a data set of the hub.

    Raises:
        InvalidInputError: there is no such file or data set, or it cannot be read as what its name says.
        EngineError: what reads it is not installed.
    """
    path = Path(source)
    if path.is_file():
        return _from_file(path)
    if path.suffix in SUFFIXES or not _HUB_ID.fullmatch(source):
        raise InvalidInputError(
            f"{source}: there is no such file; give a path to {', '.join(SUFFIXES)}, or an id of the Hugging Face hub "
            "such as HuggingFaceH4/MATH-500"
        )
    return _from_hub(source, split)


def _from_file(path: Path) -> list[dict[str, Any]]:
    try:
        match path.suffix:
            case ".jsonl":
                lines = path.read_text(encoding="utf-8").splitlines()
                return [_object(json.loads(line), path, n) for n, line in enumerate(lines, 1) if line.strip()]
            case ".json":
                return [_object(row, path, n) for n, row in enumerate(_listed(json.loads(path.read_text("utf-8"))), 1)]
            case ".csv":
                with path.open(encoding="utf-8-sig", newline="") as file:
                    return [dict(row) for row in csv.DictReader(file)]
            case ".parquet":
                return _from_parquet(path)
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInputError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
    raise InvalidInputError(f"{path}: name ends with none of {', '.join(SUFFIXES)}, so that its format is not known")


def _listed(document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        for key in _LISTS:
            if isinstance(document.get(key), list):
                return list(document[key])
    raise ValueError("it holds no list of problems")


def _object(row: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InvalidInputError(f"{path}: row {number} is no object with columns, but {type(row).__name__}")
    return row


def _from_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise EngineError(
            f"{path}: reading parquet needs pyarrow: pip install 'poise-operator[verl]' brings it"
        ) from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise InvalidInputError(f"{path}: cannot be read as parquet: {error}") from error
    return rows


def _from_hub(name: str, split: str) -> list[dict[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        raise EngineError(
            f"{name}: reading the hub needs datasets: pip install 'poise-operator[verl]' brings it"
        ) from error
    try:
        return [dict(row) for row in datasets.load_dataset(name, split=split)]
    except Exception as error:  # the library raises what its many back ends raise
        raise InvalidInputError(
            f"{name}: split {split!r} cannot be loaded from the hub or its cache (HF_HOME): {error}; "
            "download it where there is a network, and mount the cache or the file"
        ) from error


def write_parquet(rows: Iterable[Row], path: Path) -> None:
    """Write rows to a parquet file.

    Raises:
        EngineError: pyarrow is not installed, or the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise EngineError("writing parquet needs pyarrow: pip install 'poise-operator[verl]' brings it") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    except OSError as error:
        raise EngineError(f"{path}: cannot be written: {error}") from error
