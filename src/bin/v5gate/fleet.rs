//! `v5gate fleet`, and `run` where it does one task of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::output::print;
use v5gate::collect::{Options, run_task};
use v5gate::evidence::Ledger;
use v5gate::fleet::{
    Cluster, Fleet, Forecast, NUMBERS, Progress, Rate, Site, TaskState, forecast, kubernetes, skypilot, slurm,
};
use v5gate::gate::{Role, Status, judge};
use v5gate::protocol::Protocol;
use v5gate::report::{self, Table};
use v5gate::scale::SCALES;

/// Who starts the processes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// A shell script that calls `sbatch`.
    Slurm,
    /// Jobs for `kubectl apply -f -`.
    Kubernetes,
    /// A task for `sky jobs launch --pool POOL --num-jobs N`.
    Skypilot,
}

/// Tasks of a protocol for other machines: a script on stdout, what it costs on stderr.
#[derive(Args)]
pub struct FleetArguments {
    /// smoke, pilot, quick, full, or a TOML file.
    #[arg(long, default_value = "full", env = "V5_PROTOCOL")]
    protocol: String,
    /// Folder for evidence, which all machines share; out/NAME where absent.
    #[arg(long, env = "V5_OUT")]
    out: Option<PathBuf>,
    /// Folder that the protocol's data paths start from.
    #[arg(long, env = "V5_DATA")]
    data: Option<PathBuf>,
    /// Who starts the processes.
    #[arg(long, value_enum, default_value = "slurm")]
    engine: Engine,
    /// Hands the script to Slurm instead of printing it.
    #[arg(long, conflicts_with_all = ["status", "json"])]
    submit: bool,
    /// A table of the tasks, how far each is and what is left.
    #[arg(long, conflicts_with = "json")]
    status: bool,
    /// Tasks, cost and forecast as one JSON document.
    #[arg(long)]
    json: bool,
    /// TFLOP/s that a training reaches on a machine of the fleet; measured where absent.
    #[arg(long, value_name = "TFLOPS")]
    rate: Option<f64>,
    /// Tasks of scales above 8M wait for the others, and end at once where a PASS is out of reach.
    #[arg(long)]
    stop_for_futility: bool,
    /// An option for sbatch, such as --sbatch=--partition=gpu; may be given often.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Kubernetes: the container image with the program.
    #[arg(long, default_value = "v5gate:latest")]
    image: String,
    /// Kubernetes: the claim of the volume with evidence and data.
    #[arg(long, default_value = "v5gate")]
    claim: String,
    /// Kubernetes: where that volume is mounted.
    #[arg(long, default_value = "/v5gate")]
    mount: String,
    /// Kubernetes: pods at a time.
    #[arg(long, default_value_t = 8)]
    parallelism: usize,
}

/// Does what the options ask for.
pub fn run(a: &FleetArguments) -> Result<u8> {
    if a.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
        bail!("--rate: expected a positive number of TFLOP/s, got {}", a.rate.unwrap_or_default());
    }
    let protocol = Protocol::load(&a.protocol)?;
    let out = a.out.clone().unwrap_or_else(|| Path::new("out").join(&protocol.name));
    let rate = || a.rate.map_or_else(measured, Rate::given);
    let (mut fleet, ledger) = Fleet::read(&protocol, &out, a.data.as_deref(), rate)?;
    if let Some(given) = a.rate {
        fleet.pace(Rate::given(given));
    }
    let foretold = forecast(&protocol, &ledger);
    if a.json {
        let document = json!({
            "protocol": protocol.name,
            "tasks": fleet.tasks,
            "rate": fleet.rate,
            "total": fleet.total(|_| true),
            "hours_left": fleet.hours_left(|_| true),
            "forecast": foretold,
        });
        print(&super::list::pretty(&document)?)?;
        return Ok(0);
    }
    if a.status {
        print(&status(&fleet))?;
        return Ok(0);
    }
    eprint!("{}", costs(&protocol, &fleet, &foretold));
    let site = site(a, &protocol, &out)?;
    let is_training = |task: &Progress| task.of_steps > 0;
    match a.engine {
        Engine::Slurm => {
            let script = slurm(&site, &arrays(&fleet, a.stop_for_futility), &a.sbatch);
            if a.submit { submit(&script)? } else { print(&script)? }
        }
        _ if a.submit => bail!("--submit: expected --engine slurm; the others read what is printed"),
        Engine::Kubernetes => {
            let trainings = fleet.tasks.iter().filter(|task| is_training(task)).count();
            let (image, claim, mount) = (a.image.clone(), a.claim.clone(), a.mount.clone());
            let cluster = Cluster { image, claim, mount, parallelism: a.parallelism.max(1) };
            let list = kubernetes(&site, &cluster, trainings, fleet.tasks.len() - trainings);
            print(&super::list::pretty(&list)?)?;
        }
        Engine::Skypilot => print(&super::list::pretty(&skypilot(&site))?)?,
    }
    Ok(0)
}

