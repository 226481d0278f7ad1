#!/usr/bin/env python3
"""Runs math-verify's own test cases through `thinkloom.math_verify`, and explains every disagreement.

Usage: math_verify_cases.py DIRECTORY [--all]

DIRECTORY is the unpacked source distribution of math-verify 0.9.0:
    pip download --no-binary :all: --no-deps math-verify==0.9.0 && tar xf math_verify-0.9.0.tar.gz

The cases are read from math-verify's test modules, which are imported with the drop-in in place of `math_verify`; none
is copied into this project. `EXPLAINED` names each disagreement by a digest of its arguments, with its reason. Prints
the agreement, then each disagreement (gold, target, expected, ours, thinkloom's reason) under its explanation; `--all`
also prints the agreeing cases. Needs pytest and sympy, which the test modules import.

Exits 1 if a disagreement has no explanation or an explanation no disagreement, 2 on wrong usage.
"""

import hashlib
import importlib
import inspect
import json
import sys
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import thinkloom
import thinkloom.math_verify
import thinkloom.math_verify.parser

# Why a case differs.
REASONS = {
    "argument": "the case sets float_rounding, strict or boxed_match_priority to a value that the drop-in rejects",
    "inside": "the test replaces or calls functions inside math-verify, or computes with an expression of sympy",
    "contradiction": "the answer equates different values, such as 1/3 and 1.3; thinkloom accepts no part of it",
    "wrong": "the case itself is wrong: it expects 1 - 1/e to equal 1 + 1/e",
    "boxes": "the last box is the answer; boxes are one list only if a comma, 'and' or 'or' joins them",
    "comma": "a comma in a gold separates the elements of a list; it is no decimal point",
    "names": "the names differ: W(n) and W(x)",
    "unannounced": "a letter in the middle of a sentence is not stated as the answer",
    "lines": "the formula spans several lines, which TeX allows; thinkloom reads it",
    "solved": "a solved inequality equals the set of its solutions, whichever of the two is the gold",
    "notation": "\\frac12 is valid LaTeX, whatever the normalization; thinkloom reads it",
    "unreadable": "the gold cannot be parsed: it equates 1 and 0 through an unknown command",
    "fault": "a fault of thinkloom: a unit of one letter without a space (99m²), a product of matrices",
}

# The first 12 hexadecimal digits of the SHA-256 of a case: its test and its arguments as JSON.
EXPLAINED: dict[str, str] = {
    "6f3005805531": "argument",
    "ea9a2229ce0c": "argument",
    "544d193bd626": "argument",
    "338dde50af9f": "argument",
    "10f90b5c74d0": "argument",
    "368fe7653b0e": "argument",
    "105b27e88364": "argument",
    "d5a1d9bc7cdf": "inside",
    "a9cdf8e00853": "inside",
    "23376cf2a4fa": "inside",
    "d5d6805c82a4": "inside",
    "ea900d357460": "inside",
    "c42711c3c4da": "inside",
    "0d89d611b0b2": "inside",
    "3af47e653efc": "contradiction",
    "7595f075289c": "contradiction",
    "bad56c34d958": "contradiction",
    "d5819973c76c": "wrong",
    "61350000f1fc": "boxes",
    "5efc593d027d": "boxes",
    "30060f20d8fb": "boxes",
    "65d826fcec96": "comma",
    "d055732f233e": "comma",
    "7289ff9e8097": "names",
    "05e48036d8e2": "unannounced",
    "b4ef7691fe13": "lines",
    "121761b90490": "lines",
    "7063caf4f948": "solved",
    "bb474481d105": "notation",
    "c91df1888e67": "unreadable",
    "71f6ab9c3466": "fault",
    "98c6de287f0a": "fault",
    "9911cb9d32cc": "fault",
}


