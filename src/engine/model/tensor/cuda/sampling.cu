// From logits to tokens, by the rule of the engine's sampler: temperature, top-k, top-p, min-p, then a walk by id
// through the kept tokens. One block of threads per row.
//
// Every cut keeps a prefix of the ranking by falling logit (ties by id), so the shortest prefix is kept. The ranking is
// never sorted: tokens are counted in bins of their distance from the highest logit, in two levels: 64 bins per nat,
// and 2048 parts per bin. Tokens of one part count as equal. Masses are whole multiples of 2^-31 of the most likely
// token's weight, so that sums do not depend on the order of threads.

#define PICK_THREADS 1024
#define BINS 2048
#define BINS_PER_NAT 64.0f

struct Histogram {
    u32 low[BINS];
    u32 high[BINS];
    u32 count[BINS];
};

// A place in the ranking.
struct Place {
    // Mass before the part that contains the place, and mass of the whole part.
    u64 before;
    u64 mass;
    // The part's number (bin * BINS + part of the bin), its number of tokens, and the index of the place among them.
    u32 part;
    u32 count;
    u32 nth;
};

// Where the ranking is cut: kept are tokens of lower parts, and tokens of this part up to this id.
struct Cut {
    u32 part;
    u32 id;
};

__device__ __forceinline__ u32 weight_of(float distance) {
    return __float2uint_rn(exp2_fast(-1.44269504f * distance) * 2147483648.0f);
}

__device__ __forceinline__ u32 bin_of(float distance) { return min((u32)(distance * BINS_PER_NAT), BINS - 1); }

// The part's number within its bin.
__device__ __forceinline__ u32 part_in(float distance, u32 bin) {
    return min((u32)((distance * BINS_PER_NAT - (float)bin) * (float)BINS), BINS - 1);
}

