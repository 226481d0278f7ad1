"""Trains on `thinkloom export --format trl` with TRL itself, and compares its loss mask with the result of the check.

Usage: train_trl.py TEMPLATES_DIRECTORY EXPORT [EXPORT...]

Each EXPORT is a directory NAME-LAYOUT (sft rows, NAME a fixture of chat templates); NAME-LAYOUT.jsonl next to it is the
output of `--check --json`. Needs torch, transformers, datasets and trl. The tool makes a tiny model, on the CPU.
"""

import json
import sys
from pathlib import Path

import datasets
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer


def tokenizer_of(folder, template):
    """Returns a tokenizer of single bytes with a model's special tokens and chat template."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    token = lambda value: value["content"] if isinstance(value, dict) else value
    special = {key: token(config[key]) for key in ("bos_token", "eos_token") if config.get(key)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", **special)
    tokenizer.chat_template = template
    return tokenizer


def main(templates, *exports):
    for export in map(Path, exports):
        name, _, layout = export.name.partition("-")
        folder = Path(templates) / name
        shipped = export / "chat_template.jinja"
        template = (shipped if shipped.exists() else folder / "chat_template.jinja").read_text()
        tokenizer = tokenizer_of(folder, template)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=4096,
        )
        rows = datasets.load_dataset(str(export), "sft", split="train")
        arguments = SFTConfig(
            output_dir="/tmp/trained", max_length=4096, completion_only_loss=True, per_device_train_batch_size=4,
            max_steps=20, learning_rate=3e-3, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no",
            bf16=False, gradient_checkpointing=False, seed=0,
        )
        trainer = SFTTrainer(LlamaForCausalLM(config), args=arguments, train_dataset=rows, processing_class=tokenizer)
        said = [json.loads(line) for line in (Path(str(export) + ".jsonl")).read_text().splitlines()]
        assert len(said) == len(trainer.train_dataset) == len(rows)
        whole = 0
        for expected, row in zip(said, trainer.train_dataset):
            # Labels of -100 carry no loss; before version 1 TRL had a mask instead.
            mask = row.get("completion_mask") or [label != -100 for label in row["labels"]]
            learnt = tokenizer.decode([one for one, is_learnt in zip(row["input_ids"], mask) if is_learnt])
            prompt = tokenizer.decode([one for one, is_learnt in zip(row["input_ids"], mask) if not is_learnt])
            text = expected["text"]
            # In finished text TRL adds the end-of-sequence token if it is not there; it is.
            assert prompt == text[: expected["loss_start"]], (export.name, prompt, text)
            assert learnt == text[expected["loss_start"] : expected["loss_end"]], (export.name, learnt, text)
            is_whole = learnt.startswith(expected["response"])
            assert is_whole == (not expected["problems"]), (export.name, expected["problems"], learnt)
            whole += is_whole
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[-1] < losses[0], losses
        print(f"ok: {export.name}: {len(rows)} rows tokenised by TRL as the check says, {whole} of them whole; "
              f"loss {losses[0]:.2f} -> {losses[-1]:.2f} in {len(losses)} steps", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
