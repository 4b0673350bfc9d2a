//! `cargo bench --bench peers -- --python PYTHON --nanogpt DIR [--compile] [--tuned] [CASE..]`: our
//! program and PyTorch in turns (A B B A), each in a process of its own that waits while the other runs. On a GPU
//! where `V5_DEVICE` chooses one: both of them then.
//! See `benches/peers/README.md`.

mod cases;
#[path = "peers/least.rs"]
mod least;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;
use v5gate::device::{Precision, current};

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
    /// What ours computes in, float32 or bfloat16, and PyTorch with it (under autocast); what the device is made for
    /// where left out.
    #[arg(long)]
    precision: Option<String>,
    /// Compare with ourselves in this precision instead.
    #[arg(long)]
    against: Option<String>,
    /// Threads of either side; as many as there are cores where left out.
    #[arg(long)]
    threads: Option<usize>,
    /// PyTorch's side, where it does not lie in the sources that this was built from.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/torch_side.py"))]
    side: PathBuf,
    /// Prints the cases that there are, and does nothing else.
    #[arg(long)]
    list: bool,
    /// Pairs of measurements.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Answers for one of our cases on standard input: what this program starts itself as.
    #[arg(long, hide = true)]
    serve: Option<String>,
    #[arg(long, hide = true)]
    bench: bool,
    /// Cases; all GPT-2 cases and all ops where none is named.
    cases: Vec<String>,
}

/// One side of the comparison.
struct Side {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    calls: usize,
    /// What it runs, in its own words.
    name: String,
}

impl Side {
    /// The side, or why there is none.
    fn start(command: &mut Command) -> Result<Result<Self, String>> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let (input, output) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let output = BufReader::new(output).lines();
        let mut side = Self { child, input, output, calls: 1, name: String::new() };
        let line = side.line()?;
        match line.split_once(' ').unwrap_or((line.as_str(), "")) {
            ("ready", name) => name.clone_into(&mut side.name),
            ("none", reason) => {
                let reason = reason.to_owned();
                side.stop()?;
                return Ok(Err(reason));
            }
            _ => bail!("{command:?} said {line:?} instead of \"ready\""),
        }
        let one = side.seconds()?;
        side.calls = (SLICE / one).ceil().clamp(1.0, 10_000.0) as usize;
        Ok(Ok(side))
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

