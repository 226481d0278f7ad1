"""Objects, Arrow data and signals that nobody expects: an exception that names the argument, or a row's fault."""

from __future__ import annotations

import copy
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import thinkloom

DOUBLE = "```python\ndef double(x):\n    return 2 * x\n```"


class Endless(list):  # type: ignore[type-arg]
    """A list that lies about its length."""

    def __len__(self) -> int:
        return 10**12


def test_lengths_are_not_trusted(demo: Path) -> None:
    assert thinkloom.Run(demo).samples.select(Endless(["query_id"])).column_names == ["query_id"]
    assert thinkloom.verify_batch(Endless(["5"]), Endless(["5"]))[0]
    assert thinkloom.verify("A", "(A)", "choice", Endless(["x", "y"]))


def strings(offsets: list[int], data: bytes) -> pa.Array:
    buffers = [None, pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


class Twice:
    """Gives the same capsules to each reader."""

    def __init__(self, pair: Any) -> None:
        self.pair = pair

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self.pair


class Mixed:
    """Gives the schema of one array and the data of another."""

    def __init__(self, schema: pa.Array, data: pa.Array) -> None:
        self.schema, self.data = schema, data

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self.schema.__arrow_c_array__()[0], self.data.__arrow_c_array__()[1]


@pytest.mark.parametrize(
    "column",
    [
        strings([0, 2], b"\xff\xfe"),
        strings([0, 200, 1], b"56"),
        strings([0, -5, 1], b"56"),
        pa.Array.from_buffers(pa.string_view(), 1, [None, pa.py_buffer(np.array([20, 0, 5, 900], np.int32))]),
        pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), pa.array(["5", "6"]), safe=False),
        Mixed(pa.array(["5"]), pa.array([5])),
        Mixed(pa.array([["5"]]), pa.array([5])),
        Twice(5),
        Twice((5, 6)),
        Twice(()),
    ],
)
def test_arrow_data_that_contradict_themselves(column: Any) -> None:
    for call in (lambda: thinkloom.verify_batch(column, ["5"]), lambda: thinkloom.verify_batch(["5"], column)):
        with pytest.raises(TypeError, match="gold|response"):
            call()


def test_a_capsule_can_be_read_once() -> None:
    column = Twice(pa.array(["5"]).__arrow_c_array__())
    assert thinkloom.verify_batch(column, ["5"])[0]
    with pytest.raises(TypeError, match="gold has unusable Arrow data: .*read before"):
        thinkloom.verify_batch(column, ["5"])


def test_columns_without_a_form_in_arrow() -> None:
    row = {"query_id": ["q"], "mode": ["think_on"], "correct": [True], "format_ok": [True], "other": [None]}
    assert thinkloom.reward(pl.DataFrame(row))[0]["reward"] == 1.2
    assert thinkloom.verify_batch(["5"], ["5"], question=pl.Series([None]))[0]
    assert all(thinkloom.verify_batch(pd.Series(["1/2", 5], dtype=object), ["0.5", "5"]))
    with pytest.raises(TypeError, match="rows has the column completion of Binary"):
        thinkloom.reward(pa.table({"query_id": ["q"], "completion": [b"4"], "gold": ["4"]}))


def test_what_has_no_order_is_no_column() -> None:
    for value in ({"red", "blue"}, frozenset(["red"]), {"red": 1}.keys()):
        with pytest.raises(TypeError, match="choices is"):
            thinkloom.verify("A", "red", "choice", value)  # type: ignore[arg-type]
    for value in (bytearray(b"5"), memoryview(b"5"), {"5"}, b"5"):
        with pytest.raises(TypeError, match="gold is"):
            thinkloom.verify_batch(value, ["5"])


def test_masked_values_are_missing() -> None:
    for values in ([5, 6], ["5", "6"], [5.0, 6.0]):
        found = thinkloom.verify_batch(np.ma.masked_array(values, [0, 1]), ["5", "6"])
        assert found[0] and found[1].reason == "invalid_case: gold is None"
    with pytest.raises(TypeError, match="gold is None"):
        thinkloom.verify(np.ma.masked, "5")


class Ending(int):
    error: type[BaseException] = KeyboardInterrupt

    def __str__(self) -> str:
        raise self.error


class Failing(Ending):
    error = RuntimeError


