"""Holds HiPO's adapters in fixtures/recipes/ against `thinkloom reward`, inside the trainers themselves.

Usage: hipo.py --thinkloom BINARY [--trl] [--verl] [--cache DIRECTORY]

- Always: the rule of hipo.py on the golden vectors; its client with a server that is busy, away, and wrong.
- --trl, --verl: 200 groups with every odd case (hipo_cases.py) go through the trainer's own code, in the trainer's
  environment (hipo_trl.py, hipo_verl.py). The advantage of every token must be that of `thinkloom reward --tokenizer`,
  up to float32. These programs then train a tiny model; their docstrings say what else they hold.

The cache has the trainers' environments, shared with check.py. Exits with 1 if anything differs.
"""
from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import hipo_cases
from check import QUIET, environment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
RECIPES = ROOT / "fixtures" / "recipes"
sys.path.insert(0, str(RECIPES))  # before this file's own directory: the recipe has this file's name
import hipo  # noqa: E402

GROUPS, SIZE = 200, 8
# Advantages are float32 in the trainers; those of these groups are below 4.
DIFFERENCE_MAX = 1e-5
# What the groups are rewarded with: (settings, flags of `thinkloom reward`).
SETTINGS = [
    ({}, []),
    ({"omega": 0.05, "gamma": 0.5, "deviation": "sample", "local_normalization": "group"},
     ["--omega", "0.05", "--gamma", "0.5", "--deviation", "sample", "--local-normalization", "group"]),
    ({"bias_adjustment": False, "global_term": False, "local_normalization": "none", "format_weight": 0.5},
     ["--no-bias-adjustment", "--no-global-term", "--local-normalization", "none", "--format-weight", "0.5"]),
    ({"method": "grpo"}, ["--method", "grpo"]),
    ({"boost": "margin", "omega": 0.1}, ["--boost", "margin", "--omega", "0.1"]),
    ({"length_weight": 0.25}, ["--length-weight", "0.25"]),
]


def require(condition: bool, message: str) -> None:
    """Ends the check with a message if the condition does not hold."""
    if not condition:
        sys.exit(f"hipo: {message}")


def check_rule() -> None:
    """Compares the rule with the golden vectors of tests/tools/reward_vectors.py."""
    largest, count = 0.0, 0
    for case in hipo_cases.read(ROOT / "fixtures" / "reward_vectors.jsonl"):
        lengths = case.get("completion_tokens") or [0] * len(case["responses"])
        rollouts = [hipo.Rollout(None if mode == "none" else mode, correct, format_ok, tokens)
                    for (mode, correct, format_ok), tokens in zip(case["responses"], lengths, strict=True)]
        found = hipo.group_advantages(rollouts, hipo.HipoSettings.of(case["settings"]))
        require(found.is_adjusted == case["is_adjusted"], f"is_adjusted differs: {case}")
        pairs = [(found.mean, case["mean"]), (found.deviation, case["deviation"])]
        for mode, name in (("think_on", "mean_on"), ("think_off", "mean_off")):
            require((found.mode_means[mode] is None) == (case[name] is None), f"{name} differs: {case}")
            pairs += [(found.mode_means[mode] or 0.0, case[name] or 0.0)]
        for values, name in (("rewards", "reward"), ("judge", "advantage_judge"), ("answer", "advantage_answer")):
            pairs += list(zip(getattr(found, values), case[name], strict=True))
        largest = max([largest, *(abs(one - other) for one, other in pairs)])
        count += 1
    require(largest <= 1e-12, f"the rule differs from the golden vectors by {largest:.3g}")
    print(f"rule: {count} golden groups, largest difference {largest:.3g}")


