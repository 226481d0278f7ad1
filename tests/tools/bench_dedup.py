"""Compares near-duplicate search with rensa and datatrove: the same file, n-grams, bands and threads, in one run.

    python tests/tools/bench_dedup.py THINKLOOM [--rows 1000000] [--datatrove-rows 100000] [--rounds 1]

A fifth of the generated queries are near-copies of earlier queries: the last two words differ, and so do case and
spacing. All tools read the JSON lines, take word 5-grams of lower-case text, 120 hash functions in 40 bands of 3
and report which rows repeat an earlier one. thinkloom also finds exact copies, compares answers, confirms every pair by its
exact similarity and writes one line per row. rensa (one thread, called in batches from Python) compares signatures.
datatrove runs its signature, bucket and cluster steps with one process per core, on fewer rows because it is slow. Prints
JSON: seconds, rows per second, peak resident memory of the largest process in MiB, the share of planted rows that are
reported, and the number of other reported rows: rensa reports both rows of a pair, datatrove keeps either.
"""

import argparse
import json
import multiprocessing
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NGRAM, BANDS, ROWS, THRESHOLD = 5, 40, 3, 0.8


def generate(path, count):
    """Writes the queries; ids of planted rows begin with p."""
    rng = random.Random(7)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "on")]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) for _ in range(20_000)]
    weights = [1 / (place + 10) for place in range(len(words))]
    recent = []
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            if recent and rng.random() < 0.2:
                question, answer = rng.choice(recent)
                parts = question.rstrip("?").split(" ")
                parts[-2:] = rng.choices(words, k=2)
                question = "  ".join(parts).upper() + "?"
                row = {"id": f"p{number}", "question": question, "answer": answer}
            else:
                parts = rng.choices(words, weights, k=rng.randint(40, 60))
                for place in range(12, len(parts) - 6, 12):
                    parts[place] += "."
                parts[rng.randrange(len(parts) - 8)] = str(rng.randint(2, 99))
                question, answer = " ".join(parts) + "?", str(rng.randint(1, 999))
                recent.append((question, answer))
                if len(recent) > 50_000:
                    recent[rng.randrange(50_000)] = recent.pop()
                row = {"id": f"q{number}", "question": question, "answer": answer}
            file.write(json.dumps(row) + "\n")


def grams(text):
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[place:place + NGRAM]) for place in range(max(1, len(words) - NGRAM + 1))]


def run_rensa(path, out):
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=BANDS * ROWS, num_bands=BANDS)
    found, ids, sets, start = [], [], [], 0

    def settle():
        nonlocal ids, sets, start
        matrix = RMinHash.digest_matrix_from_token_sets(sets, BANDS * ROWS, 42)
        flags = index.insert_matrix_and_query_duplicate_flags(matrix, start)
        found.extend(name for name, flag in zip(ids, flags) if flag)
        start += len(ids)
        ids, sets = [], []

    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            ids.append(row["id"])
            sets.append(grams(row["question"]))
            if len(sets) == 20_000:
                settle()
    if sets:
        settle()
    Path(out).write_text("".join(name + "\n" for name in found))


def run_datatrove(path, out, workers):
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):
        """Its own tokenizers need language models; this one is as fast as Python gets."""

        def word_tokenize(self, text):
            return re.findall(r"\w+", text)

        def sent_tokenize(self, text):
            return [text]

        def span_tokenize(self, text):
            return [(0, len(text))]


    folder = Path(out).with_suffix(".d")
    parts = folder / "in"
    parts.mkdir(parents=True)
    lines = open(path, encoding="utf-8").read().splitlines(keepends=True)
    for worker in range(workers):
        (parts / f"{worker}.jsonl").write_text("".join(lines[worker::workers]), encoding="utf-8")
    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS, hash_config=HashConfig(precision=64))
    reader = JsonlReader(str(parts), text_key="question", id_key="id")
    logs = str(folder / "logs")
    steps = [
        ([reader, MinhashDedupSignature(str(folder / "sig"), config=config, language=Words())], workers),
        ([MinhashDedupBuckets(str(folder / "sig"), str(folder / "buckets"), config=config)], BANDS),
        ([MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config)], 1),
        ([reader, MinhashDedupFilter(str(folder / "remove"),
                                     exclusion_writer=JsonlWriter(str(folder / "removed"), compression=None))], workers),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(tasks, workers), logging_dir=f"{logs}{number}").run()
    names = [json.loads(line)["id"] for file in (folder / "removed").glob("*.jsonl") for line in open(file)]
    Path(out).write_text("".join(name + "\n" for name in names))


