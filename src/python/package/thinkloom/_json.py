"""Rows of Python objects as JSON texts."""

from __future__ import annotations

import json
from typing import Any


def plain(value: Any) -> Any:
    """Returns what JSON has for an array or a number of numpy, a tensor, a tuple-like or a path."""
    for method in ("tolist", "__fspath__"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def text(row: Any) -> bytes:
    """Returns a row as a JSON text."""
    return json.dumps(row, default=plain, ensure_ascii=False).encode("utf-8")
