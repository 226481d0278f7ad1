"""Calls the default reward of an export, as its trainer calls it, with every response of the run.

Usage, in the export's directory and the trainer's environment: rewards.py TRAINER RUN OUT.json

Correct responses of the run, as the structured responses that the export teaches, must get ACC + 0.2 FORMAT = 1.2, and incorrect
ones 0.2 at most. The rewards are written with what was expected.
"""

import glob
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

TAGS = ("<judge>", "</judge>", "<think_on>", "<think_off>", "<think>", "</think>", "<answer>", "</answer>")


def table(pattern):
    return [row for file in sorted(glob.glob(pattern)) for row in pq.read_table(file).to_pylist()]


def structured(justification, rollout, is_controlled):
    """Returns the part of a structured response that a completion holds; None if a part has one of its tags."""
    parts = [justification, rollout["thinking"] or "", rollout["answer"]]
    if any(tag in part for tag in TAGS for part in parts) or rollout["observed_mode"] != rollout["mode"]:
        return None
    thinking = f"<think>\n{parts[1]}\n</think>\n\n" if rollout["mode"] == "think_on" else ""
    body = f"{thinking}<answer>\n{parts[2]}\n</answer>"
    return body if is_controlled else f"<judge>\n{justification}\n</judge>\n\n<{rollout['mode']}>\n{body}"


def scored(trainer, rows, completions):
    """Returns the rewards, one for each completion, from the function that the config names."""
    if trainer == "trl":
        settings = Path("trl-rl.yaml").read_text()
        name = settings.split("reward_funcs: [")[1].split("]")[0]
        sys.path.insert(0, ".")
        module, _, function = name.rpartition(".")
        columns = {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
        if not isinstance(rows[0]["prompt"], str):
            completions = [[{"role": "assistant", "content": text}] for text in completions]
        score = getattr(importlib.import_module(module), function)
        return score(prompts=[row["prompt"] for row in rows], completions=completions, **columns)
    if trainer == "swift":
        from swift.rewards import orms
        spec = importlib.util.spec_from_file_location("swift_reward", "swift_reward.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        assert "--reward_funcs thinkloom" in Path("swift-rl.sh").read_text()
        return orms["thinkloom"]()(completions, **{key: [row[key] for row in rows] for key in rows[0]})
    spec = importlib.util.spec_from_file_location("verl_reward", "verl_reward.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [module.compute_score(data_source=row["data_source"], solution_str=text,
                                 ground_truth=row["reward_model"]["ground_truth"], extra_info=row["extra_info"])["score"]
            for row, text in zip(rows, completions)]


def main(trainer, run, out):
    samples = {row["query_id"]: row for row in table(f"{run}/data/samples/*.parquet")}
    rollouts = table(f"{run}/data/rollouts/*.parquet")
    rows = table("rl/*.parquet") or [json.loads(line) for line in open("rl/train.jsonl", encoding="utf-8")]
    cases = []
    for row in rows:
        query = row.get("query_id") or row["extra_info"]["query_id"]
        about = row.get("extra_info", row)
        forced = about.get("forced_mode")
        for rollout in rollouts:
            if rollout["query_id"] != query or (forced and rollout["mode"] != forced):
                continue
            text = structured(samples[query]["justification"] or "", rollout, bool(forced))
            if text is not None and rollout["verdict"] in ("correct", "incorrect"):
                cases.append((row, text, about["kind"], rollout["verdict"], query))
    given = scored(trainer, [case[0] for case in cases], [case[1] for case in cases])
    found = [{"query_id": query, "kind": kind, "verdict": verdict, "reward": reward}
             for (_, _, kind, verdict, query), reward in zip(cases, given)]
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