class Pieces:
    """Stands in for a tokenizer: token i is the i-th piece of some bytes, and half a code point decodes to U+FFFD."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int], **_: bool) -> str:
        return b"".join(self.pieces[index] for index in ids).decode(errors="replace")


def check_tokens() -> None:
    """Compares the count of judge tokens with the bytes, for texts that are cut into tokens anywhere."""
    random = np.random.default_rng(7)
    texts = [row["completion"] for row in hipo_cases.rows(hipo_cases.groups(len(hipo_cases.SORTS), SIZE))]
    count = 0
    for text in texts:
        data = text.encode()
        for _ in range(10):
            cuts = sorted(random.integers(0, len(data) + 1, random.integers(0, len(data) + 1)).tolist())
            bounds = [0, *cuts, len(data)]  # equal cuts are tokens without bytes
            tokenizer = Pieces([data[start:end] for start, end in zip(bounds, bounds[1:])])
            chars = int(random.integers(0, len(text) + 1))
            end = len(text[:chars].encode())
            expected = sum(start < end for start in bounds[:-1])
            found = hipo.judge_token_count(range(len(bounds) - 1), text, chars, tokenizer)
            # Tokens without bytes at the very end of the head begin at `end`; before it they begin earlier.
            require(found == (expected, True), f"judge tokens of {text!r} before {chars}: {found}, expected {expected}")
            count += 1
    stripped = hipo.judge_token_count([0, 1], "<judge>a</judge>", 16, Pieces([b"  <judge>a</judg", b"e>"]))
    require(stripped == (1, False), f"judge tokens of ids with another text: {stripped}, expected 1, flagged")
    print(f"tokens: {count} texts cut anywhere, a token counts where it begins")


class Unsteady(http.server.BaseHTTPRequestHandler):
    """Gives the prepared answers one after the other, and from then on a correct Think-off row for each rollout."""

    answers: list[tuple[int, str]] = []

    def do_POST(self) -> None:
        rollouts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rollouts"]
        row = {"mode": "think_off", "correct": True, "format_ok": True, "reward": 1.2, "judge_chars": 3, "error": None}
        status, text = self.answers.pop(0) if self.answers else (200, json.dumps({"rollouts": [row] * len(rollouts)}))
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Keeps the check's output clean."""


@contextlib.contextmanager
def unsteady(answers: list[tuple[int, str]], port: int = 0, after_s: float = 0.0) -> Iterator[str]:
    """Runs the unsteady server, which begins to listen after a while. Yields its address."""
    Unsteady.answers = list(answers)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Unsteady, bind_and_activate=False)
    server.allow_reuse_address = True
    server.server_bind()

    def run() -> None:
        time.sleep(after_s)
        server.server_activate()
        server.serve_forever()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        time.sleep(after_s)
        server.shutdown()
        thread.join()
        server.server_close()


def failure(url: str, patience_s: float, rows: int = 1) -> str:
    """Returns the client's message; empty if it got its verdicts."""
    client = hipo.RewardClient(url, patience_s=patience_s)
    try:
        verdicts = client.verdicts([{"query_id": "q", "completion": "1", "gold": "1"}] * rows)
    except hipo.RewardServerError as error:
        return str(error)
    modes = {verdict.mode for verdict in verdicts}
    require(len(verdicts) == rows and modes == {"think_off"}, f"{len(verdicts)} verdicts of {rows}, modes {modes}")
    return ""


def check_client() -> None:
    """Holds the client against a server that is busy, away for a moment, away, wrong."""
    busy = [(429, ""), (503, '{"error": {"message": "the server is stopping"}}'), (200, "{")]
    with unsteady(busy) as url:
        require(failure(url, 20.0) == "", "a busy server is not asked again")
    with unsteady([], after_s=1.5) as url:
        require(failure(url, 20.0) == "", "a server that is away for a moment is not asked again")
    with unsteady([(503, '{"error": {"message": "stopping"}}')] * 99) as url:
        message = failure(url, 1.0)
        require("503 stopping" in message and "thinkloom serve" in message, f"a server that stays away: {message!r}")
    require("refused" in failure(url, 1.0), "no server at all")
    for answer, word in [((400, '{"error": {"message": "no such key"}}'), "400 no such key"), ((200, "[]"), "rollouts"),
                         ((200, '{"rollouts": []}'), "1 rows")]:
        with unsteady([answer]) as url:
            started = time.monotonic()
            message = failure(url, 20.0)
            require(word in message and time.monotonic() - started < 5, f"{answer}: {message!r}")
    with unsteady([]) as url:
        require(failure(url, 1.0, rows=hipo.ROLLOUTS_MAX + 1) == "", "many rows")
    print("client: waits for a server that is busy or away, and names what is wrong")


def rewarded(program: str, rows: list[dict[str, Any]], model: Path, flags: list[str],
             scratch: Path) -> list[dict[str, Any]]:
    """Returns the rows of `thinkloom reward`."""
    hipo_cases.write(scratch / "rollouts.jsonl", rows)
    command = [program, "reward", "--rollouts", scratch / "rollouts.jsonl", "--tokenizer", model, *flags]
    outcome = subprocess.run(command, capture_output=True, text=True)
    # 4: some rows have no reward.
    require(outcome.returncode in (0, 4), f"{command}: {outcome.stderr}")
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def expected_advantages(row: dict[str, Any]) -> list[float]:
    """Returns the advantage of every token of a rewarded row."""
    tokens = len(row["token_ids"])
    if row.get("error"):
        return [0.0] * tokens
    # The judge block of a forced row is in its prompt, whatever the completion repeats.
    judge = 0 if row.get("forced_mode") else row["judge_tokens"]
    return [row["advantage_judge"]] * judge + [row["advantage_answer"]] * (tokens - judge)


