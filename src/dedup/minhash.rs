//! MinHash signatures, cut into bands (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4).
//!
//! Each of `bands * rows` hash functions maps the n-grams of a text to 32 bits and keeps the least value. Two texts
//! agree in one function with a probability equal to their Jaccard similarity `s`, and in all functions of at least one
//! band with the probability `1 - (1 - s^rows)^bands`: such pairs are candidates. The functions are `a x + b mod 2^32`
//! with an odd `a` over a mixed hash `x`, so that each is a permutation; their parameters come from one fixed seed.

use pulp::Arch;

use super::shingles::hash_bytes;

/// Hash functions that are computed in parallel, in registers.
const LANES: usize = 32;

/// The shape of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bands {
    /// The number of bands in a signature.
    pub bands: usize,
    /// The number of hash functions in a band.
    pub rows: usize,
}

impl Bands {
    /// Returns the probability that two texts with this similarity become candidates.
    #[must_use]
    pub fn recall(self, similarity: f64) -> f64 {
        let power = |base: f64, exponent: usize| (0..exponent).fold(1.0, |product, _| product * base);
        1.0 - power(1.0 - power(similarity, self.rows), self.bands)
    }
}

/// Computes the bands of signatures. Memory: 16 bytes per hash function.
#[derive(Debug, Clone)]
pub struct MinHasher {
    shape: Bands,
    functions: Vec<[[u32; LANES]; 2]>,
    arch: Arch,
}

impl MinHasher {
    /// Builds the hash functions.
    #[must_use]
    pub fn new(shape: Bands) -> Self {
        let parameter = |index: usize, part: u8| {
            let mut name = *b"minhash-........";
            name.iter_mut().skip(8).zip((index as u64).to_le_bytes()).for_each(|(to, from)| *to = from);
            (hash_bytes(&name) >> (32 * part)) as u32
        };
        let block = |block: usize| {
            let function = |lane: usize| (parameter(block * LANES + lane, 0) | 1, parameter(block * LANES + lane, 1));
            [std::array::from_fn(|lane| function(lane).0), std::array::from_fn(|lane| function(lane).1)]
        };
        let blocks = (shape.bands * shape.rows).div_ceil(LANES);
        Self { shape, functions: (0..blocks).map(block).collect(), arch: Arch::new() }
    }

    /// Returns the shape of the signatures.
    #[must_use]
    pub const fn shape(&self) -> Bands {
        self.shape
    }

    /// Writes the key of each band into `keys`. Equal keys mean that all rows of the band are equal, with an error
    /// chance of 1 in 2^32. `signature` is a scratch buffer.
    pub fn keys_into(&self, shingles: &[u64], signature: &mut Vec<u32>, keys: &mut Vec<u32>) {
        signature.clear();
        let functions = &self.functions;
        self.arch.dispatch(|| {
            for function in functions {
                signature.extend_from_slice(&least(function, shingles));
            }
        });
        keys.clear();
        let bands = signature.chunks_exact(self.shape.rows).take(self.shape.bands);
        keys.extend(bands.map(|rows| {
            let mix = |state: u64, &row: &u32| {
                let product = u128::from(state ^ u64::from(row)) * 0x9e37_79b9_7f4a_7c15_u128;
                (product as u64) ^ ((product >> 64) as u64)
            };
            (rows.iter().fold(0x1b87_3593_cc9e_2d51, mix) >> 16) as u32
        }));
    }
}

/// Returns the least value of each hash function in a block. Compiled for every vector unit; the result is the same.
#[inline(always)]
fn least([factors, terms]: &[[u32; LANES]; 2], shingles: &[u64]) -> [u32; LANES] {
    let mut least = [u32::MAX; LANES];
    for &shingle in shingles {
        let x = (shingle >> 32) as u32;
        for ((least, &factor), &term) in least.iter_mut().zip(factors).zip(terms) {
            *least = (*least).min(factor.wrapping_mul(x).wrapping_add(term));
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(hasher: &MinHasher, shingles: &[u64]) -> Vec<u32> {
        let (mut signature, mut keys) = (Vec::new(), Vec::new());
        hasher.keys_into(shingles, &mut signature, &mut keys);
        keys
    }

    fn texts(shared: u64, own: u64, salt: u64) -> [Vec<u64>; 2] {
        let hash = |number: u64| hash_bytes(&number.to_le_bytes());
        let side = |side: u64| {
            let owned = (0..own).map(move |index| hash(salt << 32 | side << 16 | index));
            (0..shared).map(|index| hash(salt << 32 | 9 << 16 | index)).chain(owned).collect()
        };
        [side(1), side(2)]
    }

    #[test]
    fn keys_do_not_depend_on_order_or_repetition() {
        let hasher = MinHasher::new(Bands { bands: 32, rows: 4 });
        let [one, _] = texts(20, 10, 1);
        let mut other: Vec<u64> = one.iter().rev().copied().collect();
        other.extend(one.iter().take(5));
        assert_eq!(keys(&hasher, &one), keys(&hasher, &other));
        assert_eq!(keys(&hasher, &one).len(), 32);
    }

    #[test]
    fn texts_meet_in_bands_as_often_as_the_formula_says() {
        for shape in [Bands { bands: 32, rows: 4 }, Bands { bands: 14, rows: 8 }, Bands { bands: 5, rows: 3 }] {
            let hasher = MinHasher::new(shape);
            // Jaccard 0.25, 0.5, 0.667 and 0.8.
            for (shared, own) in [(20, 30), (20, 10), (40, 10), (40, 5)] {
                let similarity = shared as f64 / (shared + 2 * own) as f64;
                let rounds = 600;
                let met = (0..rounds).filter(|&salt| {
                    let [one, other] = texts(shared, own, salt);
                    keys(&hasher, &one).iter().zip(keys(&hasher, &other)).any(|(a, b)| *a == b)
                });
                let found = met.count() as f64 / rounds as f64;
                let expected = shape.recall(similarity);
                assert!((found - expected).abs() < 0.08, "{shape:?} {similarity}: {found} instead of {expected}");
            }
        }
    }
}
