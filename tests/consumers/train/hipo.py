"""Holds the adapters of the package `thinkloom` against `thinkloom reward`, inside the trainers themselves.

Usage: hipo.py --wheel FILE [--thinkloom BINARY] [--trl] [--verl] [--verifiers] [--openrlhf] [--cache DIRECTORY]

The wheel is installed into the trainers' environments, which the cache has and check.py shares. The command is the
wheel's own, unless --thinkloom names another.

- Always: `import thinkloom` alone loads neither numpy nor a trainer; the golden vectors and the count of judge tokens
  (hipo_rule.py), in an environment of numpy alone.
- --trl, --verl, --verifiers, --openrlhf: 200 groups with every odd case (hipo_cases.py) go through the trainer's own
  code, in the trainer's environment (hipo_trl.py, ...). The advantage of every token must be that of `thinkloom reward
  --tokenizer`, up to float32, and so must the reward that the package's reward functions give to the trainer. These
  programs also train tiny models; their docstrings say what else they hold. OpenRLHF runs in verl's environment,
  with stand-ins for what needs a GPU.

Exits with 1 if anything differs.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import hipo_cases
from check import QUIET, environment, installed, uv

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# The trainers, and the environment that each of them runs in.
TRAINERS = {"trl": "trl", "verl": "verl", "verifiers": "verifiers", "openrlhf": "verl"}
RULE, VERIFIERS = ("numpy",), ("verifiers==0.4.0",)
# Without what they ask for, which needs a GPU; pylatexenc is all of it that the check's modules import.
OPENRLHF = ("openrlhf==0.11.2", "pylatexenc")
# Imports the package alone, and names the modules that must not come with it.
ALONE = """import sys
before = set(sys.modules)
import thinkloom
heavy = {"numpy", "pyarrow", "torch", "transformers", "trl", "verl", "openrlhf", "verifiers", "thinkloom.hipo"}
found = sorted(heavy & (set(sys.modules) - before))
assert not found, f"import thinkloom loads {found}"
print(thinkloom.__version__)
"""
GROUPS, SIZE = 200, 8
# Advantages and rewards are float32 in the trainers; those of these groups are below 4.
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


def python_of(cache: Path, name: str) -> Path:
    """Returns the python of a named environment, which is made unless it is there."""
    if name in ("rule", "verifiers"):
        return installed(cache / f"venv-{name}", RULE if name == "rule" else VERIFIERS)[0]
    return environment(cache, name, False)[0]


def with_wheel(cache: Path, name: str, wheel: Path) -> Path:
    """Installs the wheel into a named environment and returns its python."""
    python = python_of(cache, name)
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", "--reinstall", wheel)
    outcome = subprocess.run([python, "-c", ALONE], capture_output=True, text=True)
    require(outcome.returncode == 0, f"`import thinkloom` in {python}: {outcome.stderr[-2000:]}")
    print(f"{name}: thinkloom {outcome.stdout.strip()} is installed; importing it loads no trainer and no numpy")
    return python


def rewarded(program: str, rows: list[dict[str, Any]], model: Path | None, flags: list[str],
             scratch: Path) -> list[dict[str, Any]]:
    """Returns the rows of `thinkloom reward`; with the tokenizer of a model, if there is one."""
    hipo_cases.write(scratch / "rollouts.jsonl", rows)
    tokenizer = ["--tokenizer", model] if model else []
    command = [program, "reward", "--rollouts", scratch / "rollouts.jsonl", *tokenizer, *flags]
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


def compare_rewards(program: str, found: list[dict[str, Any]], cases: list[dict[str, Any]], scratch: Path) -> str:
    """Compares what the reward functions gave to the trainer with `thinkloom reward`. Returns the outcome in words."""
    # Reward functions are not told how a response ended.
    rows = [{name: value for name, value in case.items() if name != "finish_reason"} for case in cases]
    wanted = rewarded(program, rows, None, [], scratch)
    require(len(found) == len(wanted), f"the trainer has {len(found)} rewards, expected {len(wanted)}")
    largest, count, errors = 0.0, 0, 0
    for case, row, want in zip(cases, found, wanted, strict=True):
        is_lost = want.get("error") is not None
        errors += is_lost
        require((row["reward"] is None) == is_lost, f"{case}: the reward is {row['reward']}, expected {want}")
        for name, value in row.items():
            if value is not None:
                apart = abs(value - want[name])
                require(apart <= DIFFERENCE_MAX, f"{case}: {name} is {value}, expected {want[name]}")
                largest, count = max(largest, apart), count + 1
    return (f"{len(cases)} rewards ({errors} without), {count} values of the reward functions, largest difference "
            f"{largest:.3g}")


def prepare(cache: Path, scratch: Path) -> list[dict[str, Any]]:
    """Writes the groups, the settings and the tiny models. Returns the rollouts."""
    groups = hipo_cases.groups(GROUPS, SIZE)
    cases = hipo_cases.rows(groups)
    hipo_cases.write(scratch / "groups.jsonl", groups)
    (scratch / "settings.json").write_text(json.dumps([settings for settings, _ in SETTINGS]))
    run = scratch / "run"  # the vocabularies of the models are trained on the texts of a run
    (run / "data" / "rollouts").mkdir(parents=True)
    texts = pa.table({"text": [case["completion"] for case in cases]})
    pq.write_table(texts, run / "data" / "rollouts" / "texts.parquet")
    maker = python_of(cache, "trl")
    run_program([maker, HERE / "models.py", ROOT / "fixtures" / "templates", run, scratch / "models"], {})
    return cases


def run_program(command: list[Any], variables: dict[str, str]) -> str:
    """Runs a program, ends the check if it fails, and returns what it printed."""
    outcome = subprocess.run(command, env={**os.environ, **QUIET, **variables}, capture_output=True, text=True)
    require(outcome.returncode == 0, f"{command[1]} failed:\n{outcome.stdout[-2000:]}\n{outcome.stderr[-4000:]}")
    return outcome.stdout


def openrlhf_of(cache: Path, python: Path) -> Path:
    """Returns the directory with OpenRLHF, beside no environment: its dependencies need a GPU."""
    folder = cache / "openrlhf"
    stamp = folder / "requirements.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(OPENRLHF):
        uv("pip", "install", "--quiet", "--python", python, "--no-deps", "--target", folder, *OPENRLHF)
        stamp.write_text(json.dumps(OPENRLHF))
    return folder


def check_trainer(options: argparse.Namespace, name: str, scratch: Path) -> None:
    """Runs a trainer's program in its environment, and compares its advantages and rewards."""
    cases = prepare(options.cache, scratch)
    python = with_wheel(options.cache, TRAINERS[name], options.wheel)
    variables = {}
    if name == "openrlhf":
        variables["OPENRLHF"] = str(openrlhf_of(options.cache, python))
    printed = run_program([python, HERE / f"hipo_{name}.py", scratch], variables)
    print("\n".join(f"{name}: {line}" for line in printed.splitlines()))
    for sort in ("plain", "think"):
        found = hipo_cases.read(scratch / f"advantages-{sort}.jsonl")
        said = compare(options.thinkloom, found, cases, scratch / "models" / sort, scratch)
        print(f"{name}: {sort}: {said}")
    for file in sorted(scratch.glob("rewards-*.jsonl")):
        said = compare_rewards(options.thinkloom, hipo_cases.read(file), cases, scratch)
        print(f"{name}: {file.stem}: {said}")


def default_cache() -> Path:
    """Returns the directory in which `make consumers-train` keeps the trainers' environments."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thinkloom" / "train"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", required=True, metavar="FILE", type=lambda path: Path(path).resolve())
    parser.add_argument("--thinkloom", metavar="BINARY", type=os.path.abspath)
    parser.add_argument("--cache", default=default_cache(), type=lambda path: Path(path).resolve(), metavar="DIRECTORY")
    for name in TRAINERS:
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    python = with_wheel(options.cache, "rule", options.wheel)
    options.thinkloom = options.thinkloom or str(python.parent / "thinkloom")
    require(os.access(options.thinkloom, os.X_OK), f"{options.thinkloom} is not a program")
    print(run_program([python, HERE / "hipo_rule.py", ROOT / "fixtures" / "reward_vectors.jsonl"], {}), end="")
    for name in TRAINERS:
        if getattr(options, name):
            with tempfile.TemporaryDirectory() as scratch:
                check_trainer(options, name, Path(scratch))
    print("ok: the adapters give every token the advantage of `thinkloom reward`")


if __name__ == "__main__":
    main()
