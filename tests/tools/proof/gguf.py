"""Reads GGUF files of version 3, as far as small Llama models in Q4_1 need it: metadata, and tensors as float32."""

import struct
from pathlib import Path

import numpy as np

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
F32, F16, Q4_1, Q8_0, Q6_K = 0, 1, 3, 8, 14
# Values and bytes of a block.
BLOCKS = {F32: (1, 4), F16: (1, 2), Q4_1: (32, 20), Q8_0: (32, 34), Q6_K: (256, 210)}


class Gguf:
    """An open file: `meta` has the metadata, `tensor` returns the values of a tensor."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.data, self.at = Path(path), np.memmap(path, dtype=np.uint8, mode="r"), 4
        if self.data[:4].tobytes() != b"GGUF" or self.scalar("<I") != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        tensors, keys = self.scalar("<Q"), self.scalar("<Q")
        self.meta = {self.string(): self.value(self.scalar("<I")) for _ in range(keys)}
        self.tensors = dict(self.header() for _ in range(tensors))
        alignment = self.meta.get("general.alignment", 32)
        self.begin = -(-self.at // alignment) * alignment

    def header(self) -> tuple[str, tuple[list[int], int, int]]:
        """Name, shape, type and offset of the next tensor; the file has the shape with the last axis first."""
        name = self.string()
        shape = [self.scalar("<Q") for _ in range(self.scalar("<I"))]
        return name, (shape[::-1], self.scalar("<I"), self.scalar("<Q"))

    def scalar(self, form: str) -> int | float | bool:
        size = struct.calcsize(form)
        self.at += size
        return struct.unpack(form, self.data[self.at - size:self.at].tobytes())[0]

    def string(self) -> str:
        size = self.scalar("<Q")
        self.at += size
        return self.data[self.at - size:self.at].tobytes().decode("utf-8", "surrogateescape")

    def value(self, kind: int) -> object:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.scalar("<I"), self.scalar("<Q")
            return [self.value(inner) for _ in range(count)]
        return self.scalar(SCALARS[kind])

    def tensor(self, name: str) -> np.ndarray:
        """The values of a tensor, float32."""
        if name not in self.tensors:
            raise KeyError(f"{self.path} has no tensor {name}")
        shape, kind, offset = self.tensors[name]
        if kind not in BLOCKS:
            raise ValueError(f"{self.path}: tensor {name} has type {kind}, which this reader does not know")
        values, size = BLOCKS[kind]
        count = int(np.prod(shape)) // values
        start = self.begin + offset
        blocks = np.array(self.data[start:start + count * size]).reshape(count, size)
        return READERS[kind](blocks).reshape(shape)


def half(blocks: np.ndarray, at: int) -> np.ndarray:
    """The float16 at a byte of each block, as a column."""
    return blocks[:, at:at + 2].copy().view(np.float16).astype(np.float32)


def read_q4_1(blocks: np.ndarray) -> np.ndarray:
    """Scale, minimum, 16 bytes with two values each: the low halves first."""
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return nibbles * half(blocks, 0) + half(blocks, 2)


def read_q8_0(blocks: np.ndarray) -> np.ndarray:
    return blocks[:, 2:].copy().view(np.int8) * half(blocks, 0)


def read_q6_k(blocks: np.ndarray) -> np.ndarray:
    """Low 4 bits, high 2 bits, 16 scales, a scale of the whole block; in two halves of four rows of 32."""
    low, high = blocks[:, :128].reshape(-1, 2, 2, 32), blocks[:, 128:192].reshape(-1, 2, 1, 32)
    four = np.concatenate([low & 15, low >> 4], axis=2)
    two = (high >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    values = (four | (two << 4)).astype(np.int8).reshape(-1, 16, 16) - 32
    scales = blocks[:, 192:208].copy().view(np.int8).astype(np.float32)
    return values * scales[:, :, None] * half(blocks, 208)[:, :, None]


READERS = {F32: lambda blocks: blocks.view(np.float32), F16: lambda blocks: blocks.view(np.float16).astype(np.float32),
           Q4_1: read_q4_1, Q8_0: read_q8_0, Q6_K: read_q6_k}
