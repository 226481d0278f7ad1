"""Fixtures of the package's tests. They run against the installed wheel: its module, and the command beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMAND = Path(sysconfig.get_path("scripts"), "thinkloom")

RETURN = "\u23ce"


def table_rows(name: str) -> list[list[str]]:
    """Returns the rows of a case table in fixtures/verify."""
    lines = (ROOT / "fixtures" / "verify" / name).read_text(encoding="utf-8").splitlines()
    kept = (line for line in lines if line and not line.startswith("# "))
    return [[part.replace(RETURN, "\n") for part in line.split("\t")] for line in kept]


def table_cases() -> list[dict[str, Any]]:
    """Returns the cases of all tables, in the form of `thinkloom grade`."""
    cases: list[dict[str, Any]] = []
    for name, kind in (("extraction.tsv", "math"), ("numeric.tsv", "numeric"), ("text.tsv", "text")):
        cases += [{"kind": kind, "gold": row[1], "response": row[2]} for row in table_rows(name)]
    cases += [{"kind": "math", "gold": row[1], "response": f"\\boxed{{{row[2]}}}"} for row in table_rows("math.tsv")]
    cases += [
        {"kind": "choice", "gold": row[1], "choices": row[2].split(";"), "response": row[3]}
        for row in table_rows("choice.tsv")
    ]
    return [{"id": index, **case} for index, case in enumerate(cases)]


@pytest.fixture
def heard() -> Iterator[None]:
    """Has Ctrl-C raise KeyboardInterrupt: a shell starts programs in the background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="package")
def cases() -> list[dict[str, Any]]:
    return table_cases()


@pytest.fixture(scope="package")
def command() -> Callable[..., str]:
    """Returns a function that runs the command with some arguments and a standard input, and returns its output."""

    def run(*arguments: str, stdin: str = "", expected: int = 0) -> str:
        done = subprocess.run([COMMAND, *arguments], input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == expected, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="package")
def graded(cases: list[dict[str, Any]], command: Callable[..., str]) -> list[tuple[str, str | None, str]]:
    """The command's verdicts on the cases."""
    lines = command("grade", "--cases", "-", stdin="\n".join(map(json.dumps, cases))).splitlines()
    return [(row["verdict"], row["extracted"], row["reason"]) for row in map(json.loads, lines)]


@pytest.fixture(scope="package")
def demo() -> Path:
    """The directory of a finished run: THINKLOOM_RUN, or out/demo."""
    path = Path(os.environ.get("THINKLOOM_RUN", ROOT / "out" / "demo"))
    if not path.is_dir():
        pytest.fail(f"{path} has no run; `make demo` makes one")
    return path
