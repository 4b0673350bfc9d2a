//! `V5_DEVICE=emulated cargo bench --bench plan [-- SIZE...]`: what a training step and a token ask of a GPU, launch by
//! launch and without computing it, and the least time that an H200 could take for it. With `V5_WRITE_DOCS=1` the tables
//! go into docs/kernels.md.

#[expect(dead_code, reason = "what is timed elsewhere is planned here")]
mod cases;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use v5gate::launch::{DeviceWork, planned};
use v5gate::ops::{Layout, Tape, linear, on_worker};
use v5gate::train::{Precision, Recipe};

/// NVIDIA's data sheet of the H200 (SXM): bytes of memory and operations of dense bfloat16 a second.
const BYTES: f64 = 4.8e12;
const TENSOR: f64 = 989e12;
/// Instructions of a warp a second: 132 multiprocessors of four schedulers at 1.98 GHz.
const ISSUED: f64 = 132.0 * 4.0 * 1.98e9;
/// What a launch costs the host, which matters where kernels are shorter.
const LAUNCH: f64 = 3e-6;
/// Sequences of a step and of a micro-batch of protocol `full`.
const SEQUENCES: [usize; 2] = [512, 8];
const MODELS: [&str; 2] = ["gpt2", "groundthink"];

/// Launches, and seconds by bytes, by instructions, by tensor cores, and by the longest of the three.
#[derive(Clone, Copy, Default)]
struct Need {
    launches: usize,
    seconds: [f64; 4],
}

impl Need {
    fn of(launches: usize, seconds: [f64; 3]) -> Self {
        let [bytes, instructions, tensor] = seconds.map(|s| s * launches as f64);
        let longest = bytes.max(instructions).max(tensor);
        Self { launches, seconds: [bytes, instructions, tensor, longest] }
    }

    fn add(&mut self, other: Self) {
        self.launches += other.launches;
        self.seconds.iter_mut().zip(other.seconds).for_each(|(a, b)| *a += b);
    }
}

/// Instructions on the shortest way through a kernel, by its name.
struct Shortest(BTreeMap<String, f64>);

impl Shortest {
    fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kernels.json");
        let facts: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let files = facts["files"].as_object().context("files")?;
        let kernels = files.values().filter_map(|file| file["kernels"].as_object()).flatten();
        let way =
            |(name, kernel): (&String, &Value)| Some((name.clone(), kernel["sm_90a"]["path"].as_f64()?));
        Ok(Self(kernels.filter_map(way).collect()))
    }
}

/// What is asked for by name, and how often.
type Asked = BTreeMap<DeviceWork, usize>;

fn counted(asked: Vec<DeviceWork>) -> Asked {
    let mut counts = BTreeMap::new();
    asked.into_iter().for_each(|asked| *counts.entry(asked).or_default() += 1);
    counts
}

/// A step of protocol `full`: one micro-batch, and for each of the others what one more adds.
fn step(model: &str, size: &cases::Size) -> Result<Asked> {
    let planned = |parts| -> Result<Asked> {
        let of = cases::recipe(size);
        let batch_size = SEQUENCES[1] * parts;
        let token_count = of.token_count / of.batch_size as u64 * batch_size as u64;
        let of = Recipe { token_count, batch_size, micro_batch_size: SEQUENCES[1], ..of };
        let mut work = cases::training(model, size, Recipe { precision: Precision::Bfloat16, ..of })?;
        let (result, asked) = planned(&mut work);
        result?;
        Ok(counted(asked))
    };
    let (one, two) = (planned(1)?, planned(2)?);
    let others = SEQUENCES[0] / SEQUENCES[1] - 1;
    let all = one.keys().chain(two.keys()).cloned().collect::<std::collections::BTreeSet<_>>();
    let times = |asked: DeviceWork| {
        let [once, twice] = [&one, &two].map(|of| of.get(&asked).copied().unwrap_or(0));
        (asked, once + others * twice.saturating_sub(once))
    };
    Ok(all.into_iter().map(times).filter(|(_, times)| *times > 0).collect())
}

