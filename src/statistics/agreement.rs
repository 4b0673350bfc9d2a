//! Do raters agree more than chance would have it?

use std::collections::BTreeMap;

/// Krippendorff's alpha for nominal categories (Krippendorff 2004, chapter 11): 1 − observed ÷ expected
/// disagreement, 1 where all agree, 0 where they agree as often as chance; any number of ratings a unit may
/// have, and one alone tells nothing. `units` are the categories that each unit was given. `None` where
/// nothing was rated twice, or only one category occurs: there is nothing to disagree about.
pub fn krippendorff_alpha<C: Ord>(units: &[Vec<C>]) -> Option<f64> {
    let mut totals: BTreeMap<&C, f64> = BTreeMap::new();
    let (mut n, mut agreed) = (0.0, 0.0);
    for unit in units.iter().filter(|unit| unit.len() > 1) {
        let mut counts: BTreeMap<&C, f64> = BTreeMap::new();
        for category in unit {
            *counts.entry(category).or_default() += 1.0;
            *totals.entry(category).or_default() += 1.0;
        }
        let m = unit.len() as f64;
        n += m;
        // Each rating is paired with the m − 1 others, each pair weighing 1/(m − 1).
        agreed += counts.values().map(|count| count * (count - 1.0)).sum::<f64>() / (m - 1.0);
    }
    let by_chance = totals.values().map(|count| count * (count - 1.0)).sum::<f64>() / (n - 1.0);
    (totals.len() > 1).then(|| 1.0 - (n - agreed) / (n - by_chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_are_as_defined() {
        assert_eq!(krippendorff_alpha(&[vec![1, 1], vec![2, 2]]), Some(1.0));
        // Two raters who never agree on two units: expected is 2/3, observed 1.
        let alpha = krippendorff_alpha(&[vec![1, 2], vec![2, 1]]).unwrap();
        assert!((alpha + 0.5).abs() < 1e-12, "{alpha}");
        assert_eq!(krippendorff_alpha(&[vec![1, 1], vec![1, 1]]), None);
        assert_eq!(krippendorff_alpha(&[vec![1], vec![2], vec![]]), None);
        assert_eq!(krippendorff_alpha::<u8>(&[]), None);
    }
}
