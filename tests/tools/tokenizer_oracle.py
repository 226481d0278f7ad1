#!/usr/bin/env python3
"""Checks token ids against the tokenizers of real models: tokenizer_oracle.py THROUGHPUT_BENCH [DIR]

    pip install mistral-common sentencepiece tiktoken gguf dashscope llama-models

The vocabularies come from packages that ship them: Qwen's and Llama 3's as tiktoken ranks, Mistral's as SentencePiece
models and as tekken.json. Each is written to DIR as a GGUF model of one empty layer. The ids of a thousand
difficult texts must equal those of tiktoken, mistral-common or sentencepiece, which share no code with the engine. Prints
the first text of each vocabulary whose ids differ; exits with 1 if there is one.
"""
import base64
import importlib.metadata
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import numpy
import sentencepiece
import tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

WIDTH = 32
WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
SNIPPETS = [
    "Hello world", " leading", "trailing ", "don't", "DON'T", "we'Ve they'LL I'm", "it\u2019s", "'\u017f long s",
    "12345678901", "3.14159", "1,000,000", "\u00b2\u00bd\u2460\u0664", "\uff11\uff12\uff13", "x=1;y=2",
    "f(x)->{return x*2;}", "  two", "   three   ", "\t\ttabs\t", "\n", "\n\n\n", " \n \n", "\r\n", "line\r\nline",
    "a\u00a0b", "\u3000wide", "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\uc548\ub155\ud558\uc138\uc694",
    "\u3053\u3093\u306b\u3061\u306f", "\u041f\u0440\u0438\u0432\u0435\u0442", "\u0645\u0631\u062d\u0628\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "caf\u00e9", "cafe\u0301", "A\u030a\u0328",
    "\ufb01nance", "na\u00efve", "Stra\u00dfe", "\u01c5", "\u02b0", "<think>\n", "</think>\n\n", "<tool_call>",
    "<0x0A>", "<s>x", "\u2581under", "___", "-----", "...", "\\boxed{42}", "$\\frac{a}{b}$", "# Title\n\n- item\n",
    "http://a.b/c?d=e&f=%20", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\u0000\u0001\u007f", "CamelCaseIdentifier",
    "snake_case_name", "\u200b", "\ufeff", "\u2028", "\U00010348", "0x7fFF", "\"quoted\"", "`code`",
]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>"]


def texts(specials):
    """Returns every snippet alone, and snippets strung together by a seeded generator."""
    draw = random.Random(2025)
    found = list(SNIPPETS)
    for _ in range(600):
        count = draw.randint(2, 9)
        parts = [draw.choice(SNIPPETS + specials * 3) for _ in range(count)]
        found.append(draw.choice(["", " ", "\n"]).join(parts))
    for _ in range(300):
        found.append("".join(chr(draw.choice([draw.randint(32, 126), draw.randint(0xA0, 0x2FFF)])) for _ in range(30)))
    return found


def alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names, extra = {byte: chr(byte) for byte in printable}, 0x100
    for byte in range(256):
        if byte not in names:
            names[byte], extra = chr(extra), extra + 1
    return names