/// One more token behind a prefill.
fn token(model: &str, size: &cases::Size) -> Result<Asked> {
    let config = cases::config(model, size, cases::PREFILL + 1)?;
    let model = config.init(1)?.to_device(v5gate::device::current(), Precision::Bfloat16)?;
    // What is recorded is what this thread asks for.
    on_worker(|| {
        let (tape, mut state) = (Tape::no_grad(), model.new_state(1)?);
        planned(|| model.backbone(&tape, &vec![0; cases::PREFILL], &mut state)).0?;
        let (logits, asked) = planned(|| -> Result<()> {
            let hidden = model.backbone(&tape, &[0], &mut state)?;
            let head = model.params().scope(&tape, "").get(model.head())?;
            linear(&tape, &hidden, &head, None, Layout::OutIn)?;
            Ok(())
        });
        logits?;
        Ok(counted(asked))
    })
}

/// Bytes that must move: every tensor once, what is changed in place twice, of a table of embeddings the rows.
fn least_bytes(asked: &DeviceWork, parameters: usize) -> f64 {
    let (name, grid, counts, read, written) = match asked {
        DeviceWork::Product { read, written, keep, .. } => {
            return (read + written * if *keep { 2 } else { 1 }) as f64;
        }
        DeviceWork::Kernel { name, grid, counts, read, written, .. } => (name, grid, counts, *read, *written),
    };
    let wide = if name.ends_with("_bf16") { 2 } else { 4 };
    let bytes = match name.trim_end_matches("_bf16").trim_end_matches("_f32") {
        "accumulate" => 3 * read,
        "scale" => 2 * wide * counts[0],
        "embedding_forward" => 2 * written,
        "embedding_backward" => read + 8 * grid[0] * counts[0],
        // A gradient read; the same, weights and both moments read and written but for the gradient, and a copy.
        "optimizer_squares" => 4 * parameters,
        "optimizer_step" => (4 + 2 * 12 + 2) * parameters,
        name if name.starts_with("wkv6_scan") => read + 2 * written,
        _ => read + written,
    };
    bytes as f64
}

/// Operations on tensor cores: of attention half of the square, because it is causal. Those of recurrences, which are
/// few, are not counted.
fn tensor_operations(asked: &DeviceWork) -> f64 {
    match asked {
        DeviceWork::Product { sizes: [m, n, k], .. } => 2.0 * (m * n * k) as f64,
        DeviceWork::Kernel { name, counts, .. } => {
            let part =
                |name: &str| name.trim_start_matches("attention_").split('_').next().map(str::to_owned);
            let products = match part(name).as_deref() {
                Some("output") if name.starts_with("attention") => 2,
                Some("queries") => 3,
                Some("keys") => 4,
                _ => return 0.0,
            };
            let at = counts.len().saturating_sub(8);
            let [batch, heads, size, time] = [0, 1, 2, 3].map(|i| counts.get(at + i).copied().unwrap_or(0));
            (products * batch * heads * time * time * size) as f64
        }
    }
}

/// By kernel, products together.
fn by_kernel(asked: &Asked, shortest: &Shortest) -> BTreeMap<String, Need> {
    let updated = |asked: &DeviceWork| match asked {
        DeviceWork::Kernel { name, counts, .. } if name == "optimizer_step_f32" => counts.get(1).copied(),
        _ => None,
    };
    let parameters = asked.keys().filter_map(updated).max().unwrap_or(0);
    let mut all = BTreeMap::<String, Need>::new();
    for (asked, times) in asked {
        let (name, warps) = match asked {
            DeviceWork::Product { .. } => ("products (cuBLAS)".to_owned(), 0.0),
            DeviceWork::Kernel { name, grid, threads, .. } => {
                (format!("`{name}`"), (grid.iter().product::<usize>() * threads.div_ceil(32)) as f64)
            }
        };
        let way = shortest.0.get(name.trim_matches('`')).copied().unwrap_or(0.0);
        let [bytes, operations] = [least_bytes(asked, parameters), tensor_operations(asked)];
        let seconds = [bytes / BYTES, way * warps / ISSUED, operations / TENSOR];
        all.entry(name).or_default().add(Need::of(*times, seconds));
    }
    all
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.*}", if seconds < 0.1 { 3 } else { 1 }, 1e3 * seconds)
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn head(cells: &[&str]) -> String {
    row(cells.iter().map(|&cell| cell.to_owned())) + &row(cells.iter().map(|_| "---".to_owned()))
}

