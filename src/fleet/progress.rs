//! How far the tasks of a protocol are, from what lies in its folder of evidence; nothing is computed or locked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cost::{Cost, Rate};
use crate::collect::{FleetTask, REVISION, TIMES, Trial, tasks, times_folder};
use crate::evidence::{Ledger, LedgerError, RUNS};
use crate::files::FileLock;
use crate::probes::PROBES;
use crate::protocol::Protocol;
use crate::train::RunDir;

/// What became of a task so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Nothing is there.
    Waiting,
    /// It was begun, and no process works on it.
    Begun,
    /// A process works on it.
    Running,
    /// The training has ended; answers are lacking.
    Trained,
    /// A ledger has everything that it is to give.
    Proven,
}

impl TaskState {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Begun => "begun",
            Self::Running => "running",
            Self::Trained => "trained",
            Self::Proven => "proven",
        }
    }
}

/// A task and how far it is.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    /// Its number.
    pub number: usize,
    /// Its name.
    pub task: String,
    /// Its size.
    pub scale: &'static str,
    /// What became of it.
    pub state: TaskState,
    /// Steps of the training that are on disk.
    pub steps: u64,
    /// Steps of the training in all; none where nothing is trained.
    pub of_steps: u64,
    /// What the training costs in all.
    pub cost: Cost,
    /// Hours that are left at the rate of its machine so far, or at the fleet's.
    pub hours_left: f64,
}

/// Every task of a protocol.
#[derive(Clone, Debug, Serialize)]
pub struct Fleet {
    /// The tasks, by number.
    pub tasks: Vec<Progress>,
    /// How fast trainings go.
    pub rate: Rate,
}

/// A run's folder as far as a list needs it.
struct Found {
    run: RunDir,
    ended: bool,
    /// Steps that are on disk, where it has not ended.
    steps: u64,
}

/// So many ended trainings tell how fast they go: their records are long.
const MOST_ASKED: usize = 8;

impl Fleet {
    /// Reads what is there; `rate` is asked for only where no ended training tells how fast they go.
    ///
    /// # Errors
    /// A ledger that cannot be read.
    pub fn read(
        protocol: &Protocol,
        out: &Path,
        data: Option<&Path>,
        rate: impl FnOnce() -> Rate,
    ) -> Result<(Self, Ledger), LedgerError> {
        let ledger = Ledger::open_below(out)?;
        let answered = answers(&ledger);
        let eval_data = protocol.eval_data(data);
        let wanted: Vec<&str> = PROBES.iter().filter(|p| p.is_available(&eval_data)).map(|p| p.id).collect();
        let folders = run_folders(out);
        let all = tasks(protocol);
        let mut tasks = Vec::with_capacity(all.len());
        let (mut work, mut seconds, mut asked) = (0.0, 0.0, 0);
        for (number, task) in all.iter().enumerate() {
            let (found, cost) = match task {
                FleetTask::Trial(trial) => (newest(&folders, trial), Cost::of(protocol, trial)),
                FleetTask::Times { .. } => (None, Cost::default()),
            };
            if let Some(found) = found.as_ref().filter(|found| found.ended && asked < MOST_ASKED)
                && let Ok(Some(run)) = found.run.ended()
            {
                asked += 1;
                (work, seconds) = (work + cost.flops, seconds + run.seconds);
            }
            let proven = match task {
                FleetTask::Trial(trial) => {
                    let recipe = protocol.recipe_digest(trial.scale);
                    let has = |probe: &&str| answered.has(trial, &recipe, probe);
                    wanted.iter().all(has)
                }
                FleetTask::Times { scale, seed } => {
                    let has = |model: &String| answered.timed(model, scale.name, *seed);
                    protocol.models.iter().all(has)
                }
            };
            let of_steps = if cost.tokens > 0 { protocol.recipe.steps() } else { 0 };
            let steps = found.as_ref().map_or(0, |found| if found.ended { of_steps } else { found.steps });
            let state = match (&found, task) {
                _ if proven => TaskState::Proven,
                (Some(found), _) if is_worked_on(&found.run.0) => TaskState::Running,
                (Some(found), _) if found.ended => TaskState::Trained,
                (Some(_), _) => TaskState::Begun,
                (None, FleetTask::Times { scale, seed })
                    if is_worked_on(&out.join(RUNS).join(times_folder(scale, *seed))) =>
                {
                    TaskState::Running
                }
                (None, _) => TaskState::Waiting,
            };
            // Its own machine's pace, once a step has been saved.
            let pace =
                found.as_ref().filter(|found| !found.ended).and_then(|found| found.run.stored().ok()?);
            let left = of_steps.saturating_sub(steps) as f64;
            let own = pace.map(|run| run.seconds / run.curve.len().max(1) as f64 * left);
            let done = matches!(state, TaskState::Proven | TaskState::Trained);
            let hours_left = if done { 0.0 } else { own.map_or(f64::NAN, |seconds| seconds / 3600.0) };
            let scale = task.scale().name;
            tasks.push(Progress {
                number,
                task: task.label(),
                scale,
                state,
                steps,
                of_steps,
                cost,
                hours_left,
            });
        }
        let rate = match seconds > 0.0 {
            true => Rate {
                flops_per_second: work / seconds,
                source: "as the trainings that have ended took".to_owned(),
            },
            false => rate(),
        };
        for task in tasks.iter_mut().filter(|task| task.hours_left.is_nan()) {
            task.hours_left = rate.hours(task.cost.flops);
        }
        Ok((Self { tasks, rate }, ledger))
    }

