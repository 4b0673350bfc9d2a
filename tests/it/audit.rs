//! Audits of trainings: sound ones agree, every mistake of the referee and every defect of a training is seen.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use v5gate::data::batches::{Batches, Order};
use v5gate::data::cache::TokenFile;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::models::Config;
use v5gate::progress::Screen;
use v5gate::referee::{Deviation, Fault, LARGEST_STEP, RunFiles, TrainingAudit, audit_training, farthest};
use v5gate::train::{Optimizer, Precision, Recipe, RunDir, Schedule, TrainJob};

use crate::models::{small, small_gpt2, small_groundthink, small_mamba2, small_rwkv6};

const STEPS: u64 = 24;

fn recipe() -> Recipe {
    Recipe {
        token_count: STEPS * 4 * 24,
        batch_size: 4,
        micro_batch_size: 2,
        context_length: 24,
        learning_rate_schedule: Schedule::Cosine,
        warmup_steps: 5,
        max_lr: 1e-2,
        min_lr: 1e-3,
        weight_decay: 0.1,
        optimizer: Optimizer::AdamW,
        betas: [0.9, 0.95],
        eps: 1e-8,
        // So low that it binds.
        grad_clip: 0.3,
        precision: Precision::Float32,
    }
}

/// Text, its order, and room for trainings on it.
struct Bench {
    folder: tempfile::TempDir,
    tokenizer: Tokenizer,
    text: TokenFile,
    order: Order,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::train(&["a"], 257).unwrap();
        let text = text(folder.path(), "text", &tokenizer, |_, id| id);
        let order = Order::draw(90, (STEPS * 4) as usize, 3).unwrap();
        Self { folder, tokenizer, text, order }
    }

    /// Trains in a folder of that name, interrupted after each of these steps.
    fn train(&self, name: &str, config: &Config, seed: u64, with: &Defect<'_>, stops: &[u64]) -> RunDir {
        let dir = RunDir(self.folder.path().join(name));
        let text = with.text.unwrap_or(&self.text);
        let order = with.order.as_ref().unwrap_or(&self.order).clone();
        let job = TrainJob {
            config: config.clone(),
            recipe: with.recipe.clone().unwrap_or_else(recipe),
            seed,
            batches: Batches::new(text, order, 24).unwrap(),
            data: self.text.digest().to_owned(),
            tokenizer: &self.tokenizer,
            compute: v5gate::device::current(),
            checkpoint_every: 5,
            label: name.to_owned(),
        };
        for stop in stops {
            dir.train(&job, &Screen::quiet(), &|step| step == *stop).unwrap();
        }
        dir.train(&job, &Screen::quiet(), &|_| false).unwrap();
        dir
    }

    fn audit(&self, dir: &RunDir, seed: u64, fault: Option<Fault>) -> TrainingAudit {
        self.audit_up_to(LARGEST_STEP, dir, seed, fault)
    }

    /// Whole steps of at most so many multiplications, larger ones by their windows.
    fn audit_up_to(&self, largest: f64, dir: &RunDir, seed: u64, fault: Option<Fault>) -> TrainingAudit {
        let recipe = recipe();
        let (folder, text, order) = (dir.0.as_path(), &self.text, &self.order);
        let files = RunFiles { folder, recipe: &recipe, seed, text, order, brief: false, largest };
        audit_training(&files, fault, &|_| ()).unwrap()
    }
}

/// What a training does otherwise than it should.
#[derive(Default)]
struct Defect<'a> {
    recipe: Option<Recipe>,
    text: Option<&'a TokenFile>,
    order: Option<Order>,
}

fn text(folder: &Path, name: &str, tokenizer: &Tokenizer, change: impl Fn(u32, u32) -> u32) -> TokenFile {
    let ids = (0..24 * 90 + 1u32).map(|i| change(i, (i * i + i / 7) % 61)).collect();
    TokenFile::from_ids(&folder.join(name), name, tokenizer, vec![ids]).unwrap()
}

fn share(all: &[Deviation]) -> f64 {
    farthest(all).map_or(f64::NAN, Deviation::share)
}

fn worst(audit: &TrainingAudit) -> f64 {
    share(&audit.initial).max(share(&audit.steps))
}

