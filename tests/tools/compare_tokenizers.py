#!/usr/bin/env python3
"""Compares token ids with llama.cpp's: compare_tokenizers.py MODEL LLAMACPP_BIN_DIR THROUGHPUT_BENCH TEXTS_JSONL

Each line of the JSONL file is an object with a `text`. Both tokenize it without a begin-of-sequence token; the
name of a special token in the text becomes that token. Prints every text whose ids differ, with the first differing ids;
exits with 1 if there is one.
"""
import json
import pathlib
import subprocess
import sys
import tempfile


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {pathlib.Path(command[0]).name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def llamacpp_ids(program, model, text):
    with tempfile.NamedTemporaryFile() as file:
        # Bytes, so that no line end is changed; and without --no-escape, a backslash and an n would become one.
        file.write(text.encode())
        file.flush()
        printed = run(program, "-m", model, "-f", file.name, "--ids", "--no-bos", "--no-escape", "--log-disable")
    return json.loads(printed.strip().splitlines()[-1])


def main():
    model, tools, throughput, texts = sys.argv[1:]
    with open(texts, encoding="utf-8") as file:
        rows = [json.loads(line)["text"] for line in file]
    ours = [json.loads(line) for line in run(throughput, model, "--tokenize", texts).splitlines()]
    if len(ours) != len(rows):
        sys.exit(f"error: {len(rows)} texts went in, {len(ours)} lists of ids came out")
    differing = tokens = 0
    for number, (text, own) in enumerate(zip(rows, ours), 1):
        other = llamacpp_ids(pathlib.Path(tools) / "llama-tokenize", model, text)
        tokens += len(other)
        if own != other:
            differing += 1
            pairs = enumerate(zip(own, other))
            at = next((index for index, (a, b) in pairs if a != b), min(len(own), len(other)))
            print(f"{texts}:{number}: from token {at} on: thinkloom {own[at:at + 6]}, llama.cpp {other[at:at + 6]}")
    print(f"{len(rows) - differing} of {len(rows)} texts have the same ids ({tokens} tokens)")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
