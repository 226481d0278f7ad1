"""The verifiers in process: the command's verdicts, from any column, thread and process."""

from __future__ import annotations

import concurrent.futures
import faulthandler
import functools
import json
import multiprocessing
import pickle
import resource
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import thinkloom

Row = tuple[str, "str | None", str]


def columns(cases: list[dict[str, Any]]) -> tuple[list[Any], ...]:
    return tuple([case.get(name) for case in cases] for name in ("gold", "response", "kind", "choices"))


def seen(verdicts: list[thinkloom.Verdict]) -> list[Row]:
    return [(verdict.verdict, verdict.extracted, verdict.reason) for verdict in verdicts]


def batch(cases: list[dict[str, Any]]) -> list[Row]:
    return seen(thinkloom.verify_batch(*columns(cases)))


def test_every_verdict_is_the_commands(cases: list[dict[str, Any]], graded: list[Row]) -> None:
    assert len(cases) > 1000
    assert batch(cases) == graded
    one = [thinkloom.verify(case["gold"], case["response"], case["kind"], case.get("choices")) for case in cases]
    assert seen(one) == graded
    assert seen(thinkloom.verify_batch(*columns(cases), threads=1)) == graded


def test_a_verdict_is_a_value() -> None:
    verdict = thinkloom.verify("1/2", r"\boxed{0.5}")
    assert verdict and verdict.verdict == "correct" and verdict.extracted == "0.5"
    assert not thinkloom.verify("1/2", r"\boxed{0.6}")
    assert not thinkloom.verify("5", "")
    again = pickle.loads(pickle.dumps(verdict))
    assert again == verdict and hash(again) == hash(verdict) and again != thinkloom.verify("1/2", "")
    assert eval(repr(verdict), {"Verdict": thinkloom.Verdict}) == verdict
    with pytest.raises(AttributeError):
        verdict.verdict = "correct"  # type: ignore[misc]
    with pytest.raises(ValueError, match="verdict.*right"):
        thinkloom.Verdict("right", None, "")


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        lambda texts: np.array(texts, dtype=object),
        np.array,
        pa.array,
        lambda texts: pa.chunked_array([texts[:7], [], texts[7:]]),
        lambda texts: pa.array(texts, pa.large_string()),
        lambda texts: pa.array(texts, pa.string_view()),
        lambda texts: pa.array(texts).dictionary_encode(),
        pl.Series,
        lambda texts: pl.Series(texts, dtype=pl.Categorical),
        pd.Series,
        lambda texts: pd.Series(texts, dtype="string[pyarrow]"),
        lambda texts: pd.Series(texts, index=range(100, 100 + len(texts))),
        pd.Index,
    ],
)
def test_columns_of_every_library(make: Any) -> None:
    golds, responses = [str(number) for number in range(40)], [f"The answer is {number}." for number in range(40)]
    responses[3] = "The answer is 4."
    expected = [number != 3 for number in range(40)]
    assert [bool(verdict) for verdict in thinkloom.verify_batch(make(golds), make(responses))] == expected
    assert [bool(verdict) for verdict in thinkloom.verify_batch("7", make(responses))] == [at == 7 for at in range(40)]


def test_golds_that_are_numbers() -> None:
    for golds in ([1, 2.5, "3"], np.array([1, 2.5, 3]), pa.array([1, 2.5, 3.0]), pl.Series([1.0, 2.5, 3.0])):
        assert all(thinkloom.verify_batch(golds, ["It is 1.", "It is 2.5.", "It is 3."]))
    assert all(thinkloom.verify_batch(pa.array([1, 2]), ["1", "2"]))
    assert all(thinkloom.verify_batch(np.array([1, 2], dtype=np.int32), ["1", "2"]))
    assert thinkloom.verify(np.int64(5), "5") and thinkloom.verify(np.float32(0.5), "1/2") and thinkloom.verify(10**30, str(10**30))


