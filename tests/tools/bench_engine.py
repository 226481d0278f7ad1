#!/usr/bin/env python3
"""Compares the engine's speed with llama.cpp's: the same GGUF, the same threads, the same run, interleaved rounds.

bench_engine.py --model GGUF --llamacpp BIN_DIR --throughput BENCH_BINARY --thinkloom BINARY [--input JSONL]

Three parts; all figures are medians over the rounds, with the lowest and the highest.

- Prefill (llama-bench -p 128,512) and decode at 1, 8, 32 and 64 sequences (llama-batched-bench, shared prompt of 128
  tokens, 64 new tokens each). llama.cpp runs under each of SETTINGS, and its best result per line counts; settings
  far from the best are skipped after the first round. thinkloom's decode includes sampling at temperature 0.6
  and top_p 0.95, llama-batched-bench samples nothing.
- The roofline: the least time of a decode step is max(weight bytes / read bandwidth, B * FLOP per token / peak f32
  rate), with bandwidth and peak measured in the same round, once with the bytes of the file and once with the bytes
  that thinkloom keeps in memory (these may include a table of which a step reads a few rows, so the share can exceed
  100%).
  Hardware with matrix units (AMX) can be faster than the peak f32 rate.
- A job: `thinkloom run` samples 8 responses per mode for the first rows of the input, without a judge. Then
  llama-server gets the same prompts, 32 sequences at a time, and samples for each the number of tokens in thinkloom's
  ledger (`ignore_eos`). thinkloom's time covers the whole process, with loading, ledger and files; llama-server's time
  begins after loading. Tokens that a forced close appends count, although thinkloom processes them as a prompt; tokens
  that it cuts from a response do not count. A call is one response, or all responses of one query and mode with
  `n_cmpl`, which shares the prompt. The best of SERVER_SETTINGS, found with the first rows, counts. top_k and min_p keep
  llama-server's defaults, which save it work.

The machine should run nothing else: both engines lose a multiple of the CPU time that another process takes.
"""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

SEQUENCES = (1, 8, 32, 64)
PROMPTS = (128, 512)
SETTINGS = {
    "-fa auto": ["-fa", "auto"],
    "-fa off": ["-fa", "off"],
    "-fa off -kvu": ["-fa", "off", "-kvu"],
    "-fa off --no-repack": ["-fa", "off", "--no-repack"],
    "-fa auto --no-repack": ["-fa", "auto", "--no-repack"],
}
# A setting stays if it reached this share of the best on some line of the first round.
SETTING_SHARE_MIN = 0.9
SAMPLES_PER_MODE = 8
IN_FLIGHT = 32
SLOT_TOKENS = 2048
SERVER_SETTINGS = {
    "-fa off, one request each": (["-fa", "off"], "single"),
    "-fa off, n_cmpl": (["-fa", "off"], "grouped"),
    "-fa off -kvu, n_cmpl": (["-fa", "off", "-kvu"], "grouped"),
    "-fa auto, n_cmpl": (["-fa", "auto"], "grouped"),
}
PROBE_GROUPS = 8
CONFIG = """
[input]
paths = [{input}]
[policy]
model = {model}
threads = {threads}
slots = {slots}
[sampling]
samples_per_mode = {samples}
think_on_tokens_max = 64
think_off_tokens_max = 64
[judge]
backend = "none"
"""


