"""The training proof: does the data of thinkloom train a model that thinks less at no loss?

Usage: proof.py --thinkloom BINARY --gguf FILE [--svamp FILE] --work DIR --out DIR --seed N
    [--budget SECONDS] [--variants NAME ...] [--more NAME=START:KEY=VALUE,... ...] [--set NAME=VALUE ...] [--tiny]

One seed, from a small model to tables. thinkloom makes all data, rewards and evaluations (`run`, `redecide`, `export`,
`serve`, `eval`); the trainings are PyTorch. Every stage leaves a marker in WORK, and the same command continues after
the last one. OUT gets at most eight files: the log, curves, rows of all evaluations, tables, a figure, samples, and
thinkloom's own reports. `table.py` makes tables of several seeds.

Needs Python 3.11, torch, triton, tokenizers, safetensors, numpy and pyarrow. An H200 takes about eight minutes; --tiny
runs every stage on a CPU with a model that learns next to nothing, and `check.py` checks what it left.
"""

import argparse
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import torch

import base
import budgets
import judge
import results
import rl
import tasks
import variants
from model import Llama
from sampler import Sampler
from settings import REDECIDED, SECOND_ROUND, TINY, VARIANTS, Settings, Variant
from tool import Command, Rewards, Thinkloom
from train import FitPlan, ReinforcePlan, fit
from vocabulary import Tokens

# The held-out queries are the same for all seeds, so that queries can be paired.
HELD_OUT_SEED = 777
ROUND2_SEED = 555
JUDGE_ATTEMPTS = 12
ERROR_CHARS = 1000
# Lines of what `thinkloom run` prints in the end.
SUMMARY = re.compile(r"^(?:done|think-on).*", re.MULTILINE)


@dataclass(frozen=True)
class Arguments:
    """What the command line gives."""

    thinkloom: str
    gguf: str
    svamp: str | None
    work: Path
    out: Path
    seed: int
    budget: float
    variants: dict[str, Variant]
    settings: Settings


class Proof:
    """The stages of one seed."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments, self.settings = arguments, arguments.settings
        self.work, self.out, self.began = arguments.work, arguments.out, time.monotonic()
        for directory in (*(self.work / name for name in ("done", "curves", "models", "evals")), self.out):
            directory.mkdir(parents=True, exist_ok=True)
        self.resources = ExitStack()
        self.thinkloom = Thinkloom(arguments.thinkloom, self.work / "logs")
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        if self.settings.random_shape:
            torch.set_num_threads(1)  # the operations of a small model are too short to share
        self.evaluation: tuple[str, Command] | None = None
        # Seconds of the last stage of each sort, to tell what still fits into the budget.
        self.took: dict[str, float] = {}
        self.failed: list[str] = []

    # ---- stages and logs

    def log(self, what: str, **values: object) -> None:
        line = {"what": what, "at": round(time.monotonic() - self.began, 1), "seed": self.arguments.seed, **values}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(" ".join(f"{key}={value}" for key, value in line.items()), flush=True)

    def stage(self, name: str, work: Callable[[], dict | None]) -> dict:
        """Runs a stage, or returns what it found in an earlier start."""
        marker = self.work / "done" / f"{name}.json"
        if marker.exists():
            self.log("skipped", stage=name)
            return json.loads(marker.read_text(encoding="utf-8"))
        began = time.monotonic()
        found = work() or {}
        self.mark(name, found)
        self.took[name.partition("-")[0]] = time.monotonic() - began
        self.log("stage", name=name, seconds=round(time.monotonic() - began, 1), **found)
        return found

    def mark(self, name: str, found: dict) -> None:
        marker = self.work / "done" / f"{name}.json"
        marker.with_suffix(".new").write_text(json.dumps(found), encoding="utf-8")
        marker.with_suffix(".new").rename(marker)

    # ---- models

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self.path("start") / "tokenizer.json")

    @cached_property
    def model(self) -> Llama:
        """The model in memory; each stage loads the weights that it starts from."""
        model = Llama.of_directory(self.path("start"), self.device, self.dtype)
        name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"
        self.log("model", device=name, attention=model.attention_name, parameters=model.flat.numel())
        return model

    @cached_property
    def sampler(self) -> Sampler:
        settings = self.settings
        responses = settings.rl_queries * settings.rl_copies
        return Sampler(self.model, responses, settings.rl_slots, self.tokens.end, temperature=1.0)

    @cached_property
    def rewards(self) -> Rewards:
        return self.resources.enter_context(self.thinkloom.rewards())

    def path(self, model: str) -> Path:
        return self.work / "models" / model

    def save(self, model: str) -> None:
        self.model.save(self.path(model), (self.path("start") / "tokenizer.json").read_text(encoding="utf-8"))

    # ---- queries and configs

    def queries(self, name: str, held_out: bool, total: int, seed: int, part: str | None) -> Path:
        """Writes queries for thinkloom; `part` is the part of SVAMP that comes with them."""
        settings, svamp = self.settings, self.arguments.svamp
        items = tasks.draw(total, seed, held_out, settings.families, settings.levels, name)
        if svamp and part:
            items += tasks.svamp(svamp, part)
        path = self.work / f"{name}.jsonl"
        path.write_text("".join(json.dumps(tasks.query(item)) + "\n" for item in items), encoding="utf-8")
        return path

    def config(self, name: str, model: str, queries: Path, samples: int, judge_url: str | None = None) -> Path:
        """Writes a config of thinkloom for one of the models; returns its path."""
        settings = self.settings
        kind = "bf16" if self.device == "cuda" else "f32"
        asked = f"""backend = "openai"
