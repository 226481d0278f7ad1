//! Checks whether the memory for keys and values fits the machine and the run.

use crate::config::{PolicySettings, SamplingSettings};
use crate::engine::{DeviceChoice, EngineDescription};
use crate::policy;
use crate::sys::memory::available_bytes;

/// The memory for keys and values exceeds the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("policy.kv_cache_mib is {asked_mib}, but only {available_mib} MiB of memory are available")]
pub struct MemoryShort {
    /// The setting.
    pub asked_mib: u64,
    /// The available memory according to the system.
    pub available_mib: u64,
}

/// Rejects a KV memory that the machine's free memory cannot hold. The memory of a GPU is left to its driver.
///
/// # Errors
/// [`MemoryShort`] with both figures.
pub fn check(policy: &PolicySettings) -> Result<(), MemoryShort> {
    if policy::device(policy.device) != DeviceChoice::Cpu {
        return Ok(());
    }
    compare(policy.kv_cache_mib as u64, available_bytes())
}

fn compare(asked_mib: u64, available: Option<u64>) -> Result<(), MemoryShort> {
    match available.map(|bytes| bytes >> 20) {
        Some(available_mib) if available_mib < asked_mib => Err(MemoryShort { asked_mib, available_mib }),
        _ => Ok(()),
    }
}

/// Returns the executor, kernels and memory of the policy, in one line for display.
#[must_use]
pub fn describe(engine: &EngineDescription, policy: &PolicySettings, context: usize) -> String {
    let EngineDescription { executor, numerics, weight_bytes, kv_bytes, slots, .. } = engine;
    let kernels = format!("{:?}", policy.kernels).to_lowercase();
    let kv_type = format!("{:?}", policy.kv_type).to_lowercase();
    format!(
        "{executor} executor, {numerics} numerics (kernels {kernels}), {} of weights, up to {} of {kv_type} keys and \
         values, {slots} slots, context {context}",
        gigabytes(*weight_bytes),
        gigabytes(*kv_bytes),
    )
}

/// Returns how many responses the KV memory holds, in one line for display.
#[must_use]
pub fn describe_kv(engine: &EngineDescription, sampling: &SamplingSettings, context: usize) -> String {
    let longest = sampling.think_on_tokens_max.max(sampling.think_off_tokens_max) as usize;
    let longest = longest.min(context);
    let needed = longest * engine.slots * (engine.kv_bytes / engine.kv_tokens.max(1));
    let (slots, bound) = (engine.slots, gigabytes(engine.kv_bytes));
    if needed <= engine.kv_bytes {
        return format!(
            "KV memory: {bound}, of which {slots} responses of {longest} tokens take {} in addition to their prompts",
            gigabytes(needed)
        );
    }
    format!(
        "KV memory: {slots} responses of {longest} tokens would need {} in addition to their prompts, the bound is {bound} \
         (policy.kv_cache_mib): if many responses are that long, some will wait or be recomputed",
        gigabytes(needed)
    )
}

fn gigabytes(bytes: usize) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_above_the_free_memory_is_refused_with_both_figures() {
        assert_eq!(compare(100, Some(100 << 20)), Ok(()));
        assert_eq!(compare(100, None), Ok(()));
        let error = compare(101, Some(100 << 20)).unwrap_err();
        assert_eq!(error.to_string(), "policy.kv_cache_mib is 101, but only 100 MiB of memory are available");
    }

    #[test]
    fn a_demand_beyond_the_bound_is_said() {
        let engine = EngineDescription {
            executor: "fused",
            numerics: "f32",
            weight_bytes: 540_000_000,
            kv_bytes: 2_000_000_000,
            kv_tokens: 20_000,
            slots: 4,
        };
        let sampling = |think_on_tokens_max| SamplingSettings { think_on_tokens_max, ..SamplingSettings::default() };
        let fits = describe_kv(&engine, &sampling(5000), 8192);
        assert_eq!(
            fits,
            "KV memory: 2.00 GB, of which 4 responses of 5000 tokens take 2.00 GB in addition to their prompts"
        );
        let text = describe_kv(&engine, &sampling(5001), 8192);
        assert!(text.contains("4 responses of 5001 tokens would need 2.00 GB") && text.contains("wait"), "{text}");
        assert!(describe_kv(&engine, &sampling(5001), 4096).contains("4 responses of 4096 tokens take 1.64 GB"));
    }
}