#[test]
fn sound_trainings_agree() {
    let bench = Bench::new();
    let mut far = 0;
    for (i, config) in small().iter().enumerate() {
        for seed in 1..=3 {
            let dir = bench.train(&format!("{i}-{seed}"), config, seed, &Defect::default(), &[]);
            let audit = bench.audit(&dir, seed, None);
            assert!(audit.not_covered.is_empty(), "{:?}", audit.not_covered);
            println!("{i} seed {seed}: {:?} {:?}", farthest(&audit.initial), farthest(&audit.steps));
            assert!(worst(&audit) < 1.0, "{:?} {:?}", farthest(&audit.initial), farthest(&audit.steps));
            // A weight beside what its moments make of it may be off by 0.63 of its tolerance: three roundings of four.
            let (estimated, weights): (Vec<_>, Vec<_>) =
                audit.steps.iter().cloned().partition(|d| d.what.contains(" of "));
            assert!(share(&weights).max(share(&audit.initial)) < 0.7, "{:?}", farthest(&weights));
            far += usize::from(share(&estimated) >= 0.5);
            // The same steps by some of their windows, as it is done where a whole one is too large.
            let parts = bench.audit_up_to(0.0, &dir, seed, None);
            println!("{i} seed {seed}, by windows: {:?}", farthest(&parts.steps));
            assert!(parts.not_covered.is_empty() && parts.covered.len() > 2, "{:?}", parts.covered);
            assert!(worst(&parts) < 1.0, "{:?}", farthest(&parts.steps));
        }
    }
    // What rounding does to a moment is estimated. Of 95 sound trainings of 40 seeds four were at half the tolerance or
    // more, the farthest at 0.71; which steps are looked at follows from the program's revision.
    assert!(far <= 3, "{far} of 12 sound trainings are at half the tolerance or more");
}

/// With each of its mistakes the referee contradicts a sound training of the model that the mistake concerns.
#[test]
fn a_mistaken_referee_is_contradicted() {
    use Fault as F;
    let bench = Bench::new();
    let of = |name: &str, config: Config| bench.train(name, &config, 1, &Defect::default(), &[]);
    let runs = BTreeMap::from([
        ("gpt2", of("gpt2", small_gpt2())),
        ("groundthink", of("groundthink", small_groundthink())),
        ("mamba2", of("mamba2", small_mamba2())),
        ("rwkv6", of("rwkv6", small_rwkv6())),
    ]);
    for &fault in Fault::ALL {
        let models: &[&str] = match fault {
            F::SeesNext | F::SignOfQueries => &["gpt2"],
            F::NoBonus | F::SignOfDecay | F::ShiftsForward => &["groundthink", "rwkv6"],
            F::TapsReversed => &["groundthink", "mamba2"],
            F::BranchesSwapped => &["groundthink"],
            F::ResidualsWide => &["gpt2", "groundthink"],
            F::ShiftedWindows | F::CountsOneLess | F::CutsRight | F::DisjointWindows => &[],
            _ => &["gpt2", "groundthink", "mamba2", "rwkv6"],
        };
        for model in models {
            let audit = bench.audit(&runs[model], 1, Some(fault));
            println!("{fault:?} {model}: {:.1e}", worst(&audit));
            assert!(worst(&audit) > 20.0, "{fault:?} of {model} is not seen: {}", worst(&audit));
            // By windows nothing is summed and no moment made, so that these two cannot be mistaken.
            if model == &models[0] && ![F::SumsWindows, F::OneBeta].contains(&fault) {
                let parts = worst(&bench.audit_up_to(0.0, &runs[model], 1, Some(fault)));
                println!("{fault:?} {model}, by windows: {parts:.1e}");
                assert!(parts > 20.0, "{fault:?} of {model} is not seen by windows: {parts}");
            }
        }
    }
}

