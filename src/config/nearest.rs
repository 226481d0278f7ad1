//! Finds the known key that is nearest to a misspelt key.

/// Returns the known key with the most similar spelling; a right last part in a wrong table also counts as similar.
pub(super) fn nearest_key(key: &str, known: &[String]) -> Option<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |candidate: &String| {
        strsim::jaro_winkler(key, candidate).max(0.95 * strsim::jaro_winkler(&last(key), &last(candidate)))
    };
    let best = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) > 0.75).then(|| best.clone())
}
