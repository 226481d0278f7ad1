// From logits to tokens: temperature, top-k, top-p, min-p, one block of threads per row.
//
// All cuts keep a head of the list of tokens by falling probability (equals by id), so that the kept mass is the least
// of the three heads' masses, and drawing is finding the token at which the running mass passes uniform * kept mass.
// The list is never sorted: tokens are counted into bins of their distance from the highest logit, in two levels of 64
// bins a nat and 2048 parts of such a bin. Tokens of one part count as equal. Masses are whole numbers of 2^-31 of the
// likeliest token's weight, so that sums do not depend on the order of threads.

#define PICK_THREADS 1024
#define BINS 2048
#define BINS_PER_NAT 64.0f

struct Histogram {
    u32 low[BINS];
    u32 high[BINS];
    u32 count[BINS];
};

// A place in the list.
struct Place {
    // Mass before the part that holds it, and of the whole part.
    u64 before;
    u64 mass;
    // Which part, its tokens, and which of them it is.
    u32 bin;
    u32 part;
    u32 count;
    u32 nth;
};

__device__ __forceinline__ u32 weight_of(float distance) {
    return __float2uint_rn(exp2_fast(-1.44269504f * distance) * 2147483648.0f);
}

__device__ __forceinline__ u32 bin_of(float distance) { return min((u32)(distance * BINS_PER_NAT), BINS - 1); }

__device__ __forceinline__ u32 part_of(float distance, u32 bin) {
    return min((u32)((distance * BINS_PER_NAT - (float)bin) * (float)BINS), BINS - 1);
}

__device__ __forceinline__ void count_in(Histogram& histogram, u32 bin, u32 weight) {
    const u32 old = atomicAdd(&histogram.low[bin], weight);
    if (old + weight < old) atomicAdd(&histogram.high[bin], 1);
    atomicAdd(&histogram.count[bin], 1);
}

__device__ __forceinline__ u64 mass_of(const Histogram& histogram, int bin) {
    return ((u64)histogram.high[bin] << 32) | histogram.low[bin];
}

__device__ void clear(Histogram& histogram) {
    __syncthreads();
    for (int bin = threadIdx.x; bin < BINS; bin += PICK_THREADS) {
        histogram.low[bin] = histogram.high[bin] = histogram.count[bin] = 0;
    }
    __syncthreads();
}

// Inclusive sum over the threads up to this one; the last thread's is the block's total.
__device__ u64 running_sum(u64 x) {
    __shared__ u64 sums[32];
    const int lane = threadIdx.x % 32;
    for (int offset = 1; offset < 32; offset <<= 1) {
        const u64 other = __shfl_up_sync(FULL, x, offset);
        if (lane >= offset) x += other;
    }
    __syncthreads();
    if (lane == 31) sums[threadIdx.x / 32] = x;
    __syncthreads();
    for (int warp = 0; warp < threadIdx.x / 32; warp++) x += sums[warp];
    return x;
}

// Where a running quantity (mass, or count) first exceeds `target`; the last bin with tokens if it never does.
// Returns the bin through `found`, and the mass and the count before it.
__device__ void find_bin(const Histogram& histogram, u64 target, bool by_count, u32* found, u64* mass, u64* count) {
    __shared__ u32 bin;
    __shared__ u64 masses, counts;
    if (threadIdx.x == 0) bin = BINS;
    u64 mine[2], mine_count[2];
    for (int i = 0; i < 2; i++) {
        mine[i] = mass_of(histogram, 2 * threadIdx.x + i);
        mine_count[i] = histogram.count[2 * threadIdx.x + i];
    }
    u64 before = running_sum(mine[0] + mine[1]) - mine[0] - mine[1];
    u64 before_count = running_sum(mine_count[0] + mine_count[1]) - mine_count[0] - mine_count[1];
    u64 starts[2] = {before, before + mine[0]}, start_counts[2] = {before_count, before_count + mine_count[0]};
    for (int i = 0; i < 2; i++) {
        const u64 end = by_count ? start_counts[i] + mine_count[i] : starts[i] + mine[i];
        if (mine_count[i] > 0 && end > target) atomicMin(&bin, 2 * threadIdx.x + i);
    }
    __syncthreads();
    if (bin == BINS) {
        // Rounding left the target past the end.
        __shared__ u32 last;
        if (threadIdx.x == 0) last = 0;
        __syncthreads();
        for (int i = 0; i < 2; i++) {
            const bool is_usable = by_count ? mine_count[i] > 0 : mine[i] > 0;
            if (is_usable) atomicMax(&last, 2 * threadIdx.x + i);
        }
        __syncthreads();
        if (threadIdx.x == 0) bin = last;
        __syncthreads();
    }
    if (bin / 2 == threadIdx.x) {
        masses = starts[bin % 2];
        counts = start_counts[bin % 2];
    }
    __syncthreads();
    *found = bin;
    *mass = masses;
    *count = counts;
    __syncthreads();
}