def output(command):
    """Returns what a program prints; its log is shown if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {pathlib.Path(command[0]).name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def measure_llamacpp(options, flags):
    """Returns {line: tokens per second} of one setting."""
    speeds = {}
    common = ["-m", options.model, "-t", options.threads]
    # llama-bench knows no unified cache, which makes no difference to one sequence, and spells its flags differently.
    if "-kvu" not in flags:
        repack = ["--repack", "0" if "--no-repack" in flags else "1"]
        prompts = ["-p", ",".join(map(str, PROMPTS)), "-n", "0", "-r", "3", "-o", "jsonl"]
        for row in json_lines(output([options.llamacpp / "llama-bench", *common, *flags[:2], *repack, *prompts])):
            speeds[f"prefill {row['n_prompt']}"] = statistics.median(row["samples_ts"])
    # Every sequence of its own memory gets a multiple of 256 positions.
    cells = max(SEQUENCES) * 256
    shape = ["-c", cells, "-npp", "128", "-ntg", "64", "-npl", ",".join(map(str, SEQUENCES)), "-pps"]
    command = [options.llamacpp / "llama-batched-bench", *common, *flags, *shape, "--output-format", "jsonl"]
    for row in json_lines(output(command)):
        speeds[f"decode {row['pl']}"] = row["speed_tg"]
    return speeds


def measure_thinkloom(options):
    """Returns {line: tokens per second} and what the roofline needs."""
    # Keys and values at 2 bytes a number, as llama.cpp keeps them.
    rows = json_lines(output([options.throughput, options.model, "--threads", options.threads, "--kv", "bf16"]))
    found = {row["kind"]: row for row in rows}
    speeds = {f"decode {row['sequences']}": row["tokens_per_s"] for row in rows if row["kind"] == "decode"}
    for length in PROMPTS:
        of_length = [row["tokens_per_s"] for row in rows if row["kind"] == "prefill" and row["tokens"] == length]
        speeds[f"prefill {length}"] = statistics.median(of_length)
    return speeds, {**found["machine"], **found["model"]}


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def bench_engines(options):
    """Runs the rounds of prefill and decode, and prints their tables."""
    settings, theirs, ours, machines = dict(SETTINGS), {}, [], []
    for number in range(options.rounds):
        for name, flags in settings.items():
            print(f"round {number + 1}: llama.cpp {name}", file=sys.stderr)
            theirs.setdefault(name, []).append(measure_llamacpp(options, flags))
        print(f"round {number + 1}: thinkloom", file=sys.stderr)
        speeds, machine = measure_thinkloom(options)
        ours.append(speeds)
        machines.append(machine)
        if number == 0:
            first = {name: rounds[0] for name, rounds in theirs.items()}
            best = {line: max(speeds.get(line, 0) for speeds in first.values()) for line in ours[0]}
            is_near = lambda speeds: any(speeds[line] >= SETTING_SHARE_MIN * best[line] for line in speeds)
            settings = {name: flags for name, flags in settings.items() if is_near(first[name])}
    lines = [f"prefill {length}" for length in PROMPTS] + [f"decode {count}" for count in SEQUENCES]
    print_settings(theirs, lines)
    print("\nTokens per second: median (lowest-highest)\n")
    print(f"{'':12} {'llama.cpp':>18} {'thinkloom':>18} {'ratio':>18}  best setting of llama.cpp")
    for line in lines:
        runs = {name: [speeds[line] for speeds in rounds] for name, rounds in theirs.items() if line in rounds[0]}
        complete = {name: speeds for name, speeds in runs.items() if len(speeds) == options.rounds}
        name = max(complete, key=lambda name: statistics.median(complete[name]))
        own = [speeds[line] for speeds in ours]
        ratios = [a / b for a, b in zip(own, complete[name])]
        print(f"{line:12} {spread(complete[name]):>18} {spread(own):>18} {spread(ratios, 2):>18}  {name}")
    print_roofline(options, ours, machines)


def print_settings(theirs, lines):
    print("\nllama.cpp, tokens per second by setting, median (- : not measured)\n")
    print(f"{'':22} {'rounds':>6} " + " ".join(f"{line:>11}" for line in lines))
    for name, rounds in theirs.items():
        medians = [statistics.median(s[line] for s in rounds) if line in rounds[0] else None for line in lines]
        cells = " ".join(f"{'-' if median is None else format(median, '.0f'):>11}" for median in medians)
        print(f"{name:22} {len(rounds):>6} {cells}")


def print_roofline(options, ours, machines):
    median = {key: statistics.median(machine[key] for machine in machines) for key in
              ("bytes_per_s", "flop_per_s", "weight_bytes", "flop_per_token", "threads")}
    file_bytes = options.model.stat().st_size
    print(f"\nRoofline: {median['bytes_per_s'] / 1e9:.1f} GB/s read, {median['flop_per_s'] / 1e9:.0f} GFLOP/s f32, "
          f"{median['threads']:.0f} threads; weights {file_bytes / 1e6:.0f} MB in the file, "
          f"{median['weight_bytes'] / 1e6:.0f} MB in memory; {median['flop_per_token'] / 1e6:.0f} MFLOP per token")
    print("Least time of a step = max(weight bytes / bandwidth, sequences * FLOP per token / peak)\n")
    print(f"{'':12} {'step, ms':>10} {'least, file':>12} {'share':>6} {'least, memory':>14} {'share':>6}")
    for count in SEQUENCES:
        step = count / statistics.median(speeds[f"decode {count}"] for speeds in ours)
        compute = count * median["flop_per_token"] / median["flop_per_s"]
        least = [max(weights / median["bytes_per_s"], compute) for weights in (file_bytes, median["weight_bytes"])]
        cells = [f"{least[0] * 1e3:>12.1f} {least[0] / step:>6.0%}", f"{least[1] * 1e3:>14.1f} {least[1] / step:>6.0%}"]
        print(f"decode {count:<5} {step * 1e3:>10.1f} {' '.join(cells)}")


def run_thinkloom(options, folder):
    """Runs the job; returns its seconds and its groups, per query and mode [(prompt, tokens, prompt tokens)]."""
    folder.mkdir()
    values = {"input": options.input.resolve(), "model": options.model.resolve()}
    config = CONFIG.format(**{key: json.dumps(str(value)) for key, value in values.items()},
                           threads=options.threads, slots=IN_FLIGHT, samples=SAMPLES_PER_MODE)
    (folder / "thinkloom.toml").write_text(config)
    command = [options.thinkloom, "run", "-c", folder / "thinkloom.toml", "-o", folder / "out", "--limit", options.rows]
    started = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    # 4: done, though some rows could not be used.
    if done.returncode not in (0, 4):
        sys.exit(f"error: thinkloom run ended with {done.returncode}:\n{done.stderr[-2000:]}")
    with contextlib.closing(sqlite3.connect(folder / "out/ledger.sqlite")) as ledger:
        rows = ledger.execute(
            "SELECT query_id, mode, prompt.text, completion_tokens, prompt_tokens FROM rollout "
            "JOIN prompt ON prompt.sha256 = prompt_sha256 ORDER BY recorded_unix_ms, query_id, mode, sample_index"
        ).fetchall()
    groups = {}
    for query, mode, prompt, tokens, prompt_tokens in rows:
        groups.setdefault((query, mode), []).append((prompt, max(tokens, 1), prompt_tokens))
    return seconds, list(groups.values())


@contextlib.contextmanager
def llama_server(options, flags):
    """Runs llama-server while the block runs; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [options.llamacpp / "llama-server", "-m", options.model, "-t", options.threads, "-np", IN_FLIGHT,
               "-c", IN_FLIGHT * SLOT_TOKENS, "--cache-reuse", 16, "--host", "127.0.0.1", "--port", port, *flags]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while get_status(port) != 200:
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"error: llama-server did not start:\n{log.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.1)
            yield port
        finally:
            server.terminate()
            server.wait()