def test_choices_for_all_rows_or_for_each() -> None:
    shared = thinkloom.verify_batch(["A", "B"], ["(A)", "(A)"], "choice", ["red", "blue"])
    assert [bool(verdict) for verdict in shared] == [True, False]
    each: Any
    for each in ([["red", "blue"], ["x", "y"]], pa.array([["red", "blue"], ["x", "y"]]), pl.Series([["red", "blue"], ["x", "y"]])):
        found = thinkloom.verify_batch(["A", "B"], ["red", "the answer is x"], ["choice", "choice"], each)
        assert [bool(verdict) for verdict in found] == [True, False]
    mixed = thinkloom.verify_batch(["A", "5"], ["(A)", "5"], ["choice", "math"], [["red", "blue"], None])
    assert all(mixed)


def test_a_bad_row_is_told_and_the_others_are_judged() -> None:
    golds = ["1", None, True, "4", "5", [6], "7", "8", float("nan")]
    responses = ["1", "2", "3", 4, None, "6", "\ud800", "8", "9"]
    verdicts = thinkloom.verify_batch(golds, responses)
    assert [verdict.verdict == "correct" for verdict in verdicts] == [at in (0, 7) for at in range(9)]
    reasons = [verdict.reason for verdict in verdicts if not verdict]
    assert all(reason.startswith("invalid_case: ") for reason in reasons)
    told = ["gold is None", "gold is bool", "response is int", "response is None", "gold is list", "response is no", "gold is NaN"]
    assert all(word in reason for word, reason in zip(told, reasons, strict=True)), reasons
    unknown = thinkloom.verify_batch(["1", "1", "1"], ["1", "1", "1"], ["math", "maths", "code"])
    assert unknown[0] and "maths" in unknown[1].reason and "verify_code" in unknown[2].reason


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, "gold is list", lambda: thinkloom.verify(["1"], "1")),  # type: ignore[arg-type]
        (TypeError, "gold is None", lambda: thinkloom.verify(None, "1")),  # type: ignore[arg-type]
        (TypeError, "gold is Decimal", lambda: thinkloom.verify(Decimal(1), "1")),  # type: ignore[arg-type]
        (TypeError, "response is bytes", lambda: thinkloom.verify("1", b"1")),  # type: ignore[arg-type]
        (TypeError, "response is no Unicode", lambda: thinkloom.verify("1", "\udc80")),
        (TypeError, "choices is str", lambda: thinkloom.verify("A", "A", "choice", "AB")),
        (TypeError, "choices has int|choices is int|int", lambda: thinkloom.verify("A", "A", "choice", ["x", 1])),  # type: ignore[list-item]
        (ValueError, "kind.*essay", lambda: thinkloom.verify("1", "1", "essay")),
        (ValueError, "verify_code", lambda: thinkloom.verify("1", "1", "code")),
        (ValueError, "evaluated.*never", lambda: thinkloom.verify("1", "1", evaluated="never")),
        (TypeError, "response is one text", lambda: thinkloom.verify_batch(["1"], "1")),
        (TypeError, "response is int", lambda: thinkloom.verify_batch(["1"], 1)),
        (TypeError, "response is dict", lambda: thinkloom.verify_batch(["1"], {"a": 1})),
        (TypeError, "response.*Int64|response.*int64", lambda: thinkloom.verify_batch(["1"], pa.array([1]))),
        (TypeError, "gold.*Boolean|gold.*bool", lambda: thinkloom.verify_batch(pa.array([True]), ["1"])),
        (TypeError, "choices", lambda: thinkloom.verify_batch(["1"], ["1"], "choice", pa.array([[1]]))),
        (ValueError, "response has 2 rows, and gold has 1", lambda: thinkloom.verify_batch(["1"], ["1", "2"])),
        (ValueError, "kind", lambda: thinkloom.verify_batch(["1"], ["1"], "essay")),
    ],
)
def test_a_wrong_argument_is_named(error: type[Exception], words: str, call: Any) -> None:
    with pytest.raises(error, match=words):
        call()


def test_empty_batches() -> None:
    assert thinkloom.verify_batch([], []) == [] == thinkloom.verify_batch("1", pa.array([], pa.string()))
    assert thinkloom.verify_batch(pa.chunked_array([], pa.string()), np.array([], dtype=object)) == []