def test_exceptions_of_values() -> None:
    with pytest.raises(KeyboardInterrupt):
        thinkloom.verify_batch([Ending(5), 5], ["5", "5"])
    with pytest.raises(KeyboardInterrupt):
        thinkloom.verify(Ending(5), "5")
    found = thinkloom.verify_batch([Failing(5), 5], ["5", "5"])
    assert not found[0] and "gold" in found[0].reason and found[1]

    def failing() -> Any:
        yield "5"
        raise RuntimeError("no more")

    class Column(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return failing()

    with pytest.raises(TypeError, match="response: RuntimeError: no more"):
        thinkloom.verify_batch(["5", "5"], Column(["5", "5"]))


def test_rows_that_have_no_json() -> None:
    good = {"query_id": 1, "mode": "think_on", "correct": 1, "format_ok": 1}
    deep: Any = "4"
    for _ in range(5000):
        deep = [deep]
    itself: list[Any] = []
    itself.append(itself)

    class Raising(dict):  # type: ignore[type-arg]
        def get(self, *_: Any) -> Any:
            raise RuntimeError("no")

    class Odd:
        def tolist(self) -> Any:
            raise RuntimeError("odd")

    odd = [{**good, "gold": deep}, {**good, "gold": itself}, Raising(good), {**good, "gold": Odd()}, {**good, "gold": float("nan")}, {**good, "gold": "\ud800"}]
    found = thinkloom.reward([*odd, good])
    for index, row in enumerate(found[:-1]):
        assert row["error"] is not None and f"row {index}" in row["error"] and row["reward"] is None
    assert found[-1]["reward"] == 1.2
    with pytest.raises(TypeError, match=r"queries\[1\]"):
        thinkloom.dedup(["x", {"question": deep}])


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("completion is NoneType", lambda: thinkloom.parse(None)),  # type: ignore[arg-type]
        ("completion is no Unicode", lambda: thinkloom.parse("\ud800")),
        ("justification is NoneType", lambda: thinkloom.render("think_off", None, "4")),  # type: ignore[arg-type]
        ("kind is int", lambda: thinkloom.verify("5", "5", 5)),  # type: ignore[arg-type]
        ("evaluated is bool", lambda: thinkloom.verify("5", "5", evaluated=True)),  # type: ignore[arg-type]
        ("threads is -1", lambda: thinkloom.verify_batch(["5"], ["5"], threads=-1)),
        ("workers is -1", lambda: thinkloom.verify_code_batch(["assert 1"], [DOUBLE], workers=-1)),
        ("time_limit_s is", lambda: thinkloom.verify_code("assert 1", DOUBLE, time_limit_s=-1)),
        ("no setting", lambda: thinkloom.dedup(["x"], **{"ngram=3 #": 1})),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_named(words: str, call: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_tokenizers_that_cut_and_fill() -> None:
    from test_reward import byte_level, completions

    rows = completions(100)
    plain = byte_level()
    expected = thinkloom.reward(rows, tokenizer=plain)
    for change in (lambda tokenizer: tokenizer.enable_truncation(5), lambda tokenizer: tokenizer.enable_padding(length=400)):
        changed = byte_level()
        change(changed)
        assert thinkloom.reward(rows, tokenizer=changed) == expected
        assert changed.truncation is not None or changed.padding is not None
    text = rows[0]["completion"]
    ids = plain.encode(text).ids
    more = plain.encode("<s>").ids + ids + plain.encode("</s>").ids
    found = thinkloom.reward([{**rows[0], "token_ids": more}, {**rows[0], "token_ids": ids[:3]}], tokenizer=plain)
    assert found[0]["judge_tokens"] == expected[0]["judge_tokens"] + len(plain.encode("<s>").ids)
    assert found[1]["judge_tokens"] is None or text.startswith(plain.decode(ids[:3]))
    shuffled = lambda text: list(reversed(plain.encode(text).offsets))  # noqa: E731
    assert thinkloom.reward(rows, tokenizer=shuffled) == expected
    for wrong in (lambda text: None, lambda text: [5], lambda text: [(-1, 2)], lambda text: [(0.5, 2)], lambda text: [(10**9, 2)]):
        with pytest.raises(ValueError, match="tokenizer gave"):
            thinkloom.reward(rows, tokenizer=wrong)


def test_every_value_can_be_copied_and_pickled(demo: Path) -> None:
    values = [thinkloom.verify("5", "5"), thinkloom.extract("5"), thinkloom.parse("5")]
    for value in values:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(value, protocol)) == value
        assert copy.copy(value) == value == copy.deepcopy(value)
    run = thinkloom.Run(demo)
    again = pickle.loads(pickle.dumps(run, 0))
    assert again.path == run.path and len(again.samples) == len(run.samples)


def test_a_relative_path_stays_the_same_run(demo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(demo.parent)
    run = thinkloom.Run(demo.name)
    monkeypatch.chdir(tmp_path)
    assert len(run.samples) > 0 and Path(run.path).is_absolute()


def test_no_columns_have_rows_too(demo: Path) -> None:
    for table in (thinkloom.Run(demo).samples, thinkloom.Run(demo).queries):
        read = pa.RecordBatchReader.from_stream(table.select([]))
        assert sum(batch.num_rows for batch in read) == len(table)


@pytest.mark.parametrize(
    "call",
    [
        lambda: thinkloom.verify_code("assert f() == 1", "```python\nimport time\ndef f():\n    time.sleep(8)\n    return 1\n```"),
        lambda: thinkloom.verify_code_batch(["assert f() == 1"] * 200, ["```python\nimport time\ndef f():\n    time.sleep(8)\n    return 1\n```"] * 200),
        lambda: thinkloom.dedup([f"{at} " + "word another third " * 2000 for at in range(3000)]),
    ],
)
@pytest.mark.usefixtures("heard")
def test_ctrl_c(call: Any) -> None:
    timer = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    # Unheard, the calls would go on for minutes.
    faulthandler.dump_traceback_later(100, exit=True)
    with pytest.raises(KeyboardInterrupt):
        call()
    faulthandler.cancel_dump_traceback_later()
    timer.join()


def test_texts_without_an_end() -> None:
    """They took minutes."""
    for text in ("\\text{", "\\mathrm{", "\\mbox{", "\\textbf{x"):
        assert not thinkloom.verify("5", text * 500_000) and not thinkloom.verify(text * 500_000, "5")


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path) -> None:
    code = f"import thinkloom; thinkloom.dedup(['x']); assert thinkloom.verify_code('assert double(2) == 4', {DOUBLE!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert os.listdir(tmp_path) == []
    assert tempfile.gettempdir() != str(tmp_path)
