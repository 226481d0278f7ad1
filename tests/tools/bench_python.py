#!/usr/bin/env python3
"""Measures the Python package beside math-verify: bench_python.py CASES_JSONL; needs the wheel and math-verify (`make bench-python`).

The cases have the format of `thinkloom grade`; only the kinds math and numeric count. All runs are of this process, in
interleaved rounds: thinkloom's `verify_batch` on one thread and on all, `verify` call by call, and math-verify's parse and verify
without its time-outs, which are signals. Before that, every verdict of `verify_batch` is held against `thinkloom grade`.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import sysconfig
import time

import math_verify
import thinkloom

ROUNDS = 3


def timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def by_math_verify(cases):
    correct = 0
    for case in cases:
        try:
            # A gold in LaTeX is read as such only between dollar signs.
            gold = math_verify.parse(f"${case['gold']}$", parsing_timeout=None) or math_verify.parse(
                case["gold"], parsing_timeout=None
            )
            answer = math_verify.parse(case["response"], parsing_timeout=None)
            correct += bool(math_verify.verify(gold, answer, timeout_seconds=None))
        except Exception:
            pass
    return correct


def check(cases):
    """Holds the verdicts of the module against those of the command."""
    command = os.path.join(sysconfig.get_path("scripts"), "thinkloom")
    text = "".join(json.dumps({**case, "id": at}) + "\n" for at, case in enumerate(cases))
    done = subprocess.run([command, "grade", "--cases", "-"], input=text, capture_output=True, text=True, check=True)
    expected = [(row["verdict"], row["extracted"], row["reason"]) for row in map(json.loads, done.stdout.splitlines())]
    columns = [[case.get(name) for case in cases] for name in ("gold", "response", "kind", "choices", "question")]
    found = [(verdict.verdict, verdict.extracted, verdict.reason) for verdict in thinkloom.verify_batch(*columns)]
    differ = sum(ours != theirs for ours, theirs in zip(found, expected, strict=True))
    print(f"{len(cases)} cases: {differ} verdicts differ from the command's")
    if differ:
        sys.exit(1)


def main():
    logging.disable(logging.WARNING)
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = [case for case in map(json.loads, file) if case["kind"] in ("math", "numeric")]
    check(cases)
    # What is meant to hang a verifier would measure math-verify's patience.
    cases = [case for case in cases if "hostile" not in case.get("group", "")]
    columns = [[case.get(name) for case in cases] for name in ("gold", "response", "kind")]
    many = [column * 20 for column in columns]
    cores = len(os.sched_getaffinity(0))
    rounds = {"one thread": [], f"{cores} threads": [], "call by call": [], "math-verify": []}
    thinkloom.verify_batch(*columns)
    by_math_verify(cases[:5])
    for _ in range(ROUNDS):
        rounds["one thread"].append(timed(lambda: thinkloom.verify_batch(*many, threads=1)) / 20)
        rounds[f"{cores} threads"].append(timed(lambda: thinkloom.verify_batch(*many)) / 20)
        rounds["call by call"].append(timed(lambda: [thinkloom.verify(*row) for row in zip(*columns)]))
        rounds["math-verify"].append(timed(lambda: by_math_verify(cases)))
    base = rounds["math-verify"]
    for name, seconds in rounds.items():
        speeds = [len(cases) / value for value in seconds]
        ratios = [theirs / ours for ours, theirs in zip(seconds, base)]
        print(
            f"{name:13} {statistics.median(speeds):>10,.0f} cases/s ({min(speeds):,.0f}-{max(speeds):,.0f}), "
            f"{statistics.median(ratios):,.0f} times math-verify"
        )


if __name__ == "__main__":
    main()
