#!/usr/bin/env python3
"""Writes a model of random numbers as a Hugging Face directory, for measuring speed. Its texts are meaningless.

Usage: make_random_model.py SHAPE DIR

Matrices are bf16 with a standard deviation of 0.02. All are copied from one random buffer at different offsets, so that
writing is as fast as the disk. The tokenizer has the 256 bytes and three special tokens. Needs numpy.
"""

import json
import sys
from pathlib import Path

import numpy

SHAPES = {
    # hidden, feed-forward, heads, key heads, head width, layers, vocabulary, tied
    "qwen3-8b": ("qwen3", 4096, 12288, 32, 8, 128, 36, 151936, False),
    "qwen3-4b": ("qwen3", 2560, 9728, 32, 8, 128, 36, 151936, True),
    "qwen3-0.6b": ("qwen3", 1024, 3072, 16, 8, 128, 28, 151936, True),
    "llama-7b": ("llama", 4096, 11008, 32, 32, 128, 32, 32000, False),
    "llama-tiny": ("llama", 256, 512, 4, 2, 64, 4, 1024, False),
    "qwen3-tiny": ("qwen3", 256, 512, 4, 2, 64, 4, 1024, True),
}
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SHARD_BYTES = 4 << 30
# A prime, so that no two matrices repeat each other row by row.
BUFFER_NUMBERS = 67_108_859
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
REGEX = WORDS + "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"


def tensors(shape):
    """Yields names and sizes in the order of the files."""
    family, hidden, ffn, heads, kv_heads, width, layers, vocabulary, tied = shape
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "self_attn.q_proj.weight", (heads * width, hidden)
        yield prefix + "self_attn.k_proj.weight", (kv_heads * width, hidden)
        yield prefix + "self_attn.v_proj.weight", (kv_heads * width, hidden)
        if family == "qwen3":
            yield prefix + "self_attn.q_norm.weight", (width,)
            yield prefix + "self_attn.k_norm.weight", (width,)
        yield prefix + "self_attn.o_proj.weight", (hidden, heads * width)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield prefix + "mlp.gate_proj.weight", (ffn, hidden)
        yield prefix + "mlp.up_proj.weight", (ffn, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, ffn)
    yield "model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (vocabulary, hidden)


def shards(shape):
    """Splits the tensors into files of at most SHARD_BYTES, unless one tensor is larger."""
    files, size = [[]], 0
    for name, dims in tensors(shape):
        count = int(numpy.prod(dims)) * 2
        if files[-1] and size + count > SHARD_BYTES:
            files.append([])
            size = 0
        files[-1].append((name, dims, count))
        size += count
    return files


def random_bf16():
    """Returns the bit patterns of random bf16 numbers."""
    numbers = numpy.random.default_rng(7).standard_normal(BUFFER_NUMBERS, dtype=numpy.float32)
    numbers *= 0.02
    return (numbers.view(numpy.uint32) >> 16).astype(numpy.uint16)


def write_weights(shape, folder):
    buffer, start, where = random_bf16(), 0, {}
    ones = numpy.full(1 << 16, 0x3F80, dtype=numpy.uint16)
    files = shards(shape)
    for index, content in enumerate(files):
        file_name = f"model-{index + 1:05}-of-{len(files):05}.safetensors"
        header, offset = {}, 0
        for name, dims, count in content:
            header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [offset, offset + count]}
            where[name] = file_name
            offset += count
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        with open(folder / file_name, "wb") as file:
            file.write(len(head).to_bytes(8, "little") + head)
            for _, dims, count in content:
                left = count // 2
                while left:
                    source = ones if len(dims) == 1 else buffer[start:]
                    piece = source[:left]
                    file.write(memoryview(piece).cast("B"))
                    left -= len(piece)
                    start = 0 if len(dims) == 1 else (start + len(piece)) % BUFFER_NUMBERS
    total = sum(count for content in files for _, _, count in content)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names, extra = {byte: chr(byte) for byte in printable}, 0x100
    for byte in range(256):
        if byte not in names:
            names[byte], extra = chr(extra), extra + 1
    return [names[byte] for byte in range(256)]


def write_tokenizer(folder):
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    split = {"type": "Split", "pattern": {"Regex": REGEX}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, "content": name, **special} for id, name in enumerate(SPECIALS)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": None,
        "decoder": {**level, "add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {name: id for id, name in enumerate(SPECIALS + byte_alphabet())}, "merges": [],
        },
    }
    config = {"eos_token": SPECIALS[2], "bos_token": None, "pad_token": SPECIALS[0], "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_config(shape, folder):
    family, hidden, ffn, heads, kv_heads, width, layers, vocabulary, tied = shape
    classes = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
    config = {
        "architectures": [classes[family]], "model_type": family, "hidden_act": "silu", "attention_bias": False,
        "hidden_size": hidden, "intermediate_size": ffn, "num_attention_heads": heads, "head_dim": width,
        "num_key_value_heads": kv_heads, "num_hidden_layers": layers, "vocab_size": vocabulary,
        "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "tie_word_embeddings": tied, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 2,
    }
    if family == "qwen3":
        config |= {"use_sliding_window": False, "sliding_window": None, "max_window_layers": layers}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0], "do_sample": True}))


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(f"{__doc__}\nShapes: {', '.join(SHAPES)}")
    shape, folder = SHAPES[sys.argv[1]], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    write_config(shape, folder)
    write_tokenizer(folder)
    write_weights(shape, folder)


if __name__ == "__main__":
    main()
