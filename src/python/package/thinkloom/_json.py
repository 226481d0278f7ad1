"""Rows of Python objects as JSON texts."""

from __future__ import annotations

import json
from typing import Any


def plain(value: Any) -> Any:
    """Returns what JSON has for an array or a number of numpy, a tensor, or a path."""
    for method in ("tolist", "__fspath__"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def text(row: Any) -> bytes:
    """Returns a row as a JSON text.

    Raises ValueError with a reason if it has none: a type that JSON does not have, NaN, half a surrogate pair, an object
    within itself, or whatever a method of a value raises.
    """
    try:
        return json.dumps(row, default=plain, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except MemoryError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"it has no form in JSON: {reason}") from error