fn measured() -> Rate {
    Rate::of_this_machine()
        .unwrap_or_else(|error| Rate { flops_per_second: f64::NAN, source: format!("unknown: {error}") })
}

/// What the tasks' command lines are made of. Folders are absolute: a task starts elsewhere.
fn site(a: &FleetArguments, protocol: &Protocol, out: &Path) -> Result<Site> {
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    let is_file = Path::new(&a.protocol).is_file();
    let named =
        if is_file { absolute(Path::new(&a.protocol))?.display().to_string() } else { a.protocol.clone() };
    let program = match a.engine {
        Engine::Slurm => std::env::current_exe().context("the program's own path")?,
        Engine::Kubernetes | Engine::Skypilot => PathBuf::from("v5gate"),
    };
    let data = a.data.as_deref().map(absolute).transpose()?;
    let out = absolute(out)?;
    for path in [Some(&program), Some(&out), data.as_ref()].into_iter().flatten() {
        let plain = path.to_str().is_some_and(|text| !text.contains(|c: char| c.is_control() || c == '\\'));
        if !plain {
            bail!(
                "fleet: expected a path that a script can name, without line breaks and backslashes, got {path:?}"
            );
        }
    }
    if let Some(odd) = a.sbatch.iter().chain([&named]).find(|word| word.contains(char::is_control)) {
        bail!("fleet: expected words without line breaks, got {odd:?}");
    }
    Ok(Site {
        program,
        protocol: named,
        name: protocol.name.clone(),
        out,
        data,
        stop_for_futility: a.stop_for_futility,
    })
}

/// Whether a scale is decided before the others where futility stops them.
fn is_early(name: &str) -> bool {
    let place = |name: &str| SCALES.iter().position(|scale| scale.name == name);
    place(name) <= place("8M")
}

/// The arrays of tasks, one after the other: trainings, the early ones first where that was asked for; then times.
fn arrays(fleet: &Fleet, stop_for_futility: bool) -> Vec<Vec<usize>> {
    let is_training = |task: &Progress| task.of_steps > 0;
    let times = fleet.open(|task| !is_training(task));
    if !stop_for_futility {
        return vec![fleet.open(is_training), times];
    }
    let early = fleet.open(|task| is_training(task) && is_early(task.scale));
    let late = fleet.open(|task| is_training(task) && !is_early(task.scale));
    vec![early, late, times]
}

/// Hands a script to the shell that calls sbatch.
fn submit(script: &str) -> Result<()> {
    let started = Command::new("sh").arg("-s").stdin(Stdio::piped()).spawn();
    let mut shell = started.context("sh")?;
    if let Some(mut input) = shell.stdin.take() {
        input.write_all(script.as_bytes()).context("sh")?;
    }
    let ended = shell.wait().context("sh")?;
    if !ended.success() {
        bail!("--submit: the script ended with {ended}; what it printed says why");
    }
    Ok(())
}

/// A table of all tasks.
fn status(fleet: &Fleet) -> String {
    let row = |task: &Progress| {
        let steps = match task.of_steps {
            0 => String::new(),
            of => format!("{}/{of}", task.steps),
        };
        let left = if task.state == TaskState::Proven { String::new() } else { hours(task.hours_left) };
        vec![task.number.to_string(), task.task.clone(), task.state.name().to_owned(), steps, left]
    };
    let rows: Vec<Vec<String>> = fleet.tasks.iter().map(row).collect();
    let mut text = table(&["task", "what", "state", "steps", "left"], rows);
    let count = |state| fleet.tasks.iter().filter(|task| task.state == state).count();
    let states =
        [TaskState::Proven, TaskState::Trained, TaskState::Running, TaskState::Begun, TaskState::Waiting];
    let counts: Vec<String> = states.map(|state| format!("{} {}", count(state), state.name())).into();
    text += &format!("{}; {} of training left\n", counts.join(", "), hours(fleet.hours_left(|_| true)));
    text
}

