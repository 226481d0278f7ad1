#!/usr/bin/env python3
"""Kills real runs at random moments until they finish, and audits their outputs with independent readers.

Usage: kill_loop.py --thinkloom BINARY --model FILE --input FILE [--limit 200] [--rounds 25] [--samples 4] [--seed 1]
                    [--tokens 64] [--work DIR] [--max-life SECONDS]

One run is undisturbed. Other runs with the same config, each in a new directory, are killed with SIGKILL at seeded random
moments and started again until they finish. The loop ends after --limit kills. Then the tool checks with pyarrow and
plain SQL:

- every shard has the bytes of the undisturbed run;
- no rollout and no judge call happened twice: each response of a query is stored once, each judge request has one
  usable reply, and no fact stored before a kill was stored again or changed later;
- every input row is one sample or one exclusion.

Prints one line per kill and one per check; exits 1 with a message on the first breach.
"""

import argparse
import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

TABLES = ("samples", "rollouts", "exclusions")


def require(condition, message):
    if not condition:
        print(f"BREACH: {message}")
        sys.exit(1)


def config(arguments, work):
    path = work / "thinkloom.toml"
    path.write_text(
        f"""
[input]
paths = [{str(Path(arguments.input).resolve())!r}]
[policy]
model = {str(Path(arguments.model).resolve())!r}
[sampling]
samples_per_mode = {arguments.samples}
think_on_tokens_max = {arguments.tokens}
think_off_tokens_max = {arguments.tokens}
[judge]
max_tokens = 96
[output]
queries_per_shard = 20
"""
    )
    return path


def command(arguments, path, out):
    return [arguments.thinkloom, "run", "-c", str(path), "-o", str(out), "--limit", str(arguments.limit)]


def hashes(out):
    files = sorted((out / "data").rglob("*.parquet"))
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def query(out, sql):
    ledger = out / "ledger.sqlite"
    if not ledger.exists():
        return []
    connection = sqlite3.connect(ledger, timeout=30)
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        # A run that was killed while it made its tables.
        require("no such table" in str(error), f"{out}: {error}")
        return []
    finally:
        connection.close()


def stored(out):
    """All responses and replies with the place and time at which they were stored."""
    rollouts = query(out, "SELECT key, rowid, recorded_unix_ms, completion_tokens FROM rollout")
    replies = query(out, "SELECT request_key || '/' || attempt, rowid, 0, length(body) FROM judge_reply")
    return {row[0]: row[1:] for row in rollouts + replies}


def audit(arguments, out, whole):
    require(hashes(out) == whole, f"{out} has other shards than the run that was left alone")
    twice = query(out, "SELECT count(*) FROM (SELECT 1 FROM rollout GROUP BY query_id, mode, sample_index HAVING count(*) > 1)")
    require(twice == [(0,)], f"{out}: {twice} rollouts were done twice")
    usable = "json_extract(body, '$.choices[0].finish_reason') = 'stop'"
    sql = f"SELECT count(*) FROM (SELECT 1 FROM judge_reply WHERE {usable} GROUP BY request_key, body HAVING count(*) > 1)"
    require(query(out, sql) == [(0,)], f"{out}: judge calls were done twice")
    rows = {table: [] for table in TABLES}
    for table in TABLES:
        for file in sorted((out / "data" / table).glob("*.parquet")):
            rows[table] += pq.read_table(file).to_pylist()
    settled = sorted(row["ordinal"] for row in rows["samples"] + rows["exclusions"])
    require(settled == list(range(arguments.limit)), f"{out}: samples and exclusions are not the input rows")
    (count,) = query(out, "SELECT count(*) FROM rollout")[0]
    require(len(rows["rollouts"]) == count, f"{out}: {count} rollouts are stored, {len(rows['rollouts'])} published")
    return len(settled), count, query(out, "SELECT count(*) FROM judge_reply")[0][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("thinkloom", "model", "input"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("limit", 200), ("rounds", 25), ("samples", 4), ("seed", 1), ("tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--work", help="a directory to work in; a temporary one otherwise")
    parser.add_argument("--max-life", type=float, help="longest life in seconds; a third of the undisturbed run otherwise")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work = Path(arguments.work or tempfile.mkdtemp(prefix="thinkloom-kill-"))
    work.mkdir(parents=True, exist_ok=True)
    path = config(arguments, work)

    started = time.monotonic()
    code = subprocess.run(command(arguments, path, work / "whole"), capture_output=True, text=True)
    require(code.returncode in (0, 4), f"the undisturbed run ends with {code.returncode}: {code.stderr}")
    lasted = time.monotonic() - started
    whole = hashes(work / "whole")
    queries, rollouts, replies = audit(arguments, work / "whole", whole)
    print(f"undisturbed: {queries} queries, {rollouts} rollouts, {replies} judge replies, {len(whole)} shards, {lasted:.0f} s")

    numbers = random.Random(arguments.seed)
    max_life = arguments.max_life or lasted / 3
    kills, directory = 0, 0
    while kills < arguments.rounds:
        out, before = work / f"killed-{directory}", {}
        directory += 1
        while True:
            life = numbers.uniform(0.05, max_life) if kills < arguments.rounds else None
            process = subprocess.Popen(command(arguments, path, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                _, said = process.communicate(timeout=life)
                ended = True
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                _, said = process.communicate()
                ended = False
            except BaseException:
                # Nothing goes on behind the back of whoever stopped this.
                process.kill()
                raise
            after = stored(out)
            lost = [key for key, row in before.items() if after.get(key) != row]
            require(not lost, f"{len(lost)} facts of before the kill are gone, changed or stored again: {lost[:3]}")
            before = after
            if ended:
                require(process.returncode in (0, 4), f"a run ends with {process.returncode}: {said.decode()}")
                break
            kills += 1
            print(f"kill {kills} after {life:.2f} s: {len(after)} responses and replies are stored", flush=True)
        queries, rollouts, replies = audit(arguments, out, whole)
        print(f"{out.name} is finished: {queries} queries, {rollouts} rollouts, {replies} judge replies; bytes are the same")
    print(f"ok: {kills} kills over {directory} runs; shards byte-identical; rollouts and judge calls done twice: 0")


if __name__ == "__main__":
    main()
