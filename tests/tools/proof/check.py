"""Checks that every stage of the proof does what it says, on a CPU with the real program and a tiny model.

Usage: check.py --thinkloom BINARY --gguf FILE [--svamp FILE] --work DIR     (a few minutes)

A model of 120,000 weights learns the form of responses and little more; the check is about the stages, and says
nothing about HiPO:
- the prompts of the base policy are those that thinkloom sends, and exported rows are structured responses;
- thinkloom's engine and the sampler of reinforcement learning give the same greedy texts;
- rows that come from tables (Think-on only, longest, ...) have the responses that their rule names;
- the advantages that weigh the tokens are those of `/v1/reward`, token by token;
- a smaller budget samples less and gives the same samples;
- losses fall; evaluations, curves and tables are complete; a second start skips every stage and changes no result.
"""

import argparse
import csv
import gzip
import io
import json
import shutil
from pathlib import Path

import torch

import results
import table
import texts
import variants
from model import Llama
from budgets import BUDGETS
from proof import Arguments, Proof
from sampler import Sampler
from settings import SECOND_ROUND, TINY, VARIANTS
from tool import Thinkloom
from vocabulary import Tokens


def require(is_met: bool, what: str) -> None:
    if not is_met:
        raise AssertionError(what)


def check_run(work: Path) -> None:
    """The prompts, the exports, and the rows that are made from tables."""
    samples = variants.table(work / "run" / "data" / "samples")
    known = {row["query_id"]: row for row in samples}
    rollouts = variants.table(work / "run" / "data" / "rollouts")
    for row in rollouts:
        sample = known.get(row["query_id"])
        expected = sample and texts.prompt(sample["question"], sample["kind"], row["mode"])
        require(expected in (None, row["prompt"]),
                f"{row['query_id']} was asked with another prompt: {row['prompt']!r}")
    exported = variants.exported(work / "export-cold")
    require(len(exported) == len(samples) > 20, f"the export has {len(exported)} rows, the run {len(samples)} samples")
    for (prompt, completion), row in zip(exported, samples):
        response = completion.removesuffix(texts.END)
        require(response != completion and texts.is_structured(response), f"not a structured response: {completion!r}")
        require(prompt == texts.prompt(row["question"], row["kind"], None),
                f"the export has another prompt: {prompt!r}")
        require(response == row["completion"], f"the export changes a response: {completion!r}")
    selected = [sample.pair() for sample in variants.run_of(work / "run").selected()]
    require(selected == exported, "the selection made from the tables is not the exported one")
    check_made(work, rollouts, len(samples))


def check_made(work: Path, rollouts: list[dict], count: int) -> None:
    """Rows of made variants hold the rollouts that their rule names, and nothing else."""
    run = work / "run"
    correct = {(row["thinking"] or "", row["answer"]) for row in rollouts if row["verdict"] == "correct"}
    for name in variants.MADE:
        pairs = variants.made(name, run, 1)
        require(0 < len(pairs) <= count, f"{name} has {len(pairs)} rows")
        for _, completion in pairs:
            thinking = completion.partition("<think>\n")[2].partition("\n</think>")[0]
            answer = completion.partition("<answer>\n")[2].partition("\n</answer>")[0]
            require((thinking, answer) in correct, f"{name} has a response that is no correct rollout: {completion!r}")
    on = variants.made("on", run, 1)
    require(all("<think_on>" in completion for _, completion in on), "a row of `on` is not Think-on")
    shortest = {}
    for row in rollouts:
        if row["verdict"] == "correct" and row["mode"] == row["observed_mode"] == "think_on":
            shortest[row["query_id"]] = min(shortest.get(row["query_id"], 10 ** 9), row["completion_tokens"])
    tables = variants.run_of(run)
    picked = [one for row in tables.rows if (one := tables.sample(row, "think_on"))]
    require(all(one.response["completion_tokens"] == shortest[one.response["query_id"]] for one in picked),
            "`on` is not the shortest")
    aliens, own = variants.made("alien", run, 1), variants.exported(work / "export-cold")
    require(aliens != own and sorted(map(judge_block, aliens)) == sorted(map(judge_block, own)),
            "`alien` has other judge blocks")
    require(all(judge_block(pair) == "" for pair in variants.made("bare", run, 1)), "`bare` has judge blocks")