def get_status(port):
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status
    return None


def requests(groups, shape):
    """Returns (request body, prompt tokens) for every call; tokens to sample add up to what thinkloom sampled."""
    bodies, owed = [], 0
    base = {"temperature": 0.6, "top_p": 0.95, "ignore_eos": True, "cache_prompt": True, "seed": 0}
    for group in groups:
        if shape == "single":
            for index, (prompt, tokens, prompt_tokens) in enumerate(group):
                bodies.append(({**base, "prompt": prompt, "n_predict": tokens, "seed": index}, prompt_tokens))
            continue
        # All completions of a call have one length: the mean, what rounding leaves over carried to the next call.
        owed += sum(tokens for _, tokens, _ in group)
        each = max(round(owed / len(group)), 1)
        owed -= each * len(group)
        prompt, _, prompt_tokens = group[0]
        bodies.append(({**base, "prompt": prompt, "n_predict": each, "n_cmpl": len(group)}, prompt_tokens))
    return bodies


def complete(port, body):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    if response.status != 200:
        raise RuntimeError(f"llama-server answered {response.status}: {text[:500].decode(errors='replace')}")
    replies = json.loads(text)
    return replies if isinstance(replies, list) else [replies]


def run_server(options, flags, shape, groups):
    """Returns seconds and sampled tokens of the job in llama-server."""
    calls = requests(groups, shape)
    in_flight = IN_FLIGHT if shape == "single" else IN_FLIGHT // SAMPLES_PER_MODE
    with llama_server(options, flags) as port, concurrent.futures.ThreadPoolExecutor(in_flight) as pool:
        started = time.monotonic()
        replies = list(pool.map(lambda call: complete(port, call[0]), calls))
        seconds = time.monotonic() - started
    for (_, prompt_tokens), (reply, *_) in zip(calls, replies):
        if reply["tokens_evaluated"] != prompt_tokens:
            sys.exit(f"error: a prompt has {reply['tokens_evaluated']} tokens in llama-server and {prompt_tokens} here")
    return seconds, sum(reply["tokens_predicted"] for group in replies for reply in group)