/// The table of everything that is planned, and one of the kernels of each step at the largest size.
fn tables(sizes: &[&'static cases::Size]) -> Result<String> {
    let shortest = Shortest::read()?;
    let columns =
        ["what", "launches", "longest, ms", "of it products", "× 3 µs, ms", "dominate beside products"];
    let (mut summary, mut details) = (head(&columns), String::new());
    let largest = sizes.last().map(|size| size.name);
    for size in sizes {
        for (what, model) in ["step", "token"].iter().flat_map(|what| MODELS.map(|model| (*what, model))) {
            let asked = if what == "step" { step(model, size)? } else { token(model, size)? };
            let needs = by_kernel(&asked, &shortest);
            let mut total = Need::default();
            needs.values().for_each(|need| total.add(*need));
            let mut own: Vec<(&String, &Need)> = needs.iter().collect();
            own.sort_by(|a, b| b.1.seconds[3].total_cmp(&a.1.seconds[3]));
            let products = needs.get("products (cuBLAS)").map_or(0.0, |need| need.seconds[3]);
            let named = own.iter().filter(|(name, _)| name.starts_with('`')).take(3);
            summary += &row([
                format!("{what}, {model}, {}", size.name.trim_end_matches("-1k")),
                total.launches.to_string(),
                milliseconds(total.seconds[3]),
                milliseconds(products),
                milliseconds(total.launches as f64 * LAUNCH),
                named.map(|(name, _)| (*name).clone()).collect::<Vec<_>>().join(", "),
            ]);
            if what == "step" && Some(size.name) == largest {
                details += &format!("\nA step of {model} at {}:\n\n", size.name.trim_end_matches("-1k"));
                details += &head(&[
                    "kernel",
                    "launches",
                    "bytes, ms",
                    "instructions, ms",
                    "tensor cores, ms",
                    "share",
                ]);
                for (name, need) in own.iter().take(12) {
                    let [bytes, instructions, tensor, longest] = need.seconds;
                    let cells = [bytes, instructions, tensor].map(milliseconds);
                    let share = format!("{:.1} %", 100.0 * longest / total.seconds[3]);
                    let begin = [(*name).clone(), need.launches.to_string()];
                    details += &row(begin.into_iter().chain(cells).chain([share]));
                }
            }
        }
    }
    Ok(summary + &details)
}

fn main() -> Result<()> {
    // Large tensors of zeros come and go.
    v5gate::keep_freed_memory();
    cases::device();
    ensure!(
        v5gate::device::current().name() == "emulated",
        "expected V5_DEVICE=emulated: it plans without a GPU"
    );
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let gated = ["8M-1k", "30M-1k", "125M-1k"];
    let wanted =
        |name: &str| if asked.is_empty() { gated.contains(&name) } else { asked.iter().any(|a| a == name) };
    let tables = tables(&cases::SIZES.iter().filter(|size| wanted(size.name)).collect::<Vec<_>>())?;
    print!("{tables}");
    if std::env::var_os("V5_WRITE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kernels.md");
        let text = std::fs::read_to_string(&path)?;
        let (begin, end) = ("<!-- planned -->\n", "<!-- end of planned -->");
        let (before, rest) = text.split_once(begin).context("where the tables begin")?;
        let (_, after) = rest.split_once(end).context("where the tables end")?;
        std::fs::write(&path, format!("{before}{begin}{tables}{end}{after}"))?;
    }
    Ok(())
}
