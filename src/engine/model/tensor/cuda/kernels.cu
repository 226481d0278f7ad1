// Kernels of the decoder on NVIDIA GPUs, compiled for one model at load (NVRTC; no header is included).
//
// Numbers: matrices, their inputs and outputs are bf16, all other numbers are f32. All matrices are row-major. The
// compiling code defines HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY, KV_F32 and HALF_SPLIT; HIDDEN, FFN and
// HEAD_DIM are multiples of 8.
//
// A step has `rows` rows. Padding rows have the position NONE: they are neither stored nor attended to.

typedef unsigned short bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define NONE 0xffffffffu
#define BLOCK_TOKENS 16
#define WIDTH ((HEADS + 2 * KV_HEADS) * HEAD_DIM)
#define GROUP (HEADS / KV_HEADS)
#define INFINITE __int_as_float(0x7f800000)
#define FULL 0xffffffffu

#if KV_F32
typedef float kv;
// Eight keys or values as stored in memory.
struct Raw {
    float4 low, high;
};
#else
typedef bf16 kv;
typedef uint4 Raw;
#endif

__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x << 16); }

// Packs two numbers, rounded to nearest, with `low` in the low half.
__device__ __forceinline__ u32 narrow2(float low, float high) {
    u32 out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

__device__ __forceinline__ bf16 narrow(float x) { return (bf16)(narrow2(x, 0.0f) & 0xffffu); }

__device__ __forceinline__ float exp2_fast(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

__device__ __forceinline__ void unpack8(uint4 raw, float out[8]) {
    const u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = __uint_as_float(words[i] << 16);
        out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

#if KV_F32
__device__ __forceinline__ void unpack8(Raw raw, float out[8]) {
    out[0] = raw.low.x, out[1] = raw.low.y, out[2] = raw.low.z, out[3] = raw.low.w;
    out[4] = raw.high.x, out[5] = raw.high.y, out[6] = raw.high.z, out[7] = raw.high.w;
}
#endif

__device__ __forceinline__ uint4 pack8(const float x[8]) {
    return make_uint4(narrow2(x[0], x[1]), narrow2(x[2], x[3]), narrow2(x[4], x[5]), narrow2(x[6], x[7]));
}

__device__ __forceinline__ void load8(const bf16* from, float out[8]) { unpack8(*(const uint4*)from, out); }

__device__ __forceinline__ void load8(const float* from, float out[8]) {
    const float4 low = ((const float4*)from)[0], high = ((const float4*)from)[1];
    out[0] = low.x, out[1] = low.y, out[2] = low.z, out[3] = low.w;
    out[4] = high.x, out[5] = high.y, out[6] = high.z, out[7] = high.w;
}

__device__ __forceinline__ void store8(float* to, const float x[8]) {
    ((float4*)to)[0] = make_float4(x[0], x[1], x[2], x[3]);
    ((float4*)to)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) x += __shfl_xor_sync(FULL, x, offset);
    return x;
}

// Returns the sum over all threads of the block (at most 1024), in one fixed order.
__device__ float block_sum(float x) {
    __shared__ float sums[32];
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < blockDim.x / 32 ? sums[threadIdx.x % 32] : 0.0f;
    return warp_sum(x);
}

// x[row] = embedding[tokens[row]]: x [rows, HIDDEN] f32, embedding [VOCABULARY, HIDDEN] bf16. Grid: rows.
extern "C" __global__ void embed(float* x, const bf16* embedding, const u32* tokens) {
    const size_t token = min(tokens[blockIdx.x], VOCABULARY - 1);
    for (int at = threadIdx.x * 8; at < HIDDEN; at += blockDim.x * 8) {
        float values[8];
        load8(embedding + token * HIDDEN + at, values);
        store8(x + (size_t)blockIdx.x * HIDDEN + at, values);
    }
}

#define NORM_THREADS 256
#define NORM_CHUNKS ((HIDDEN + 8 * NORM_THREADS - 1) / (8 * NORM_THREADS))

// x += delta (+ bias); out = rms_norm(x) * scale. x [rows, HIDDEN] f32, delta [rows, HIDDEN] bf16 or null, bias
// [HIDDEN] f32 or null, scale [HIDDEN] f32, out [grid, HIDDEN] bf16. With `wanted`, row i of out is computed from row
// wanted[i], and x does not change. Grid: rows of out.
extern "C" __global__ void __launch_bounds__(NORM_THREADS)
add_norm(float* x, const bf16* delta, const float* bias, const float* scale, bf16* out, const u32* wanted,
         float epsilon) {
    const size_t row = wanted ? wanted[blockIdx.x] : blockIdx.x;
    float values[NORM_CHUNKS][8];
    float squares = 0.0f;
#pragma unroll
    for (int chunk = 0; chunk < NORM_CHUNKS; chunk++) {
        const int at = (chunk * NORM_THREADS + threadIdx.x) * 8;
        if (at >= HIDDEN) continue;
        load8(x + row * HIDDEN + at, values[chunk]);
        float other[8];
        if (delta) {
            load8(delta + row * HIDDEN + at, other);
#pragma unroll
            for (int i = 0; i < 8; i++) values[chunk][i] += other[i];
        }
        if (bias) {
            load8(bias + at, other);
#pragma unroll
            for (int i = 0; i < 8; i++) values[chunk][i] += other[i];
        }
        if ((delta || bias) && !wanted) store8(x + row * HIDDEN + at, values[chunk]);
#pragma unroll
        for (int i = 0; i < 8; i++) squares += values[chunk][i] * values[chunk][i];
    }
    const float factor = rsqrtf(block_sum(squares) / HIDDEN + epsilon);
#pragma unroll
    for (int chunk = 0; chunk < NORM_CHUNKS; chunk++) {
        const int at = (chunk * NORM_THREADS + threadIdx.x) * 8;
        if (at >= HIDDEN) continue;
        float scales[8];
        load8(scale + at, scales);
#pragma unroll
        for (int i = 0; i < 8; i++) scales[i] *= values[chunk][i] * factor;
        *(uint4*)(out + (size_t)blockIdx.x * HIDDEN + at) = pack8(scales);
    }
}

// One warp per head of a row: adds the bias, normalizes queries and keys, rotates them, writes queries back in place
// and writes keys and values to their slots.
//
// qkv [rows, WIDTH] bf16: queries, keys, values; bias [WIDTH] f32 or null; query_norm, key_norm [HEAD_DIM] f32 or null;
// turns [HEAD_DIM / 2] f64: full turns per position of each rotary pair; slots [rows]: 16 * block + position in the
// block; keys, values [blocks, KV_HEADS, 16, HEAD_DIM] of this layer.
extern "C" __global__ void __launch_bounds__(128)
rotate_store(bf16* qkv, const float* bias, const float* query_norm, const float* key_norm, const double* turns,
             const u32* positions, const u32* slots, kv* keys, kv* values, int rows, int uses_rope, float magnitude,
             float epsilon) {
    const int heads = HEADS + 2 * KV_HEADS;
    const int index = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    const int row = index / heads, head = index % heads;
    if (row >= rows || positions[row] == NONE) return;
    const bool is_query = head < HEADS, is_key = !is_query && head < HEADS + KV_HEADS;
    bf16* at = qkv + (size_t)row * WIDTH + head * HEAD_DIM;
    const float* norm = is_query ? query_norm : is_key ? key_norm : 0;
    constexpr int PAIRS = (HEAD_DIM / 2 + 31) / 32;
    float first[PAIRS], second[PAIRS];
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        const int pair = lane + 32 * i;
        const int a = HALF_SPLIT ? pair : 2 * pair, b = HALF_SPLIT ? pair + HEAD_DIM / 2 : 2 * pair + 1;
        first[i] = second[i] = 0.0f;
        if (pair >= HEAD_DIM / 2) continue;
        first[i] = widen(at[a]) + (bias ? bias[head * HEAD_DIM + a] : 0.0f);
        second[i] = widen(at[b]) + (bias ? bias[head * HEAD_DIM + b] : 0.0f);
        squares += first[i] * first[i] + second[i] * second[i];
    }
    const float factor = norm ? rsqrtf(warp_sum(squares) / HEAD_DIM + epsilon) : 1.0f;
    const size_t slot = slots[row];
    const size_t place =
        ((slot / BLOCK_TOKENS * KV_HEADS + (head - HEADS) % KV_HEADS) * BLOCK_TOKENS + slot % BLOCK_TOKENS) * HEAD_DIM;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        const int pair = lane + 32 * i;
        if (pair >= HEAD_DIM / 2) continue;
        const int a = HALF_SPLIT ? pair : 2 * pair, b = HALF_SPLIT ? pair + HEAD_DIM / 2 : 2 * pair + 1;
        float x = first[i], y = second[i];
        if (norm) {
            x *= factor * norm[a];
            y *= factor * norm[b];
        }
        if (uses_rope && (is_query || is_key)) {
            const double angle = turns[pair] * (double)positions[row];
            float sine, cosine;
            sincospif(2.0f * (float)(angle - floor(angle)), &sine, &cosine);
            sine *= magnitude;
            cosine *= magnitude;
            const float rotated = x * cosine - y * sine;
            y = x * sine + y * cosine;
            x = rotated;
        }
        if (is_query) {
            at[a] = narrow(x);
            at[b] = narrow(y);
        } else {
            kv* to = (is_key ? keys : values) + place;
#if KV_F32
            to[a] = x;
            to[b] = y;
#else
            to[a] = narrow(x);
            to[b] = narrow(y);
#endif
        }
    }
}