/// What the protocol costs, scale by scale, and what it will be able to tell.
fn costs(protocol: &Protocol, fleet: &Fleet, foretold: &[Forecast]) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, which: &dyn Fn(&Progress) -> bool| {
        let total = fleet.total(which);
        let trainings = fleet.tasks.iter().filter(|task| task.of_steps > 0 && which(task)).count();
        let times = fleet.tasks.iter().filter(|task| task.of_steps == 0 && which(task)).count();
        rows.push(vec![
            name.to_owned(),
            trainings.to_string(),
            times.to_string(),
            format!("{:.3e}", total.tokens as f64),
            format!("{:.2e}", total.flops),
            format!("{:.1} GB", total.bytes as f64 / 1e9),
            format!("{:.1} GB", total.checkpoint_bytes as f64 / 1e9),
            hours(fleet.rate.hours(total.flops)),
            hours(fleet.hours_left(which)),
        ]);
    };
    for scale in protocol.scales() {
        row(scale.name, &|task| task.scale == scale.name);
    }
    row("in all", &|_| true);
    let heads = ["scale", "trainings", "times", "tokens", "FLOPs", "kept", "checkpoint", "training", "left"];
    let mut text = format!("{}: {}\n", protocol.name, protocol.about);
    text += &table(&heads, rows);
    text += &format!("hours of one machine at {:.3} TFLOP/s, ", fleet.rate.flops_per_second / 1e12);
    text += &format!("{}; probes and times are not in them\n", fleet.rate.source);
    for f in foretold {
        text += &format!(
            "{} {}: of {} pairs, {} trials detect {:.4} {} in four cases of five; ruling R7 asks for more than {:.4}\n",
            f.scale,
            f.metric.id(),
            f.pairs,
            f.trials,
            f.detectable,
            f.metric.unit(),
            f.significant,
        );
    }
    text
}

fn hours(hours: f64) -> String {
    match hours {
        h if h < 0.1 => format!("{:.0} min", 60.0 * h),
        h => format!("{h:.1} h"),
    }
}

fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let screen = report::TerminalStyle::of(&console::Term::stdout());
    let head = heads.iter().map(|&head| head.to_owned()).collect();
    report::show_tables(&[Table { title: "Tasks".to_owned(), head, rows }], screen)
}

/// The task that a process is to do: as asked, or as the engine that started it says.
pub fn number(asked: Option<usize>) -> Result<Option<usize>> {
    if asked.is_some() {
        return Ok(asked);
    }
    let said = NUMBERS.iter().filter_map(|name| Some((name, std::env::var_os(name)?))).next();
    let Some((name, value)) = said else { return Ok(None) };
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => bail!("{name}: expected the number of a task, got {value:?}"),
    }
}

/// Does one task. 0 where it is done, the code of a FAIL where it need not be done any more.
pub fn run_one(
    protocol: &Protocol,
    options: &Options<'_>,
    number: usize,
    stop_for_futility: bool,
) -> Result<u8> {
    let tasks = v5gate::collect::tasks(protocol);
    let late = |task: &v5gate::collect::FleetTask| !is_early(task.scale().name);
    if stop_for_futility
        && tasks.get(number).is_some_and(late)
        && let Some((id, scale)) = out_of_reach(options.out)?
    {
        eprintln!("task {number}: not begun: {id} at {scale} is unmet, so that no PASS is in reach");
        return Ok(v5gate::gate::Verdict::Fail.exit_code());
    }
    let mut rounds = |_: &str, times: usize, round: &mut dyn FnMut()| (0..times).for_each(|_| round());
    let ledger = run_task(protocol, options, number, &mut rounds)?;
    eprintln!("task {number} ({}): done, in {}", tasks[number].label(), ledger.display());
    Ok(0)
}

/// A required row of a scale that is decided early and that is unmet.
fn out_of_reach(out: &Path) -> Result<Option<(&'static str, &'static str)>> {
    let judgement = judge(&Ledger::open_below(out)?);
    let lost = judgement
        .findings
        .iter()
        .find(|f| f.role == Role::Required && f.status == Status::Unmet && is_early(f.scale));
    Ok(lost.map(|f| (f.criterion, f.scale)))
}
