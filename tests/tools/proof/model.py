"""A Llama in PyTorch for training on packed rows, and its files.

All weights are views of one flat tensor, so that copying a model or an optimizer step is one operation. Rows of
different lengths stand one behind the other without padding (`Batch`). On a GPU attention is flash attention over such
rows, and norm, rotary embedding and SwiGLU are kernels of `kernels.py`; on the CPU the same functions are plain
PyTorch, in float32.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from gguf import Gguf
from texts import BEGIN, CHAT_TEMPLATE, END

POSITIONS_MAX = 2048
# How far flash attention in bf16 may be from attention in float32, as a share of the norm.
FLASH_ERROR_MAX = 0.03
KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    theta: float = 100000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        return self.hidden // self.heads

    @staticmethod
    def of_gguf(meta: dict, vocab: int) -> "Shape":
        value = {key.removeprefix("llama."): value for key, value in meta.items() if key.startswith("llama.")}
        return Shape(vocab, value["embedding_length"], value["block_count"], value["attention.head_count"],
                     value["attention.head_count_kv"], value["feed_forward_length"], value["rope.freq_base"],
                     value["attention.layer_norm_rms_epsilon"])

    def parts(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the weights, in their order in the flat tensor."""
        yield "embedding", (self.vocab, self.hidden)
        yield "norm", (self.hidden,)
        for layer in range(self.layers):
            yield f"{layer}.norm1", (self.hidden,)
            yield f"{layer}.qkv", ((self.heads + 2 * self.kv_heads) * self.head, self.hidden)
            yield f"{layer}.out", (self.hidden, self.heads * self.head)
            yield f"{layer}.norm2", (self.hidden,)
            yield f"{layer}.up", (2 * self.inner, self.hidden)
            yield f"{layer}.down", (self.hidden, self.inner)


@dataclass(frozen=True)
class Row:
    """A training row: its tokens, and the number of the prompt's tokens, which carry no loss."""

    tokens: list[int]
    prompt: int


@dataclass(frozen=True)
class Batch:
    """Rows one behind the other.

    `ids`, `positions` and `row` [tokens]: token, position within its row, index of its row. `starts` [rows + 1] int32:
    where rows begin, and the end. `before` and `targets` [learnt]: for each token with loss the index of the token
    before it, and its id.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    row: torch.Tensor
    starts: torch.Tensor
    longest: int
    before: torch.Tensor
    targets: torch.Tensor

    @staticmethod
    def of(rows: list[Row], device: str) -> "Batch":
        lengths = np.array([len(row.tokens) for row in rows])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.concatenate([row.tokens for row in rows]).astype(np.int64)
        positions = np.arange(len(ids)) - np.repeat(starts[:-1], lengths)
        learnt = np.flatnonzero(positions >= np.repeat([row.prompt for row in rows], lengths))
        arrays = ids, positions, np.repeat(np.arange(len(rows)), lengths), starts.astype(np.int32)
        tensors = [torch.from_numpy(array).to(device) for array in (*arrays, learnt - 1, ids[learnt])]
        return Batch(*tensors[:4], int(lengths.max()), *tensors[4:])


Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Batch], torch.Tensor]


def padded_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Causal attention within rows, padded on the right: q [tokens, heads, head]; k, v [tokens, kv_heads, head]."""
    rows = len(batch.starts) - 1

    def padded(x: torch.Tensor) -> torch.Tensor:
        out = x.new_zeros(rows, batch.longest, *x.shape[1:])
        return out.index_put((batch.row, batch.positions), x).transpose(1, 2)

    y = F.scaled_dot_product_attention(padded(q), padded(k), padded(v), is_causal=True, enable_gqa=True)
    return y.transpose(1, 2)[batch.row, batch.positions]


def aten_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The same through PyTorch's flash kernel."""
    return torch.ops.aten._flash_attention_forward(
        q, k, v, batch.starts, batch.starts, batch.longest, batch.longest, 0.0, True, return_debug_mask=False)[0]