base_url = "{judge_url}"
model = "{judge.MODEL}"
attempts_max = {JUDGE_ATTEMPTS}"""
        path = self.work / f"{name}.toml"
        path.write_text(f"""[input]
paths = ["{queries.name}"]

[policy]
model = "models/{model}"
mode_preset = "qwen3"
slots = {settings.slots}
kv_cache_mib = {settings.kv_cache_mib}
kv_type = "{kind}"

[sampling]
samples_per_mode = {samples}
seed = {self.arguments.seed}
think_on_tokens_max = {settings.thinking_max}
think_off_tokens_max = {settings.direct_max}

[select]
tie_margin = {settings.tie_margin}

[judge]
{asked if judge_url else 'backend = "none"'}

[output]
queries_per_shard = 500
""", encoding="utf-8")
        return path

    # ---- the stages

    def main(self) -> None:
        arguments = self.arguments
        self.log("start", torch=torch.__version__, thinkloom=self.thinkloom.version, settings=vars(self.settings),
                 variants=list(arguments.variants))
        if self.device == "cuda" and "cuda" not in self.thinkloom.version:
            raise ValueError(f"{self.thinkloom.binary} is a build without CUDA, and would sample on the CPU")
        try:
            with self.resources:
                self.resources.callback(self.stop_evaluation)
                self.make_data()
                for name in arguments.variants:
                    if self.is_too_late(name) or self.lacks_policy(name):
                        self.log("left out", variant=name, budget=arguments.budget)
                    else:
                        self.attempt(name)
                self.finish_evaluation()
                self.compare()
                self.measure_budgets()
        finally:
            results.publish_rows(self.work, self.out, arguments.seed)
            results.publish_texts(self.work, self.out)
        results.publish_tables(self.out)
        self.log("end", failed=self.failed)

    def make_data(self) -> None:
        """The stages that all variants share."""
        arguments = self.arguments
        start = self.path("start")
        self.stage("start",
                   lambda: base.start_model(arguments.gguf, arguments.svamp, self.settings, arguments.seed, start))
        self.stage("base", self.train_base)
        self.stage("run", self.run)
        self.stage("data-cold", lambda: self.export("cold", self.work / "run", "sft", "rl"))

    def measure_budgets(self) -> None:
        """The run again without a judge, with each budget: what a smaller one saves at the same samples."""
        run = self.work / "run"
        self.stage("difficulty", lambda: {"rank_correlation_with_level": budgets.rank_correlation(run)})
        for budget in budgets.BUDGETS:
            if 0 < self.arguments.budget < time.monotonic() - self.began + self.took.get("budget", 0.0):
                self.log("left out", stage=f"budget-{budget}", budget=self.arguments.budget)
                continue
            with self.failures_of(f"budget-{budget}"):
                self.stage(f"budget-{budget}", lambda budget=budget: self.run_with(budget, run))

    def run_with(self, budget: str, run: Path) -> dict:
        directory = self.work / f"budget-{budget}"
        self.thinkloom.run(f"budget-{budget}", "run", "-c", self.work / "run.toml", "-o", directory, "--reconfigure",
                           "--set", f"sampling.budget={budget}", "--set", "judge.backend=none")
        return budgets.saving(directory, run)

    def attempt(self, name: str) -> None:
        """Makes a variant. A failure is logged and fails the proof in the end, but the other variants are made."""
        with self.failures_of(name):
            if name == SECOND_ROUND:
                self.stage(SECOND_ROUND, self.second_round)
            else:
                self.make_variant(name)

    @contextmanager
    def failures_of(self, name: str) -> Iterator[None]:
        """Logs an error and goes on."""
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            traceback.print_exc()
            self.log("failed", variant=name, error=str(error)[:ERROR_CHARS])
            self.failed.append(name)

    def train_base(self) -> dict:
        settings, seed = self.settings, self.arguments.seed
        rows = base.base_rows(settings, self.arguments.svamp, seed, self.path("start") / "tokenizer.json")
        self.log("base data", rows=len(rows), tokens=sum(len(row.tokens) for row in rows))
        self.model.load(self.path("start"))
        plan = FitPlan(1, settings.base_rows, settings.base_rate, settings.batch_tokens, seed)
        losses = fit(self.model, rows, plan, self.log, "base")
        self.save("base")
        return {"losses": losses}

    def run(self) -> dict:
        """thinkloom samples, verifies, selects and justifies."""
        settings, seed = self.settings, self.arguments.seed
        queries = self.queries("queries", False, settings.queries, seed, "train")
        self.free_memory()
        with judge.serve() as url:
            config = self.config("run", "base", queries, settings.samples_per_mode, url)
            printed = self.thinkloom.run("run", "run", "-c", config, "-o", self.work / "run", "--reconfigure")
        return {**results.of_run(self.work / "run"), "printed": SUMMARY.findall(printed)}

    def second_round(self) -> dict:
        """The trained model is the policy of another run, and chooses the form of its responses itself."""
        settings = self.settings
        queries = self.queries("round2", False, settings.round2_queries, ROUND2_SEED, None)
        with judge.serve() as url:
            policy = self.arguments.variants[SECOND_ROUND].start
            config = self.config("round2", policy, queries, settings.samples_per_mode, url)
            printed = self.thinkloom.run("round2", "run", "-c", config, "-o", self.work / "round2", "--reconfigure",
                                         "--set", "policy.mode_preset=structured",
                                         "--set", f"sampling.think_on_tokens_max={settings.response_max}",
                                         "--set", f"sampling.think_off_tokens_max={settings.response_max}")
        return {**results.of_run(self.work / "round2"), "printed": SUMMARY.findall(printed)}

    def export(self, name: str, directory: Path, *kinds: str) -> dict:
        """Exports the samples of an output directory for a trainer."""
        wanted = [part for kind in kinds for part in ("--task", kind)]
        self.thinkloom.run(f"export-{name}", "export", directory, "--format", "trl", "--layout", "text", *wanted,
                           "--template", self.path("base"), "-o", self.work / f"export-{name}", "--overwrite")
        return {"rows": len(variants.exported(self.work / f"export-{name}"))}

    def redecide(self, name: str) -> dict:
        """thinkloom selects again from the stored responses; the judge writes what is missing."""
        changes = [part for change in REDECIDED[name] for part in ("--set", change)]
        with judge.serve() as url:
            self.thinkloom.run(f"redecide-{name}", "redecide", self.work / "run", "-o", self.work / f"data-{name}",
                               *changes, "--set", f"judge.base_url={url}", "--judge")
        return self.export(name, self.work / f"data-{name}", "sft")

    def pairs(self, start: str) -> list[tuple[str, str]]:
        """The rows of a variant's fine-tuning."""
        if start in REDECIDED:
            self.stage(f"data-{start}", lambda: self.redecide(start))
        if start in variants.MADE:
            return variants.made(start, self.work / "run", self.arguments.seed)
        return variants.exported(self.work / f"export-{start}")

    def make_variant(self, name: str) -> None:
        """Fine-tuning, reinforcement if the variant has it, and the evaluation, which runs beside the next training."""
        variant = self.arguments.variants[name]
        self.stage(f"sft-{variant.start}", lambda: self.fine_tune(variant.start))
        if variant.rewards:
            self.stage(f"rl-{name}", lambda: self.reinforce(name))
        if not self.is_done(f"eval-{name}"):
            self.start_evaluation(name)

    def fine_tune(self, start: str) -> dict:
        settings, pairs = self.settings, self.pairs(start)
        results.keep_samples(self.work, start,
                             [{"prompt": prompt, "completion": completion} for prompt, completion in pairs])
        self.model.load(self.path("base"))
        plan = FitPlan(settings.sft_epochs, settings.sft_rows, settings.sft_rate, settings.batch_tokens,
                       self.arguments.seed)
        losses = fit(self.model, base.rows_of(self.tokens, pairs), plan, self.log, start)
        self.save(start)
        return {"rows": len(pairs), "losses": losses}

    def reinforce(self, name: str) -> dict:
        settings, variant, seed = self.settings, self.arguments.variants[name], self.arguments.seed
        self.model.load(self.path(variant.start))
        reference = None
        if settings.rl_kl > 0:
            reference = Llama.of_directory(self.path(variant.start), self.device, self.dtype)
        torch.manual_seed(seed)
        how = ReinforcePlan(settings.rl_updates, settings.rl_rate, settings.rl_clip, settings.rl_kl,
                            settings.batch_tokens)
        plan = rl.RlPlan(settings.rl_steps, settings.rl_queries, settings.rl_copies, settings.response_max,
                         variant.rewards, how, seed)
        learner = rl.Learner(self.model, reference, self.sampler, self.tokens, self.rewards, plan)
        lines: list[dict] = []
        rl.learn(learner, variants.table(self.work / "export-cold" / "rl"), name, self.log,
                 lambda **line: lines.append(line))
        self.save(name)
        results.write_lines(self.work / "curves" / f"{name}.jsonl", lines)
        results.keep_samples(self.work, name, learner.last)
        results.write_lines(self.work / "curves" / f"{name}-first.json", learner.first_step())
        return {"last": {key: lines[-1][key] for key in ("accuracy", "think_rate", "tokens", "both_modes")}}

    # ---- evaluations

    def start_evaluation(self, name: str) -> None:
        """Starts an evaluation on the held-out queries; one runs at a time."""
        self.finish_evaluation()
        settings = self.settings
        queries = self.queries("held", True, settings.eval_queries, HELD_OUT_SEED, "held")
        config = self.config(f"eval-{name}", name, queries, settings.eval_samples)
        self.free_memory()
        baseline = ("--baseline", self.work / "evals" / "on") if self.is_done("eval-on") else ()
        limit = f"sampling.think_on_tokens_max={settings.response_max}"
        command = self.thinkloom.start(f"eval-{name}", "eval", "-c", config, "-o", self.work / "evals" / name,
                                       "--conditions", "free", "--set", limit, *baseline)
        self.evaluation = name, command

    def finish_evaluation(self) -> None:
        """Waits for the evaluation in progress, if there is one."""
        if self.evaluation is None:
            return
        (name, command), self.evaluation = self.evaluation, None
        with self.failures_of(name):
            command.wait()
            found = results.of_evaluation(self.work / "evals" / name)
            self.mark(f"eval-{name}", found)
            self.took["eval"] = command.seconds
            self.log("eval", name=name, seconds=round(command.seconds, 1), **found)
            results.publish_rows(self.work, self.out, self.arguments.seed)

    def stop_evaluation(self) -> None:
        """Ends the evaluation in progress, which after an error nobody waits for."""
        if self.evaluation is not None:
            self.evaluation[1].process.terminate()
            self.evaluation[1].process.wait()

    def compare(self) -> None:
        """thinkloom's own comparison of HiPO with GRPO; each evaluation compares itself with `on`."""
        evals = self.work / "evals"
        for name in self.arguments.variants:
            if name.startswith("cold+hipo") and self.is_done(f"eval-{name}") and self.is_done("eval-cold+grpo"):
                self.thinkloom.run(f"compare-{name}-with-cold+grpo", "eval", "--rollouts", evals / name / "rows.jsonl",
                                   "--baseline", evals / "cold+grpo" / "rows.jsonl")

    # ---- time and memory

    def is_done(self, stage: str) -> bool:
        return (self.work / "done" / f"{stage}.json").exists()

    def is_too_late(self, name: str) -> bool:
        """Whether a variant would exceed the budget, given how long the last stage of each of its sorts took."""
        variant = self.arguments.variants[name]
        sorts = ["sft"] * (not self.is_done(f"sft-{variant.start}")) + ["rl"] * bool(variant.rewards) + ["eval"]
        expected = time.monotonic() - self.began + sum(self.took.get(sort, 0.0) for sort in sorts)
        return 0 < self.arguments.budget < expected and not self.is_done(f"eval-{name}")

    def lacks_policy(self, name: str) -> bool:
        """Whether this is the second round, and the model that would be its policy was not trained."""
        return name == SECOND_ROUND and not self.is_done(f"rl-{self.arguments.variants[name].start}")

    def free_memory(self) -> None:
        """Leaves the memory that no tensor needs to thinkloom."""
        if self.device == "cuda":
            torch.cuda.empty_cache()