// Lanes that share one position; each lane holds 8 numbers of the head.
#define LANES (HEAD_DIM <= 16 ? 2 : HEAD_DIM <= 32 ? 4 : HEAD_DIM <= 64 ? 8 : HEAD_DIM <= 128 ? 16 : 32)
#define PER_WARP (32 / LANES)
#define UNROLL (BLOCK_TOKENS / PER_WARP < 4 ? BLOCK_TOKENS / PER_WARP : 4)
// Queries of one key head that a block of threads processes: all, or equal shares of at most 8.
#define SHARES ((GROUP + 7) / 8)
#define QUERIES ((GROUP + SHARES - 1) / SHARES)
#define ATTEND_WARPS 4

struct Running {
    float highest[QUERIES];
    float total[QUERIES];
    float sum[QUERIES][8];
};

// Adds another partial softmax (its sum scaled to `highest`) to query g.
__device__ __forceinline__ void join(Running& mine, int g, float highest, float total, const float sum[8]) {
    const float top = fmaxf(mine.highest[g], highest);
    if (top == -INFINITE) return;
    const float keep = exp2_fast(mine.highest[g] - top), add = exp2_fast(highest - top);
    mine.highest[g] = top;
    mine.total[g] = mine.total[g] * keep + total * add;
#pragma unroll
    for (int i = 0; i < 8; i++) mine.sum[g][i] = mine.sum[g][i] * keep + sum[i] * add;
}

