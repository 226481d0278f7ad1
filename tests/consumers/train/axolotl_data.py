"""Makes axolotl read an export as in its training.

Usage: axolotl_data.py TASK OUT.jsonl [--step]     (in the directory of the export; axolotl 0.19)

What `axolotl train axolotl-TASK.yaml` does in its worker process (`axolotl.cli.train.do_cli`), step by step:
- `axolotl.cli.config.load_cfg` reads and validates the config, unchanged;
- `load_datasets` (sft) or `load_preference_datasets` (dpo, kto) load the tokenizer and the rows, render them, handle rows that
  exceed `sequence_len`, and (sft) tokenise;
- dpo, kto: `setup_model_and_trainer` builds TRL's trainer, which tokenises; its own collator, given a row at a time, cuts.
With --step `trainer.train()` takes one step.
"""

import json
import os
import sys
import tempfile

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"  # axolotl reports every config that it loads to its authors

import torch
import transformers
import trl

import axolotl
from axolotl.cli.args import TrainerCliArgs
from axolotl.cli.config import load_cfg
from axolotl.common.datasets import load_datasets, load_preference_datasets
from axolotl.train import setup_model_and_trainer

SCRATCH = tempfile.mkdtemp(prefix="axolotl_data_")
# As `axolotl train CONFIG --use-cpu ...` would pass them. Rows are not shuffled, so that the output is in their order.
OVERRIDES = {
    "use_cpu": True, "bf16": False, "fp16": False, "tf32": False, "flash_attention": False, "dataset_num_proc": 1,
    "output_dir": SCRATCH + "/trained", "shuffle_merged_datasets": False,
    "max_steps": 1, "optimizer": "adamw_torch", "dataloader_num_workers": 0, "dataloader_pin_memory": False,
}


def masked(ids, attention, loss):
    """Returns ids and loss without padding."""
    kept = [index for index, is_real in enumerate(attention) if is_real]
    return [int(ids[index]) for index in kept], [int(loss[index]) for index in kept]


def sft_rows(data):
    for row in data:
        yield {"input_ids": list(row["input_ids"]), "loss": [int(label != -100) for label in row["labels"]], "label": None}


def dpo_rows(trainer):
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        for index in range(2):  # chosen, rejected
            ids, loss = masked(*(batch[name][index].tolist() for name in ("input_ids", "attention_mask", "completion_mask")))
            yield {"input_ids": ids, "loss": loss, "label": None}


def kto_rows(trainer):
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        names = ["input_ids", "attention_mask", "completion_mask"]
        if "completion_input_ids" in batch:
            names = ["completion_input_ids", "completion_attention_mask", "completion_mask"]
        ids, loss = masked(*(batch[name][0].tolist() for name in names))
        yield {"input_ids": ids, "loss": loss, "label": bool(row["label"])}


def main(task, out, *flags):
    sys.argv = sys.argv[:1]
    cfg = load_cfg(f"axolotl-{task}.yaml", **OVERRIDES)
    load = load_preference_datasets if cfg.rl else load_datasets
    meta = load(cfg=cfg, cli_args=TrainerCliArgs())
    trainer = None
    if cfg.rl or "--step" in flags:
        trainer = setup_model_and_trainer(cfg, meta)[0]
    rows = list(sft_rows(meta.train_dataset) if task == "sft" else {"dpo": dpo_rows, "kto": kto_rows}[task](trainer))
    total = sum(sum(1 for _ in open(data["path"])) for data in cfg.datasets)
    dropped = total - len(rows) // (2 if task == "dpo" else 1)
    versions = {"axolotl": axolotl.__version__, "trl": trl.__version__, "transformers": transformers.__version__,
                "torch": torch.__version__}
    limits = {"sequence_len": cfg.sequence_len, "excess_length_strategy": cfg.excess_length_strategy}
    if cfg.rl:
        limits["max_length"] = trainer.args.max_length
    last = [{"versions": versions, "rows": len(rows), "dropped": dropped, "limits": limits}]
    if "--step" in flags:
        last.append({"step": {"loss": trainer.train().training_loss}})
    with open(out, "w") as file:
        for line in rows + last:
            file.write(json.dumps(line) + "\n")
    print(json.dumps(last[-1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
