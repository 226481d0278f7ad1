#!/usr/bin/env python3
"""Measures transformers' `generate` on one GPU: tokens per second, for comparison with `tests/bench/gpu.rs`.

Usage: bench_transformers.py MODEL_DIR COUNT...

For each count, that many prompts of 128 random tokens are continued by 96 tokens at temperature 1.0 and top-p 0.95.
The directory gives only the model's shape; the weights are random numbers made on the GPU, which does not change the
speed. Needs torch and transformers.
"""

import sys
import time

import torch
import transformers

PROMPT_TOKENS, NEW_TOKENS = 128, 96


def build(path):
    """Returns a model of the directory's shape with random bf16 numbers on the GPU."""
    config = transformers.AutoConfig.from_pretrained(path)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    return model.eval()


def tokens_per_second(model, count):
    prompts = torch.randint(3, 259, (count, PROMPT_TOKENS), device="cuda")
    sampling = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0}
    length = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS, "pad_token_id": 0}
    torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.inference_mode():
        output = model.generate(prompts, attention_mask=torch.ones_like(prompts), **sampling, **length)
    torch.cuda.synchronize()
    return (output.shape[1] - PROMPT_TOKENS) * count / (time.perf_counter() - started)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    started = time.perf_counter()
    model = build(sys.argv[1])
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {torch.cuda.get_device_name()}; built in "
          f"{time.perf_counter() - started:.0f} s", flush=True)
    tokens_per_second(model, 2)
    for count in map(int, sys.argv[2:]):
        print(f"transformers generate, {count} sequences: {tokens_per_second(model, count):.0f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
