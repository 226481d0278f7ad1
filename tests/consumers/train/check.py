"""Holds exports against the trainers that read them: every row, token by token, as `thinkloom export --check --json` says.

Usage: check.py THINKLOOM RUN TEMPLATES CACHE TRAINER[,TRAINER...] --serve CONFIG [--steps] [--newest]
    [--thoughts WORDS]

For each trainer (trl, llamafactory, swift, axolotl, verl, verl-0.7.0), model (a tokenizer that adds a begin token, one that adds
none, one whose template handles think blocks), flavour and layout: `thinkloom export` writes or refuses; what it writes is read by
the trainer's own command line and data code, with the exported config unchanged, in an environment of its own under CACHE, and
token ids, loss, labels and lengths are compared. With --steps TRL and ms-swift also train one step of each task. For `rl`
the default reward judges every correct response of the run. --newest takes the newest version of each trainer in place of the
pinned one. Prints a table, and exits with 1 if any cell differs.
"""

import argparse
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SORTS = ("begin", "plain", "think")
FLAVOURS = ("auto", "controlled")
LAYOUTS = {"messages": [], "text": ["--layout", "text"], "wrapped": ["--wrap-template"]}
# Trainer: (format, module of the oracle, requirements, tasks, version for --trainer-version).
TRAINERS = {
    "trl": ("trl", "trl_data", ["trl==1.16.0"], None),
    "llamafactory": ("llamafactory", "llamafactory_data", ["llamafactory==0.9.5"], None),
    # msgspec: ms-swift imports it for rl and does not ask for it.
    "swift": ("swift", "swift_data", ["ms-swift==4.6.0", "msgspec"], None),
    "axolotl": ("axolotl", "axolotl_data", ["axolotl==0.19.0"], None),
    # What verl's data code imports and verl does not ask for; its old version does not run with today's transformers.
    "verl": ("verl", "verl_data", ["verl==0.9.1", "torch", "uvicorn", "cachetools", "fastapi"], None),
    "verl-0.7.0": ("verl", "verl_data", ["verl==0.7.0", "torch", "torchvision", "uvicorn", "cachetools", "fastapi",
                                         "transformers==4.57.1", "datasets<5", "numpy<2", "pyarrow<23", "qwen_vl_utils", "av",
                                         "pillow"], "0.7.0"),
}
TASKS = {"trl": "sft dpo kto rl", "llamafactory": "sft dpo kto", "swift": "sft dpo kto rl", "axolotl": "sft dpo kto",
         "verl": "sft rl"}
# What `export` refuses, and only that: (trainer's format, model, flavour, layout).
REFUSED = {
    # Qwen3's template drops the judge block and the tag, or shifts the loss.
    ("trl", "think", "auto", "messages"), ("axolotl", "think", "auto", "messages"), ("axolotl", "think", "controlled", "messages"),
    ("verl", "think", "auto", "messages"), ("verl", "think", "controlled", "messages"),
    # axolotl's preferences get the begin token twice.
    ("axolotl", "begin", "auto", "messages"), ("axolotl", "begin", "controlled", "messages"),
    ("axolotl", "begin", "auto", "wrapped"), ("axolotl", "begin", "controlled", "wrapped"),
}
# Tasks that a format has not in a layout.
NO_TASK = {("swift", "text", "rl"), ("axolotl", "messages", "kto"), ("axolotl", "wrapped", "kto")}
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false",
         "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def environment(cache, name, newest):
    """Makes the trainer's environment, unless it is there, and returns its python and the seconds that it took."""
    requirements = TRAINERS[name][2]
    if newest:
        requirements = [requirement.partition("==")[0] for requirement in requirements]
    return installed(cache / f"venv-{name}{'-newest' if newest else ''}", tuple(requirements), newest)


@functools.cache
def installed(folder, requirements, anew=False):
    """Makes an environment of requirements, unless it is there, and returns its python and the seconds that it took."""
    python, stamp = folder / "bin" / "python", folder / "requirements.json"
    begun = time.monotonic()
    if not stamp.exists() or json.loads(stamp.read_text()) != list(requirements) or anew:
        uv("venv", "--quiet", "--clear", folder)
        uv("pip", "install", "--quiet", "--python", python, *requirements)
        stamp.write_text(json.dumps(requirements))
    return python, time.monotonic() - begun