def judge_block(pair: tuple[str, str]) -> str:
    return pair[1].removeprefix("<judge>\n").partition("\n</judge>")[0]


def check_engine(work: Path, thinkloom: Thinkloom) -> None:
    """thinkloom's greedy texts are those of the sampler of reinforcement learning, for the same weights."""
    thinkloom.run("greedy", "run", "-c", work / "run.toml", "-o", work / "greedy", "--limit", "20", "--set",
                  "sampling.temperature=0", "--set", "sampling.samples_per_mode=1", "--set", "judge.backend=none")
    rollouts = variants.table(work / "greedy" / "data" / "rollouts")
    tokens = Tokens(work / "models" / "base" / "tokenizer.json")
    model = Llama.of_directory(work / "models" / "base", "cpu", torch.float32)
    sampler = Sampler(model, 64, TINY.rl_slots, tokens.end, temperature=0.0)
    for mode, limit in (("think_on", TINY.thinking_max), ("think_off", TINY.direct_max)):
        rows = [row for row in rollouts if row["mode"] == mode]
        found = sampler.sample(tokens.encode([row["prompt"] for row in rows]), 1, limit)
        same = sum(tokens.decode(one.tokens) == row["text"] for one, row in zip(found, rows, strict=True))
        # Sums in another order may turn a draw between two tokens.
        require(len(rows) >= 15 and same >= 0.9 * len(rows), f"{mode}: {same} of {len(rows)} greedy texts are the same")


def check_advantages(work: Path, name: str, thinkloom: Thinkloom) -> None:
    """The first step's advantages again: from another request, with the tokens' places found by decoding beginnings."""
    tokens = Tokens(work / "models" / "start" / "tokenizer.json")
    rows = results.read_lines(work / "curves" / f"{name}-first.json")
    with thinkloom.rewards() as rewards:
        again = rewards.of([row["rollout"] for row in rows], VARIANTS[name].rewards)
    seen = set()
    for row, rewarded in zip(rows, again):
        require(row["rewarded"] == rewarded, f"{name}: the same response gets other rewards: {rewarded}")
        ids = row["tokens"]
        text = tokens.inner.decode([id for id in ids if id != tokens.end], skip_special_tokens=False)
        require(text == row["rollout"]["completion"], f"{name}: the tokenizer decodes another text: {text!r}")
        require(len(ids) == len(row["advantages"]), f"{name}: {len(ids)} tokens, {len(row['advantages'])} advantages")
        for place, advantage in enumerate(row["advantages"]):
            begin = len(tokens.inner.decode(ids[:place], skip_special_tokens=False).rstrip("\ufffd"))
            part = "judge" if begin < rewarded["judge_chars"] else "answer"
            seen.add(part)
            require(abs(advantage - rewarded[f"advantage_{part}"]) < 1e-5 * max(1.0, abs(advantage)),
                    f"{name}: token {place} of {text!r} has the advantage {advantage}, not that of the {part}")
    require(seen == {"judge", "answer"}, f"{name}: the first step has tokens of {seen} alone")


def check_log(out: Path) -> None:
    """Losses fall, and the structured form is learnt."""
    log = results.read_lines(out / "log.jsonl")
    for line in log:
        if line["what"] == "fit":
            require(line["losses"][-1] < 0.7 * line["losses"][0],
                    f"the loss of {line['name']} does not fall: {line['losses']}")
    formats = {line["name"]: line["accuracy_tokens_think_format"]["all"][3] for line in log if line["what"] == "eval"}
    require(max(formats.values()) > 0.3, f"no variant writes structured responses: {formats}")


