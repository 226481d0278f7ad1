"""Makes tiny models of random weights, one for each sort of tokenizer that decides how a trainer reads an export.

Usage: models.py TEMPLATES_DIRECTORY RUN_DIRECTORY OUT

- `begin`: the tokenizer adds a begin-of-sequence token, which the template writes too (Llama 3's template);
- `plain`: it adds none, and the template's first token is the begin-of-sequence token of its config (SmolLM2's template);
- `think`: it adds none and has none, and the template handles think blocks (Qwen3's template).

The vocabularies are trained on the run's own responses, so that tokens merge as they do in a real model.
"""

import json
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SORTS = {"begin": "llama3", "plain": "smollm2", "think": "qwen3"}
SPECIAL = {
    "begin": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"],
    "plain": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "think": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
}
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 32768, "tie_word_embeddings": True}


def texts(run):
    for file in sorted(Path(run).glob("data/rollouts/*.parquet")):
        yield from (text for text in pq.read_table(file, columns=["text"])["text"].to_pylist() if text)


def content(token):
    return token["content"] if isinstance(token, dict) else token


def make(sort, templates, run, out):
    fixture = Path(templates) / SORTS[sort]
    config = json.loads((fixture / "tokenizer_config.json").read_text())
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=SPECIAL[sort], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    inner.train_from_iterator(texts(run), trainer)
    if sort == "think":  # as in Qwen3: one token each, but not special
        inner.add_tokens(["<think>", "</think>"])
    begin = content(config.get("bos_token"))
    if sort == "begin":
        inner.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, inner.token_to_id(begin))])
    end = content(config["eos_token"])
    pad = SPECIAL[sort][-1] if sort == "begin" else "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=begin, eos_token=end, pad_token=pad)
    tokenizer.chat_template = (fixture / "chat_template.jinja").read_text()
    folder = Path(out) / sort
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer.save_pretrained(folder)
    # The class as both transformers 4 and 5 name it.
    written = folder / "tokenizer_config.json"
    settings = json.loads(written.read_text())
    written.write_text(json.dumps({**settings, "tokenizer_class": "PreTrainedTokenizerFast"}))
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    if sort == "think":
        model = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), head_dim=8, **SIZES, **ids))
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES, **ids))
    model.save_pretrained(folder)


if __name__ == "__main__":
    for sort in SORTS:
        make(sort, *sys.argv[1:])