def compare(program: str, found: list[dict[str, Any]], cases: list[dict[str, Any]], model: Path, scratch: Path) -> str:
    """Compares the trainer's advantages with those of `thinkloom reward`. Returns the outcome in words."""
    require(len(found) == len(cases), f"the trainer gave {len(found)} rows, expected {len(cases)}")
    rows = [{**case, "token_ids": row["token_ids"], "completion_tokens": len(row["token_ids"])}
            for case, row in zip(cases, found)]
    largest, tokens, errors = 0.0, 0, 0
    for index, (settings, flags) in enumerate(SETTINGS):
        wanted = rewarded(program, rows, model, flags, scratch)
        errors = sum(row.get("error") is not None for row in wanted)
        for case, row, want in zip(cases, found, wanted, strict=True):
            advantages, expected = row["advantages"][index], expected_advantages(want)
            require(len(advantages) == len(expected), f"{case}: {len(advantages)} advantages, {len(expected)} tokens")
            apart = np.abs(np.subtract(advantages, expected))
            worst = int(apart.argmax()) if len(apart) else 0
            require((apart <= DIFFERENCE_MAX).all(), f"{settings}, {case}: token {worst} of {len(apart)} has the "
                    f"advantage {advantages[worst:worst + 1]}, expected {expected[worst:worst + 1]}")
            largest, tokens = max(largest, float(apart.max(initial=0.0))), tokens + len(expected)
    return (f"{len(cases)} rollouts ({errors} without a reward), {len(SETTINGS)} settings, {tokens} advantages, "
            f"largest difference {largest:.3g}")


def check_trainer(options: argparse.Namespace, name: str, url: str, scratch: Path) -> None:
    """Runs a trainer's program in its environment and compares its advantages."""
    python, _ = environment(options.cache.resolve(), name, False)
    groups = hipo_cases.groups(GROUPS, SIZE)
    cases = hipo_cases.rows(groups)
    hipo_cases.write(scratch / "groups.jsonl", groups)
    (scratch / "settings.json").write_text(json.dumps([settings for settings, _ in SETTINGS]))
    run = scratch / "run"  # the vocabularies of the models are trained on the texts of a run
    (run / "data" / "rollouts").mkdir(parents=True)
    texts = pa.table({"text": [case["completion"] for case in cases]})
    pq.write_table(texts, run / "data" / "rollouts" / "texts.parquet")
    variables = {**os.environ, **QUIET, "THINKLOOM_URL": url, "PYTHONPATH": str(RECIPES)}
    models = [python, HERE / "models.py", ROOT / "fixtures" / "templates", run, scratch / "models"]
    for command in (models, [python, HERE / f"hipo_{name}.py", scratch]):
        outcome = subprocess.run(command, env=variables, capture_output=True, text=True)
        require(outcome.returncode == 0, f"{command[1]} failed:\n{outcome.stdout[-2000:]}\n{outcome.stderr[-4000:]}")
    print("\n".join(f"{name}: {line}" for line in outcome.stdout.splitlines()))
    for sort in ("plain", "think"):
        found = hipo_cases.read(scratch / f"advantages-{sort}.jsonl")
        print(f"{name}: {sort}: {compare(options.thinkloom, found, cases, scratch / 'models' / sort, scratch)}")


def serve(program: str) -> tuple[subprocess.Popen, str]:
    """Starts the reward server. Returns its process and its address."""
    command = [program, "serve", "--rewards-only", "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    require(line.startswith("listening on http://"), f"{command} does not listen: {line!r}")
    return server, line.split()[-1]


def default_cache() -> Path:
    """Returns the directory in which `make consumers-train` keeps the trainers' environments."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thinkloom" / "train"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinkloom", required=True, metavar="BINARY", type=os.path.abspath)
    parser.add_argument("--cache", default=default_cache(), type=Path, metavar="DIRECTORY")
    parser.add_argument("--trl", action="store_true")
    parser.add_argument("--verl", action="store_true")
    options = parser.parse_args()
    check_rule()
    check_tokens()
    check_client()
    names = [name for name in ("trl", "verl") if getattr(options, name)]
    options.cache.mkdir(parents=True, exist_ok=True)
    server, url = serve(options.thinkloom) if names else (None, "")
    try:
        for name in names:
            with tempfile.TemporaryDirectory() as scratch:
                check_trainer(options, name, url, Path(scratch))
    finally:
        if server:
            server.terminate()
            server.wait(timeout=60)
    print("ok: the adapters give every token the advantage of `thinkloom reward`")


if __name__ == "__main__":
    main()
