#!/usr/bin/env python3
"""Writes fixtures/tiny-llama.gguf: a Llama model of two layers that tests run in milliseconds.

It is a bigram model with a little noise. Embeddings are one-hot; the output matrix holds the logits of the next byte
given the present one; attention and feed-forward add small pseudo-random terms, so that the text depends a little on the
whole context, and a mistake in positions, caching or batching changes it. After the prefill `\\boxed{` the model answers
a digit from 1 to 4 and closes the brace; after the prefill `<think>\\n` it writes a few letters first.

Standard library only; the output is a pure function of this file.
"""
import pathlib
import struct

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FFN, CONTEXT = 288, 2, 4, 2, 16, 64, 4096
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class Noise:
    """A linear congruential generator: the same numbers everywhere."""

    def __init__(self, seed):
        self.state = seed

    def next(self, scale):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return ((self.state >> 40) / 2**24 - 0.5) * 2 * scale


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names, extra = {byte: chr(byte) for byte in printable}, 0x100
    for byte in range(256):
        if byte not in names:
            names[byte], extra = chr(extra), extra + 1
    return [names[byte] for byte in range(256)]


def bigram_logits(noise):
    """Returns logits[next][present] over the padded vocabulary."""
    first_byte = len(SPECIALS)
    token = lambda letter: first_byte + ord(letter)
    end = SPECIALS.index("<|im_end|>")
    logits = [[-8.0 + noise.next(0.3) for _ in range(HIDDEN)] for _ in range(HIDDEN)]

    def follow(present, choices):
        for follower, logit in choices.items():
            logits[follower][present] = logit

    letters = "abcdefgh "
    for present in range(HIDDEN):
        follow(present, {token(letter): 1.0 + noise.next(1.0) for letter in letters} | {token("<"): -0.5})
    follow(token("{"), {token(digit): 4.5 + noise.next(0.8) for digit in "1234"})
    for digit in "0123456789":
        follow(token(digit), {token("}"): 6.0, token("1"): 1.0})
    follow(token("}"), {end: 7.0, token("\n"): 3.0})
    for present, following in zip("</think", "/think>"):
        follow(token(present), {token(following): 3.5})
    return logits


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, item):
    if kind == "string":
        return struct.pack("<I", 8) + string(item)
    if kind == "u32":
        return struct.pack("<II", 4, item)
    if kind == "f32":
        return struct.pack("<If", 6, item)
    if kind == "bool":
        return struct.pack("<I?", 7, item)
    if kind == "strings":
        return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(string(text) for text in item)
    if kind == "i32s":
        return struct.pack("<IIQ", 9, 5, len(item)) + struct.pack(f"<{len(item)}i", *item)
    raise ValueError(kind)


def q8_0(rows):
    out = bytearray()
    for row in rows:
        for start in range(0, len(row), 32):
            block = row[start : start + 32]
            scale = struct.unpack("<e", struct.pack("<e", max(abs(x) for x in block) / 127))[0]
            out += struct.pack("<e", scale)
            out += struct.pack("<32b", *(max(-127, min(127, round(x / scale))) if scale else 0 for x in block))
    return bytes(out)


def main():
    noise = Noise(2025)
    matrix = lambda outputs, inputs, scale: [[noise.next(scale) for _ in range(inputs)] for _ in range(outputs)]
    tensors = []

    def add(name, rows):
        tensors.append((name, (len(rows[0]), len(rows)), 8, q8_0(rows)))

    def add_norm(name):
        tensors.append((name, (HIDDEN,), 0, struct.pack(f"<{HIDDEN}f", *([1.0] * HIDDEN))))

    add("token_embd.weight", [[1.0 if row == column else 0.0 for column in range(HIDDEN)] for row in range(HIDDEN)])
    for layer in range(LAYERS):
        name = lambda part: f"blk.{layer}.{part}.weight"
        add_norm(name("attn_norm"))
        add(name("attn_q"), matrix(HEADS * HEAD_DIM, HIDDEN, 0.08))
        add(name("attn_k"), matrix(KV_HEADS * HEAD_DIM, HIDDEN, 0.08))
        add(name("attn_v"), matrix(KV_HEADS * HEAD_DIM, HIDDEN, 0.02))
        add(name("attn_output"), matrix(HIDDEN, HEADS * HEAD_DIM, 0.006))
        add_norm(name("ffn_norm"))
        add(name("ffn_gate"), matrix(FFN, HIDDEN, 0.05))
        add(name("ffn_up"), matrix(FFN, HIDDEN, 0.05))
        add(name("ffn_down"), matrix(HIDDEN, FFN, 0.006))
    add_norm("output_norm.weight")
    root = HIDDEN**0.5  # the final norm scales a one-hot row by this much
    add("output.weight", [[logit / root for logit in row] for row in bigram_logits(noise)])

    names = SPECIALS + byte_alphabet()
    names += [f"<unused{index}>" for index in range(HIDDEN - len(names))]
    types = [3] * len(SPECIALS) + [1] * 256 + [5] * (HIDDEN - 256 - len(SPECIALS))
    metadata = [
        ("general.architecture", "string", "llama"),
        ("general.name", "string", "tiny-llama"),
        ("llama.block_count", "u32", LAYERS),
        ("llama.context_length", "u32", CONTEXT),
        ("llama.embedding_length", "u32", HIDDEN),
        ("llama.feed_forward_length", "u32", FFN),
        ("llama.attention.head_count", "u32", HEADS),
        ("llama.attention.head_count_kv", "u32", KV_HEADS),
        ("llama.attention.key_length", "u32", HEAD_DIM),
        ("llama.rope.dimension_count", "u32", HEAD_DIM),
        ("llama.rope.freq_base", "f32", 10000.0),
        ("llama.attention.layer_norm_rms_epsilon", "f32", 1e-5),
        ("tokenizer.ggml.model", "string", "gpt2"),
        ("tokenizer.ggml.pre", "string", "smollm"),
        ("tokenizer.ggml.tokens", "strings", names),
        ("tokenizer.ggml.token_type", "i32s", types),
        ("tokenizer.ggml.merges", "strings", []),
        ("tokenizer.ggml.bos_token_id", "u32", 1),
        ("tokenizer.ggml.eos_token_id", "u32", 2),
        ("tokenizer.ggml.add_bos_token", "bool", False),
        ("tokenizer.chat_template", "string", CHAT_TEMPLATE),
    ]
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, kind, item in metadata:
        out += string(key) + value(kind, item)
    offset = 0
    for name, shape, kind, data in tensors:
        out += string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, offset)
        offset += len(data) + -len(data) % 32
    out += bytes(-len(out) % 32)
    for _, _, _, data in tensors:
        out += data + bytes(-len(data) % 32)
    path = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "tiny-llama.gguf"
    path.write_bytes(out)
    print(f"{path}: {len(out)} bytes")


if __name__ == "__main__":
    main()
