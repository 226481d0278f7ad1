//! The small numeric functions of a decoder step, one row at a time, in one fixed order of operations.

/// Lanes of partial sums: wide enough for any vector unit, and fixed, so that sums have the same bits on all of them.
pub(super) const LANES: usize = 16;

/// Returns e^x with a relative error below 3e-7 for x in -87..=88; saturates outside.
///
/// Cephes' polynomial on x - n ln 2, without branches and library calls, so that loops over it vectorize.
#[inline(always)]
#[must_use]
#[expect(clippy::excessive_precision, reason = "the constants are published in this form")]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding this number leaves the nearest integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_375;
    let r = r + n * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4_f32;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_9e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_1e-1;
    p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    p * f32::from_bits(exponent.wrapping_add(127) << 23)
}

/// Writes the root-mean-square norm of a row, scaled by `weight`, into `out`; all three have the same width.
///
/// `y = x / sqrt(mean(x^2) + epsilon) * weight` (Zhang and Sennrich, 2019).
pub(super) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    pulp::Arch::new().dispatch(RmsNorm { x, weight, epsilon, out });
}

/// As [`rms_norm`], in place.
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], epsilon: f32) {
    pulp::Arch::new().dispatch(RmsNormInPlace { x, weight, epsilon });
}

// Types instead of closures: a dispatched closure may be called out of line, and is then compiled without the vector
// unit.
struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl pulp::WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let scale = inverse_rms(self.x, self.epsilon);
        for ((out, x), weight) in self.out.iter_mut().zip(self.x).zip(self.weight) {
            *out = x * scale * weight;
        }
    }
}

struct RmsNormInPlace<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl pulp::WithSimd for RmsNormInPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let scale = inverse_rms(self.x, self.epsilon);
        for (x, weight) in self.x.iter_mut().zip(self.weight) {
            *x = *x * scale * weight;
        }
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], epsilon: f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane] * chunk[lane];
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value * value;
    }
    1.0 / (lanes.iter().sum::<f32>() / x.len() as f32 + epsilon).sqrt()
}

/// Replaces the first 16 numbers of each row, the gates, by `silu(gate) * up`; the last 16 numbers are the ups.
///
/// `silu(x) = x / (1 + e^-x)` (SwiGLU, Shazeer 2020).
pub(super) fn swiglu(rows: &mut [[f32; 2 * LANES]]) {
    pulp::Arch::new().dispatch(SwiGlu { rows });
}

struct SwiGlu<'a> {
    rows: &'a mut [[f32; 2 * LANES]],
}

impl pulp::WithSimd for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for row in self.rows {
            for lane in 0..LANES {
                let gate = row[lane];
                row[lane] = gate / (1.0 + exp(-gate)) * row[LANES + lane];
            }
        }
    }
}

/// Rotates each pair of neighbours of a head, `(2 i, 2 i + 1)`; `rotation` contains all cosines, then all sines.
pub(super) fn rotate_interleaved(head: &mut [f32], rotation: &[f32]) {
    let (cosines, sines) = rotation.split_at(rotation.len() / 2);
    for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cosines).zip(sines) {
        let [a, b] = *pair;
        *pair = [a * cos - b * sin, a * sin + b * cos];
    }
}

/// Rotates the pairs `(i, i + head_dim / 2)` of a head; `rotation` as in [`rotate_interleaved`].
pub(super) fn rotate_half_split(head: &mut [f32], rotation: &[f32]) {
    let (cosines, sines) = rotation.split_at(rotation.len() / 2);
    let (first, second) = head.split_at_mut(head.len() / 2);
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

/// Adds `delta` to `x`, element by element.
pub(super) fn add_assign(x: &mut [f32], delta: &[f32]) {
    for (x, delta) in x.iter_mut().zip(delta) {
        *x += delta;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= exact * 3e-7, "exp({x}) = {}", exp(x));
        }
        assert!(exp(-1000.0) < 1e-37);
    }

    #[test]
    fn norm_and_swiglu_agree_with_their_definitions() {
        let x: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin()).collect();
        let weight: Vec<f32> = (0..37).map(|i| (i as f32 * 0.3).cos()).collect();
        let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 37.0;
        let mut out = vec![0.0; 37];
        rms_norm(&x, &weight, 1e-5, &mut out);
        for ((got, x), w) in out.iter().zip(&x).zip(&weight) {
            let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*w);
            assert!((f64::from(*got) - expected).abs() < 1e-6);
        }
        let mut in_place = x.clone();
        rms_norm_in_place(&mut in_place, &weight, 1e-5);
        assert_eq!(in_place, out);
        let gates_and_ups: [f32; 2 * LANES] = *x.first_chunk().unwrap();
        let mut rows = [gates_and_ups; 2];
        swiglu(&mut rows);
        for index in 0..LANES {
            let (g, u) = (f64::from(gates_and_ups[index]), f64::from(gates_and_ups[LANES + index]));
            assert!((f64::from(rows[1][index]) - g / (1.0 + (-g).exp()) * u).abs() < 1e-6);
        }
    }

    #[test]
    fn both_rotations_are_the_same_up_to_the_order_of_numbers() {
        let rotation = [0.6, 0.8, 0.8, 0.6];
        let mut interleaved = [1.0, 2.0, 3.0, 4.0];
        rotate_interleaved(&mut interleaved, &rotation);
        let mut split = [1.0, 3.0, 2.0, 4.0];
        rotate_half_split(&mut split, &rotation);
        assert_eq!(interleaved, [split[0], split[2], split[1], split[3]]);
        assert!((interleaved[0] - (0.6 - 1.6)).abs() < 1e-6);
    }
}