def merge_of(token, ranks):
    """Returns the two tokens whose merge gives this one, as llama.cpp's converter finds them."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [(ranks.get(left + right), index) for index, (left, right) in enumerate(zip(parts, parts[1:]))]
        pairs = [(rank, index) for rank, index in pairs if rank is not None and rank < ranks[token]]
        if not pairs:
            return None
        _, index = min(pairs)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    return parts


def add_decoder(writer, vocabulary):
    """Adds one layer of zeros, because nothing opens a vocabulary alone."""
    for add in [writer.add_context_length, writer.add_embedding_length, writer.add_feed_forward_length]:
        add(WIDTH)
    for add in [writer.add_block_count, writer.add_head_count]:
        add(1)
    writer.add_layer_norm_rms_eps(1e-5)
    zeros = lambda *shape: numpy.zeros(shape, dtype=numpy.float16)
    writer.add_tensor("token_embd.weight", zeros(vocabulary, WIDTH))
    for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]:
        writer.add_tensor(f"{name}.weight", zeros(WIDTH).astype(numpy.float32))
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]:
        writer.add_tensor(f"blk.0.{name}.weight", zeros(WIDTH, WIDTH))


def check(program, directory, name, size, metadata, cases):
    """Writes the model, has the program encode the texts, and returns whether all ids are right."""
    writer = gguf.GGUFWriter(directory / f"{name}.gguf", "llama")
    metadata(writer)
    add_decoder(writer, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    texts = directory / f"{name}.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in cases))
    command = [program, directory / f"{name}.gguf", "--tokenize", texts]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [(text, ids, own) for (text, ids), own in zip(cases, found, strict=True) if ids != own]
    for text, ids, own in wrong[:1]:
        print(f"{name}: {text!r}\n  expected {ids}\n  found    {own}")
    print(f"{name}: {len(cases) - len(wrong)} of {len(cases)} texts have the same ids ({sum(map(len, found))} ids)")
    return not wrong


def byte_level(name, pre, ranks, specials, offset, encode):
    """Returns what `check` takes."""
    letters = alphabet()
    spell = lambda token: "".join(letters[byte] for byte in token)
    names = {rank + offset: spell(token) for token, rank in ranks.items()}
    names |= {id: text for text, id in specials.items()}
    size = max(names) + 1
    pairs = [merge_of(token, ranks) for token, _ in sorted(ranks.items(), key=lambda item: item[1]) if len(token) > 1]
    merges = [f"{spell(pair[0])} {spell(pair[1])}" for pair in pairs if pair]

    def metadata(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list([names.get(id, f"[PAD{id}]") for id in range(size)])
        special_ids = set(specials.values())
        writer.add_token_types([3 if id in special_ids else 1 if id in names else 5 for id in range(size)])
        writer.add_token_merges(merges)
        writer.add_eos_token_id(max(special_ids))

    written = [text for text in SPECIALS if text in specials]
    return name, size, metadata, [(text, encode(text)) for text in texts(written)]


def tiktoken_ranks(package, path):
    distribution = importlib.metadata.distribution(package)
    lines = pathlib.Path(distribution.locate_file(path)).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}


def qwen():
    ranks = tiktoken_ranks("dashscope", "dashscope/resources/qwen.tiktoken")
    specials = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
    pattern = WORDS + "\\p{N}" + REST
    encoding = tiktoken.Encoding("qwen", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
    plain = lambda text: encoding.encode(text, allowed_special="all")
    composed = lambda text: plain(unicodedata.normalize("NFC", text))
    yield byte_level("qwen2", "qwen2", ranks, specials, 0, composed)
    yield byte_level("deepseek-r1-qwen", "deepseek-r1-qwen", ranks, specials, 0, plain)


def llama3():
    ranks = tiktoken_ranks("llama-models", "llama_models/llama3/tokenizer.model")
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    specials = {name: len(ranks) + index for index, name in enumerate(names)}
    pattern = WORDS + "\\p{N}{1,3}" + REST
    encoding = tiktoken.Encoding("llama3", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
    encode = lambda text: encoding.encode(text, allowed_special="all")
    yield byte_level("llama3", "llama-bpe", ranks, specials, 0, encode)


def mistral():
    distribution = importlib.metadata.distribution("mistral-common")
    data = pathlib.Path(distribution.locate_file("mistral_common/data"))
    for path in sorted(data.glob("tekken_*.json")):
        content = json.loads(path.read_text())
        offset = content["config"]["default_num_special_tokens"]
        entries = content["vocab"][: content["config"]["default_vocab_size"] - offset]
        ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in entries}
        oracle = Tekkenizer.from_file(path)
        specials = {f"<SPECIAL_{id}>": id for id in range(offset)}
        encode = lambda text, oracle=oracle: oracle.encode(text, bos=False, eos=False)
        yield byte_level(path.stem, "tekken", ranks, specials, offset, encode)
    for path in sorted(data.glob("*.model.*")):
        yield sentencepiece_model(path)


def sentencepiece_model(path):
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    size = model.vocab_size()
    kinds = [(model.is_unknown, 2), (model.is_control, 3), (model.is_unused, 5), (model.is_byte, 6)]

    def metadata(writer):
        writer.add_tokenizer_model("llama")
        writer.add_token_list([model.id_to_piece(id) for id in range(size)])
        writer.add_token_scores([model.get_score(id) for id in range(size)])
        writer.add_token_types([next((kind for is_kind, kind in kinds if is_kind(id)), 1) for id in range(size)])
        writer.add_eos_token_id(model.eos_id())

    # In a text sentencepiece takes markup for what it says; a chat template's markup is markup.
    markup = [model.id_to_piece(id) for id in range(size) if model.is_control(id) or model.is_unknown(id)]
    plain = [text for text in texts([]) if not any(name in text for name in markup)]
    return path.name.replace(".", "-"), size, metadata, [(text, model.encode(text)) for text in plain]


def main():
    program, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(rest[0] if rest else temporary)
        directory.mkdir(parents=True, exist_ok=True)
        right = [check(program, directory, *case) for cases in [qwen(), llama3(), mistral()] for case in cases]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
