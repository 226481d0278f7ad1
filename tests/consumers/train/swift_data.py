"""Makes ms-swift tell what it trains on: reads an export's script, and writes each row's tokens and loss as swift makes them.

Usage, in the export's directory, in which `YOUR/MODEL` is a model: swift_data.py sft|dpo|kto|rl OUT.jsonl [--step]

swift itself does all of the work: `SwiftSft` and `SwiftRLHF` (swift/pipelines/train) parse the arguments of `swift-TASK.sh`, load
model, tokenizer and template, load the data and drop rows (`_prepare_dataset`). `Template.encode` renders, tokenizes, masks and
truncates. For rl the trainer's own requests are encoded by the engine that samples (`TransformersEngine._batch_encode`), and the
prompt is encoded again as in the loss (`encode_sample`), because swift renders these two separately.
`--step` also trains one step, and prints its loss.
"""

import atexit
import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

SCRATCH = tempfile.mkdtemp(prefix="swift-")
os.environ.setdefault("MODELSCOPE_CACHE", SCRATCH)  # swift writes its copies of data here
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

from swift.pipelines.train.rlhf import SwiftRLHF  # noqa: E402
from swift.pipelines.train.sft import SwiftSft  # noqa: E402

# What a CPU needs, and where files go. Nothing of data, templates, lengths or batches.
OVERRIDES = ["--use_cpu", "true", "--torch_dtype", "float32", "--bf16", "false", "--fp16", "false", "--report_to", "none",
             "--output_dir", f"{SCRATCH}/out", "--save_strategy", "no", "--logging_steps", "1"]
# For `--step` only: one step, and for rl short samples, because an untrained model never ends its turn.
STEP = ["--max_steps", "1"]
STEP_RL = ["--max_completion_length", "32"]


def model_type(words):
    """Names the model's family, as its config does. swift knows it by the name of a published model, which `YOUR/MODEL` is not."""
    if "--model_type" in words:
        return []
    config = json.loads(Path(words[words.index("--model") + 1], "config.json").read_text())
    return ["--model_type", config["model_type"]]


def arguments(script):
    """Returns the command (sft, rlhf) and the arguments that the script gives to swift."""
    words = [word for word in shlex.split(Path(script).read_text(), comments=True) if word not in ("$@", "\n")]
    if words[0] != "swift":
        sys.exit(f"{script}: no call of swift")
    return words[1], words[2:]


def key(task, row):
    """Identifies a row, in the export and in swift's data. Rows with the same key are the same to swift."""
    messages = [[message["role"], message["content"]] for message in row["messages"]]
    # For kto, swift puts another row's response into this column of its data.
    rejected = row["rejected_response"] if task == "dpo" else None
    return json.dumps([messages, rejected, row.get("label"), row.get("question")])


def ordered(task, dataset, rows):
    """Returns the positions in swift's data of the export's rows, in their order. A dropped row has None."""
    places = {}
    for index, row in enumerate(dataset):
        places.setdefault(key(task, row), []).append(index)
    return [places[key(task, row)].pop(0) if places.get(key(task, row)) else None for row in rows]


def sequence(encoded, prefix="", label=None):
    return {"input_ids": list(encoded[f"{prefix}input_ids"]),
            "loss": [int(token != -100) for token in encoded[f"{prefix}labels"]], "label": label}


def trained(task, encoded):
    """Returns the sequences of a row: one, or the chosen and the rejected one of a pair."""
    if task == "sft":
        return [sequence(encoded)]
    if task == "kto":  # rejected_* is another row's response, which swift needs for its KL estimate
        return [sequence(encoded, "chosen_", bool(encoded["label"]))]
    return [sequence(encoded, "chosen_"), sequence(encoded, "rejected_")]


def sampled(trainer, row):
    """Returns the prompt as the trainer samples from it, and as its loss sees it."""
    from swift.rlhf_trainers.utils import encode_sample
    samples = trainer._preprocess_inputs(trainer.to_samples([row]))
    engine = trainer.engine
    engine.template.set_mode("transformers")  # as TransformersEngine.infer does
    encoded, _ = engine._batch_encode(trainer.samples2requests(samples), strict=True)
    trainer.template.set_mode("train")
    with trainer._template_context(trainer.template):
        loss = encode_sample(samples[0], trainer.template, encode_prompt_only=True)
    return {"input_ids": list(encoded[0]["input_ids"]), "loss": [], "label": None,
            "columns": sorted([*samples[0].to_reward_row(), "trainer_state"]), "prompt_in_loss": list(loss["input_ids"])}


class Stop(Exception):
    """Ends swift's run before training."""


def watched(pipeline, is_step):
    """Runs the pipeline up to training. Returns the trainer, and the rewards and the log, if a step is taken."""
    seen = {"rewards": []}

    def train(trainer):
        seen["trainer"] = trainer
        if not is_step:
            raise Stop
        if hasattr(trainer, "_compute_rewards_per_func"):
            score = trainer._compute_rewards_per_func

            def scored(samples):
                rewards = score(samples)
                seen["rewards"] += rewards.tolist()
                return rewards

            trainer._compute_rewards_per_func = scored
        trainer.train()
        seen["log"] = trainer.state.log_history

    pipeline.train = train
    with contextlib.suppress(Stop):
        pipeline.run()
    return seen


def main(task, out, *options):
    is_step = "--step" in options
    command, words = arguments(f"swift-{task}.sh")
    pipeline_class = SwiftSft if command == "sft" else SwiftRLHF
    extra = model_type(words) + OVERRIDES
    if is_step:
        extra += STEP + (STEP_RL if task == "rl" else [])
    pipeline = pipeline_class(words + extra)
    args = pipeline.args
    files = args.dataset if isinstance(args.dataset, list) else [args.dataset]
    rows = [json.loads(line) for file in files for line in Path(file).read_text().splitlines()]

    prepared = {}
    prepare = pipeline._prepare_dataset

    def prepare_once():
        prepared["train"], validation = prepare()
        return prepared["train"], validation

    pipeline._prepare_dataset = prepare_once
    if task == "rl":
        seen = watched(pipeline, is_step)
        dataset = prepared["train"]
    else:
        prepare_once()
        lazy = prepared["train"]
        dataset = lazy.dataset
    places = ordered(task, dataset, rows)
    lines = []
    for place in places:
        if place is None:
            continue
        if task == "rl":
            lines.append(sampled(seen["trainer"], dataset[place]))
        else:
            lines += trained(task, lazy.encode_func(dataset[place], return_length=True))
    limits = {"max_length": args.max_length, "truncation_strategy": args.truncation_strategy,
              "max_completion_length": getattr(args, "max_completion_length", None)}
    versions = {name: version(name) for name in ("ms-swift", "trl", "transformers", "torch")}
    lines.append({"versions": versions, "rows": len(rows), "dropped": places.count(None), "limits": limits,
                  "template": args.template, "loss_scale": args.loss_scale})
    if is_step:
        if task != "rl":
            seen = watched(pipeline, is_step)
        step = {"loss": next(entry["loss"] for entry in seen["log"] if "loss" in entry)}
        if task == "rl":
            step["rewards"] = seen["rewards"]
        lines.append({"step": step})
        print(json.dumps(lines[-1]))
    Path(out).write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