def uv(*arguments):
    """Runs uv, and ends the check if it fails."""
    # uv does not read what pip is told.
    told = {"SSL_CERT_FILE": "PIP_CERT", "UV_DEFAULT_INDEX": "PIP_INDEX_URL"}
    variables = {**{own: os.environ[name] for own, name in told.items() if name in os.environ}, **os.environ,
                 "UV_HTTP_TIMEOUT": "300"}
    outcome = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, env=variables)
    if outcome.returncode:
        sys.exit(f"uv {' '.join(map(str, arguments))} failed:\n{outcome.stderr}")


class Export:
    """One export directory, or its refusal."""

    def __init__(self, program, run, folder, trainer, sort, flavour, layout, model):
        name, _, _, version = TRAINERS[trainer]
        self.trainer, self.sort, self.flavour, self.layout, self.folder = trainer, sort, flavour, layout, folder
        options = ["--format", name, "--flavour", flavour, "--template", model, *LAYOUTS[layout]]
        options += ["--trainer-version", version] if version else []
        shutil.rmtree(folder, ignore_errors=True)
        outcome = subprocess.run([program, "export", run, *options, "-o", folder], capture_output=True, text=True)
        self.refusal = outcome.stderr if outcome.returncode else None
        checked = subprocess.run([program, "export", run, *options, "--check", "--json"], capture_output=True, text=True)
        self.said = [json.loads(line) for line in checked.stdout.splitlines()]
        assert self.said or self.refusal, checked.stderr
        if self.refusal is None:
            self.link(model)

    def link(self, model):
        """Puts the model where the configs say, with the export's chat template if it brings one."""
        target = self.folder / "YOUR" / "MODEL"
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(model, target)
        if (self.folder / "chat_template.jinja").exists():
            shutil.copy(self.folder / "chat_template.jinja", target)

    def rows(self, task):
        files = sorted((self.folder / task).iterdir())
        if files[0].suffix == ".jsonl":
            return [json.loads(line) for line in files[0].read_text(encoding="utf-8").split("\n") if line]
        return [row for name in files for row in pq.read_table(name).to_pylist()]


def differences(export, task, found, summary):
    """Returns what the trainer makes differently from what the check says, in words."""
    said = [row for row in export.said if row["task"] == task]
    told = []
    if summary.get("dropped"):
        told.append(f"the trainer drops {summary['dropped']} rows")
    if len(said) != len(found):
        told.append(f"{len(found)} rows instead of {len(said)}")
        return told
    labels = [row.get("label", row.get("kto_tag")) for row in export.rows(task)] if task == "kto" else None
    for index, (expected, row) in enumerate(zip(said, found)):
        start, end = expected["loss_tokens"]
        where = f"row {index} ({expected['query_id']})"
        if row["input_ids"] != expected["input_ids"]:
            same = next((at for at, pair in enumerate(zip(row["input_ids"], expected["input_ids"])) if pair[0] != pair[1]),
                        min(len(row["input_ids"]), len(expected["input_ids"])))
            told.append(f"{where}: other tokens from {same} on: {row['input_ids'][same:same + 8]}, check: "
                        f"{expected['input_ids'][same:same + 8]} of {len(expected['input_ids'])}")
        elif task != "rl" and row["loss"] != [int(start <= at < end) for at in range(len(row["loss"]))]:
            told.append(f"{where}: loss on {row['loss'].index(1) if 1 in row['loss'] else None}..., {sum(row['loss'])} tokens, "
                        f"check: {start}..{end}")
        elif labels is not None and row["label"] != labels[index]:
            told.append(f"{where}: label {row['label']}, not {labels[index]}")
        elif task != "rl" and not any(row["loss"]):
            told.append(f"{where}: nothing is learnt")
    if task == "dpo":
        equal = sum(chosen["input_ids"] == rejected["input_ids"] for chosen, rejected in zip(found[::2], found[1::2]))
        told += [f"{equal} pairs do not differ"] if equal else []
    return told