#[test]
fn a_defective_training_is_seen() {
    let bench = Bench::new();
    let windows = bench.order.windows();
    let order = |change: &dyn Fn(usize, u32) -> u32| {
        let path = bench.folder.path().join("order.npy");
        let changed: Vec<u32> = windows.iter().enumerate().map(|(i, w)| change(i, *w)).collect();
        candle_core::Tensor::new(changed, &candle_core::Device::Cpu).unwrap().write_npy(&path).unwrap();
        Some(Order::load_npy(&path).unwrap())
    };
    let replaced =
        text(
            bench.folder.path(),
            "replaced",
            &bench.tokenizer,
            |i, id| if i % 7 == 3 { 60 - id } else { id },
        );
    let with = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe();
        change(&mut recipe);
        Defect { recipe: Some(recipe), ..Defect::default() }
    };
    let defects = [
        ("half the learning rate", with(&|r| (r.max_lr, r.min_lr) = (r.max_lr / 2.0, r.min_lr / 2.0))),
        ("no warm-up", with(&|r| r.warmup_steps = 0)),
        ("tenfold decay", with(&|r| r.weight_decay *= 10.0)),
        ("a larger epsilon", with(&|r| r.eps = 1e-6)),
        ("another second beta", with(&|r| r.betas[1] = 0.999)),
        ("a looser clip", with(&|r| r.grad_clip = 10.0)),
        (
            "half of each batch",
            Defect { order: order(&|i, _| windows[i - i % 4 + i % 2]), ..Defect::default() },
        ),
        (
            "every eighth batch",
            Defect {
                order: order(&|i, w| if i / 4 % 8 == 5 { (w + 1) % 90 } else { w }),
                ..Defect::default()
            },
        ),
        ("other tokens", Defect { text: Some(&replaced), ..Defect::default() }),
    ];
    for (i, (name, defect)) in defects.iter().enumerate() {
        for (model, config) in [("gpt2", small_gpt2()), ("groundthink", small_groundthink())] {
            let dir = bench.train(&format!("{model}-{i}"), &config, 1, defect, &[]);
            let audit = bench.audit(&dir, 1, None);
            println!("{name} {model}: {:.1e}", worst(&audit));
            assert!(worst(&audit) > 20.0, "{name} of {model} is not seen: {}", worst(&audit));
            // Of this one no audited step has a part; eight steps in a row have.
            if model == "groundthink" || *name == "every eighth batch" {
                continue;
            }
            let parts = worst(&bench.audit_up_to(0.0, &dir, 1, None));
            println!("{name} {model}, by windows: {parts:.1e}");
            assert!(parts > 20.0, "{name} of {model} is not seen by windows: {parts}");
        }
    }
    let dir = bench.train("seed", &small_gpt2(), 2, &Defect::default(), &[]);
    assert!(share(&bench.audit(&dir, 1, None).initial) > 1e3, "another seed");
    let record = dir.0.join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut run: serde_json::Value = serde_json::from_str(&text).unwrap();
    run["weights"] = "0".into();
    fs::write(&record, run.to_string()).unwrap();
    assert!(share(&bench.audit(&dir, 2, None).steps).is_infinite(), "other final weights");
}

/// A step that is not the mean of its windows is seen although each window is what it should be.
#[test]
fn a_step_that_is_not_the_mean_of_its_windows_is_seen() {
    let bench = Bench::new();
    let dir = bench.train("sound", &small_groundthink(), 1, &Defect::default(), &[]);
    let path = dir.0.join("audit-00000000/windows.safetensors");
    let sound = fs::read(&path).unwrap();
    // Every other window stands in for all of them: window 1's rows in the place of window 0's, and so on.
    let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let halved = tensors.iter().map(|(name, t)| {
        let rows = [1u32, 1, 3, 3];
        (name.clone(), t.index_select(&candle_core::Tensor::new(&rows, t.device()).unwrap(), 0).unwrap())
    });
    candle_core::safetensors::save(&halved.collect(), &path).unwrap();
    let steps = bench.audit_up_to(0.0, &dir, 1, None).steps;
    let of_all = |d: &&Deviation| d.what.ends_with("of step 1") && !d.what.contains("of window");
    let seen: Vec<Deviation> = steps.iter().filter(of_all).cloned().collect();
    println!("{:?}", farthest(&seen));
    assert!(share(&seen) > 20.0, "{:?}", farthest(&seen));
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    let recipe = recipe();
    let (folder, text, order) = (dir.0.as_path(), &bench.text, &bench.order);
    let files = RunFiles { folder, recipe: &recipe, seed: 1, text, order, brief: false, largest: 0.0 };
    let error = audit_training(&files, None, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("windows.safetensors"), "{error}");
}

/// What is kept is the same bits whether a training was interrupted or not.
#[test]
fn an_interrupted_training_keeps_the_same_states() {
    let bench = Bench::new();
    let config = small_groundthink();
    let whole = bench.train("whole", &config, 1, &Defect::default(), &[]);
    let parts = bench.train("parts", &config, 1, &Defect::default(), &[0, 1, 7, 8, 20, 23]);
    let kept = |dir: &RunDir| {
        let mut files = BTreeMap::new();
        for folder in fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().path()) {
            if folder.file_name().unwrap().to_string_lossy().starts_with("audit-") {
                for file in fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
                    let name = file.strip_prefix(&dir.0).unwrap().to_owned();
                    files.insert(name, fs::read(&file).unwrap());
                }
            }
        }
        files
    };
    assert!(kept(&whole).len() >= 3 * 5, "{:?}", kept(&whole).keys());
    assert!(kept(&whole) == kept(&parts));
}
