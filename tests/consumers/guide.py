#!/usr/bin/env python3
"""Runs the SQL and the Python that README and guide show, over a finished run.

Usage: guide.py OUTPUT_DIRECTORY

Every fenced `sql` block is run in DuckDB after the run's own views.sql, statement by statement; every fenced `python` block
that reads the output directory is run beside it. Prints one line per page; exits 1 on the first block that fails, 2 on
wrong usage.

Not run: Python that asks a server (tests/consumers/serve_client.py does so).
"""

import os
import re
import sys
import tempfile
from pathlib import Path

# Before `datasets` is imported: it reads these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import duckdb  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for found, text in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def run_sql(out, text):
    """Returns how many statements ran; each must give a result."""
    before = Path.cwd()
    os.chdir(out)  # the views' paths are relative
    try:
        connection = duckdb.connect()
        connection.execute(Path("views.sql").read_text(encoding="utf-8"))
        statements = connection.extract_statements(text)
        for statement in statements:
            connection.execute(statement).fetchall()
        return len(statements)
    finally:
        os.chdir(before)


def run_python(out, text):
    """Runs a block in a directory where `out` is the run."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "out").symlink_to(out)
        os.chdir(folder)
        try:
            names = {}
            exec(compile(text, "block", "exec"), names)  # noqa: S102: the project's own pages
        finally:
            os.chdir(before)
    if "rows" not in names or len(names["rows"]) == 0:
        raise ValueError("the block reads no rows")


def main(arguments):
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(arguments[0]).resolve()
    statements = scripts = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "src/guide").glob("*.md"))]:
        name = page.relative_to(ROOT)
        try:
            here = sum(run_sql(out, text) for text in blocks(page, "sql"))
            reading = [text for text in blocks(page, "python") if "out/data" in text]
            for text in reading:
                run_python(out, text)
        except Exception as error:  # whatever a reader raises, the page is wrong
            print(f"breach: {name}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        if here or reading:
            print(f"ok: {name}: {here} SQL statements, {len(reading)} Python blocks", flush=True)
        statements, scripts = statements + here, scripts + len(reading)
    if statements < 13 or scripts < 2:
        print(f"breach: only {statements} SQL statements and {scripts} Python blocks are seen", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