def check(program, run, models, cache, trainer, options, scratch):
    """Holds all exports of a trainer against it. Returns lines of the table, and whether all is well."""
    name, module, _, _ = TRAINERS[trainer]
    python, installed = environment(cache, trainer, options.newest)
    begun = time.monotonic()
    is_well, cells, jobs = True, [], []
    for sort in options.sorts.split(","):
        for flavour in FLAVOURS:
            for layout in LAYOUTS:
                if name == "verl" and layout == "text":
                    cells.append((sort, flavour, layout, "*", "refused: verl renders prompts itself"))
                    continue
                folder = scratch / f"{trainer}-{sort}-{flavour}-{layout}"
                export = Export(program, run, folder, trainer, sort, flavour, layout, models / sort)
                must_refuse = (name, sort, flavour, layout) in REFUSED and trainer != "verl-0.7.0"
                if bool(export.refusal) != must_refuse:
                    is_well = False
                if export.refusal:
                    words = "refused" if must_refuse else "REFUSED, and should not be"
                    cells.append((sort, flavour, layout, "*", f"{words}: {reason(export)}"))
                    continue
                if must_refuse:
                    cells.append((sort, flavour, layout, "*", "NOT REFUSED, and should be"))
                for task in TASKS[name].split():
                    if (name, layout, task) in NO_TASK:
                        options_of = ["--format", name, "--flavour", flavour, "--template", models / sort, *LAYOUTS[layout]]
                        outcome = subprocess.run([program, "export", run, *options_of, "--task", task, "-o", scratch / "none"],
                                                 capture_output=True, text=True)
                        is_well &= outcome.returncode == 2
                        cells.append((sort, flavour, layout, task, f"refused: {outcome.stderr.strip()[:150]}"))
                        continue
                    out = scratch / f"{folder.name}-{task}.jsonl"
                    arguments = [task, str(out)]
                    # A step of each task, once per flavour and layout: the model does not matter to it.
                    if options.steps and name in ("trl", "swift", "verl") and sort == "plain":
                        arguments.append("--step")
                    jobs.append({"dir": str(folder), "arguments": arguments, "log": f"{out}.log"})
                    cells.append((sort, flavour, layout, task, (export, out)))
    rewarded = []
    for job in [job for job in jobs if job["arguments"][0] == "rl"]:
        if f"-{options.sorts.split(',')[0]}-" in job["dir"]:
            rewarded.append({"dir": job["dir"], "arguments": [name, run, f"{job['dir']}-rewards.json"],
                             "log": f"{job['dir']}-rewards.log"})
    listed = scratch / f"{trainer}.json"
    listed.write_text(json.dumps(jobs))
    server, url = serve(program, options.serve)
    variables = {"THINKLOOM_URL": url, **os.environ, **QUIET, "HF_HOME": str(scratch / "hf"), "PYTHONPATH": str(HERE)}
    outcome = subprocess.run([python, HERE / "jobs.py", module, listed], capture_output=True, text=True, env=variables)
    if rewarded:
        listed.write_text(json.dumps(rewarded))
        subprocess.run([python, HERE / "jobs.py", "rewards", listed], capture_output=True, text=True, env=variables)
    server.send_signal(signal.SIGINT)
    server.wait(timeout=60)
    if outcome.returncode:
        sys.exit(f"{trainer}: its environment does not run the check, has a newer version moved what it needs?\n"
                 f"{outcome.stderr[-3000:]}")
    codes = dict(zip((job["arguments"][1] for job in jobs), json.loads(outcome.stdout.splitlines()[-1])))
    versions = {}
    print(f"{trainer}: installed in {installed:.0f} s, checked in {time.monotonic() - begun:.0f} s")
    for sort, flavour, layout, task, cell in cells:
        if isinstance(cell, str):
            print(f"  {sort:6} {flavour:10} {layout:8} {task:4} {cell}")
            continue
        export, out = cell
        if codes[str(out)]:
            is_well = False
            tail = Path(f"{out}.log").read_text(errors="replace").strip().splitlines()[-4:]
            print(f"  {sort:6} {flavour:10} {layout:8} {task:4} FAILED: {' | '.join(tail)}")
            continue
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        found = [line for line in lines if "input_ids" in line]
        summary = {key: value for line in lines if "input_ids" not in line for key, value in line.items()}
        versions = summary["versions"]
        told = differences(export, task, found, summary)
        step = f", step: {summary['step']}" if "step" in summary else ""
        if "rewards" in summary:
            step = f", rewards: {sorted({json.dumps(reward)[:60] for reward in summary['rewards']})}"
        if told:
            is_well = False
            print(f"  {sort:6} {flavour:10} {layout:8} {task:4} DIFFERS in {len(told)}: {told[0]}")
        else:
            longest = max(len(row["input_ids"]) for row in found)
            limits = {key: value for key, value in summary["limits"].items() if value is not None}
            said = f"{len(found)} as predicted, longest {longest}, limits {limits}{step}"
            print(f"  {sort:6} {flavour:10} {layout:8} {task:4} {said}")
    for job in rewarded:
        line, is_right = rewards(job)
        print(f"  {Path(job['dir']).name} rewards: {line}")
        is_well &= is_right
    print(f"  with {versions or TRAINERS[trainer][2]}", flush=True)
    return is_well