def run_thinkloom(binary, path, out, threads):
    lines = Path(out).with_suffix(".jsonl")
    sets = [f"dedup.bands={BANDS}", f"dedup.band_rows={ROWS}", f"dedup.ngram={NGRAM}",
            f"dedup.near_duplicate_threshold={THRESHOLD}", f"dedup.threads={threads}"]
    command = [binary, "dedup", "--queries", path, "-o", lines]
    start = time.monotonic()
    subprocess.run(command + [part for key in sets for part in ("--set", key)], check=True)
    seconds = time.monotonic() - start
    rows = (json.loads(line) for line in open(lines, encoding="utf-8"))
    return seconds, "".join(row["id"] + "\n" for row in rows if row["action"] != "keep")


def measured(tool, path, count, arguments):
    """Runs one tool in a process of its own and returns its figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "found")
        command = [sys.executable, __file__, arguments.thinkloom, "--tool", tool, "--file", path, "--out", out]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {"tool": tool, "error": (done.stderr or done.stdout)[-800:]}
        told = json.loads(done.stdout.splitlines()[-1])
        seconds = told["seconds"]
        found = set(out.read_text().split())
    planted = sum(1 for line in open(path, encoding="utf-8") if line.startswith('{"id": "p'))
    hits = sum(name.startswith("p") for name in found)
    return {"tool": tool, "rows": count, "seconds": round(seconds, 2), "rows_per_s": round(count / seconds),
            "peak_mib": told["peak_mib"], "planted_found": round(hits / planted, 4), "others": len(found) - hits}


def one(arguments):
    start = time.monotonic()
    if arguments.tool == "thinkloom":
        seconds, found = run_thinkloom(arguments.thinkloom, arguments.file, arguments.out, 0)
    elif arguments.tool == "rensa":
        run_rensa(arguments.file, arguments.out)
    else:
        run_datatrove(arguments.file, arguments.out, multiprocessing.cpu_count())
    if arguments.tool != "thinkloom":
        seconds = time.monotonic() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN if arguments.tool == "thinkloom" else resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if arguments.tool == "datatrove" else 0
    if arguments.tool == "thinkloom":
        Path(arguments.out).write_text(found)
    print(json.dumps({"seconds": seconds, "peak_mib": round(max(usage.ru_maxrss, children) / 1024)}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("thinkloom")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--datatrove-rows", type=int, default=100_000)
    parser.add_argument("--tools", nargs="+", default=["thinkloom", "rensa", "datatrove"])
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--tool")
    parser.add_argument("--file")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    if arguments.tool:
        return one(arguments)
    results = []
    for tool in arguments.tools:
        counts = {"datatrove": [arguments.datatrove_rows], "thinkloom": [arguments.rows, arguments.datatrove_rows]}
        for count in counts.get(tool, [arguments.rows]):
            path = Path(arguments.folder, f"dedup-bench-{count}.jsonl")
            if not path.exists():
                generate(path, count)
            results.append(measured(tool, path, count, arguments))
            print(json.dumps(results[-1]), flush=True)
    speed = {(result["tool"], result.get("rows")): result.get("rows_per_s", 0) for result in results}
    for (tool, count), theirs in speed.items():
        if tool != "thinkloom" and theirs and ("thinkloom", count) in speed:
            print(json.dumps({"ratio_to": tool, "rows": count, "times": round(speed["thinkloom", count] / theirs, 1)}))


if __name__ == "__main__":
    main()