    /// Takes another rate where none was measured for a task itself.
    pub fn pace(&mut self, rate: Rate) {
        for task in self.tasks.iter_mut().filter(|task| task.steps == 0 && task.state != TaskState::Proven) {
            task.hours_left = rate.hours(task.cost.flops);
        }
        self.rate = rate;
    }

    /// What the tasks cost for which `which` holds.
    pub fn total(&self, which: impl Fn(&Progress) -> bool) -> Cost {
        let costs = self.tasks.iter().filter(|task| which(task)).map(|task| task.cost);
        costs.fold(Cost::default(), Cost::plus)
    }

    /// Hours of training that are left of these tasks, one after the other.
    pub fn hours_left(&self, which: impl Fn(&Progress) -> bool) -> f64 {
        self.tasks.iter().filter(|task| which(task)).map(|task| task.hours_left).sum()
    }

    /// The numbers of the tasks that are not proven and for which `which` holds.
    pub fn open(&self, which: impl Fn(&Progress) -> bool) -> Vec<usize> {
        let open = self.tasks.iter().filter(|task| task.state != TaskState::Proven && which(task));
        open.map(|task| task.number).collect()
    }
}

/// Who has answered which probe.
struct Answers<'a> {
    /// By model, scale and seed: recipe and probe.
    by_trial: HashMap<(&'a str, &'a str, u64), HashSet<(&'a str, &'a str)>>,
}

fn answers(ledger: &Ledger) -> Answers<'_> {
    let mut by_trial: HashMap<_, HashSet<_>> = HashMap::new();
    for m in ledger.measurements().filter(|m| m.provenance().revision == REVISION) {
        let (of, from) = (m.subject(), m.provenance());
        let key = (of.model.as_str(), of.scale.as_str(), of.seed);
        by_trial.entry(key).or_default().insert((from.recipe.as_str(), from.probe.as_str()));
    }
    Answers { by_trial }
}

impl Answers<'_> {
    fn has(&self, trial: &Trial, recipe: &str, probe: &str) -> bool {
        let of = (trial.spec.name, trial.scale.name, trial.seed);
        self.by_trial.get(&of).is_some_and(|known| known.contains(&(recipe, probe)))
    }

    fn timed(&self, model: &str, scale: &str, seed: u64) -> bool {
        let known = self.by_trial.get(&(model, scale, seed));
        known.is_some_and(|known| known.iter().any(|(_, probe)| *probe == TIMES))
    }
}

/// The folders of runs by what their names begin with: scale, model and seed.
fn run_folders(out: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(out.join(RUNS)).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some((trial, _)) = name.rsplit_once('-') {
            found.entry(trial.to_owned()).or_default().push(path);
        }
    }
    found
}

/// Of the folders of a trial, that which was worked in last.
fn newest(folders: &BTreeMap<String, Vec<PathBuf>>, trial: &Trial) -> Option<Found> {
    let name = format!("{}-{}-seed-{}", trial.scale.name, trial.spec.name, trial.seed);
    let changed = |path: &&PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
    let folder = folders.get(&name)?.iter().max_by_key(changed)?.clone();
    let run = RunDir(folder);
    let (ended, steps) = (run.has_ended(), run.stored_steps().unwrap_or(0));
    Some(Found { run, ended, steps })
}

/// Whether a process holds a lock in that folder.
fn is_worked_on(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.to_string_lossy().ends_with(".lock")).any(|path| FileLock::is_held(&path))
}
