"""Reads an export with TRL itself: the trainer's command line, data sets, templates, masks and limits.

Usage, in the export's directory: trl_data.py TASK OUT.jsonl [--step]

The scripts behind `trl sft|dpo|kto|grpo` parse `trl-TASK.yaml`, load the model and the rows and build the trainer, whose data set
is written down as it stands when training would begin. With --step one step is trained, for `rl` with the config's own reward.
"""

import json
import sys

import torch
import transformers
import trl

# Here, not when a task needs them, so that jobs.py imports them once.
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, SFTTrainer  # noqa: F401
from trl.scripts import dpo, grpo, kto, sft

# A machine without a GPU; nothing here touches data, templates or lengths.
ON_THIS_MACHINE = ["--use_cpu", "true", "--bf16", "false", "--report_to", "none", "--save_strategy", "no", "--max_steps", "1",
                   "--per_device_train_batch_size", "2", "--logging_steps", "1", "--output_dir", "trained"]
# One group of eight completions, as TRL's default has it; they are cut short for a step on two cores.
RL_BATCH = ["--per_device_train_batch_size", "8"]
SHORT = ["--max_completion_length", "24"]


def lines(trainer, task, limit):
    for row in trainer.train_dataset:
        if task == "sft":
            yield {"input_ids": row["input_ids"], "loss": [int(label != -100) for label in row["labels"]], "label": None}
        elif task == "dpo":
            for key in ("chosen_ids", "rejected_ids"):
                yield sequence(row["prompt_ids"], row[key], limit, None)
        elif task == "kto":
            yield sequence(row["prompt_ids"], row["completion_ids"], limit, row["label"])
        else:
            ids = trainer._tokenize_prompts([row["prompt"]])[0][0]
            yield {"input_ids": ids, "loss": [], "label": None, "columns": sorted(set(row) - {"prompt"})}


def sequence(prompt, completion, limit, label):
    """Cuts as the collators for preferences do: at the end, to `max_length`."""
    ids, loss = prompt + completion, [0] * len(prompt) + [1] * len(completion)
    return {"input_ids": ids[:limit], "loss": loss[:limit], "label": label}


def main(task, out, *options):
    script = {"sft": sft, "dpo": dpo, "kto": kto, "rl": grpo}[task]
    arguments = ["--config", f"trl-{task}.yaml", *ON_THIS_MACHINE, *(RL_BATCH if task == "rl" else [])]
    parsed = script.make_parser().parse_args_and_config(arguments, fail_with_unknown_args=True)
    limits = {name: getattr(parsed[1], name, None) for name in ("max_length", "max_completion_length")}
    if task == "rl":
        parsed = script.make_parser().parse_args_and_config([*arguments, *SHORT], fail_with_unknown_args=True)
    train = transformers.Trainer.train

    def instead(trainer, *_, **__):
        with open(out, "w") as file:
            rows = 0
            for line in lines(trainer, task, limits["max_length"]):
                rows += 1
                file.write(json.dumps(line) + "\n")
            versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
            said = {"versions": versions, "rows": rows, "limits": limits}
            if "--step" in options:
                train(trainer)
                keys = ("loss", "reward")
                log = next((entry for entry in trainer.state.log_history if "loss" in entry), trainer.state.log_history[-1])
                said["step"] = {key: log.get(key, log.get(f"train_{key}")) for key in keys}
            file.write(json.dumps(said) + "\n")

    transformers.Trainer.train = instead
    transformers.Trainer.save_model = lambda *_, **__: None
    script.main(*parsed)


if __name__ == "__main__":
    main(*sys.argv[1:])
