#!/usr/bin/env python3
"""Compares the verifiers with math-verify: bench_verify.py THINKLOOM CASES_JSONL; needs math-verify (`make bench-verify`).

The cases have the format of `thinkloom grade`; only the kinds math and numeric count. If the cases have `expected`, the
tool prints the agreement. Both run on one core, in interleaved rounds. thinkloom's time covers a whole process that starts,
and reads, grades and writes the cases ten times over; math-verify's time covers its parse and verify calls in a warm
process.
"""
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time

from math_verify import parse, verify

ROUNDS = 3
# A process start is not what grading a night's rollouts costs.
REPEATS = 10


def by_thinkloom(program, path):
    started = time.perf_counter()
    done = subprocess.run([program, "grade", "--cases", path], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 4):
        sys.exit(f"error: thinkloom ended with {done.returncode}:\n{done.stderr[-1000:]}")
    verdicts = [json.loads(line)["verdict"] == "correct" for line in done.stdout.splitlines()]
    return seconds / REPEATS, verdicts[: len(verdicts) // REPEATS]


def by_math_verify(cases):
    verdicts = []
    started = time.perf_counter()
    for case in cases:
        try:
            # Its time-outs are signals, which cost time and fail outside the main thread; it is called without.
            # A gold in LaTeX is read as such only between dollar signs.
            gold = parse(f"${case['gold']}$", parsing_timeout=None) or parse(case["gold"], parsing_timeout=None)
            answer = parse(case["response"], parsing_timeout=None)
            verdicts.append(bool(verify(gold, answer, timeout_seconds=None)))
        except Exception:
            verdicts.append(False)
    return time.perf_counter() - started, verdicts


def main():
    program, path = sys.argv[1:]
    logging.disable(logging.WARNING)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with open(path, encoding="utf-8") as file:
        cases = [case for case in map(json.loads, file) if case["kind"] in ("math", "numeric")]
    # What is meant to hang a verifier would measure math-verify's patience.
    cases = [case for case in cases if "hostile" not in case.get("group", "")]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(case) + "\n" for _ in range(REPEATS) for case in cases)
        file.flush()
        by_math_verify(cases[:5])
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(by_thinkloom(program, file.name))
            theirs.append(by_math_verify(cases))
    speeds = [[len(cases) / seconds for seconds, _ in runs] for runs in (ours, theirs)]
    ratios = [a / b for a, b in zip(*speeds)]
    for name, speed in zip(("thinkloom", "math-verify"), speeds):
        print(f"{name:12} {statistics.median(speed):>10.0f} cases/s ({min(speed):.0f}-{max(speed):.0f})")
    print(f"{'ratio':12} {statistics.median(ratios):>10.0f} ({min(ratios):.0f}-{max(ratios):.0f}); {len(cases)} cases, one core")
    groups = sorted({case.get("group", "all") for case in cases if "expected" in case})
    for group in groups:
        chosen = [index for index, case in enumerate(cases) if case.get("group", "all") == group and "expected" in case]
        agree = [sum(runs[0][1][index] == cases[index]["expected"] for index in chosen) for runs in (ours, theirs)]
        print(f"{group:18} thinkloom {agree[0]} of {len(chosen)}, math-verify {agree[1]} of {len(chosen)}")


if __name__ == "__main__":
    main()