// Attends to UNROLL positions per group of lanes; `slot` is the first position's place in the block. `first` and
// `length` bound the positions of the row.
__device__ __forceinline__ void attend_some(Running& mine, const float query[QUERIES][8], const kv* keys,
                                            const kv* values, int slot, int position, int first, int length, int dim) {
    float score[QUERIES][UNROLL];
    // Packed until they are used, because registers limit the number of threads.
    Raw raw_keys[UNROLL], raw_values[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
        const int at = (slot + u * PER_WARP) * HEAD_DIM + dim;
        const bool is_inside = dim < HEAD_DIM && position + u * PER_WARP >= first && position + u * PER_WARP < length;
        raw_keys[u] = raw_values[u] = Raw();
        if (is_inside) {
            raw_keys[u] = *(const Raw*)(keys + at);
            raw_values[u] = *(const Raw*)(values + at);
        }
    }
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
        const bool is_inside = position + u * PER_WARP >= first && position + u * PER_WARP < length;
        float key[8];
        unpack8(raw_keys[u], key);
#pragma unroll
        for (int g = 0; g < QUERIES; g++) {
            float dot = 0.0f;
#pragma unroll
            for (int i = 0; i < 8; i++) dot += query[g][i] * key[i];
#pragma unroll
            for (int offset = LANES / 2; offset > 0; offset >>= 1) dot += __shfl_xor_sync(FULL, dot, offset);
            score[g][u] = is_inside ? dot : -INFINITE;
        }
    }
