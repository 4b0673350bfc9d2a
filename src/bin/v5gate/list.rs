//! `v5gate list`: the tables, for people and for programs.

use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;
use v5gate::evidence::Metric;
use v5gate::models::{MODELS, ModelSpec};
use v5gate::probes::{PROBES, Probe, find_task};
use v5gate::report;
use v5gate::scale::{SCALES, Scale};

/// One of the tables.
#[derive(Clone, Copy, ValueEnum)]
pub enum Listing {
    /// Every demand.
    Criteria,
    /// Every architecture, with its sizes.
    Models,
    /// Every size.
    Scales,
    /// Every question.
    Probes,
    /// Every number.
    Metrics,
}

/// A table as text or JSON.
pub fn show(what: Listing, as_json: bool) -> Result<String> {
    let rows: Vec<serde_json::Value> = match what {
        Listing::Criteria if as_json => return pretty(&report::criteria_json()),
        Listing::Criteria => return Ok(report::criteria_markdown()),
        Listing::Models if as_json => MODELS.iter().map(model_json).collect(),
        Listing::Models => return Ok(models_text()),
        Listing::Scales => SCALES.iter().map(|s| json!(s)).collect(),
        Listing::Probes => {
            let task = |probe: &Probe| find_task(probe.id).is_some() || probe.measure_checkpoint.is_some();
            let row =
                |p: &Probe| json!({"id": p.id, "about": p.about, "metrics": p.metrics, "eval": task(p)});
            PROBES.iter().map(row).collect()
        }
        Listing::Metrics => {
            let row = |m: &Metric| json!({"id": m.id(), "unit": m.unit(), "about": m.doc()});
            Metric::ALL.iter().map(row).collect()
        }
    };
    if as_json {
        return pretty(&json!(rows));
    }
    let mut text = String::new();
    for row in &rows {
        let fields = row.as_object().into_iter().flatten();
        let plain_text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let plain: Vec<_> =
            fields.filter(|(k, _)| *k != "metrics").map(|(k, v)| (k.as_str(), plain_text(v))).collect();
        let (first, rest) = plain.iter().partition::<Vec<_>, _>(|(k, _)| *k == "name" || *k == "id");
        let name = first.first().map_or("", |(_, v)| v.as_str());
        let others: Vec<_> =
            rest.iter().map(|(k, v)| if *k == "about" { v.clone() } else { format!("{k} {v}") }).collect();
        text += &format!("{name:28} {}\n", others.join(", "));
    }
    Ok(text)
}

/// A document for programs.
pub fn pretty(value: &serde_json::Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// What a vocabulary and a context length have to be said of for a model to have a size: GPT-2's own, as
/// in ruling R1.
const VOCABULARY: usize = 50_257;
const CONTEXT: usize = 1024;

fn model_json(m: &ModelSpec) -> serde_json::Value {
    let at = |s: &Scale| (s.name.to_owned(), json!((m.config)(s, VOCABULARY, CONTEXT).model_stats()));
    let scales: serde_json::Map<_, _> = SCALES.iter().map(at).collect();
    json!({
        "name": m.name, "about": m.about, "vocabulary": VOCABULARY, "context": CONTEXT, "scales": scales,
    })
}

/// Ruling R1: every listing of a model prints its counts.
fn models_text() -> String {
    let mut text = format!("at a vocabulary of {VOCABULARY} and a context of {CONTEXT} tokens\n");
    for m in MODELS {
        text += &format!("\n{:12} {}\n", m.name, m.about);
        text += &format!(
            "{:12} {:>12} {:>12} {:>12} {:>14} {:>16}\n",
            "", "total", "embedding", "positional", "non-embedding", "MFLOPs/token"
        );
        for s in SCALES {
            let c = (m.config)(s, VOCABULARY, CONTEXT).model_stats();
            text += &format!(
                "{:>12} {:>12} {:>12} {:>12} {:>14} {:>16.2}\n",
                s.name,
                c.total,
                c.embedding,
                c.positional,
                c.non_embedding,
                c.forward_flops_per_token / 1e6
            );
        }
    }
    text
}
