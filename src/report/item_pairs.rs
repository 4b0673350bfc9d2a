//! The two models item by item: both answered the same items, so that what an item is hard by cancels in the
//! difference of its two values (Miller 2024, "Adding Error Bars to Evals", §4), and its interval is narrower than that
//! of either mean. Trials do not vary here: what decides is [R7](crate::gate), over trials.

use serde::Serialize;

use super::table::Table;
use crate::evidence::{Condition, Direction, ItemValues, Ledger, Measurement, Metric, Value};
use crate::gate::{Evidence, GPT2, GROUNDTHINK, Query};
use crate::statistics::{mean, t_interval};

/// One metric of both models over the same items.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemPairs {
    /// The scale's label.
    pub scale: String,
    /// What was measured.
    pub metric: Metric,
    /// In which state of the models.
    pub condition: Condition,
    /// The trials that have the items of both.
    pub seeds: Vec<u64>,
    /// Items of a trial.
    pub items: usize,
    /// Groups of items that are not independent of each other.
    pub groups: usize,
    /// GroundThink less GPT-2, mean over the trials, in the unit of the metric.
    pub difference: Value,
    /// Its 95 % interval over groups of items (Student), of these trials.
    pub interval: Option<[Value; 2]>,
    /// Share of the groups in which GroundThink is better, those that are alike left out.
    pub better: Value,
    /// Width of the interval over that of the same two means taken as if they had nothing in common.
    pub narrowed: Value,
}

/// Every metric whose items both models have; what lacks items is left out. `items` finds those behind a measurement.
///
/// # Errors
/// Whatever `items` says.
pub fn item_pairs<E>(
    ledger: &Ledger,
    items: impl Fn(&Measurement) -> Result<Option<ItemValues>, E>,
) -> Result<Vec<ItemPairs>, E> {
    let evidence = Evidence::new(ledger);
    let mut all = Vec::new();
    for scale in evidence.scales() {
        let asked = evidence.asked(scale);
        for (_, condition, metric) in asked.into_iter().filter(|(model, ..)| *model == GROUNDTHINK) {
            let (mut seeds, mut trials) = (Vec::new(), Vec::new());
            for &seed in evidence.seeds() {
                let of = |model| evidence.find(Query { scale, seed, model, condition, metric }).ok();
                let (Some(one), Some(other)) = (of(GROUNDTHINK), of(GPT2)) else { continue };
                if let (Some(one), Some(other)) = (items(one)?, items(other)?)
                    && one.groups == other.groups
                {
                    seeds.push(seed);
                    trials.push([one, other]);
                }
            }
            all.extend(compared((scale, metric, condition), seeds, &trials));
        }
    }
    Ok(all)
}

/// Means over the trials of every group, so that a group counts once; `None` unless all trials have one grouping.
fn compared(
    (scale, metric, condition): (&str, Metric, Condition),
    seeds: Vec<u64>,
    trials: &[[ItemValues; 2]],
) -> Option<ItemPairs> {
    let [first, _] = trials.first()?;
    if trials.iter().flatten().any(|items| items.groups != first.groups) {
        return None;
    }
    let of = |which: usize| -> Vec<f64> {
        let means: Vec<Vec<f64>> = trials.iter().map(|pair| pair[which].group_means()).collect();
        let group = |g: usize| mean(&means.iter().map(|of_trial| of_trial[g]).collect::<Vec<_>>());
        (0..means[0].len()).map(group).collect()
    };
    let (candidate, baseline) = (of(0), of(1));
    let differences: Vec<f64> = candidate.iter().zip(&baseline).map(|(a, b)| a - b).collect();
    let better = match metric.direction() {
        Direction::Higher => 1.0,
        Direction::Lower => -1.0,
        Direction::Neither => f64::NAN,
    };
    let share = |sign: f64| differences.iter().filter(|d| sign * **d > 0.0).count() as f64;
    let (won, lost) = (share(better), share(-better));
    let width = |xs: &[f64]| t_interval(xs).map_or(f64::NAN, |[low, high]| high - low);
    Some(ItemPairs {
        scale: scale.to_owned(),
        metric,
        condition,
        seeds,
        items: first.values.len(),
        groups: differences.len(),
        difference: Value::from(mean(&differences)),
        interval: t_interval(&differences).map(|ends| ends.map(Value::from)),
        better: Value::from(won / (won + lost)),
        narrowed: Value::from(width(&differences) / width(&candidate).hypot(width(&baseline))),
    })
}

/// As tables, one a scale.
pub fn tables_of_pairs(pairs: &[ItemPairs]) -> Vec<Table> {
    let head =
        ["metric", "items (groups)", "GroundThink − GPT-2, 95 % over items", "better in", "narrowed to"];
    let row = |p: &ItemPairs| {
        let state = if p.condition == Condition::Trained { "" } else { p.condition.name() };
        let ends = p.interval.map_or_else(String::new, |[low, high]| format!(" [{low}, {high}]"));
        let trials = if p.seeds.len() == 1 { "" } else { "s" };
        vec![
            format!("{} {state}", p.metric.id()).trim_end().to_owned(),
            format!("{} ({}), {} trial{trials}", p.items, p.groups, p.seeds.len()),
            format!("{}{ends}", p.difference),
            percent(p.better),
            percent(p.narrowed),
        ]
    };
    pairs
        .chunk_by(|a, b| a.scale == b.scale)
        .map(|of_scale| Table {
            title: format!("Item by item, {}", of_scale[0].scale),
            head: head.map(str::to_owned).to_vec(),
            rows: of_scale.iter().map(row).collect(),
        })
        .collect()
}

fn percent(share: Value) -> String {
    share.finite().map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: (&str, Metric, Condition) = ("smoke", Metric::ValidationLoss, Condition::Trained);

    fn trial(hard: &[f64], gain: f64) -> [ItemValues; 2] {
        let noisy =
            |sign: f64| hard.iter().enumerate().map(move |(i, x)| x + sign * (0.5 - (i % 2) as f64) * 0.01);
        let other: Vec<f64> = noisy(1.0).collect();
        let one: Vec<f64> = noisy(-1.0).map(|x| x - gain).collect();
        [ItemValues::independent(1, &one), ItemValues::independent(1, &other)]
    }

    #[test]
    fn what_items_are_hard_by_cancels() {
        let trials = [trial(&[1.0, 2.0, 3.0, 4.0], 0.1), trial(&[1.5, 2.0, 3.5, 9.0], 0.3)];
        let pairs = compared(OF, vec![1, 2], &trials).unwrap();
        assert!((pairs.difference.raw() + 0.2).abs() < 1e-12, "{pairs:?}");
        let [low, high] = pairs.interval.unwrap().map(Value::raw);
        assert!(low < -0.2 && -0.2 < high && high < -0.15, "{pairs:?}");
        assert_eq!((pairs.better.raw(), pairs.items, pairs.groups), (1.0, 4, 4));
        assert!(pairs.narrowed.raw() < 0.01, "{pairs:?}");
        // Paired with another's items in another order, it is not.
        let mut turned = trials;
        turned.iter_mut().for_each(|pair| pair[1].values.reverse());
        assert!(compared(OF, vec![1, 2], &turned).unwrap().narrowed.raw() > 0.9);
    }

    #[test]
    fn other_groups_are_no_pairs() {
        let mut other = trial(&[1.0, 2.0], 0.1);
        other[0].groups = vec![0, 0];
        assert_eq!(compared(OF, vec![1], &[other]), None);
        assert_eq!(compared(OF, vec![], &[]), None);
    }
}
