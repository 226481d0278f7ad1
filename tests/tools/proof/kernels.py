"""Triton kernels: norm, rotary embedding and SwiGLU with their gradients, and attention of one token for sampling.

All arithmetic is float32 inside a kernel, whatever the type of its arguments. TRITON_INTERPRET=1 runs the kernels on
the CPU.
"""

import torch
import triton
import triton.language as tl

# Programs of the gradient of norm; each sums the gradient of the weight over its share of the rows.
NORM_PROGRAMS = 1056
SWIGLU_BLOCK = 1024
ATTEND_BLOCK = 64
# tl.dot needs at least this many rows; queries of one group are fewer.
DOT_ROWS = 16


@triton.jit
def norm_forward(x_ptr, weight_ptr, y_ptr, scale_ptr, epsilon, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    is_real = column < SIZE
    x = tl.load(x_ptr + row * SIZE + column, mask=is_real, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=is_real, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 0) / SIZE + epsilon)
    tl.store(scale_ptr + row, scale)
    tl.store(y_ptr + row * SIZE + column, (x * scale * weight).to(y_ptr.dtype.element_ty), mask=is_real)


@triton.jit
def norm_backward(dy_ptr, x_ptr, weight_ptr, scale_ptr, dx_ptr, dweight_ptr, rows, rows_each,
                  SIZE: tl.constexpr, BLOCK: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    is_real = column < SIZE
    weight = tl.load(weight_ptr + column, mask=is_real, other=0.0).to(tl.float32)
    dweight = tl.zeros([BLOCK], tl.float32)
    for step in range(0, rows_each):
        row = program * rows_each + step
        if row < rows:
            x = tl.load(x_ptr + row * SIZE + column, mask=is_real, other=0.0).to(tl.float32)
            dy = tl.load(dy_ptr + row * SIZE + column, mask=is_real, other=0.0).to(tl.float32)
            scale = tl.load(scale_ptr + row)
            dweight += dy * x * scale
            slope = dy * weight
            shared = scale * scale * tl.sum(slope * x, 0) / SIZE
            tl.store(dx_ptr + row * SIZE + column, (scale * (slope - x * shared)).to(dx_ptr.dtype.element_ty),
                     mask=is_real)
    tl.store(dweight_ptr + program * SIZE + column, dweight, mask=is_real)


@triton.jit
def rotate(x_ptr, y_ptr, cos_ptr, sin_ptr, position_ptr, sign, TURNED: tl.constexpr, HEADS: tl.constexpr,
           HEAD: tl.constexpr, BLOCK: tl.constexpr):
    """One token: the first TURNED of HEADS heads are rotated (sign 1) or rotated back (sign -1), the others copied."""
    token = tl.program_id(0).to(tl.int64)
    HALF: tl.constexpr = HEAD // 2
    head = tl.arange(0, BLOCK)[:, None]
    place = tl.arange(0, HALF)[None, :]
    is_real = (head < HEADS) & (place < HALF)
    at = token * HEADS * HEAD + head * HEAD + place
    a = tl.load(x_ptr + at, mask=is_real, other=0.0).to(tl.float32)
    b = tl.load(x_ptr + at + HALF, mask=is_real, other=0.0).to(tl.float32)
    position = tl.load(position_ptr + token)
    cos = tl.load(cos_ptr + position * HALF + place)
    sin = tl.load(sin_ptr + position * HALF + place) * sign
    is_turned = head < TURNED
    kind = y_ptr.dtype.element_ty
    tl.store(y_ptr + at, tl.where(is_turned, a * cos - b * sin, a).to(kind), mask=is_real)
    tl.store(y_ptr + at + HALF, tl.where(is_turned, b * cos + a * sin, b).to(kind), mask=is_real)


@triton.jit
def swiglu_forward(x_ptr, y_ptr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_real = column < SIZE
    gate = tl.load(x_ptr + row * 2 * SIZE + column, mask=is_real, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + row * 2 * SIZE + SIZE + column, mask=is_real, other=0.0).to(tl.float32)
    y = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(y_ptr + row * SIZE + column, y.to(y_ptr.dtype.element_ty), mask=is_real)


@triton.jit
def swiglu_backward(dy_ptr, x_ptr, dx_ptr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_real = column < SIZE
    at = row * 2 * SIZE + column
    gate = tl.load(x_ptr + at, mask=is_real, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + at + SIZE, mask=is_real, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + row * SIZE + column, mask=is_real, other=0.0).to(tl.float32)
    sigmoid = 1.0 / (1.0 + tl.exp(-gate))
    kind = dx_ptr.dtype.element_ty
    tl.store(dx_ptr + at, (dy * up * sigmoid * (1.0 + gate * (1.0 - sigmoid))).to(kind), mask=is_real)
    tl.store(dx_ptr + at + SIZE, (dy * gate * sigmoid).to(kind), mask=is_real)


class Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, epsilon):
        size = x.shape[-1]
        rows = x.numel() // size
        y, scale = torch.empty_like(x), torch.empty(rows, device=x.device, dtype=torch.float32)
        norm_forward[(rows,)](x, weight, y, scale, epsilon, SIZE=size, BLOCK=triton.next_power_of_2(size), num_warps=4)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight, scale = ctx.saved_tensors
        size, rows = x.shape[-1], scale.numel()
        rows_each = triton.cdiv(rows, NORM_PROGRAMS)
        programs = triton.cdiv(rows, rows_each)
        dx = torch.empty_like(x)
        dweight = torch.empty(programs, size, device=x.device, dtype=torch.float32)
        norm_backward[(programs,)](dy.contiguous(), x, weight, scale, dx, dweight, rows, rows_each, SIZE=size,
                                   BLOCK=triton.next_power_of_2(size), num_warps=4)
        return dx, dweight.sum(0).to(weight.dtype), None


class Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cos, sin, positions, turned):
        ctx.save_for_backward(cos, sin, positions)
        ctx.turned = turned
        return Rotary.turn(x, cos, sin, positions, turned, 1.0)

    @staticmethod
    def backward(ctx, dy):
        return Rotary.turn(dy.contiguous(), *ctx.saved_tensors, ctx.turned, -1.0), None, None, None, None

    @staticmethod
    def turn(x, cos, sin, positions, turned, sign):
        tokens, heads, head = x.shape
        y = torch.empty_like(x)
        rotate[(tokens,)](x, y, cos, sin, positions, sign, TURNED=turned, HEADS=heads, HEAD=head,
                          BLOCK=triton.next_power_of_2(heads), num_warps=2)
        return y


class SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        size = x.shape[-1] // 2
        rows = x.numel() // x.shape[-1]
        y = torch.empty(*x.shape[:-1], size, device=x.device, dtype=x.dtype)
        grid = (rows, triton.cdiv(size, SWIGLU_BLOCK))
        swiglu_forward[grid](x, y, SIZE=size, BLOCK=SWIGLU_BLOCK, num_warps=4)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        size = x.shape[-1] // 2
        rows = x.numel() // x.shape[-1]
        dx = torch.empty_like(x)
        grid = (rows, triton.cdiv(size, SWIGLU_BLOCK))
        swiglu_backward[grid](dy.contiguous(), x, dx, SIZE=size, BLOCK=SWIGLU_BLOCK, num_warps=4)
        return dx


def norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMS norm over the last axis; x is contiguous."""
    return Norm.apply(x, weight, epsilon)


def rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, positions: torch.Tensor, turned: int) -> torch.Tensor:
    """Rotary embedding of the first `turned` heads: x [tokens, heads, head]; cos, sin [positions, head / 2] float32."""
    return Rotary.apply(x, cos, sin, positions, turned)


def swiglu(x: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of x [..., 2 size], which holds first gate, then up."""
    return SwiGlu.apply(x)


@triton.jit
def attend_one(qkv_ptr, keys_ptr, values_ptr, cos_ptr, sin_ptr, slot_ptr, start_ptr, out_ptr, factor, slots,
               HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD: tl.constexpr, ROWS: tl.constexpr,
               BLOCK: tl.constexpr):
    """The newest token of one sequence, one head of keys: rotates, stores key and value, attends to its sequence.

    The sequence occupies the slots from its start to the current slot, which is the same for all sequences.
    """
    sequence = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    HALF: tl.constexpr = HEAD // 2
    GROUP: tl.constexpr = HEADS // KV_HEADS
    slot = tl.load(slot_ptr)
    start = tl.load(start_ptr + sequence)
    half = tl.arange(0, HALF)
    whole = tl.arange(0, HEAD)
    kind = keys_ptr.dtype.element_ty
    cos = tl.load(cos_ptr + (slot - start) * HALF + half)
    sin = tl.load(sin_ptr + (slot - start) * HALF + half)

    row = qkv_ptr + sequence * (HEADS + 2 * KV_HEADS) * HEAD
    key = row + (HEADS + kv_head) * HEAD
    key_a = tl.load(key + half).to(tl.float32)
    key_b = tl.load(key + HALF + half).to(tl.float32)
    new_a, new_b = (key_a * cos - key_b * sin).to(kind), (key_b * cos + key_a * sin).to(kind)
    value = tl.load(row + (HEADS + KV_HEADS + kv_head) * HEAD + whole)
    cache = (sequence * KV_HEADS + kv_head) * slots * HEAD
    tl.store(keys_ptr + cache + slot * HEAD + half, new_a)
    tl.store(keys_ptr + cache + slot * HEAD + HALF + half, new_b)
    tl.store(values_ptr + cache + slot * HEAD + whole, value)

    member = tl.arange(0, ROWS)
    is_member = (member < GROUP)[:, None]
    query = row + (kv_head * GROUP + member)[:, None] * HEAD + half[None, :]
    query_a = tl.load(query, mask=is_member, other=0.0).to(tl.float32)
    query_b = tl.load(query + HALF, mask=is_member, other=0.0).to(tl.float32)
    q_a = (query_a * cos[None, :] - query_b * sin[None, :]).to(kind)
    q_b = (query_b * cos[None, :] + query_a * sin[None, :]).to(kind)

    # The softmax begins with the token itself, whose key and value are at hand.
    own = tl.sum(q_a.to(tl.float32) * new_a.to(tl.float32)[None, :], 1)
    own += tl.sum(q_b.to(tl.float32) * new_b.to(tl.float32)[None, :], 1)
    highest = own * factor
    total = tl.full([ROWS], 1.0, tl.float32)
    mixed = tl.zeros([ROWS, HEAD], tl.float32) + value.to(tl.float32)[None, :]
    for first in range(start, slot, BLOCK):
        place = first + tl.arange(0, BLOCK)
        is_seen = place < slot
        keys = keys_ptr + cache + place[None, :] * HEAD + half[:, None]
        keys_a = tl.load(keys, mask=is_seen[None, :], other=0.0)
        keys_b = tl.load(keys + HALF, mask=is_seen[None, :], other=0.0)
        score = (tl.dot(q_a, keys_a, input_precision="ieee") + tl.dot(q_b, keys_b, input_precision="ieee")) * factor
        score = tl.where(is_seen[None, :], score, -1e30)
        higher = tl.maximum(highest, tl.max(score, 1))
        share = tl.exp(score - higher[:, None])
        fade = tl.exp(highest - higher)
        values = tl.load(values_ptr + cache + place[:, None] * HEAD + whole[None, :], mask=is_seen[:, None], other=0.0)
        mixed = mixed * fade[:, None] + tl.dot(share.to(kind), values, input_precision="ieee")
        total = total * fade + tl.sum(share, 1)
        highest = higher
    out = out_ptr + sequence * HEADS * HEAD + (kv_head * GROUP + member)[:, None] * HEAD + whole[None, :]
    tl.store(out, (mixed / total[:, None]).to(out_ptr.dtype.element_ty), mask=is_member)


def attend(qkv: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor,
           slot: torch.Tensor, starts: torch.Tensor, heads: int) -> torch.Tensor:
    """One token of each sequence: qkv [sequences, (heads + 2 kv_heads) head].

    `keys`, `values` [at least sequences, kv_heads, slots, head] are the cache, `slot` [1] int64 is the current slot,
    `starts` [sequences] int64 each sequence's first slot. Returns [sequences, heads head].
    """
    _, kv_heads, slots, head = keys.shape
    sequences = qkv.shape[0]
    out = torch.empty(sequences, heads * head, device=qkv.device, dtype=qkv.dtype)
    attend_one[(sequences, kv_heads)](qkv, keys, values, cos, sin, slot, starts, out, head ** -0.5, slots, HEADS=heads,
                                      KV_HEADS=kv_heads, HEAD=head, ROWS=DOT_ROWS, BLOCK=ATTEND_BLOCK, num_warps=4)
    return out
