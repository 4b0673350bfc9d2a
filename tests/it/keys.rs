//! Every key of transformers' configurations, changed one by one on a small checkpoint, gives transformers' number or
//! is refused (`fixtures/reference/keys.py`).

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use v5gate::models::{COMMON, Config};
use v5gate::train::load_model;

#[derive(Deserialize)]
struct Table {
    gpt2: Model,
    mamba2: Model,
}

#[derive(Deserialize)]
struct Model {
    ids: Vec<u32>,
    rows: Vec<Row>,
}

/// What transformers computes where `key` has another value, or why it computes nothing.
#[derive(Deserialize)]
struct Row {
    key: String,
    value: Value,
    config: Value,
    loss: Option<f64>,
    why: String,
}

/// Float32 leaves less than a tenth of this.
const TOLERANCE: f64 = 1e-5;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keys")
}

fn mean_loss(folder: &Path, ids: &[u32]) -> Result<f64, String> {
    let model = load_model(folder).map_err(|e| e.to_string())?;
    let mut state = model.new_state(1).unwrap();
    let losses = model.losses(&ids[..ids.len() - 1], &ids[1..], &mut state).map_err(|e| e.to_string())?;
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}

/// transformers gives no number for these, and they are none of the model's.
const RUNS_OTHERWISE: [&str; 2] = ["return_dict", "attn_implementation"];

#[test]
fn every_key_gives_the_number_of_transformers_or_is_refused() {
    let table: Table =
        serde_json::from_str(&fs::read_to_string(fixtures().join("table.json")).unwrap()).unwrap();
    let (mut compared, mut refused) = (0, 0);
    for (name, model) in [("gpt2", table.gpt2), ("mamba2", table.mamba2)] {
        let own = mean_loss(&fixtures().join(name), &model.ids).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::copy(fixtures().join(name).join("model.safetensors"), folder.path().join("model.safetensors"))
            .unwrap();
        for row in &model.rows {
            let said = format!("{name}: {} {}", row.key, row.value);
            fs::write(folder.path().join("config.json"), row.config.to_string()).unwrap();
            match (mean_loss(folder.path(), &model.ids), row.loss) {
                (Ok(got), Some(expected)) => {
                    assert!((got - expected).abs() < TOLERANCE, "{said}: {got}, transformers {expected}");
                    compared += 1;
                }
                (Ok(got), None) => {
                    assert!(
                        RUNS_OTHERWISE.contains(&row.key.as_str()),
                        "{said}: {got}, transformers {}",
                        row.why
                    );
                    assert_eq!(got, own, "{said}");
                }
                (Err(_), _) => refused += 1,
            }
        }
        let known = Config::keys(name).unwrap().iter().chain(COMMON).map(|(key, _)| *key).collect::<Vec<_>>();
        assert!(model.rows.iter().all(|row| known.contains(&row.key.as_str())));
    }
    // Refusing everything would pass otherwise.
    assert!(compared > 130 && refused > 60, "{compared} compared, {refused} refused");
}
