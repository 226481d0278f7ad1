"""`dedup`: duplicates, near-duplicates and benchmark items among queries."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from thinkloom import _json
from thinkloom._thinkloom import dedup_lines


def dedup(queries: Any, against: Any = None, **settings: Any) -> list[dict[str, Any]]:
    """Finds duplicates, near-duplicates and benchmark items.

    `queries` and `against` (the benchmarks) are each a path or a list of `pathlib.Path` (JSONL, also .gz and .zst, CSV,
    Parquet; globs allowed), or a list of rows: dicts or texts. The result has a dict for each query, in order, as
    `thinkloom dedup` writes it: `id`, `action` ("keep", "duplicate", "near_duplicate", "contaminated" or "invalid"), `of`
    (the earlier query or the benchmark item that it repeats), `similarity`, and keys that explain the action. A row
    without an id gets its position, "rows.jsonl:1".

    Settings are those of `[dedup]` in a config: `near_duplicate_threshold=0.8`, `ngram=5`, ...

    >>> import thinkloom
    >>> lines = thinkloom.dedup(["What is 2 plus 2?", "what is  2 plus 2?", "What is 2 plus 3?"])
    >>> [line["action"] for line in lines]
    ['keep', 'duplicate', 'keep']

    Raises ValueError for an unknown setting or one out of its range, ThinkloomError if a file cannot be read.
    """
    overrides = []
    for name, value in settings.items():
        if not name.isidentifier():
            raise ValueError(f"dedup() has no setting {name!r}")
        try:
            overrides.append(f"dedup.{name}={_json.text(value).decode('utf-8')}")
        except ValueError as error:
            raise TypeError(f"{name}: {error}") from None
    with tempfile.TemporaryDirectory(prefix="thinkloom-") as scratch:
        rows = _paths("queries", queries, Path(scratch, "rows.jsonl"))
        benchmarks = [] if against is None else _paths("against", against, Path(scratch, "against.jsonl"))
        lines = [json.loads(line) for line in dedup_lines(rows, benchmarks, overrides)]
        return [_without(scratch, line) for line in lines]


def _paths(argument: str, given: Any, path: Path) -> list[str]:
    """Returns paths as they are; writes rows into a file, and returns its path."""
    if isinstance(given, os.PathLike):
        return [os.fspath(given)]
    if isinstance(given, str):
        return [given]
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(f"{argument} is {type(given).__name__}, expected a path, a list of Path, or a list of rows")
    rows = list(given)
    if rows and all(isinstance(row, os.PathLike) for row in rows):
        return [os.fspath(row) for row in rows]
    with open(path, "wb") as file:
        for index, row in enumerate(rows):
            if not isinstance(row, (str, Mapping)):
                raise TypeError(f"{argument}[{index}] is {type(row).__name__}, expected a dict or a str")
            try:
                file.write(_json.text({"question": row} if isinstance(row, str) else dict(row)) + b"\n")
            except ValueError as error:
                raise TypeError(f"{argument}[{index}]: {error}") from None
    return [str(path)]


def _without(scratch: str, line: dict[str, Any]) -> dict[str, Any]:
    """Removes the temporary directory from what names a row."""
    prefix = scratch + os.sep
    return {key: value.replace(prefix, "", 1) if isinstance(value, str) else value for key, value in line.items()}
