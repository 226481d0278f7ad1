//! Finds out why a model computes numbers that are not finite, by a search through its constants and tensors.
//!
//! The search reads the whole model again, which takes seconds. It runs only after such numbers have appeared.

use std::path::Path;

use rayon::prelude::*;

use super::error::EngineError;
use super::weights::{Part, PartRules, Presence, RawTensor, Weights, parts_of};

/// If all numbers are finite, a magnitude above this is named as the suspect: its square is not finite.
const LARGE: f32 = 1e18;
/// Rows that are read at a time.
const ROWS: usize = 64;

/// Returns a clause that names the first constant or tensor that is not finite, or else the largest number.
pub(crate) fn name_suspect(path: &Path) -> String {
    search(path).unwrap_or_else(|error| format!("the search for the cause failed: {error}"))
}

fn search(path: &Path) -> Result<String, EngineError> {
    let weights = Weights::open(path)?;
    let config = weights.config()?;
    let (frequencies, magnitude) = config.rope.inverse_frequencies(config.head_dim);
    if !config.epsilon.is_finite() || config.epsilon < 0.0 {
        return Ok(format!("the epsilon of the model's norms is {}", config.epsilon));
    }
    if let Some(bad) = frequencies.iter().chain([&magnitude]).find(|number| !number.is_finite()) {
        return Ok(format!("the model's rotary frequencies hold {bad}"));
    }
    let optional = Presence::Optional;
    let rules = PartRules { output: optional, input_bias: optional, output_bias: optional, head_norms: optional };
    let mut largest = (0.0_f32, String::new());
    for (part, _, shape) in parts_of(&config, rules) {
        // Most parts are optional; loading the model already checked the required ones.
        if !weights.has(part) {
            continue;
        }
        let tensor = weights.tensor(part, &shape)?;
        match peak(&tensor)? {
            Peak::NotFinite { row, number } => {
                let row =
                    if part == Part::OutputNorm || shape.len() < 2 { String::new() } else { format!(", row {row}") };
                return Ok(format!("the model's tensor {}{row} holds {number}", tensor.name));
            }
            Peak::Finite(most) if most > largest.0 => largest = (most, tensor.name),
            Peak::Finite(_) => {}
        }
    }
    let (most, name) = largest;
    if most > LARGE {
        return Ok(format!("the model's tensor {name} holds numbers as large as {most:e}, whose products overflow"));
    }
    Ok(format!("all tensors are finite (the largest number is {most:e} in {name}), so the sums of a step overflow"))
}

enum Peak {
    NotFinite {
        row: usize,
        number: f32,
    },
    /// The largest magnitude.
    Finite(f32),
}

fn peak(tensor: &RawTensor<'_>) -> Result<Peak, EngineError> {
    let rows = tensor.shape.first().copied().unwrap_or(0);
    let starts: Vec<usize> = (0..rows).step_by(ROWS).collect();
    let peaks = starts.par_iter().map(|&start| {
        let numbers = tensor.rows_f32(start..(start + ROWS).min(rows))?;
        let bad = numbers.iter().position(|number| !number.is_finite());
        Ok(match bad.and_then(|at| Some((at, *numbers.get(at)?))) {
            Some((at, number)) => Peak::NotFinite { row: start + at / tensor.row_length().max(1), number },
            None => Peak::Finite(numbers.iter().fold(0.0, |most, number| number.abs().max(most))),
        })
    });
    let mut most = 0.0_f32;
    for peak in peaks.collect::<Result<Vec<Peak>, EngineError>>()? {
        match peak {
            Peak::NotFinite { .. } => return Ok(peak),
            Peak::Finite(number) => most = most.max(number),
        }
    }
    Ok(Peak::Finite(most))
}