@dataclass
class Result:
    """One case: how it was named, what was expected, and what the drop-in said."""

    test: str
    arguments: dict
    agrees: bool
    ours: str
    reason: str

    @property
    def digest(self):
        text = json.dumps([self.test, self.arguments], default=repr, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def put_in_place():
    """Makes `import math_verify` give the drop-in."""
    for name in ("", ".parser", ".grader", ".metric", ".errors"):
        sys.modules[f"math_verify{name}"] = importlib.import_module(f"thinkloom.math_verify{name}")
    # A part of math-verify's inside that its tests import: what has no counterpart fails by name when it is called.
    sys.modules["math_verify.grader"].sympy_expr_eq = missing("sympy_expr_eq")
    try:
        importlib.import_module("latex2sympy2_extended")
    except ModuleNotFoundError:
        stand_in = types.ModuleType("latex2sympy2_extended")
        stand_in.NormalizationConfig = thinkloom.math_verify.LatexNormalizationConfig
        sys.modules["latex2sympy2_extended"] = stand_in


def missing(name):
    def call(*_, **__):
        raise NotImplementedError(f"{name} is math-verify's inside")

    return call


def record_verdicts(verdicts):
    """Keeps each verdict of thinkloom, for the reasons of the disagreements."""
    judge = thinkloom.verify

    def recorded(*arguments, **settings):
        verdict = judge(*arguments, **settings)
        verdicts.append(verdict)
        return verdict

    thinkloom.verify = recorded


def cases(function):
    """Returns the arguments of a test function, one dictionary a case."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    if not marks:
        return [{}]
    (mark,) = marks
    names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else mark.args[0]
    return [dict(zip(names, values, strict=True)) for values in mark.args[1]]


def run(name, function, arguments, verdicts):
    verdicts.clear()
    try:
        function(**arguments)
        agrees, ours = True, "as expected"
    except AssertionError:
        agrees, ours = False, "the contrary"
        if name.endswith("test_string_extraction") and "config" in arguments:
            # math-verify returns two str, the drop-in an Answer and a str: compared by their text.
            parsed = thinkloom.math_verify.parse(arguments["pred"], [arguments["config"]])
            ours = repr([str(each) for each in parsed])
            agrees = [str(each) for each in parsed] == arguments["expected"]
    except NotImplementedError as error:
        agrees, ours = False, f"not supported: {error}"
    except TypeError as error:
        # A test that computes with the parsed expression.
        agrees, ours = False, f"no expression of sympy: {error}"
    return Result(name, arguments, agrees, ours, "; ".join(dict.fromkeys(each.reason for each in verdicts)))


def results(directory):
    put_in_place()
    verdicts = []
    record_verdicts(verdicts)
    sys.path.insert(0, str(directory))
    for path in sorted((directory / "tests").glob("test_*.py")):
        module = importlib.import_module(f"tests.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("test_") or function.__module__ != module.__name__:
                continue
            patched = hasattr(function, "patchings") or "patch(" in inspect.getsource(function)
            for arguments in cases(function):
                if patched:
                    yield Result(f"{path.stem}.{name}", arguments, False, "not run", "replaces math-verify's functions")
                else:
                    yield run(f"{path.stem}.{name}", function, arguments, verdicts)


def show(result):
    print(f"  {result.digest}  {result.test}")
    for name, value in result.arguments.items():
        text = value if isinstance(value, str) else repr(value)
        print(f"    {name}: {text if len(text) <= 200 else '... ' + text[-196:]!r}")
    print(f"    ours: {result.ours} ({result.reason})")


def main(arguments):
    directories = [each for each in arguments if each != "--all"]
    if len(directories) != 1 or not (Path(directories[0]) / "tests/test_all.py").is_file():
        print(__doc__, file=sys.stderr)
        return 2
    every = list(results(Path(directories[0]).resolve()))
    agreeing = [each for each in every if each.agrees]
    if "--all" in arguments:
        for each in agreeing:
            show(each)
    print(f"{len(agreeing)} of {len(every)} cases agree")
    by_test = Counter(each.test for each in every)
    agreeing_by_test = Counter(each.test for each in agreeing)
    for test, count in by_test.items():
        print(f"  {test}: {agreeing_by_test[test]} of {count}")
    differing = {each.digest: each for each in every if not each.agrees}
    for reason, text in REASONS.items():
        here = [each for each in differing.values() if EXPLAINED.get(each.digest) == reason]
        print(f"\n{reason} ({len(here)}): {text}")
        for each in here:
            show(each)
    unexplained = [each for each in differing.values() if EXPLAINED.get(each.digest) not in REASONS]
    if unexplained:
        print(f"\nno explanation ({len(unexplained)}):")
    for each in unexplained:
        show(each)
    stale = sorted(EXPLAINED.keys() - differing.keys())
    if stale:
        print(f"\nexplained, but the cases agree or are gone: {', '.join(stale)}")
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
