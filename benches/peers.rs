//! `cargo bench --bench peers -- --python PYTHON --nanogpt DIR [--compile] [--tuned] [CASE..]`: our
//! program and PyTorch in turns (A B B A), each in a process of its own that waits while the other runs.
//! See `benches/peers/README.md`.

mod cases;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;

/// Long enough to time, in seconds.
const SLICE: f64 = 0.4;

#[derive(Parser)]
struct Args {
    /// A Python with torch and transformers (versions in `benches/peers/requirements.txt`).
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// A checkout of nanoGPT. Without one there is nothing to compare.
    #[arg(long)]
    nanogpt: Option<PathBuf>,
    /// Compile PyTorch's models first (training and prefill).
    #[arg(long)]
    compile: bool,
    /// Give PyTorch what its defaults leave out: freed memory kept by the process, fused AdamW.
    #[arg(long)]
    tuned: bool,
    /// Threads of either side; as many as there are cores where left out.
    #[arg(long)]
    threads: Option<usize>,
    /// Pairs of measurements.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Answers for one of our cases on standard input: what this program starts itself as.
    #[arg(long, hide = true)]
    serve: Option<String>,
    #[arg(long, hide = true)]
    bench: bool,
    /// Cases; all GPT-2 cases and both recurrences where none is named.
    cases: Vec<String>,
}

/// One side of the comparison.
struct Side {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    calls: usize,
}

impl Side {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let (input, output) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let mut side = Self { child, input, output: BufReader::new(output).lines(), calls: 1 };
        match side.line()?.as_str() {
            "ready" => {}
            other => bail!("{command:?} said {other:?} instead of \"ready\""),
        }
        let one = side.seconds()?;
        side.calls = (SLICE / one).ceil().clamp(1.0, 10_000.0) as usize;
        Ok(side)
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.output.next().context("the process ended: its own message is above")??)
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.input, "{question}")?;
        self.input.flush()?;
        self.line()
    }

    /// Seconds of one call.
    fn seconds(&mut self) -> Result<f64> {
        Ok(self.ask(&self.calls.to_string())?.parse::<f64>()? / self.calls as f64)
    }

    /// Bytes at the peak, whole and above what the runtime took.
    fn memory(&mut self) -> Result<[f64; 2]> {
        let line = self.ask("memory")?;
        let (baseline, peak) = line.split_once(' ').context("two numbers")?;
        let (baseline, peak): (f64, f64) = (baseline.parse()?, peak.parse()?);
        Ok([peak, peak - baseline])
    }

    fn stop(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait()?;
        Ok(())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.serve {
        return serve(case);
    }
    let Some(nanogpt) = &args.nanogpt else {
        println!("peers: no --nanogpt DIR, nothing to compare with (benches/peers/README.md)");
        return Ok(());
    };
    let mut chosen = args.cases.clone();
    if chosen.is_empty() {
        let kinds = ["train", "prefill", "generate", "wkv6", "ssd"];
        chosen = kinds.iter().flat_map(|k| cases::names(k)).filter(|n| !n.contains("groundthink")).collect();
    }
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok)?;
    let memory = if args.tuned { "tuned" } else { "defaults" };
    let mode = if args.compile { "compiled" } else { "eager" };
    println!("PyTorch ({mode}, {memory}) / ours, {threads} threads, {} rounds in turns;", args.rounds);
    println!("above 1 we are faster, or smaller\n");
    println!(
        "| case | ours | peer | ratio of medians | lowest, highest | peak memory, ours and peer | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for case in &chosen {
        println!("{}", compare(&args, nanogpt, &threads.to_string(), case)?);
    }
    Ok(())
}

/// A row of the table.
fn compare(args: &Args, nanogpt: &Path, threads: &str, case: &str) -> Result<String> {
    let serving = |case: &str| -> Result<Side> {
        let mut ours = Command::new(std::env::current_exe()?);
        Side::start(ours.args(["--serve", case]).env("RAYON_NUM_THREADS", threads))
    };
    let mut ours = serving(case)?;
    let mut peer = if case.contains("groundthink") {
        // No peer has the hybrid: it is compared with our own GPT-2.
        serving(&case.replace("groundthink", "gpt2"))?
    } else {
        let mut torch = Command::new(&args.python);
        torch.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/torch_side.py")).arg(case);
        torch.arg("--nanogpt").arg(nanogpt).args(args.compile.then_some("--compile"));
        torch.env("OMP_NUM_THREADS", threads).env("MKL_NUM_THREADS", threads);
        if args.tuned {
            // glibc: no block gets a mapping of its own, and nothing is given back to the system.
            torch.arg("--fused").env("MALLOC_MMAP_MAX_", "0").env("MALLOC_TRIM_THRESHOLD_", "100000000000");
        }
        Side::start(&mut torch)?
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        if round % 2 == 0 {
            a.push(ours.seconds()?);
            b.push(peer.seconds()?);
        } else {
            b.push(peer.seconds()?);
            a.push(ours.seconds()?);
        }
    }
    let mut ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b / a).collect();
    ratios.sort_by(f64::total_cmp);
    let (m, n) = (ours.memory()?, peer.memory()?);
    ours.stop()?;
    peer.stop()?;
    let (a, b) = (median(a), median(b));
    let mega = |x: f64| x / 1e6;
    Ok(format!(
        "| {case} | {:.3} ms | {:.3} ms | **{:.2}** | {:.2}, {:.2} | {:.0} (+{:.0}), {:.0} (+{:.0}) MB | {:.2} |",
        a * 1e3,
        b * 1e3,
        b / a,
        ratios[0],
        ratios[ratios.len() - 1],
        mega(m[0]),
        mega(m[1]),
        mega(n[0]),
        mega(n[1]),
        n[1] / m[1],
    ))
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    let half = x.len() / 2;
    if x.len() % 2 == 1 { x[half] } else { (x[half - 1] + x[half]) / 2.0 }
}

fn serve(case: &str) -> Result<()> {
    v5gate::keep_freed_memory();
    let baseline = status("VmRSS:")?;
    let mut work = cases::work(case)?;
    for _ in 0..3 {
        work()?;
    }
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        if line == "memory" {
            println!("{baseline} {}", status("VmHWM:")?);
            continue;
        }
        let start = Instant::now();
        for _ in 0..line.parse::<usize>()? {
            work()?;
        }
        println!("{}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// A field of the process's status, in bytes.
fn status(field: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|l| l.strip_prefix(field)).context("no such field")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(1024 * kilobytes)
}