#pragma unroll
    for (int g = 0; g < QUERIES; g++) {
        float top = mine.highest[g];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) top = fmaxf(top, score[g][u]);
        // As long as no position is inside, the finite `top` makes all weights 0.
        const float from = top == -INFINITE ? 0.0f : top;
        const float keep = exp2_fast(mine.highest[g] - from);
        mine.highest[g] = top;
        mine.total[g] *= keep;
#pragma unroll
        for (int i = 0; i < 8; i++) mine.sum[g][i] *= keep;
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            score[g][u] = exp2_fast(score[g][u] - from);
            mine.total[g] += score[g][u];
        }
    }
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
        float value[8];
        unpack8(raw_values[u], value);
#pragma unroll
        for (int g = 0; g < QUERIES; g++) {
#pragma unroll
            for (int i = 0; i < 8; i++) mine.sum[g][i] += score[g][u] * value[i];
        }
    }
}

// Computes the attention of one row's queries of one key head over its positions, in `splits` parts. qkv [rows, WIDTH]
// bf16 (rotated queries), keys and values as in rotate_store; row r's blocks are blocks[starts[r]..]. A window of 0
// means no window. With one part: out [rows, HEADS, HEAD_DIM] bf16. With several parts: partial [rows, HEADS, splits,
// HEAD_DIM + 2] f32: the sum, its highest score (base 2) and its total. Grid: rows, KV_HEADS * SHARES, splits.
extern "C" __global__ void __launch_bounds__(32 * ATTEND_WARPS)
attend(const bf16* qkv, const kv* keys, const kv* values, const u32* positions, const u32* starts, const u32* blocks,
       bf16* out, float* partial, int window) {
    const int row = blockIdx.x, kv_head = blockIdx.y / SHARES, share = blockIdx.y % SHARES;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = lane % LANES * 8;
    if (positions[row] == NONE) return;
    const int length = positions[row] + 1, first = window > 0 && length > window ? length - window : 0;
    const int first_block = first / BLOCK_TOKENS, last_block = (length + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    const int per_split = (last_block - first_block + gridDim.z - 1) / gridDim.z;
    const int begin = first_block + blockIdx.z * per_split, end = min(begin + per_split, last_block);
    const int head = kv_head * GROUP + share * QUERIES, heads = min(QUERIES, GROUP - share * QUERIES);
    Running mine;
    float query[QUERIES][8];
#pragma unroll
    for (int g = 0; g < QUERIES; g++) {
        mine.highest[g] = -INFINITE;
        mine.total[g] = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; i++) query[g][i] = mine.sum[g][i] = 0.0f;
        if (g < heads && dim < HEAD_DIM) {
            load8(qkv + (size_t)row * WIDTH + (head + g) * HEAD_DIM + dim, query[g]);
            // Scores in base 2.
#pragma unroll
            for (int i = 0; i < 8; i++) query[g][i] *= 1.44269504f * rsqrtf((float)HEAD_DIM);
        }
    }
    for (int block = begin + warp; block < end; block += ATTEND_WARPS) {
        const size_t at = ((size_t)blocks[starts[row] + block] * KV_HEADS + kv_head) * BLOCK_TOKENS * HEAD_DIM;
        for (int slot = lane / LANES; slot < BLOCK_TOKENS; slot += PER_WARP * UNROLL) {
            attend_some(mine, query, keys + at, values + at, slot, block * BLOCK_TOKENS + slot, first, length, dim);
        }
    }
#pragma unroll
    for (int offset = LANES; offset < 32; offset <<= 1) {
#pragma unroll
        for (int g = 0; g < QUERIES; g++) {
            float other[8];
            const float highest = __shfl_xor_sync(FULL, mine.highest[g], offset);
            const float total = __shfl_xor_sync(FULL, mine.total[g], offset);
#pragma unroll
            for (int i = 0; i < 8; i++) other[i] = __shfl_xor_sync(FULL, mine.sum[g][i], offset);
            join(mine, g, highest, total, other);
        }
    }
    __shared__ float sums[ATTEND_WARPS][QUERIES][HEAD_DIM];
    __shared__ float highests[ATTEND_WARPS][QUERIES], totals[ATTEND_WARPS][QUERIES];
    if (lane < LANES) {
#pragma unroll
        for (int g = 0; g < QUERIES; g++) {
            if (dim < HEAD_DIM) store8(&sums[warp][g][dim], mine.sum[g]);
            if (lane == 0) {
                highests[warp][g] = mine.highest[g];
                totals[warp][g] = mine.total[g];
            }
        }
    }
    __syncthreads();
    for (int index = threadIdx.x; index < heads * HEAD_DIM; index += 32 * ATTEND_WARPS) {
        const int g = index / HEAD_DIM, d = index % HEAD_DIM;
        float top = -INFINITE, total = 0.0f, sum = 0.0f;
        for (int w = 0; w < ATTEND_WARPS; w++) top = fmaxf(top, highests[w][g]);
        for (int w = 0; w < ATTEND_WARPS && top > -INFINITE; w++) {
            const float factor = exp2_fast(highests[w][g] - top);
            total += totals[w][g] * factor;
            sum += sums[w][g][d] * factor;
        }
        if (gridDim.z == 1) {
            out[((size_t)row * HEADS + head + g) * HEAD_DIM + d] = narrow(sum / total);
        } else {
            float* to = partial + (((size_t)row * HEADS + head + g) * gridDim.z + blockIdx.z) * (HEAD_DIM + 2);
            to[d] = sum;
            if (d == 0) {
                to[HEAD_DIM] = top;
                to[HEAD_DIM + 1] = total;
            }
        }
    }
}

