#!/usr/bin/env python3
"""Sends SIGTERM to commands during long work, and measures the seconds until they end.

Usage: stop_times.py --thinkloom BINARY [--work DIR] [--only NAME] [--rows 3000000]

Each case starts the real program, waits until it works, sends SIGTERM and prints a line: the seconds until the end and the
exit code. Exit code 3 means that the run stopped by itself, -15 that the signal ended the command. Exits with 1 if a case
finished before the signal, ended with another code, or took longer than HANG_S, which means that it ignored the signal.
"""

import argparse
import gzip
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HANG_S = 30
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
NEWLINES = 2 << 30
SPARSE = 10 << 30


def rows(path, count):
    with open(path, "w") as file:
        for index in range(count):
            question = f"A shop has {index} boxes with {index % 97} pens in each and sells {index % 41} pens. How many are left?"
            file.write(json.dumps({"id": f"q{index}", "question": question, "answer": str(index % 4 + 1), "kind": "numeric"}) + "\n")


def newlines(path):
    # Members may follow each other: one is compressed, and written so often that all are of that length.
    member = gzip.compress(b"\n" * (16 << 20))
    with open(path, "wb") as file:
        file.write(member * (NEWLINES // (16 << 20)))


def sparse(path, head):
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(SPARSE)


def model(path, template):
    """Writes the tiny model with another chat template of the same length."""
    source = (FIXTURES / "tiny-llama.gguf").read_bytes()
    start = source.index(b"{%", source.index(b"tokenizer.chat_template"))
    length = int.from_bytes(source[start - 8 : start], "little")
    assert len(template) <= length, (len(template), length)
    path.write_bytes(source[:start] + template.encode().ljust(length) + source[start + length :])


def config(folder, name, paths, **more):
    settings = {
        "input.paths": paths,
        "policy.model": str(FIXTURES / "tiny-llama.gguf"),
        "policy.mode_preset": "qwen3",
        "policy.device": "cpu",
        "sampling.samples_per_mode": 2,
        "judge.backend": "none",
    }
    settings.update({key.replace("__", "."): value for key, value in more.items()})
    path = folder / f"{name}.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    return path


def measure(name, command, after, codes):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(after)
    if process.poll() is not None:
        print(f"{name}: over after less than {after} s, code {process.returncode}: {process.stdout.read()[-400:]}")
        return False
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(HANG_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        print(f"{name}: still there {HANG_S} s after the request")
        return False
    seconds = time.monotonic() - asked
    lines = process.stdout.read().strip().splitlines()
    print(f"{name}: {seconds:.2f} s, code {process.returncode} ({' | '.join(line[:90] for line in lines[-2:])})", flush=True)
    return process.returncode in codes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinkloom", required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--rows", type=int, default=3_000_000)
    arguments = parser.parse_args()
    folder = arguments.work or Path(tempfile.mkdtemp(prefix="thinkloom-stop-"))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rows.jsonl").exists():
        rows(folder / "rows.jsonl", arguments.rows)
    newlines(folder / "newlines.jsonl.gz")
    sparse(folder / "line.csv", b'id,question,answer,kind\n"')
    sparse(folder / "zeros.jsonl", b"\n")
    rows(folder / "few.jsonl", 2000)
    # As long as the bound of a rendering lets it go on, for every query again.
    model(folder / "endless.gguf", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    good = str(FIXTURES / "tiny-llama.gguf")
    inputs = {
        "rows": config(folder, "rows", ["rows.jsonl"]),
        "newlines": config(folder, "newlines", ["newlines.jsonl.gz"]),
        "line": config(folder, "line", ["line.csv"]),
        "hash": config(folder, "hash", ["zeros.jsonl"], input__answer_is="letter"),
        "template": config(folder, "template", ["few.jsonl"], policy__model=str(folder / "endless.gguf")),
        "sampling": config(folder, "sampling", ["few.jsonl"], policy__model=good, sampling__think_on_tokens_max=200),
    }
    cases = []
    for name, after in [("rows", 2), ("rows", 15), ("rows", 60), ("newlines", 3), ("line", 3), ("hash", 2), ("template", 0.7), ("sampling", 10)]:
        out = ["-o", str(folder / f"out-{name}")]
        cases.append((f"run {name} after {after} s", ["run", "-c", str(inputs[name]), *out], after, [3]))
    cases.append(("run --dry-run rows", ["run", "--dry-run", "-c", str(inputs["rows"])], 10, [3]))
    for name, after in [("rows", 5), ("newlines", 3), ("line", 3), ("template", 0.7), ("sampling", 10)]:
        cases.append((f"eval {name} after {after} s", ["eval", "-c", str(inputs[name]), "-o", str(folder / f"eval-{name}")], after, [3]))
    cases.append(("dedup rows", ["dedup", "--queries", str(folder / "rows.jsonl")], 5, [-signal.SIGTERM]))
    held = True
    for name, command, after, codes in cases:
        if arguments.only in name:
            held &= measure(name, [arguments.thinkloom, *command], after, codes)
    sys.exit(0 if held else 1)


main()
