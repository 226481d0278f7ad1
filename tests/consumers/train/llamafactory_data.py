"""Writes what LLaMA-Factory makes of an export's rows, and takes a training step.

Usage: llamafactory_data.py TASK OUT.jsonl [--step]     (TASK: sft, dpo or kto; in the export's directory)

The config llamafactory-TASK.yaml is read by LLaMA-Factory's own parser (hparams.parser.read_args, get_train_args). The rows are
those that its workflows (train/sft/workflow.py, ...) train on: model.load_tokenizer, data.get_template_and_fix_tokenizer and
data.get_dataset. With --step the whole command (train.tuner.run_exp) then runs for one optimiser step; its loss is the last line.

Each line has the token ids of one sequence and where its labels are. `kl_input_ids` of kto is the sequence from which the trainer
estimates the divergence: the row's prompt with another row's response.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import torch
import transformers
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.extras.env import VERSION
from llamafactory.hparams import get_train_args, read_args
from llamafactory.model import load_tokenizer
from llamafactory.train.tuner import run_exp

# What a CPU needs, in the command line's own syntax. {} is a temporary directory for caches and for the trained model.
CPU = ["use_cpu=true", "bf16=false", "report_to=none", "cache_dir={}/cache", "output_dir={}/trained"]
# A step on few rows, so that it fits in memory.
STEP = ["max_steps=1", "per_device_train_batch_size=4", "gradient_accumulation_steps=1", "logging_steps=1"]
# The stage that each workflow passes to get_dataset.
STAGE = {"sft": "sft", "dpo": "rm", "kto": "kto"}


class Logged(transformers.TrainerCallback):
    """Keeps what the trainer logs."""

    def __init__(self):
        self.logs = {}

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.update(logs or {})


def sort_listings():
    """LLaMA-Factory reads the files of a directory in the order of os.listdir. Sorted, they have the order of the export's rows."""
    listdir = os.listdir
    os.listdir = lambda *path: sorted(listdir(*path))


def sequence(ids, labels, label=None):
    return {"input_ids": ids, "loss": [int(token != IGNORE_INDEX) for token in labels], "label": label}


def sequences(task, row):
    if task == "dpo":
        for side in ("chosen", "rejected"):
            yield sequence(row[f"{side}_input_ids"], row[f"{side}_labels"])
    elif task == "kto":
        yield {**sequence(row["input_ids"], row["labels"], row["kto_tags"]), "kl_input_ids": row["kl_input_ids"]}
    else:
        yield sequence(row["input_ids"], row["labels"])


def main(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=list(STAGE))
    parser.add_argument("out", type=Path)
    parser.add_argument("--step", action="store_true")
    options = parser.parse_args(arguments)
    task = options.task
    sort_listings()
    with tempfile.TemporaryDirectory() as folder:
        overrides = [setting.format(folder) for setting in CPU] + (STEP if options.step else [])
        sys.argv = ["llamafactory-cli train", f"llamafactory-{task}.yaml", *overrides]
        model_args, data_args, training_args, finetuning_args, _ = get_train_args(read_args())
        if finetuning_args.stage != task:
            sys.exit(f"llamafactory-{task}.yaml has the stage {finetuning_args.stage}")
        tokens = load_tokenizer(model_args)
        template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
        rows = get_dataset(template, model_args, data_args, training_args, stage=STAGE[task], **tokens)["train_dataset"]
        written = sum(pq.read_metadata(file).num_rows for file in sorted(Path(task).glob("*.parquet")))
        last = {
            "versions": {"llamafactory": VERSION, "transformers": transformers.__version__, "torch": torch.__version__},
            "rows": len(rows),
            "dropped": written - len(rows),
            "limits": {"cutoff_len": data_args.cutoff_len},
        }
        with options.out.open("w") as out:
            for row in rows:
                for line in sequences(task, row):
                    out.write(json.dumps(line) + "\n")
            out.write(json.dumps(last) + "\n")
            if options.step:
                logged = Logged()
                run_exp(callbacks=[logged])
                step = {"loss": logged.logs.get("train_loss", logged.logs.get("loss")), "logs": logged.logs}
                out.write(json.dumps({"step": step}) + "\n")
                print(json.dumps({"step": step}))


if __name__ == "__main__":
    main(*sys.argv[1:])