// Combines the parts of `attend`. Grid: rows * HEADS; HEAD_DIM threads.
extern "C" __global__ void combine(const float* partial, const u32* positions, bf16* out, int splits) {
    if (positions[blockIdx.x / HEADS] == NONE) return;
    const float* parts = partial + (size_t)blockIdx.x * splits * (HEAD_DIM + 2);
    float top = -INFINITE, total = 0.0f, sum = 0.0f;
    for (int s = 0; s < splits; s++) top = fmaxf(top, parts[s * (HEAD_DIM + 2) + HEAD_DIM]);
    for (int s = 0; s < splits; s++) {
        const float* part = parts + s * (HEAD_DIM + 2);
        const float factor = exp2_fast(part[HEAD_DIM] - top);
        total += part[HEAD_DIM + 1] * factor;
        sum += part[threadIdx.x] * factor;
    }
    out[(size_t)blockIdx.x * HEAD_DIM + threadIdx.x] = narrow(sum / total);
}

// out = silu(gate) * up: gate_up [rows, 2 * FFN] bf16, gates first; out [rows, FFN] bf16. 8 numbers per thread.
extern "C" __global__ void silu_mul(const bf16* gate_up, bf16* out, int rows) {
    const size_t index = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * 8;
    const size_t row = index / FFN, at = index % FFN;
    if (row >= rows) return;
    float gate[8], up[8];
    load8(gate_up + row * 2 * FFN + at, gate);
    load8(gate_up + row * 2 * FFN + FFN + at, up);
#pragma unroll
    for (int i = 0; i < 8; i++) up[i] *= gate[i] / (1.0f + exp2_fast(-1.44269504f * gate[i]));
    *(uint4*)(out + row * FFN + at) = pack8(up);
}
