//! Power: how often is a known difference found?

use std::fmt::Write;

use libtest_mimic::Failed;
use v5gate::evidence::Metric;
use v5gate::gate::{Criterion, Status};
use v5gate::random::Random;

use crate::compare::{Handicap, LOWERED, Pool, RATIOS, comparing, draw, verdict};
use crate::lab::side_by_side;

const TRIALS: [usize; 2] = [3, 10];
/// Comparisons per effect and number of trials.
const COMPARISONS: usize = 300;
/// What two neighbouring shares may differ by in the wrong direction.
const NOISE: f64 = 0.08;
/// The rows that are there to see these effects, and how often they must see the largest.
const MEANT: [&str; 2] = ["perplexity-non-inferior", "statefulness-significantly-better"];
const SEEN: f64 = 0.9;

fn effects(criterion: &Criterion) -> Vec<(String, Handicap)> {
    match criterion.metrics {
        [Metric::ValidationLoss] => {
            RATIOS.iter().map(|&r| (format!("perplexity × {r:.2}"), Handicap::Perplexity(r))).collect()
        }
        [Metric::StatefulnessScore] => (0..LOWERED.len())
            .map(|i| (format!("score lowered by {}", LOWERED[i]), Handicap::Score(i)))
            .collect(),
        _ => Vec::new(),
    }
}

/// The words on the same comparisons with a handicap on one side.
struct Asked {
    handicap: Handicap,
    ours_worse: bool,
    words: Vec<Vec<(&'static str, Status)>>,
}

fn ask(pool: &Pool, handicap: Handicap, ours_worse: bool, n: usize) -> Result<Asked, Failed> {
    let sides = if ours_worse { [handicap, Handicap::None] } else { [Handicap::None, handicap] };
    // The same comparisons for every effect: differences between effects are not those of the draw.
    let mut random = Random::new(12, n as u64);
    let all: Vec<usize> = (0..pool.pairs()).collect();
    let comparisons = (0..COMPARISONS).map(|_| draw(&mut random, &all, n)).collect();
    let words = side_by_side(comparisons, |picks| {
        let words = pool.judged(&picks, sides[0], sides[1])?;
        Ok(words.iter().map(|w| (w.criterion.id, w.status)).collect())
    })?;
    Ok(Asked { handicap, ours_worse, words })
}

/// The share of comparisons in which a criterion says what it is to say.
fn share(asked: &[Asked], criterion: &Criterion, handicap: Handicap) -> f64 {
    let Some((status, ours_worse)) = verdict(criterion.rule) else { return f64::NAN };
    let Some(asked) = asked.iter().find(|a| a.handicap == handicap && a.ours_worse == ours_worse) else {
        return f64::NAN;
    };
    let caught = asked.words.iter().filter(|words| words.contains(&(criterion.id, status)));
    caught.count() as f64 / COMPARISONS as f64
}

fn ask_all(pool: &Pool, n: usize) -> Result<Vec<Asked>, Failed> {
    let losses = RATIOS.iter().map(|&ratio| Handicap::Perplexity(ratio));
    let scores = (0..LOWERED.len()).map(Handicap::Score);
    let sides =
        losses.chain(scores).flat_map(|handicap| [true, false].map(|of_candidate| (handicap, of_candidate)));
    sides.map(|(handicap, of_candidate)| ask(pool, handicap, of_candidate, n)).collect()
}

/// The table, and what is not as it must be.
pub fn run(pool: &Pool) -> Result<(String, Vec<String>), Failed> {
    let mut text = String::from("## Differences: how often a known one is found\n\n");
    let falls: Vec<String> = (0..LOWERED.len()).map(|i| format!("{:.3}", pool.fall(i))).collect();
    let _ = write!(
        text,
        "GPT-2 against a GPT-2 with so many nats added to every loss, or with answers replaced by a uniform guess \
         with a fixed probability (asked to lower the score by {LOWERED:?}, it fell by {}). {COMPARISONS} \
         comparisons each. The worse model stands where the criterion looks for it: as GroundThink where \
         it asks whether GroundThink is worse, as GPT-2 where it asks whether GroundThink is better.\n\n| criterion | effect | 3 trials | 10 trials |\n|---|---|---|---|\n",
        falls.join(", ")
    );
    let mut wrong = Vec::new();
    let asked = [ask_all(pool, TRIALS[0])?, ask_all(pool, TRIALS[1])?];
    for criterion in comparing().filter(|c| verdict(c.rule).is_some()) {
        let mut before = [0.0; 2];
        for (effect, handicap) in effects(criterion) {
            let now = [share(&asked[0], criterion, handicap), share(&asked[1], criterion, handicap)];
            let [three, ten] = now.map(|x| format!("{:.0} %", 100.0 * x));
            let _ = writeln!(text, "| `{}` | {effect} | {three} | {ten} |", criterion.id);
            if now.iter().zip(before).any(|(now, before)| *now < before - NOISE) {
                wrong.push(format!("{}: {effect} is found less often than a smaller effect", criterion.id));
            }
            before = now;
        }
        if MEANT.contains(&criterion.id) && before[1] < SEEN {
            wrong.push(format!(
                "{} finds its largest effect in {:.0} % only",
                criterion.id,
                100.0 * before[1]
            ));
        }
    }
    Ok((text, wrong))
}