// The token at which the running mass, or count, first exceeds `target`. `bins` counts all tokens; `parts` is scratch.
__device__ Place locate(const Histogram& bins, Histogram& parts, const float* logits, float highest, float inverse,
                        u64 target, bool by_count) {
    Place place;
    u64 mass, count, part_mass, part_count;
    find_bin(bins, target, by_count, &place.bin, &mass, &count);
    clear(parts);
    for (int index = threadIdx.x; index < VOCABULARY; index += PICK_THREADS) {
        const float distance = (highest - logits[index]) * inverse;
        if (bin_of(distance) == place.bin) count_in(parts, part_of(distance, place.bin), weight_of(distance));
    }
    __syncthreads();
    const u64 rest = target - min(target, by_count ? count : mass);
    find_bin(parts, rest, by_count, &place.part, &part_mass, &part_count);
    place.before = mass + part_mass;
    place.mass = mass_of(parts, place.part);
    place.count = parts.count[place.part];
    const u64 left = rest - min(rest, by_count ? part_count : part_mass);
    const u64 each = by_count ? 1 : max(place.mass / place.count, (u64)1);
    place.nth = (u32)min(left / each, (u64)(place.count - 1));
    __syncthreads();
    return place;
}

// The mass of the head of the list that ends with a place.
__device__ __forceinline__ u64 mass_through(const Place& place) {
    return place.before + place.mass / place.count * (place.nth + 1);
}

// The id of a place: the nth token of its part by id.
__device__ u32 token_at(const Place& place, const float* logits, float highest, float inverse) {
    __shared__ u32 found;
    if (threadIdx.x == 0) found = 0;
    u32 seen = 0;
    for (int start = 0; start < VOCABULARY && seen <= place.nth; start += PICK_THREADS) {
        const int index = start + threadIdx.x;
        bool is_in = false;
        if (index < VOCABULARY) {
            const float distance = (highest - logits[index]) * inverse;
            is_in = bin_of(distance) == place.bin && part_of(distance, place.bin) == place.part;
        }
        const u32 here = __syncthreads_count(is_in);
        if (here > 0 && seen + here > place.nth) {
            const u64 order = running_sum(is_in);
            if (is_in && seen + order == (u64)place.nth + 1) found = index;
        }
        seen += here;
    }
    __syncthreads();
    return found;
}

// The highest logit and the lowest id that has it.
__device__ void find_highest(const float* logits, float* highest, u32* token) {
    __shared__ u64 best;
    if (threadIdx.x == 0) best = 0;
    __syncthreads();
    u64 mine = 0;
    for (int index = threadIdx.x; index < VOCABULARY; index += PICK_THREADS) {
        // Floats in order as whole numbers; lower ids are larger.
        const u32 bits = __float_as_uint(logits[index]);
        const u32 key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        mine = max(mine, (u64)key << 32 | (u32)~index);
    }
    atomicMax(&best, mine);
    __syncthreads();
    const u32 key = (u32)(best >> 32);
    *highest = __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
    *token = ~(u32)best;
}

// Picks one token per row: logits [grid, VOCABULARY] f32; the draws' numbers [grid] each; picked [grid, 2]: token, and
// the bits of its log-probability at temperature 1. Dynamic shared memory: two histograms.
extern "C" __global__ void __launch_bounds__(PICK_THREADS)
pick(const float* all_logits, const float* temperatures, const float* top_ps, const float* min_ps,
     const float* uniforms, const u32* top_ks, u32* picked) {
    extern __shared__ Histogram histograms[];
    const float* logits = all_logits + (size_t)blockIdx.x * VOCABULARY;
    const float temperature = temperatures[blockIdx.x], top_p = top_ps[blockIdx.x], min_p = min_ps[blockIdx.x];
    const u32 top_k = top_ks[blockIdx.x];
    float highest;
    u32 token;
    find_highest(logits, &highest, &token);
    const float inverse = temperature > 0.0f ? 1.0f / temperature : 0.0f;
    clear(histograms[0]);
    float total = 0.0f;
    u64 above = 0;
    const float min_distance = min_p > 0.0f ? -logf(min_p) : INFINITE;
    for (int index = threadIdx.x; index < VOCABULARY; index += PICK_THREADS) {
        const float gap = highest - logits[index], distance = gap * inverse;
        total += exp2_fast(-1.44269504f * gap);
        if (temperature > 0.0f) {
            const u32 weight = weight_of(distance);
            count_in(histograms[0], bin_of(distance), weight);
            if (distance <= min_distance) above += weight;
        }
    }
    total = block_sum(total);
    if (temperature > 0.0f) {
        __shared__ u64 kept;
        const u64 above_sum = running_sum(above);
        if (threadIdx.x == PICK_THREADS - 1) kept = above_sum;
        u64 mass = 0;
        for (int i = 0; i < 2; i++) mass += mass_of(histograms[0], 2 * threadIdx.x + i);
        const u64 mass_sum = running_sum(mass);
        __shared__ u64 whole;
        if (threadIdx.x == PICK_THREADS - 1) whole = mass_sum;
        __syncthreads();
        u64 limit = whole;
        if (top_k > 0 && top_k < VOCABULARY) {
            limit = mass_through(locate(histograms[0], histograms[1], logits, highest, inverse, top_k - 1, true));
        }
        u64 head = limit;
        if (top_p < 1.0f) {
            // The first place whose running mass reaches the share: exceeds one less.
            const u64 share = (u64)((double)limit * (double)top_p);
            const u64 target = share > 0 ? share - 1 : 0;
            head = mass_through(locate(histograms[0], histograms[1], logits, highest, inverse, target, false));
        }
        const u64 mass_kept = min(min(limit, head), kept);
        const u64 target = (u64)((double)mass_kept * (double)uniforms[blockIdx.x]);
        const Place place = locate(histograms[0], histograms[1], logits, highest, inverse, target, false);
        token = token_at(place, logits, highest, inverse);
    }
    if (threadIdx.x == 0) {
        picked[2 * blockIdx.x] = token;
        picked[2 * blockIdx.x + 1] = __float_as_uint(logits[token] - highest - logf(total));
    }
}
