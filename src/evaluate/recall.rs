//! What a checkpoint remembers, asked without a protocol: the document has the layout of the EleutherAI
//! harness, where a condition (trained, state reset, …) stands where the harness names a filter.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::checkpoint::Checkpoint;
use crate::collect::CollectError;
use crate::device::Compute;
use crate::evidence::Value;
use crate::probes::{Contrast, Probe, Reading};
use crate::train::Precision;

/// Of the untrained model that is asked beside.
const SEED: u64 = 0;

/// What a checkpoint remembers.
pub struct RecallResult {
    /// Results and settings.
    pub document: Json,
    /// The numbers.
    pub readings: Vec<Reading>,
}

/// Measures a checkpoint by a probe that needs no data; `None` where the probe needs more than a checkpoint.
pub fn measure_checkpoint(
    checkpoint: &Path,
    compute: &Compute,
    probe: &'static Probe,
) -> Result<Option<RecallResult>, CollectError> {
    let (id, Some(measure)) = (probe.id, probe.measure_checkpoint) else { return Ok(None) };
    let loaded = Checkpoint::load(checkpoint, compute, id)?;
    let Checkpoint { model, tokenizer, .. } = &loaded;
    let untrained = model.config().init(SEED)?.to_device(compute, Precision::Float32)?;
    let shared = model.window().unwrap_or(usize::MAX);
    let contrast =
        Contrast { model: model.as_ref(), untrained: untrained.as_ref(), tokenizer, matched: None, shared };
    let readings = measure(&contrast).map_err(loaded.failed(id))?;
    let number = |x: f64| json!(Value::from(x));
    let mut results = Map::from_iter([("alias".to_owned(), id.into())]);
    for r in &readings {
        let (name, condition) = (r.metric.id(), json!(r.condition));
        let condition = condition.as_str().unwrap_or_default();
        results.insert(format!("{name},{condition}"), number(r.value));
        let interval = r.interval.map(|ends| ends.map(number));
        results.insert(format!("{name}_interval,{condition}"), json!(interval));
    }
    let document = json!({
        "results": {id: results},
        "versions": {id: 1},
        "n-shot": {id: 0},
        "config": {
            "model": model.config().name(),
            "model_args": checkpoint.display().to_string(),
            "model_num_parameters": model.model_stats().total,
            "max_length": model.window(),
            "identity": loaded.identity(compute)?,
        },
    });
    Ok(Some(RecallResult { document, readings }))
}