def serve(program, config):
    """Starts `thinkloom serve`, which the default rewards ask. Returns its process and its address."""
    server = subprocess.Popen([program, "serve", "-c", config, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL)
    line = server.stdout.readline()
    assert line.startswith("listening on http://"), line
    return server, line.split()[-1]


def rewards(job):
    """Returns what the default reward gave to the run's responses, in words, and whether it is right."""
    found = Path(job["arguments"][2])
    if not found.exists():
        return f"FAILED: {Path(job['log']).read_text().strip().splitlines()[-1]}", False
    by_kind, wrong = {}, []
    for row in json.loads(found.read_text()):
        is_correct = row["verdict"] == "correct"
        by_kind.setdefault(row["kind"], [0, 0])[not is_correct] += 1
        reward = row["reward"]
        if reward is None or not (abs(reward - 1.2) < 1e-9 if is_correct else reward < 0.2 + 1e-9):
            wrong.append(row)
    counts = ", ".join(f"{kind} {correct} correct + {other} not" for kind, (correct, other) in sorted(by_kind.items()))
    told = f"{counts}; " + (f"WRONG for {len(wrong)}: {wrong[0]}" if wrong else "1.2 for each correct one, at most 0.2 for others")
    return told, not wrong and any(correct for correct, _ in by_kind.values())


def reason(export):
    """Returns the first fault that a refusal names."""
    lines = [line.strip() for line in export.refusal.splitlines()]
    return next((line.partition(": ")[2] for line in lines if "think_o" in line and ": " in line), lines[0])[:150]


def lengthened(run, folder, words):
    """Copies a run's shards with thoughts of so many words, which are more tokens. Returns the copy."""
    for file in sorted(Path(run).glob("data/*/*.parquet")):
        table = pq.read_table(file)
        if "thinking" in table.column_names:
            longer = [text and text + " so" * words for text in table["thinking"].to_pylist()]
            index = table.column_names.index("thinking")
            table = table.set_column(index, table.schema.field(index), [longer])
        target = folder / file.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target)
    return str(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("program", "run", "templates", "cache", "trainers"):
        parser.add_argument(name)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--newest", action="store_true")
    parser.add_argument("--serve", required=True, metavar="CONFIG", help="for `thinkloom serve`, which judges the rewards")
    parser.add_argument("--thoughts", type=int, default=0, metavar="WORDS", help="lengthen every thought of the run first")
    parser.add_argument("--sorts", default=",".join(SORTS))
    options = parser.parse_args()
    cache = Path(options.cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(os.environ.get("TRAIN_SCRATCH") or scratch)
        makers, _ = environment(cache, "trl", False)
        subprocess.run([makers, HERE / "models.py", options.templates, options.run, scratch / "models"], check=True,
                       env={**os.environ, **QUIET}, capture_output=True)
        run = os.path.abspath(options.run)
        if options.thoughts:
            run = lengthened(run, scratch / "long", options.thoughts)
        well = [check(os.path.abspath(options.program), run, scratch / "models", cache, trainer, options,
                      scratch) for trainer in options.trainers.split(",")]
    print("ok: every row is read, masked and labelled as the check says" if all(well) else "NOT ok", flush=True)
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