def test_unevaluated_answers() -> None:
    assert not thinkloom.verify("3/4", "1/2 + 1/4") and thinkloom.verify("3/4", "1/2 + 1/4", evaluated="any")
    assert thinkloom.verify_batch(["3/4"], [r"\boxed{1/2 + 1/4}"], evaluated="any")[0]


def test_extract() -> None:
    found = thinkloom.extract(r"So \boxed{7}.")
    assert found is not None and (found.text, found.strategy) == ("7", "boxed") and pickle.loads(pickle.dumps(found)) == found
    assert thinkloom.extract("<think>5</think>") is None and thinkloom.extract("") is None
    chosen = thinkloom.extract("(B)", "choice", ["x", "y"])
    assert chosen is not None and chosen.text == "B" or chosen is not None and "B" in chosen.text


def test_hostile_texts_are_bounded() -> None:
    hostile = ["9" * 200_000, "(" * 100_000, r"\frac{" * 50_000, "2^" * 5_000 + "2", "1+" * 100_000 + "1", "{" * 1000 + "}" * 1000, r"\sqrt" * 30_000]
    for text in hostile:
        assert thinkloom.verify("1", text).verdict in ("incorrect", "unverifiable")
        assert thinkloom.verify("1", f"\\boxed{{{text}}}").verdict in ("incorrect", "unverifiable")
        assert not thinkloom.verify(text, "1")


def in_thread_of(stack: int, work: Any) -> list[Any]:
    """Runs work on a thread with a small stack."""
    found: list[Any] = []
    before = threading.stack_size(stack)
    try:
        thread = threading.Thread(target=lambda: found.append(work()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return found


def test_threads_with_small_stacks(cases: list[dict[str, Any]], graded: list[Row]) -> None:
    deep = ["(" * 3000 + "1" + ")" * 3000, r"\sqrt{" * 3000 + "1" + "}" * 3000, "-" * 9000 + "1", "2^{" * 900 + "1" + "}" * 900]
    hostile = [{"gold": "1", "response": f"\\boxed{{{text}}}", "kind": "math"} for text in deep]
    assert in_thread_of(64 << 10, lambda: seen(thinkloom.verify_batch(*columns(cases), threads=1))) == [graded]
    assert len(in_thread_of(64 << 10, lambda: [thinkloom.verify(**case) for case in hostile])[0]) == len(hostile)


def test_sixteen_threads(cases: list[dict[str, Any]], graded: list[Row]) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: batch(cases), range(16))) == [graded] * 16
        one = pool.map(lambda case: thinkloom.verify(case["gold"], case["response"], case["kind"], case.get("choices")), cases)
        assert seen(list(one)) == graded


def test_the_lock_is_released() -> None:
    """Python runs on while a batch computes: another thread counts on."""
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counted[0]
    thinkloom.verify_batch(["1/3"] * 20_000, [r"\boxed{\frac{2}{6}}"] * 20_000, threads=1)
    stop.set()
    thread.join()
    assert counted[0] - before > 1000


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_both_kinds(method: str, cases: list[dict[str, Any]], graded: list[Row]) -> None:
    batch(cases)  # the parent's threads run already
    with multiprocessing.get_context(method).Pool(2) as pool:
        halves = pool.map(batch, [cases[::2], cases[1::2]])
        assert halves == [graded[::2], graded[1::2]]
    assert batch(cases) == graded


def test_a_fork_during_other_threads_work(cases: list[dict[str, Any]], graded: list[Row]) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            batch(cases[:200])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    faulthandler.dump_traceback_later(120, exit=True)
    try:
        for _ in range(10):
            with multiprocessing.get_context("fork").Pool(1) as pool:
                assert pool.apply_async(batch, (cases,)).get(60) == graded
    finally:
        faulthandler.cancel_dump_traceback_later()
        stop.set()
        for thread in threads:
            thread.join()


