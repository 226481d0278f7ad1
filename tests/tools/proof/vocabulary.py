"""The tokenizer of the proof's models: the GGUF file's byte-level BPE, cut to the tokens that the tasks need.

A small vocabulary makes training and sampling faster. Tokens that occur in the given texts stay, with all tokens that
their merges pass through, so that these texts keep their tokens; all 256 bytes stay, so that any other text has tokens,
too.
"""

import codecs
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def tokenizer_of(tokens: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """SmolLM2's tokenizer with these tokens, in order of their ids."""
    inner = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    return inner


def cut(meta: dict, texts: Iterable[str]) -> tuple[Tokenizer, list[int]]:
    """The cut tokenizer, and the old id of each of its tokens."""
    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    old = {token: id for id, token in enumerate(tokens)}
    texts = list(texts)
    encoded = tokenizer_of(tokens, merges).encode_batch(texts, add_special_tokens=False)
    halves = {left + right: (left, right) for left, right in merges}
    kept = set(pre_tokenizers.ByteLevel.alphabet())
    waiting = list({token for one in encoded for token in one.tokens})
    while waiting:
        token = waiting.pop()
        if token not in kept:
            kept.add(token)
            waiting += halves.get(token, ())
    order = list(SPECIAL) + sorted((token for token in kept if token in old and token not in SPECIAL), key=old.get)
    inside = set(order)
    small = tokenizer_of(order, [(a, b) for a, b in merges if a in inside and b in inside and a + b in inside])
    for text, one, again in zip(texts, encoded, small.encode_batch(texts, add_special_tokens=False)):
        if again.tokens != one.tokens:
            raise ValueError(f"the cut vocabulary changes the tokens of {text!r}")
    return small, [old[token] for token in order]


class Tokens:
    """A tokenizer with what training needs: ids of texts, texts of ids, and where each token begins in its text."""

    def __init__(self, path: str | Path) -> None:
        self.inner = Tokenizer.from_file(str(path))
        self.size = self.inner.get_vocab_size()
        self.end = self.inner.token_to_id("<|im_end|>")
        alphabet = bytes_of_alphabet()
        names = [self.inner.id_to_token(id) for id in range(self.size)]
        self.bytes = [name.encode() if name in SPECIAL else bytes(alphabet[c] for c in name) for name in names]
        self.lengths = np.array([len(one) for one in self.bytes])
        self.is_ascii = np.array([one.isascii() for one in self.bytes])

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [one.ids for one in self.inner.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.bytes[id] for id in ids).decode("utf-8", "replace")

    def begins(self, ids: list[int]) -> np.ndarray:
        """Where each token begins in the decoded text, in code points; a token within a character begins with it."""
        lengths = self.lengths[ids]
        if self.is_ascii[ids].all():
            return np.cumsum(lengths) - lengths
        decoder, written, places = codecs.getincrementaldecoder("utf-8")("replace"), 0, []
        for id in ids:
            places.append(written)
            written += len(decoder.decode(self.bytes[id]))
        return np.array(places, dtype=np.int64)


def bytes_of_alphabet() -> dict[str, int]:
    """The byte of each character of the byte-level alphabet: printable ones are themselves, others go from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}