def check_out(out: Path) -> None:
    """Every variant has all rows of its evaluation, and its lines in the tables and curves."""
    trained = [name for name in VARIANTS if name != SECOND_ROUND]
    rows = list(csv.DictReader(io.StringIO(gzip.decompress((out / "rows.csv.gz").read_bytes()).decode())))
    expected = TINY.eval_queries * TINY.eval_samples
    for name in trained:
        found = [row for row in rows if row["variant"] == name]
        distinct = {(row["query_id"], row["sample"]) for row in found}
        require(len(found) == expected == len(distinct), f"{name} has {len(found)} rows")
    text = (out / "tables.md").read_text(encoding="utf-8")
    require(all(text.count(f"| {name} |") >= 4 for name in trained), "a variant is missing in the tables")
    text = gzip.decompress((out / "curves.jsonl.gz").read_bytes()).decode()
    curves = [json.loads(line) for line in text.splitlines()]
    for name in (name for name in trained if VARIANTS[name].rewards):
        steps = sum(line["variant"] == name for line in curves)
        require(steps == TINY.rl_steps, f"the curve of {name} is not complete")
    require((out / "curves.svg").read_text(encoding="utf-8").count("<polyline") >= 6, "the figure has no curves")
    require(len(list(out.iterdir())) <= 8, "OUT has more than eight files")
    other = out.parent / "other-seed"
    other.mkdir(exist_ok=True)
    lines = [",".join(row.values()) for row in ({**row, "seed": "2"} for row in rows)]
    (other / "rows.csv.gz").write_bytes(gzip.compress("\n".join([",".join(results.COLUMNS), *lines]).encode()))
    both = table.report([out, other])
    require("seeds 1, 2" in both and "nan" not in both, f"the tables of two seeds are not complete: {both}")
    try:
        table.report([out, out])
    except ValueError:
        return
    raise AssertionError("the tables count a seed twice")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinkloom", required=True)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--svamp")
    parser.add_argument("--work", required=True, type=Path, help="is emptied first")
    given = parser.parse_args()
    work, out = given.work.resolve() / "work", given.work.resolve() / "out"
    for directory in (work, out):
        shutil.rmtree(directory, ignore_errors=True)

    def start(*names: str) -> None:
        chosen = {name: VARIANTS[name] for name in names}
        proof = Proof(Arguments(given.thinkloom, given.gguf, given.svamp, work, out, 1, 0.0, chosen, TINY))
        proof.main()
        require(not proof.failed, f"these variants failed: {proof.failed}")

    start("on")
    start(*VARIANTS)
    log = results.read_lines(out / "log.jsonl")
    trainings = sum(line["what"] == "stage" and line["name"] == "base" for line in log)
    require(trainings == 1, "the second start trained the base again")
    check_run(work)
    thinkloom = Thinkloom(given.thinkloom, work / "check-logs")
    check_engine(work, thinkloom)
    for name, variant in VARIANTS.items():
        if variant.rewards:
            check_advantages(work, name, thinkloom)
    check_log(out)
    check_out(out)
    check_budgets(work)
    check_continuation(work, out, start)
    print("every stage of the training proof does what it says")


def check_budgets(work: Path) -> None:
    """A smaller budget samples less, and the CPU gives the same samples."""
    markers = {budget: work / "done" / f"budget-{budget}.json" for budget in BUDGETS}
    found = {budget: json.loads(path.read_text(encoding="utf-8")) for budget, path in markers.items()}
    require(found["full"]["tokens"] >= found["curtailed"]["tokens"] > found["frugal"]["tokens"], f"budgets: {found}")
    for budget, numbers in found.items():
        require(numbers["same"] == numbers["samples"] > 20, f"the budget {budget} changes samples: {numbers}")


def check_continuation(work: Path, out: Path, start) -> None:
    """A further start computes nothing; without the marker of the run, thinkloom finds all responses stored."""
    names = ("rows.csv.gz", "curves.jsonl.gz", "tables.md")
    before = {name: (out / name).read_bytes() for name in names}
    shards = {path: path.read_bytes() for path in (work / "run" / "data").rglob("*.parquet")}
    (work / "done" / "run.json").unlink()
    start(*VARIANTS)
    after = results.read_lines(out / "log.jsonl")
    last = max(index for index, line in enumerate(after) if line["what"] == "start")
    worked = [line["name"] for line in after[last:] if line["what"] in ("stage", "fit", "rl", "eval")]
    require(worked == ["run"], f"a further start worked on {worked}")
    require({name: (out / name).read_bytes() for name in names} == before, "a further start changed the results")
    require(all(path.read_bytes() == data for path, data in shards.items()),
            "a further start changed the shards of the run")


if __name__ == "__main__":
    main()