def test_no_signal_handler_is_touched() -> None:
    ours = """
thinkloom.verify("1", "1"); thinkloom.verify_batch(["1"] * 100, ["1"] * 100)
thinkloom.verify_code("assert f() == 1", "def f():\\n    return 1")
thinkloom.dedup(["one", "two"])
"""
    # The C library's own signal comes with the first thread.
    code = """
import signal, threading
before = [signal.getsignal(number) for number in signal.valid_signals()]
{}
threading.Thread(target=len, args=([],)).start()
assert before == [signal.getsignal(number) for number in signal.valid_signals()]
print([line for line in open("/proc/self/status") if line.startswith(("SigCgt", "SigIgn", "SigBlk"))])
"""
    programs = [code.format("import thinkloom" + ours), code.format("")]
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True)
    outputs = [run([sys.executable, "-c", program]).stdout for program in programs]
    assert outputs[0] == outputs[1] and "SigCgt" in outputs[0]


@pytest.mark.usefixtures("heard")
def test_ctrl_c_ends_a_batch() -> None:
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(1000):
            thinkloom.verify_batch(["1/3"] * 100_000, [r"\boxed{\frac{2}{6}}"] * 100_000)
    timer.join()


def test_memory_is_flat() -> None:
    golds = [str(number) for number in range(1000)]
    responses = [f"Since {number} + 0 is {number}, the answer is $\\boxed{{{number}}}$." for number in range(1000)]

    def once() -> None:
        for gold, response in zip(golds, responses):
            thinkloom.verify(gold, response)
        thinkloom.verify_batch(golds, responses)

    for _ in range(20):
        once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        once()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


DOUBLE = "Here it is:\n```python\ndef double(x):\n    return 2 * x\n```"


def test_code() -> None:
    assert thinkloom.verify_code("assert double(4) == 8", DOUBLE)
    wrong = thinkloom.verify_code(["assert double(4) == 8", "assert double(4) == 9"], DOUBLE)
    assert wrong.verdict == "incorrect" and wrong.reason == "code_block:test_failed"
    assert thinkloom.verify_code({"input": "4\n", "output": "8\n"}, "```python\nprint(2 * int(input()))\n```")
    assert thinkloom.verify_code("assert double(2) == math.factorial(2) * 2", DOUBLE, test_imports=["import math"])
    assert thinkloom.verify_code([], DOUBLE).reason == "no_tests"
    slow = thinkloom.verify_code("assert f() == 1", "def f():\n    while True: pass", time_limit_s=1)
    assert slow.verdict == "incorrect" and slow.reason.endswith("time_out")
    lost = thinkloom.verify_code("assert double(4) == 8", DOUBLE, python="/no/such/python")
    assert lost.verdict == "unverifiable" and lost.reason == "no_sandbox"
    with pytest.raises(TypeError, match="tests is int"):
        thinkloom.verify_code(5, DOUBLE)
    with pytest.raises(ValueError, match="time_limit_s"):
        thinkloom.verify_code("assert 1", DOUBLE, time_limit_s=0)


def codes(count: int) -> list[str]:
    tests = [f"assert double({at}) == {2 * at + (at % 3 == 0)}" for at in range(count)]
    return [verdict.verdict for verdict in thinkloom.verify_code_batch(tests, [DOUBLE] * count)]


def test_code_in_batches_threads_and_processes(command: Any) -> None:
    expected = ["incorrect" if at % 3 == 0 else "correct" for at in range(30)]
    assert codes(30) == expected
    cases = [{"id": at, "kind": "code", "tests": f"assert double({at}) == {2 * at + (at % 3 == 0)}", "response": DOUBLE} for at in range(30)]
    lines = command("grade", "--cases", "-", stdin="\n".join(map(json.dumps, cases))).splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == expected
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert list(threads.map(codes, [10] * 8)) == [expected[:10]] * 8
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map_async(codes, [10, 10]).get(120) == [expected[:10]] * 2
    assert codes(30) == expected
    bad = thinkloom.verify_code_batch(["assert double(1) == 2", 5, "assert double(1) == 2"], [DOUBLE, DOUBLE, None])
    assert bad[0] and "tests is int" in bad[1].reason and "response is None" in bad[2].reason
    with pytest.raises(ValueError, match="rows"):
        thinkloom.verify_code_batch(["assert double(1) == 2"], [DOUBLE, DOUBLE])