def bench_job(options):
    """Runs the sampling job in both, and prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        _, groups = run_thinkloom(argparse.Namespace(**{**vars(options), "rows": 4}), pathlib.Path(folder) / "probe")
        probes = {}
        for name, (flags, shape) in SERVER_SETTINGS.items():
            seconds, tokens = run_server(options, flags, shape, groups[:PROBE_GROUPS])
            probes[name] = tokens / seconds
            print(f"job: llama-server {name}: {probes[name]:.0f} tokens/s on the first rows", file=sys.stderr)
        name = max(probes, key=probes.get)
        ours, theirs, counts = [], [], None
        for number in range(options.job_rounds):
            print(f"job round {number + 1}: thinkloom, then llama-server {name}", file=sys.stderr)
            seconds, groups = run_thinkloom(options, pathlib.Path(folder) / str(number))
            ours.append(seconds)
            seconds, tokens = run_server(options, *SERVER_SETTINGS[name], groups)
            theirs.append(seconds)
            responses = [response for group in groups for response in group]
            counts = len(groups), len(responses), sum(tokens for _, tokens, _ in responses), tokens
    ratios = [b / a for a, b in zip(ours, theirs)]
    print(f"\nJob: {counts[1]} responses to {counts[0]} prompts; {counts[2]} tokens in thinkloom, {counts[3]} in "
          "llama.cpp\n")
    for other, speed in probes.items():
        print(f"llama-server {other}: {speed:.0f} tokens/s on the first rows")
    print(f"\nllama-server, {name}: {spread(theirs, 1)} s")
    print(f"thinkloom run, whole process: {spread(ours, 1)} s")
    print(f"llama.cpp's time / thinkloom's: {spread(ratios, 2)}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("model", "llamacpp", "throughput", "thinkloom"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--input", type=pathlib.Path, default=pathlib.Path("fixtures/queries.jsonl"))
    parser.add_argument("--rows", type=int, default=100, help="rows of the input for the job")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-rounds", type=int, default=1)
    options = parser.parse_args()
    # So that a bench that is told to stop takes its server along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: told to stop"))
    if options.rounds > 0:
        bench_engines(options)
    if options.job_rounds > 0:
        bench_job(options)


if __name__ == "__main__":
    main()