__device__ __forceinline__ u32 part_of(float distance) {
    const u32 bin = bin_of(distance);
    return bin * BINS + part_in(distance, bin);
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

// Returns the inclusive sum over the threads up to this one; the last thread's sum is the total of the block.
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

// Finds where a running quantity (mass or count) first exceeds `target`; the last bin with tokens if it never does.
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

// Finds the token at which the running mass or count first exceeds `target`. `bins` counts all tokens; `parts` is
// scratch memory.
__device__ Place locate(const Histogram& bins, Histogram& parts, const float* logits, float highest, float inverse,
                        u64 target, bool by_count) {
    Place place;
    u32 bin, part;
    u64 mass, count, part_mass, part_count;
    find_bin(bins, target, by_count, &bin, &mass, &count);
    clear(parts);
    for (int index = threadIdx.x; index < VOCABULARY; index += PICK_THREADS) {
        const float distance = (highest - logits[index]) * inverse;
        if (bin_of(distance) == bin) count_in(parts, part_in(distance, bin), weight_of(distance));
    }
    __syncthreads();
    const u64 rest = target - min(target, by_count ? count : mass);
    find_bin(parts, rest, by_count, &part, &part_mass, &part_count);
    place.part = bin * BINS + part;
    place.before = mass + part_mass;
    place.mass = mass_of(parts, part);
    place.count = parts.count[part];
    const u64 left = rest - min(rest, by_count ? part_count : part_mass);
    const u64 each = by_count ? 1 : max(place.mass / place.count, (u64)1);
    place.nth = (u32)min(left / each, (u64)(place.count - 1));
    __syncthreads();
    return place;
}

// Returns the mass of the prefix of the ranking that ends at a place.
__device__ __forceinline__ u64 mass_through(const Place& place) {
    return place.before + place.mass / place.count * (place.nth + 1);
}

// Returns the cut after a place.
__device__ Cut cut_after(const Place& place, const float* logits, float highest, float inverse) {
    if (place.nth + 1 == place.count) return {place.part, NONE};
    __shared__ u32 found;
    if (threadIdx.x == 0) found = NONE;
    u32 seen = 0;
    for (int start = 0; start < VOCABULARY && seen <= place.nth; start += PICK_THREADS) {
        const int index = start + threadIdx.x;
        const bool is_in = index < VOCABULARY && part_of((highest - logits[index]) * inverse) == place.part;
        const u32 here = __syncthreads_count(is_in);
        if (here > 0 && seen + here > place.nth) {
            const u64 order = running_sum(is_in);
            if (is_in && seen + order == (u64)place.nth + 1) found = index;
        }
        seen += here;
    }
    __syncthreads();
    return {place.part, found};
}

__device__ __forceinline__ Cut shorter(Cut a, Cut b) {
    return a.part < b.part || (a.part == b.part && a.id < b.id) ? a : b;
}

// Returns the weight of a kept token; 0 for other tokens.
__device__ __forceinline__ u32 kept_weight(float distance, u32 id, Cut cut, float min_distance) {
    const u32 part = part_of(distance);
    const bool is_kept = distance <= min_distance && (part < cut.part || (part == cut.part && id <= cut.id));
    return is_kept ? weight_of(distance) : 0;
}

// Returns the token at which the mass of the kept tokens, walked by id, first exceeds `uniform` times their total mass.
// Each warp sums a range of ids; then the warp whose range contains the token walks the range.
__device__ u32 walk(const float* logits, float highest, float inverse, Cut cut, float min_distance, float uniform) {
    constexpr int STRETCH = (VOCABULARY + 1023) / 1024 * 32;
    __shared__ u64 masses[32];
    __shared__ u32 found;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int first = warp * STRETCH, end = min(first + STRETCH, VOCABULARY);
    u64 mass = 0;
    for (int id = first + lane; id < end; id += 32) {
        mass += kept_weight((highest - logits[id]) * inverse, id, cut, min_distance);
    }
    for (int offset = 16; offset > 0; offset >>= 1) mass += __shfl_xor_sync(FULL, mass, offset);
    if (lane == 0) masses[warp] = mass;
    if (threadIdx.x == 0) found = 0;
    __syncthreads();
    u64 total = 0, before = 0;
    for (int other = 0; other < 32; other++) {
        total += masses[other];
        if (other < warp) before += masses[other];
    }
    const u64 target = (u64)((double)total * (double)uniform);
    if (before <= target && target < before + mass) {
        u64 rest = target - before;
        for (int start = first; start < end; start += 32) {
            const int id = start + lane;
            u64 sum = id < end ? kept_weight((highest - logits[id]) * inverse, id, cut, min_distance) : 0;
            for (int offset = 1; offset < 32; offset <<= 1) {
                const u64 other = __shfl_up_sync(FULL, sum, offset);
                if (lane >= offset) sum += other;
            }
            const u32 beyond = __ballot_sync(FULL, sum > rest);
            if (beyond) {
                if (lane == 0) found = start + __ffs(beyond) - 1;
                break;
            }
            rest -= __shfl_sync(FULL, sum, 31);
        }
    }
    __syncthreads();
    return found;
}

// Finds the highest logit and the lowest id with that logit.
__device__ void find_highest(const float* logits, float* highest, u32* token) {
    __shared__ u64 best;
    if (threadIdx.x == 0) best = 0;
    __syncthreads();
    u64 mine = 0;
    for (int index = threadIdx.x; index < VOCABULARY; index += PICK_THREADS) {
        // Floats, mapped to integers of the same order; lower ids give larger integers.
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

// Makes some columns of each row unpickable: logits [grid, VOCABULARY] f32; columns [count]. Writes a number far below
// any logit instead of minus infinity, because distances from minus infinity would be NaN.
extern "C" __global__ void mask(float* logits, const u32* columns, int count) {
    float* row = logits + (size_t)blockIdx.x * VOCABULARY;
    for (int index = threadIdx.x; index < count; index += blockDim.x) row[columns[index]] = -1e9f;
}

// Picks one token per row: logits [grid, VOCABULARY] f32; the numbers of the draws [grid] each; picked [grid, 2]:
// token, and the bits of its log-probability at temperature 1. Dynamic shared memory: two histograms.
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
    // With a temperature so low that its inverse is infinite, the most likely token would get 0 * infinity.
    const float inverse = temperature > 0.0f ? fminf(1.0f / temperature, 3.4e38f) : 0.0f;
    clear(histograms[0]);
    float total = 0.0f;
    u64 mass = 0;
    for (int index = threadIdx.x; index < VOCABULARY; index += PICK_THREADS) {
        const float gap = highest - logits[index], distance = gap * inverse;
        total += exp2_fast(-1.44269504f * gap);
        if (temperature > 0.0f) {
            const u32 weight = weight_of(distance);
            count_in(histograms[0], bin_of(distance), weight);
            mass += weight;
        }
    }
    total = block_sum(total);
    if (temperature > 0.0f) {
        __shared__ u64 whole;
        const u64 sum = running_sum(mass);
        if (threadIdx.x == PICK_THREADS - 1) whole = sum;
        __syncthreads();
        u64 left = whole;
        Cut cut = {NONE, NONE};
        if (top_k > 0 && top_k < VOCABULARY) {
            const Place last = locate(histograms[0], histograms[1], logits, highest, inverse, top_k - 1, true);
            left = mass_through(last);
            cut = cut_after(last, logits, highest, inverse);
        }
        if (top_p < 1.0f) {
            // The first place whose running mass reaches the share, that is, exceeds the share minus one.
            const u64 share = (u64)((double)left * (double)top_p);
            const u64 target = share > 0 ? share - 1 : 0;
            const Place last = locate(histograms[0], histograms[1], logits, highest, inverse, target, false);
            cut = shorter(cut, cut_after(last, logits, highest, inverse));
        }
        const float min_distance = min_p > 0.0f ? -logf(min_p) : INFINITE;
        token = walk(logits, highest, inverse, cut, min_distance, uniforms[blockIdx.x]);
    }
    if (threadIdx.x == 0) {
        picked[2 * blockIdx.x] = token;
        picked[2 * blockIdx.x + 1] = __float_as_uint(logits[token] - highest - logf(total));
    }
}