def arguments_of(command_line: list[str] | None = None) -> Arguments:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinkloom", required=True, help="the program; for a GPU a build with CUDA")
    parser.add_argument("--gguf", required=True, help="the model to begin with: SmolLM2-135M-Instruct")
    parser.add_argument("--svamp", help="SVAMP as JSON lines: id, question, answer, equation")
    parser.add_argument("--work", required=True, type=Path,
                        help="models, runs and markers; a start with the same directory continues")
    parser.add_argument("--out", required=True, type=Path, help="the results")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=0.0,
                        help="seconds after which no further variant is begun; 0: no limit")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME",
                        help=", ".join(VARIANTS))
    parser.add_argument("--more", nargs="*", default=[], type=Variant.parse, metavar="NAME=START:KEY=VALUE,...",
                        help="further variants, for example strong=cold:boost=margin,omega=0.2")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings (settings.py)")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU")
    given = parser.parse_args(command_line)
    settings = (TINY if given.tiny else Settings()).changed(given.set)
    chosen = {name: VARIANTS[name] for name in given.variants} | dict(given.more)
    return Arguments(given.thinkloom, given.gguf, given.svamp, given.work.resolve(), given.out.resolve(), given.seed,
                     given.budget, chosen, settings)


if __name__ == "__main__":
    proof = Proof(arguments_of())
    proof.main()
    sys.exit(bool(proof.failed))