def varlen_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The same through the interface that newer versions of PyTorch document."""
    from torch.nn.attention.varlen import varlen_attn
    return varlen_attn(q, k, v, batch.starts, batch.starts, batch.longest, batch.longest, window_size=(-1, 0))


def repeated(attention: Attention) -> Attention:
    """The attention for kernels that know no groups of heads."""
    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Batch) -> torch.Tensor:
        times = q.shape[1] // k.shape[1]
        return attention(q, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1), batch)
    return call


def flash_attention(shape: Shape, dtype: torch.dtype) -> tuple[str, Attention]:
    """The first flash attention that agrees with padded attention on the CPU, forwards and backwards; else padded."""
    generator = torch.Generator().manual_seed(0)
    rows = [Row([0] * length, 1) for length in (5, 64, 33)]
    parts = (shape.heads, shape.kv_heads, shape.kv_heads)
    x = torch.randn(102, sum(parts), shape.head, generator=generator)
    slope = torch.randn(102, shape.heads, shape.head, generator=generator)

    def run(attention: Attention, device: str, kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        own = x.to(device, kind).requires_grad_(True)
        y = attention(*own.split(parts, 1), Batch.of(rows, device))
        return y.detach().float().cpu(), torch.autograd.grad(y, own, slope.to(device, kind))[0].float().cpu()

    wanted = run(padded_attention, "cpu", torch.float32)
    candidates = {"aten": aten_attention, "varlen": varlen_attention, "aten, repeated heads": repeated(aten_attention),
                  "varlen, repeated heads": repeated(varlen_attention)}
    for name, attention in candidates.items():
        try:
            found = run(attention, "cuda", dtype)
        except (RuntimeError, TypeError, ImportError) as error:
            print(f"flash attention ({name}) is not available: {str(error)[:200]}", flush=True)
            continue
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(found, wanted)]
        if max(errors) < FLASH_ERROR_MAX:
            return name, attention
        print(f"flash attention ({name}) is wrong by {errors}", flush=True)
    return "padded", padded_attention


class Llama:
    """The weights on a device, and the forward pass."""

    def __init__(self, shape: Shape, device: str, dtype: torch.dtype) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        self.flat = torch.zeros(sum(math.prod(size) for _, size in shape.parts()), device=device, dtype=dtype)
        self.weights, at = {}, 0
        for name, size in shape.parts():
            self.weights[name] = self.flat[at:at + math.prod(size)].view(size).requires_grad_(True)
            at += math.prod(size)
        inverse = 1.0 / shape.theta ** (torch.arange(0, shape.head, 2, dtype=torch.float32) / shape.head)
        angles = torch.arange(POSITIONS_MAX, dtype=torch.float32)[:, None] * inverse
        self.cos, self.sin = angles.cos().to(device), angles.sin().to(device)
        self.kernels = None
        self.attention_name, self.attention = "padded", padded_attention
        if device == "cuda":
            import kernels
            self.kernels = kernels
            self.attention_name, self.attention = flash_attention(shape, dtype)

    # ---- the forward pass

    def normed(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if self.kernels:
            return self.kernels.norm(x, self.weights[name], self.shape.epsilon)
        return F.rms_norm(x, (self.shape.hidden,), self.weights[name], self.shape.epsilon)

    def swiglu(self, x: torch.Tensor) -> torch.Tensor:
        if self.kernels:
            return self.kernels.swiglu(x)
        gate, up = x.chunk(2, -1)
        return F.silu(gate) * up

    def rotated(self, qkv: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """qkv [tokens, heads + 2 kv_heads, head] with the rotary embedding of queries and keys."""
        turned = self.shape.heads + self.shape.kv_heads
        if self.kernels:
            return self.kernels.rotary(qkv, self.cos, self.sin, positions, turned)
        cos, sin = (table[positions][:, None].to(qkv.dtype) for table in (self.cos, self.sin))
        a, b = qkv[:, :turned].chunk(2, -1)
        return torch.cat([torch.cat([a * cos - b * sin, b * cos + a * sin], -1), qkv[:, turned:]], 1)

    def hidden(self, batch: Batch, keys_and_values: list | None = None) -> torch.Tensor:
        """Final hidden states [tokens, hidden]; appends each layer's keys and values to the list, if one is given."""
        shape, weights = self.shape, self.weights
        parts = (shape.heads, shape.kv_heads, shape.kv_heads)
        x = F.embedding(batch.ids, weights["embedding"])
        for layer in range(shape.layers):
            qkv = F.linear(self.normed(x, f"{layer}.norm1"), weights[f"{layer}.qkv"]).view(-1, sum(parts), shape.head)
            q, k, v = self.rotated(qkv, batch.positions).split(parts, 1)
            if keys_and_values is not None:
                keys_and_values.append((k, v))
            y = self.attention(q, k, v, batch).reshape(-1, shape.heads * shape.head)
            x = x + F.linear(y, weights[f"{layer}.out"])
            inner = self.swiglu(F.linear(self.normed(x, f"{layer}.norm2"), weights[f"{layer}.up"]))
            x = x + F.linear(inner, weights[f"{layer}.down"])
        return self.normed(x, "norm")

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden, self.weights["embedding"]).float()

    def log_probabilities(self, batch: Batch) -> torch.Tensor:
        """Log-probabilities [learnt] of the tokens with loss, float32, row by row."""
        return -F.cross_entropy(self.logits(self.hidden(batch)[batch.before]), batch.targets, reduction="none")

    # ---- weights

    @torch.no_grad()
    def copy_from(self, other: "Llama") -> None:
        self.flat.copy_(other.flat)

    @torch.no_grad()
    def fill(self, values: Callable[[str, tuple[int, ...]], torch.Tensor]) -> "Llama":
        for name, weight in self.weights.items():
            weight.copy_(values(name, tuple(weight.shape)).to(self.dtype))
        return self

    def randomize(self, seed: int) -> "Llama":
        generator = torch.Generator().manual_seed(seed)

        def values(name: str, size: tuple[int, ...]) -> torch.Tensor:
            if len(size) == 1:
                return torch.ones(size)
            depth = math.sqrt(2 * self.shape.layers) if name.endswith((".out", ".down")) else 1.0
            deviation = 0.02 if name == "embedding" else size[1] ** -0.5 / depth
            return torch.randn(size, generator=generator) * deviation

        return self.fill(values)

    def read_gguf(self, source: Gguf, ids: list[int]) -> "Llama":
        """Takes the weights of a GGUF file, and of its embedding the rows of the given ids."""
        def values(name: str, size: tuple[int, ...]) -> torch.Tensor:
            layer, _, part = name.rpartition(".")
            block = f"blk.{layer}."
            if name == "embedding":
                return torch.from_numpy(source.tensor("token_embd.weight")[ids])
            if name == "norm":
                return torch.from_numpy(source.tensor("output_norm.weight"))
            if part == "qkv":
                q = together(source.tensor(block + "attn_q.weight"), self.shape.heads)
                k = together(source.tensor(block + "attn_k.weight"), self.shape.kv_heads)
                return torch.from_numpy(np.concatenate([q, k, source.tensor(block + "attn_v.weight")]))
            if part == "up":
                gate, up = (source.tensor(block + f"ffn_{which}.weight") for which in ("gate", "up"))
                return torch.from_numpy(np.concatenate([gate, up]))
            own = {"norm1": "attn_norm", "out": "attn_output", "norm2": "ffn_norm", "down": "ffn_down"}[part]
            return torch.from_numpy(source.tensor(f"{block}{own}.weight"))

        return self.fill(values)

    # ---- directories in the layout of Hugging Face

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights under the names of transformers."""
        shape = self.shape
        found = {"model.embed_tokens.weight": self.weights["embedding"], "model.norm.weight": self.weights["norm"]}
        queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
        for layer in range(shape.layers):
            weights = {part: self.weights[f"{layer}.{part}"] for part in ("norm1", "qkv", "out", "norm2", "up", "down")}
            q, k, v = weights["qkv"].split([queries, keys, keys])
            gate, up = weights["up"].chunk(2)
            own = {
                "self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "self_attn.o_proj": weights["out"],
                "mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": weights["down"],
                "input_layernorm": weights["norm1"], "post_attention_layernorm": weights["norm2"]
            }
            found.update({f"model.layers.{layer}.{name}.weight": tensor for name, tensor in own.items()})
        return found

    def save(self, directory: Path, tokenizer: str) -> None:
        """Writes a model directory; `tokenizer` is the text of tokenizer.json."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in self.tensors().items()}
        save_file(tensors, str(directory / "model.safetensors"), metadata={"format": "pt"})
        shape, kind = self.shape, KINDS[self.dtype]
        ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
        config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": shape.vocab,
                  "hidden_size": shape.hidden, "intermediate_size": shape.inner, "num_hidden_layers": shape.layers,
                  "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head,
                  "rms_norm_eps": shape.epsilon, "rope_theta": shape.theta, "max_position_embeddings": POSITIONS_MAX,
                  "hidden_act": "silu", "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
                  "torch_dtype": kind, **ids}
        names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END, "pad_token": END,
                 "unk_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE}
        for name, values in (("config", config), ("tokenizer_config", names), ("generation_config", ids)):
            (directory / f"{name}.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
        (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")

    def load(self, directory: Path) -> "Llama":
        """Takes the weights of a directory that `save` wrote."""
        found = load_file(directory / "model.safetensors")
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(found[name])
        return self

    @staticmethod
    def of_directory(directory: Path, device: str, dtype: torch.dtype) -> "Llama":
        """A model of the shape and with the weights of a directory that `save` wrote."""
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                 "intermediate_size", "rope_theta", "rms_norm_eps")
        return Llama(Shape(*(config[name] for name in names)), device, dtype).load(directory)


def together(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's rows of a head have rotary pairs side by side; here their halves stand apart, as in transformers."""
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
