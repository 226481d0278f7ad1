"""`reward`: HiPO's hybrid reward for rows of Python objects."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from thinkloom import _json
from thinkloom._thinkloom import ROW_KEYS, json_rows, reward_rows
from thinkloom._tokens import Counter


def reward(rows: Any, *, tokenizer: Any = None, **settings: Any) -> list[dict[str, Any]]:
    r"""Computes the reward and both advantages of rollouts.

    `rows` is a list of dicts, or an Arrow table (the rollouts of a run, too). The rows of one `query_id` are a group. A
    row has `mode`, `correct` and `format_ok`, or a `completion` with its `gold` (and `kind`, `choices`, `question`, or
    `tests`), from which they are read and verified. The result has a dict for each row, in order: `reward`,
    `mean_reward`, `mean_reward_mode`, `advantage_judge`, `advantage_answer`; `mode`, `correct`, `format_ok`,
    `completion_tokens`; `verdict`, `extracted`, `verdict_reason` where a completion was verified; `judge_chars` and
    `judge_tokens`, the part of the completion to which the first advantage belongs; and `error`, which is None, or says
    why the row has no reward.

    `tokenizer` counts tokens: a fast tokenizer of transformers, a `tokenizers.Tokenizer`, a function that returns the
    (start, end) of each token in characters, or the path of a model (GGUF file or directory). A row's own `token_ids`
    and `completion_tokens` are used where it has them; `judge_tokens` is None if the tokens decode to another text.

    Settings, with the defaults of `thinkloom reward`: `format_weight=0.2`, `omega=0.01`, `boost="relative"`,
    `length_weight=0.0`, `gamma=0.3`, `epsilon=1e-6`, `deviation="population"`, `bias_adjustment=True`,
    `global_term=True`, `local_normalization="mode"`, `method="hipo"`; `evaluated="required"`, `other_mode="incorrect"`.

    >>> import thinkloom
    >>> rows = [
    ...     {"query_id": "q", "mode": "think_on", "correct": True, "format_ok": True},
    ...     {"query_id": "q", "mode": "think_off", "correct": False, "format_ok": True},
    ... ]
    >>> [round(row["advantage_judge"], 3) for row in thinkloom.reward(rows)]
    [0.8, -0.8]
    >>> row = {"query_id": "q", "completion": thinkloom.render("think_off", "Short.", "4"), "gold": 4}
    >>> thinkloom.reward([row])[0]["reward"]
    1.2

    Raises TypeError or ValueError if an argument or a setting is wrong; a faulty row only gets an `error`.
    """
    is_path = isinstance(tokenizer, (str, os.PathLike))
    counter = None if tokenizer is None or is_path else Counter(tokenizer)
    texts, faults, objects = _read(rows, counter)
    starts = [None if counter is None or row is None else _count(row, counter) for row in objects]
    if counter is not None:
        texts = [text if row is None else _json.text(row) for text, row in zip(texts, objects)]
    gained: list[dict[str, Any]] = reward_rows(texts, os.fspath(tokenizer) if is_path else None, settings)
    for index, fault in faults.items():
        gained[index]["error"] = fault
    for row, begins, found in zip(objects, starts, gained):
        if counter is not None and row is not None and begins is not None and found["judge_chars"] is not None:
            ids = row.get("token_ids")
            if ids is not None:
                found["judge_tokens"] = counter.judge_tokens(ids, row["completion"], found["judge_chars"])
            else:
                found["judge_tokens"] = sum(begin < found["judge_chars"] for begin in begins)
    return gained


def _read(rows: Any, counter: Counter | None) -> tuple[list[bytes], dict[int, str], list[dict[str, Any] | None]]:
    """Returns the rows as JSON texts, the faults of rows that have none, and, if tokens are counted, as objects."""
    if isinstance(rows, (str, bytes, Mapping)):
        raise TypeError(f"rows is {type(rows).__name__}, expected a list of dicts or an Arrow table")
    try:
        table = json_rows(rows)
    except TypeError:
        # Some columns of polars have no form in Arrow that others read.
        if not hasattr(rows, "to_dicts"):
            raise
        table, rows = None, rows.to_dicts()
    if table is not None:
        return table, {}, [json.loads(text) if counter is not None else None for text in table]
    if not isinstance(rows, Iterable):
        raise TypeError(f"rows is {type(rows).__name__}, expected a list of dicts or an Arrow table")
    texts: list[bytes] = []
    faults: dict[int, str] = {}
    objects: list[dict[str, Any] | None] = []
    for index, row in enumerate(rows):
        known: dict[str, Any] | None = None
        if isinstance(row, Mapping):
            try:
                # Other keys may hold anything.
                known = {key: row[key] for key in ROW_KEYS if row.get(key) is not None}
                texts.append(_json.text(known))
            except MemoryError:
                raise
            except Exception as error:
                texts.append(b"null")
                faults[index], known = f"row {index}: {error}", None
            if counter is not None and known is not None:
                # Plain values: a mapping's own may change from one look to the next.
                known = json.loads(texts[-1])
        else:
            texts.append(b"null")
            faults[index] = f"row {index} is {type(row).__name__}, expected a dict"
        objects.append(known if counter is not None else None)
    return texts, faults, objects


def _count(row: dict[str, Any], counter: Counter) -> list[int] | None:
    """Counts a row's tokens, and returns where they begin; None if it has no completion."""
    completion = row.get("completion")
    if not isinstance(completion, str):
        return None
    if row.get("token_ids") is not None:
        return []
    starts = counter.starts(completion)
    row.setdefault("completion_tokens", len(starts))
    return starts
