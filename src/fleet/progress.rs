//! How far the tasks of a protocol are, from what lies in its folder of evidence; nothing is computed or locked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cost::{Cost, Rate};
use crate::collect::{self, FleetTask, REVISION, TIMES, Trial, times_folder};
use crate::evidence::{Ledger, LedgerError, RUNS};
use crate::files::FileLock;
use crate::probes::{PROBES, Probe};
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
        let scene = Scene::of(protocol, out, data, &ledger);
        let (mut tasks, mut pace) = (Vec::new(), Pace::default());
        for (number, task) in collect::tasks(protocol).iter().enumerate() {
            tasks.push(scene.progress(number, task, &mut pace));
        }
        let rate = pace.rate().unwrap_or_else(rate);
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

/// What ended trainings tell of how fast they go.
#[derive(Default)]
struct Pace {
    flops: f64,
    seconds: f64,
    asked: usize,
}

impl Pace {
    fn learn(&mut self, run: &RunDir, cost: &Cost) {
        if self.asked < MOST_ASKED
            && let Ok(Some(run)) = run.ended()
        {
            self.asked += 1;
            (self.flops, self.seconds) = (self.flops + cost.flops, self.seconds + run.seconds);
        }
    }

    fn rate(&self) -> Option<Rate> {
        let source = || "as the trainings that have ended took".to_owned();
        let flops_per_second = self.flops / self.seconds;
        (self.seconds > 0.0).then(|| Rate { flops_per_second, source: source() })
    }
}

/// What is there, ready to be asked about a task.
struct Scene<'a> {
    protocol: &'a Protocol,
    out: &'a Path,
    /// The probes for which there are data.
    wanted: Vec<&'static Probe>,
    answered: AnsweredProbes<'a>,
    folders: BTreeMap<String, Vec<PathBuf>>,
}

impl<'a> Scene<'a> {
    fn of(protocol: &'a Protocol, out: &'a Path, data: Option<&Path>, ledger: &'a Ledger) -> Self {
        let data = protocol.eval_data(data);
        let wanted = PROBES.iter().filter(|p| p.is_available(&data)).collect();
        Self { protocol, out, wanted, answered: answers(ledger), folders: run_folders(out) }
    }

    fn progress(&self, number: usize, task: &FleetTask, pace: &mut Pace) -> Progress {
        let (label, scale) = (task.label(), task.scale().name);
        match task {
            FleetTask::Times { scale: size, seed } => {
                let has = |model: &String| self.answered.timed(model, scale, *seed);
                let state = if self.protocol.models.iter().all(has) {
                    TaskState::Proven
                } else if is_worked_on(&self.out.join(RUNS).join(times_folder(size, *seed))) {
                    TaskState::Running
                } else {
                    TaskState::Waiting
                };
                let (steps, of_steps, cost, hours_left) = (0, 0, Cost::default(), 0.0);
                Progress { number, task: label, scale, state, steps, of_steps, cost, hours_left }
            }
            FleetTask::Trial(trial) => {
                let (cost, of_steps) = (Cost::of(self.protocol, trial), self.protocol.recipe.steps());
                let found = newest(&self.folders, trial);
                let state = self.state(trial, found.as_ref());
                let (mut steps, mut hours_left) = (0, f64::NAN);
                if let Some(Found { run, ended, steps: saved }) = &found {
                    steps = if *ended { of_steps } else { *saved };
                    if *ended {
                        pace.learn(run, &cost);
                    } else if let Ok(Some(stored)) = run.stored() {
                        // Its own machine's pace, once a step has been saved.
                        let each = stored.seconds / stored.curve.len().max(1) as f64;
                        hours_left = each * of_steps.saturating_sub(steps) as f64 / 3600.0;
                    }
                }
                if matches!(state, TaskState::Proven | TaskState::Trained) || steps == of_steps {
                    hours_left = 0.0;
                }
                Progress { number, task: label, scale, state, steps, of_steps, cost, hours_left }
            }
        }
    }

    fn state(&self, trial: &Trial, found: Option<&Found>) -> TaskState {
        let recipe = self.protocol.recipe_digest(trial.scale);
        let mut asked = self.wanted.iter().filter(|probe| probe.concerns(trial.spec.name));
        if asked.all(|probe| self.answered.has(trial, &recipe, probe.id)) {
            return TaskState::Proven;
        }
        match found {
            None => TaskState::Waiting,
            Some(found) if is_worked_on(&found.run.0) => TaskState::Running,
            Some(found) if found.ended => TaskState::Trained,
            Some(_) => TaskState::Begun,
        }
    }
}

/// A model, a scale and a seed.
type TrialKey<'a> = (&'a str, &'a str, u64);

/// Who has answered which probe.
struct AnsweredProbes<'a> {
    /// By trial: recipe and probe.
    by_trial: HashMap<TrialKey<'a>, HashSet<(&'a str, &'a str)>>,
}

fn answers(ledger: &Ledger) -> AnsweredProbes<'_> {
    let mut by_trial: HashMap<_, HashSet<_>> = HashMap::new();
    for m in ledger.measurements().filter(|m| m.provenance().revision == REVISION) {
        let (of, from) = (m.subject(), m.provenance());
        let key = (of.model.as_str(), of.scale.as_str(), of.seed);
        by_trial.entry(key).or_default().insert((from.recipe.as_str(), from.probe.as_str()));
    }
    AnsweredProbes { by_trial }
}

impl AnsweredProbes<'_> {
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
