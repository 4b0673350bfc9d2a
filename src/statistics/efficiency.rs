//! The compute-efficiency ratio (ruling R10, §Compute-Efficiency Ratio).

/// 1 ÷ (perplexity × seconds), in 1/s: higher is better in both factors.
pub fn compute_efficiency(perplexity: f64, seconds: f64) -> f64 {
    1.0 / (perplexity * seconds)
}

/// Perplexity ÷ seconds, in 1/s: the document's formula, which rewards being worse; for
/// traceability only.
pub fn compute_efficiency_as_written(perplexity: f64, seconds: f64) -> f64 {
    perplexity / seconds
}
