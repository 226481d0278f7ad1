"""Samples many responses at once from a model that is being trained: the sampler of reinforcement learning.

Prompts of a batch end in the same slot of a static cache of keys and values (they are padded on the left), so that one
number says where all sequences stand. A prompt is computed once for all its copies. Each further token is one step for
all sequences, on a GPU a replayed CUDA graph; when half of the sequences have ended, the others move to the front, and
a graph for fewer sequences follows.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from model import Batch, Llama, Row

# Tokens between two looks at how many sequences are left.
STEPS_BETWEEN_LOOKS = 16
SEQUENCES_MIN = 64
HIDDEN_SCORE = -1e30


@dataclass(frozen=True)
class Sampled:
    """The tokens of a response without its end token, and whether the model ended it."""

    tokens: list[int]
    is_ended: bool


class Sampler:
    """Samples from a model with its current weights, at a temperature; 0 is greedy."""

    def __init__(self, model: Llama, sequences: int, slots: int, end: int, temperature: float,
                 kernels: object = None) -> None:
        shape, device = model.shape, model.device
        self.model, self.sequences, self.slots, self.end, self.temperature = model, sequences, slots, end, temperature
        self.kernels = kernels or model.kernels
        self.has_graphs = device == "cuda"
        # [layers, keys or values, sequences, kv_heads, slots, head]
        size = (shape.layers, 2, sequences, shape.kv_heads, slots, shape.head)
        self.cache = torch.zeros(size, device=device, dtype=model.dtype)
        self.newest = torch.zeros(sequences, dtype=torch.long, device=device)
        self.starts = torch.zeros(sequences, dtype=torch.long, device=device)
        self.is_done = torch.zeros(sequences, dtype=torch.bool, device=device)
        self.written = torch.zeros(sequences, slots, dtype=torch.long, device=device)
        self.slot = torch.zeros(1, dtype=torch.long, device=device)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        sizes = [sequences]
        while sizes[-1] // 2 >= SEQUENCES_MIN:
            sizes.append(sizes[-1] // 2)
        self.sizes = sizes[::-1]

    def size_for(self, count: int) -> int:
        return next(size for size in self.sizes if size >= count)

    @torch.no_grad()
    def sample(self, prompts: list[list[int]], copies: int, tokens_max: int) -> list[Sampled]:
        """Returns the copies of each prompt, in order."""
        found: list[Sampled] = [Sampled([], False)] * (len(prompts) * copies)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        together = self.sequences // copies
        for begin in range(0, len(order), together):
            chosen = order[begin:begin + together]
            batch = self.sample_batch([prompts[index] for index in chosen], copies, tokens_max)
            for place, sampled in enumerate(batch):
                found[chosen[place // copies] * copies + place % copies] = sampled
        return found

    def sample_batch(self, prompts: list[list[int]], copies: int, tokens_max: int) -> list[Sampled]:
        longest, count = max(map(len, prompts)), len(prompts) * copies
        last = longest + tokens_max
        if last > self.slots:
            raise ValueError(
                f"a prompt of {longest} tokens and {tokens_max} new ones exceed the sampler's {self.slots} slots")
        self.read_prompts(prompts, copies, longest)
        size = self.size_for(count)
        origin = torch.arange(size, device=self.model.device)
        texts = torch.full((size, self.slots), self.end, dtype=torch.long, device=self.model.device)
        is_done = torch.zeros(size, dtype=torch.bool, device=self.model.device)
        at = kept_to = longest
        while True:
            steps = min(STEPS_BETWEEN_LOOKS, last - 1 - at)
            for _ in range(steps):
                self.step(size)
            at += steps
            alive = int((~self.is_done[:size]).sum())
            is_over = alive == 0 or at == last - 1
            smaller = self.size_for(alive)
            if is_over or smaller < size:
                texts[origin, kept_to:at + 1] = self.written[:size, kept_to:at + 1]
                is_done[origin] = self.is_done[:size]
                kept_to = at + 1
            if is_over:
                break
            if smaller < size:
                origin = origin[self.move_to_front(size, smaller, alive, at)]
                size = smaller
        rows, ended = texts[:count, longest:at + 1].tolist(), is_done[:count].tolist()
        return [
            Sampled(row[:row.index(self.end)] if self.end in row else row, has_ended)
            for row, has_ended in zip(rows, ended)
        ]

    def read_prompts(self, prompts: list[list[int]], copies: int, longest: int) -> None:
        """Computes the prompts, fills the cache up to the slot `longest`, and samples each sequence's first token."""
        shape, model, count = self.model.shape, self.model, len(prompts) * copies
        batch = Batch.of([Row(tokens, len(tokens)) for tokens in prompts], model.device)
        starts = longest - torch.diff(batch.starts).long()
        slots = batch.positions + starts[batch.row]
        computed: list[tuple[torch.Tensor, torch.Tensor]] = []
        hidden = model.hidden(batch, computed)
        for layer, keys_and_values in enumerate(computed):
            for which, tensor in enumerate(keys_and_values):
                room = tensor.new_zeros(len(prompts), longest, shape.kv_heads, shape.head)
                room[batch.row, slots] = tensor
                self.cache[layer, which, :count, :, :longest] = room.transpose(1, 2).repeat_interleave(copies, 0)
        self.starts[:count] = starts.repeat_interleave(copies)
        self.starts[count:] = longest
        self.is_done.fill_(True)
        self.is_done[:count] = False
        logits = model.logits(hidden[batch.starts[1:].long() - 1])
        # The first token gets the slot behind the prompt, as `step` gives its token the slot behind its own.
        self.slot.fill_(longest - 1)
        self.pick(logits.repeat_interleave(copies, 0))
        self.slot.fill_(longest)

    def move_to_front(self, size: int, smaller: int, alive: int, at: int) -> torch.Tensor:
        """Moves the sequences that have not ended to the front, with enough ended ones to fill the smaller size."""
        done = self.is_done[:size]
        kept = torch.cat([(~done).nonzero()[:, 0], done.nonzero()[:smaller - alive, 0]])
        for tensors in self.cache.unbind(0):
            for tensor in tensors.unbind(0):
                tensor[:smaller, :, :at] = tensor[kept, :, :at]
        for tensor in (self.newest, self.starts, self.is_done):
            tensor[:smaller] = tensor[kept]
        return kept

    def step(self, size: int) -> None:
        """One token for each of the first `size` sequences."""
        if not self.has_graphs:
            self.compute(size)
            return
        if size not in self.graphs:
            self.graphs[size] = self.capture(size)
        self.graphs[size].replay()

    def capture(self, size: int) -> torch.cuda.CUDAGraph:
        """Records a step; the state is as before, because recording runs steps to warm up."""
        state = (self.newest, self.is_done, self.slot, self.written)
        saved = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.compute(size)
        torch.cuda.current_stream().wait_stream(side)
        for tensor, old in zip(state, saved):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.compute(size)
        for tensor, old in zip(state, saved):
            tensor.copy_(old)
        return graph

    def compute(self, size: int) -> None:
        model, weights = self.model, self.model.weights
        x = F.embedding(self.newest[:size], weights["embedding"])
        for layer in range(model.shape.layers):
            y = self.attend(layer, F.linear(model.normed(x, f"{layer}.norm1"), weights[f"{layer}.qkv"]), size)
            x = torch.addmm(x, y, weights[f"{layer}.out"].t())
            inner = model.swiglu(F.linear(model.normed(x, f"{layer}.norm2"), weights[f"{layer}.up"]))
            x = torch.addmm(x, inner, weights[f"{layer}.down"].t())
        self.pick(model.logits(model.normed(x, "norm")))
        self.slot += 1

    def attend(self, layer: int, qkv: torch.Tensor, size: int) -> torch.Tensor:
        """Attention of the newest tokens, qkv [size, (heads + 2 kv_heads) head], which also go into the cache."""
        model, shape = self.model, self.model.shape
        keys, values = self.cache[layer, 0], self.cache[layer, 1]
        if self.kernels:
            return self.kernels.attend(qkv, keys, values, model.cos, model.sin, self.slot, self.starts[:size],
                                       shape.heads)
        starts = self.starts[:size]
        qkv = model.rotated(qkv.view(size, -1, shape.head), self.slot - starts)
        q, k, v = qkv.split((shape.heads, shape.kv_heads, shape.kv_heads), 1)
        keys[:size].index_copy_(2, self.slot, k.unsqueeze(2))
        values[:size].index_copy_(2, self.slot, v.unsqueeze(2))
        groups = q.reshape(size, shape.kv_heads, -1, shape.head)
        score = (groups @ keys[:size].transpose(-1, -2)).float() * shape.head ** -0.5
        place = torch.arange(self.slots, device=model.device)
        is_seen = (place <= self.slot) & (place >= starts[:, None])
        share = score.masked_fill(~is_seen[:, None, None], HIDDEN_SCORE).softmax(-1)
        return (share.to(model.dtype) @ values[:size]).reshape(size, -1)

    def pick(self, logits: torch.Tensor) -> None:
        """Draws each sequence's next token into the slot behind the current one; ended sequences get end tokens."""
        if self.temperature > 0:
            # The largest of logits with Gumbel noise is a draw from their distribution.
            noise = torch.empty_like(logits).exponential_(1).clamp_min_(1e-20).log_()
            logits = logits / self.temperature - noise
        size = len(logits)
        is_done = self.is_done[:size]
        token = torch.where(is_done, self.end, logits.argmax(-1))
        slot = (self.slot + 1).clamp(max=self.slots - 1)
        self.written[:size].scatter_(1, slot.expand(size, 1), token[:, None])
        is_done.logical_or_(token == self.end)
        self.newest[:size].copy_(token)
