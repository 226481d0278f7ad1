//! From logits to a token: temperature and top-p (nucleus sampling, Holtzman et al. 2020).

use super::model::{Draw, Picked, exp};

/// Lanes of the partial sums: wide enough for any vector unit, fixed so that sums are the same everywhere.
const LANES: usize = 16;

/// Picks the next token from one row of logits.
///
/// Temperature 0 takes the highest logit (the lowest id among equals). Otherwise probabilities are
/// `softmax(logits / temperature)`, restricted to the smallest set of likeliest tokens whose probability reaches
/// `top_p`.
pub fn pick(logits: &[f32], draw: &Draw) -> Picked {
    let token = if draw.temperature <= 0.0 {
        likeliest(logits)
    } else {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || pick_nucleus(logits, draw.temperature, draw.top_p, draw.uniform),
        )
    };
    Picked { token, log_probability: 0.0 }
}

fn likeliest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (index, logit);
        }
    }
    best.0 as u32
}

#[inline(always)]
fn pick_nucleus(logits: &[f32], temperature: f32, top_p: f32, uniform: f32) -> u32 {
    let mut highest = [f32::NEG_INFINITY; LANES];
    for chunk in logits.chunks(LANES) {
        for (highest, &logit) in highest.iter_mut().zip(chunk) {
            *highest = if logit > *highest { logit } else { *highest };
        }
    }
    let highest = highest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let inverse = 1.0 / temperature;
    let mut sums = [0.0_f32; LANES];
    for chunk in logits.chunks(LANES) {
        for (sum, &logit) in sums.iter_mut().zip(chunk) {
            *sum += exp((logit - highest) * inverse);
        }
    }
    let total = sums.iter().sum::<f32>();
    // Tokens below this share, all together, weigh less than 1 - top_p: the nucleus is reached without them.
    let floor = (1.0 - top_p) / logits.len() as f32 * total;
    let logit_floor = if floor > 0.0 { highest + floor.ln() * temperature } else { f32::NEG_INFINITY };
    let mut candidates: Vec<(f32, u32)> = Vec::new();
    for (index, &logit) in logits.iter().enumerate() {
        if logit >= logit_floor {
            candidates.push((exp((logit - highest) * inverse), index as u32));
        }
    }
    candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut mass = 0.0_f32;
    let mut nucleus = 0;
    for (weight, _) in &candidates {
        mass += weight;
        nucleus += 1;
        if mass >= top_p * total {
            break;
        }
    }
    let mut rest = uniform * mass;
    for (weight, token) in &candidates[..nucleus] {
        rest -= weight;
        if rest < 0.0 {
            return *token;
        }
    }
    // Rounding may leave a sliver; it belongs to the last token of the nucleus.
    candidates[..nucleus].last().map_or(0, |(_, token)| *token)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    fn draw(temperature: f32, top_p: f32, rng: &mut ChaCha8Rng) -> Draw {
        let uniform = (rng.next_u32() >> 8) as f32 / (1_u32 << 24) as f32;
        Draw { temperature, top_p, top_k: 0, min_p: 0.0, uniform }
    }

    fn frequencies(logits: &[f32], temperature: f32, top_p: f32) -> Vec<f64> {
        let mut rng = ChaCha8Rng::from_seed([7; 32]);
        let mut counts = vec![0_u32; logits.len()];
        for _ in 0..20_000 {
            counts[pick(logits, &draw(temperature, top_p, &mut rng)).token as usize] += 1;
        }
        counts.iter().map(|&count| f64::from(count) / 20_000.0).collect()
    }

    #[test]
    fn temperature_zero_takes_the_highest_and_the_lowest_id_among_equals() {
        let mut rng = ChaCha8Rng::from_seed([0; 32]);
        assert_eq!(pick(&[0.0, 3.0, 3.0, 1.0], &draw(0.0, 0.9, &mut rng)).token, 1);
    }

    #[test]
    fn samples_follow_the_softmax_at_the_temperature() {
        let logits: Vec<f32> = [0.5_f32, 0.3, 0.2].iter().map(|p| p.ln()).collect();
        let got = frequencies(&logits, 1.0, 1.0);
        for (got, expected) in got.iter().zip([0.5, 0.3, 0.2]) {
            assert!((got - expected).abs() < 0.015, "{got} for {expected}");
        }
        let cold = frequencies(&logits, 0.5, 1.0);
        assert!((cold[0] - 0.25 / 0.38).abs() < 0.015);
    }

    #[test]
    fn the_nucleus_is_the_smallest_set_that_reaches_top_p() {
        let logits: Vec<f32> = [0.5_f32, 0.3, 0.2].iter().map(|p| p.ln()).collect();
        let got = frequencies(&logits, 1.0, 0.75);
        assert!((got[0] - 0.625).abs() < 0.015);
        assert_eq!(got[2], 0.0);
        assert_eq!(frequencies(&logits, 1.0, 0.45)[0], 1.0);
    }
}