    /// Bytes at the peak, whole and above what the runtime took; of ourselves, on a CPU, those on the heap during a unit
    /// of work.
    fn memory(&mut self, of_unit: bool) -> Result<[f64; 2]> {
        let line = self.ask(if of_unit { "unit" } else { "memory" })?;
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
    let gpu = cases::device().is_asynchronous();
    let mut chosen = args.cases.clone();
    if chosen.is_empty() {
        let kinds = ["train", "prefill", "generate", "wkv6", "ssd", "attention", "cross_entropy", "adamw"];
        let kinds = kinds.into_iter().chain((!gpu).then_some("linear"));
        chosen = kinds.flat_map(cases::names).filter(|n| !n.contains("groundthink")).collect();
    }
    if args.list {
        chosen.iter().for_each(|case| println!("{case}"));
        return Ok(());
    }
    if args.nanogpt.is_none() && args.against.is_none() {
        println!("peers: no --nanogpt DIR, nothing to compare with (benches/peers/README.md)");
        return Ok(());
    }
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok)?;
    let memory = if args.tuned { "tuned" } else { "defaults" };
    let mode = if args.compile { "compiled" } else { "eager" };
    println!("PyTorch ({mode}, {memory}) / ours, {threads} threads, {} rounds in turns;", args.rounds);
    println!("above 1 we are faster, or smaller");
    let ceilings = if args.nanogpt.is_some() { ceilings(&args)? } else { None };
    if let Some([product, copy]) = ceilings {
        println!(
            "{}: {product:.0} TFLOP/s and {copy:.2} TB/s in PyTorch's products and copies;",
            current().name()
        );
        println!("of that ceiling: what a case needs at least / what it took, ours and the peer's");
    }
    println!(
        "\n| case | ours | peer | ratio of medians | lowest, highest | peak memory, ours and peer | ratio | of the ceiling | peer |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut failed = 0;
    for case in &chosen {
        // On a GPU, lent by the minute, one case that fails must not cost the others.
        match compare(&args, ceilings, &threads.to_string(), case) {
            Err(error) if gpu => {
                failed += 1;
                println!("| {case} | failed: {} |", format!("{error:#}").replace('\n', " "));
            }
            row => println!("{}", row?),
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of {} cases failed", chosen.len());
    Ok(())
}

/// PyTorch's side of a case.
fn torch(args: &Args, case: &str) -> Command {
    let mut torch = Command::new(&args.python);
    torch.arg(&args.side).arg(case).args(args.compile.then_some("--compile"));
    if let Some(nanogpt) = &args.nanogpt {
        torch.arg("--nanogpt").arg(nanogpt);
    }
    if current().is_asynchronous() {
        torch.args(["--device", "cuda"]);
    } else if in_bfloat16(args) {
        torch.arg("--bfloat16");
    }
    torch
}

/// Whether ours computes in bfloat16.
fn in_bfloat16(args: &Args) -> bool {
    match args.precision.as_deref() {
        Some(precision) => precision == "bfloat16",
        None => Precision::Native.on(current()) == Precision::Bfloat16,
    }
}

/// What PyTorch reaches here, in TFLOP/s and TB/s.
fn ceilings(args: &Args) -> Result<Option<[f64; 2]>> {
    let output = torch(args, "ceilings").stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Option<Vec<f64>> = text.split_whitespace().map(|x| x.parse().ok()).collect();
    Ok(numbers.and_then(|n| <[f64; 2]>::try_from(n).ok()))
}

/// A row of the table.
fn compare(args: &Args, ceilings: Option<[f64; 2]>, threads: &str, case: &str) -> Result<String> {
    let serving = |case: &str, precision: Option<&String>| -> Result<Side> {
        let mut ours = Command::new(std::env::current_exe()?);
        ours.args(["--serve", case]).env("RAYON_NUM_THREADS", threads);
        precision.map(|p| ours.env("V5_PRECISION", p));
        Side::start(&mut ours)?.map_err(anyhow::Error::msg)
    };
    let mut ours = serving(case, args.precision.as_ref())?;
    let peer = if let Some(precision) = &args.against {
        let mut peer = serving(case, Some(precision))?;
        peer.name = format!("ours in {precision}");
        Ok(peer)
    } else if case.contains("groundthink") {
        // No peer has the hybrid: it is compared with our own GPT-2.
        Ok(serving(&case.replace("groundthink", "gpt2"), args.precision.as_ref())?)
    } else {
        let mut torch = torch(args, case);
        torch.env("OMP_NUM_THREADS", threads).env("MKL_NUM_THREADS", threads);
        if args.tuned {
            // glibc: no block gets a mapping of its own, and nothing is given back to the system.
            torch.arg("--fused").env("MALLOC_MMAP_MAX_", "0").env("MALLOC_TRIM_THRESHOLD_", "100000000000");
        }
        Side::start(&mut torch)?
    };
    let mega = |x: f64| x / 1e6;
    let least = least::least(case)?;
    let reached = |seconds: f64| match ceilings {
        Some(ceilings) => format!("{:.0} %", 100.0 * least.seconds(ceilings) / seconds),
        None => "–".to_owned(),
    };
    let mut peer = match peer {
        Ok(peer) => peer,
        Err(reason) => {
            let times = (0..args.rounds).map(|_| ours.seconds()).collect::<Result<Vec<_>>>()?;
            let (time, m) = (median(times), ours.memory(false)?);
            ours.stop()?;
            let memory = format!("{:.0} (+{:.0}) MB", mega(m[0]), mega(m[1]));
            let reached = reached(time);
            return Ok(format!(
                "| {case} | {:.3} ms | – | – | – | {memory} | – | {reached} | none: {reason} |",
                time * 1e3
            ));
        }
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
    let of_unit = args.against.is_some() && !current().is_asynchronous();
    let (m, n) = (ours.memory(of_unit)?, peer.memory(of_unit)?);
    let name = if peer.name.is_empty() { "our GPT-2".to_owned() } else { peer.name.clone() };
    ours.stop()?;
    peer.stop()?;
    let (a, b) = (median(a), median(b));
    Ok(format!(
        "| {case} | {:.3} ms | {:.3} ms | **{:.2}** | {:.2}, {:.2} | {:.0} (+{:.0}), {:.0} (+{:.0}) MB | {:.2} | {}, {} | {name} |",
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
        reached(a),
        reached(b),
    ))
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    let half = x.len() / 2;
    if x.len() % 2 == 1 { x[half] } else { (x[half - 1] + x[half]) / 2.0 }
}

/// A case's work, warmed up.
fn warm(case: &str) -> Result<cases::Work> {
    let mut work = cases::work(case)?;
    cases::timed(&mut work, 3)?;
    Ok(work)
}

fn serve(case: &str) -> Result<()> {
    v5gate::keep_freed_memory();
    let device = cases::device();
    let gpu = device.is_asynchronous();
    let baseline = if gpu { device.memory_in_use()? as u64 } else { status("VmRSS:")? };
    let (mut work, peak) = match gpu {
        true => device.peak_of(|| warm(case)).map(|(work, peak)| (work, peak as u64))?,
        false => (warm(case), 0),
    };
    let work = work.as_mut().map_err(|e| anyhow::anyhow!("{case}: {e:#}"))?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        if line == "memory" {
            println!("{baseline} {}", if gpu { peak } else { status("VmHWM:")? });
            continue;
        }
        if line == "unit" {
            let (done, peak) = device.peak_of(|| cases::timed(work, 1))?;
            done?;
            println!("0 {peak}");
            continue;
        }
        println!("{}", cases::timed(work, line.parse()?)?.as_secs_f64());
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
