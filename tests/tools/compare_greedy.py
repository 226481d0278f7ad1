#!/usr/bin/env python3
"""Compares greedy texts with llama.cpp's: compare_greedy.py MODEL LLAMACPP_BIN_DIR THROUGHPUT_BENCH TEXTS_JSONL

Each line of the JSONL file is an object with a `text`, the prompt; both continue it by up to 64 tokens, always taking the
most likely token. llama.cpp rounds activations to 8 bits before it multiplies them with quantized weights, so the texts
diverge where two tokens are nearly equally likely. A wrong layout, norm or position shows within the first tokens of every
prompt. Prints where the texts diverge; exits with 1 if more than a quarter of them diverge within the first 16 bytes.
"""
import argparse
import json
import os
import pathlib
import sys

from bench_engine import complete, llama_server, output

TOKENS = 64
EARLY_BYTES = 16


def common_prefix(left, right):
    pairs = zip(left, right)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def main():
    parser = argparse.ArgumentParser()
    for name in ("model", "llamacpp", "throughput", "texts"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with open(options.texts, encoding="utf-8") as file:
        prompts = [json.loads(line)["text"] for line in file]
    command = [options.throughput, options.model, "--kernels", options.kernels, "--greedy", options.texts]
    ours = [json.loads(line).encode() for line in output(command).splitlines()]
    if len(ours) != len(prompts):
        sys.exit(f"error: {len(prompts)} prompts went in, {len(ours)} texts came out")
    body = {"temperature": 0.0, "n_predict": TOKENS, "cache_prompt": False}
    with llama_server(options, ["-fa", "off"]) as port:
        theirs = [complete(port, {**body, "prompt": prompt})[0]["content"].encode() for prompt in prompts]
    same = early = shared = total = 0
    for number, (own, other) in enumerate(zip(ours, theirs), 1):
        at = common_prefix(own, other)
        shared, total = shared + at, total + max(len(own), len(other))
        same += own == other
        if own != other:
            early += at < EARLY_BYTES
            print(f"{options.texts}:{number}: from byte {at} on: thinkloom {own[at:at + 24]}, llama.cpp {other[at:at + 24]}")
    print(f"{same} of {len(prompts)} texts are the same, {early} part within {EARLY_BYTES} bytes; "
          f"{shared} of {total} bytes stand before the first difference")
    sys.exit(1 if 4 * early > len(prompts) else 0)


if __name__ == "__main__":
    main()
