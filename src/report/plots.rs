//! What is plotted: curves of the ledger and metrics across scales and turns. Only what agrees with the
//! manifest is shown, and a plot without data is left out.

use std::collections::BTreeMap;

use maud::Markup;

use super::chart::{Axis, COLOURS, Chart, Paint, Shape};
use super::tables::{foremost, models};
use super::words::law_text;
use crate::evidence::{Condition, Curve, CurveKind, Ledger, Metric, RecallScore, RecallTest, Value};
use crate::gate::{Evidence, FittedLaw, GPT2, GROUNDTHINK, Query};
use crate::statistics::{fit, mean, t_interval};

/// A curve of no more places shows each of them.
const FEW: usize = 30;

/// A plot, drawn.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// The scale it is about; none when it is about several.
    pub scale: Option<String>,
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Names of what is drawn.
    pub legend: Vec<(Paint, String)>,
    /// The picture.
    pub svg: Markup,
    /// Whether it shows a time, which another run of the same code does not repeat.
    pub time: bool,
}

/// Every plot: those across scales first, then scale by scale.
pub(super) fn figures(ledger: &Ledger) -> Vec<Figure> {
    let evidence = Evidence::new(ledger);
    let scales: Vec<&str> = evidence.scales().collect();
    let mut curves: Vec<&Curve> =
        ledger.curves().filter(|c| evidence.counts(c.subject(), c.provenance())).collect();
    let of_curves = curves.iter().map(|c| c.subject().model.as_str());
    let names = foremost(models(&evidence).into_iter().chain(of_curves).collect());
    curves.retain(|c| names.contains(&c.subject().model.as_str()));
    let plots = Plots { evidence: &evidence, curves, names };
    let mut all: Vec<Figure> = plots.scaling(&scales).into_iter().collect();
    for scale in scales {
        let (training, long) = CurveKind::ALL.split_at(2);
        all.extend(training.iter().filter_map(|&kind| plots.curve(scale, kind)));
        all.extend(plots.retention(scale));
        all.extend(long.iter().filter_map(|&kind| plots.curve(scale, kind)));
    }
    all
}

struct Plots<'e> {
    evidence: &'e Evidence<'e>,
    curves: Vec<&'e Curve>,
    names: Vec<&'e str>,
}

/// A model in a condition, and the curve of each of its trials.
type Subjects<'e> = BTreeMap<(usize, Condition), BTreeMap<u64, Option<&'e Curve>>>;

impl<'e> Plots<'e> {
    /// The two of the comparison have a colour each, the same in every plot.
    fn paint(&self, model: usize, condition: Condition) -> Paint {
        let others = self.names.iter().filter(|m| ![GROUNDTHINK, GPT2].contains(m)).count();
        let named = self.names.len() - others;
        let colour = match self.names.get(model).copied() {
            Some(GROUNDTHINK) => 0,
            Some(GPT2) => 1,
            _ => 2 + model.saturating_sub(named) % (COLOURS - 2),
        };
        Paint { colour, dashed: condition != Condition::Trained, faint: false }
    }

    fn name(&self, model: usize, condition: Condition) -> String {
        let name = self.names.get(model).copied().unwrap_or_default();
        match condition {
            Condition::Trained => name.to_owned(),
            other => format!("{name}, {}", other.name()),
        }
    }

    /// The curves of one kind at a scale. Two that contradict each other are none.
    fn subjects(&self, scale: &str, kind: CurveKind) -> Subjects<'e> {
        let mut subjects: Subjects<'e> = BTreeMap::new();
        for &curve in self.curves.iter().filter(|c| c.kind() == kind && c.subject().scale == scale) {
            let subject = curve.subject();
            let Some(model) = self.names.iter().position(|m| *m == subject.model) else {
                continue;
            };
            let trials = subjects.entry((model, subject.condition)).or_default();
            let known = trials.entry(subject.seed).or_insert(Some(curve));
            *known = known.filter(|other| other.agrees(curve));
        }
        subjects
    }

    /// Every curve of one kind at a scale: a mean over the trials, and each of them behind it.
    fn curve(&self, scale: &str, kind: CurveKind) -> Option<Figure> {
        let subjects = self.subjects(scale, kind);
        let mut layers = Layers::default();
        let (mut most, mut left_out) = (0, 0);
        let by_part = kind == CurveKind::LossByPart;
        let mut xs: Vec<f64> = Vec::new();
        for (i, ((model, condition), trials)) in subjects.iter().enumerate() {
            left_out += trials.values().filter(|curve| curve.is_none()).count();
            let curves: Vec<&Curve> = trials.values().copied().flatten().collect();
            most = most.max(curves.len());
            xs.extend(curves.iter().flat_map(|c| c.points()).map(|(x, _)| x as f64));
            let paint = self.paint(*model, *condition);
            let aside = i as f64 - (subjects.len() as f64 - 1.0) / 2.0;
            let mut own = Layers::default();
            if own.curves(&curves, paint, if by_part { 1.0 } else { 1.0 + 0.01 * aside }) {
                own.legend.push((paint, self.name(*model, *condition)));
            }
            layers.add(if by_part { own.apart(0.1 * aside) } else { own });
        }
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let x = Axis {
            title: kind.x_axis().to_owned(),
            log: !by_part && xs.first().is_some_and(|&x| x > 0.0),
            names: if by_part { self.parts() } else { Vec::new() },
            range: by_part.then_some([0.5, xs.len() as f64 + 0.5]),
            ticks: if xs.len() <= 8 { xs } else { Vec::new() },
        };
        let y = Axis {
            title: kind.y_axis().to_owned(),
            log: kind == CurveKind::GradientNorm,
            range: kind.is_cost().then_some([0.0, 0.0]),
            ..Axis::default()
        };
        let mut note = over_trials(most);
        if layers.bars() {
            note += if most > 1 { "; bars: 95 % interval over trials" } else { "; bars: 95 % interval" };
        }
        if left_out > 0 {
            note += &format!("; left out: {left_out} measured twice, differently");
        }
        let time = matches!(kind, CurveKind::PrefillByContext | CurveKind::TimeByContext);
        let title = kind.doc().trim_end_matches('.').to_owned();
        let (legend, svg) = layers.svg(x, y)?;
        Some(Figure { scale: Some(scale.to_owned()), title, note, legend, svg, time })
    }

    /// Names of the parts of the mixture that was promised, in order.
    fn parts(&self) -> Vec<String> {
        self.evidence.promise().map_or_else(Vec::new, |promise| promise.latest().parts.clone())
    }

    /// One metric of one model, trial by trial.
    fn values(&self, scale: &str, model: &str, condition: Condition, metric: Metric) -> Vec<f64> {
        self.evidence.values(scale, model, condition, metric).into_values().collect()
    }

    /// The interval over trials; of a single trial its own.
    fn interval(&self, scale: &str, model: &str, condition: Condition, metric: Metric) -> Option<[f64; 2]> {
        let over_trials = t_interval(&self.values(scale, model, condition, metric));
        over_trials.or_else(|| {
            let seeds = self.evidence.seeds();
            let find = |&seed: &u64| self.evidence.find(Query { scale, seed, model, condition, metric }).ok();
            seeds.iter().find_map(find)?.interval().map(|ends| ends.map(Value::raw))
        })
    }

    /// Accuracy against turns, with chance (rulings R16 and R18).
    fn retention(&self, scale: &str) -> Option<Figure> {
        let mut layers = Layers::default();
        let conditions = [Condition::Trained, Condition::WindowMatched];
        let mut most = 0;
        for (model, &name) in self.names.iter().enumerate() {
            for condition in conditions {
                let paint = self.paint(model, condition);
                let shift = 1.0 + 0.05 * (model as f64 - 0.5) + if paint.dashed { 0.025 } else { 0.0 };
                let (mut line, mut bars) = (Vec::new(), Vec::new());
                for (test, turns) in RecallTest::retention() {
                    let (turns, metric) = (f64::from(turns), Metric::Recall(test, RecallScore::Accuracy));
                    let values = self.values(scale, name, condition, metric);
                    most = most.max(values.len());
                    line.push([turns * shift, mean(&values)]);
                    let ends = self.interval(scale, name, condition, metric);
                    // An accuracy lies between nought and one, whatever a t interval says.
                    bars.extend(ends.map(|[a, b]| [turns * shift, a.max(0.0), b.min(1.0)]));
                }
                if line.iter().any(|p| p[1].is_finite()) {
                    layers.front.push((paint, Shape::Points(line.clone())));
                    layers.front.push((paint, Shape::Line(line)));
                    layers.middle.push((paint, Shape::Bars(bars)));
                    layers.legend.push((paint, self.name(model, condition)));
                }
            }
        }
        let chances = self
            .names
            .iter()
            .flat_map(|m| self.values(scale, m, Condition::Trained, Metric::StatefulnessChance));
        let chances: Vec<f64> = chances.collect();
        let chance = mean(&chances);
        if chance.is_finite() && !layers.front.is_empty() {
            let neutral = Paint { colour: COLOURS, dashed: true, faint: false };
            layers.middle.push((neutral, Shape::Line(vec![[0.9, chance], [55.0, chance]])));
            layers.legend.push((neutral, format!("chance 1/K = {}", Value::from(chance))));
        }
        let bars = if most > 1 { "95 % interval over trials" } else { "95 % interval over items" };
        let x = Axis {
            title: "turns between statement and question".to_owned(),
            log: true,
            ticks: RecallTest::retention().map(|(_, turns)| f64::from(turns)).collect(),
            range: Some([0.9, 55.0]),
            ..Axis::default()
        };
        let y = Axis { title: "accuracy".to_owned(), range: Some([0.0, 1.0]), ..Axis::default() };
        let (legend, svg) = layers.svg(x, y)?;
        Some(Figure {
            scale: Some(scale.to_owned()),
            title: "Recall against turns".to_owned(),
            note: format!("{}; bars: {bars}", points_over_trials(most)),
            legend,
            svg,
            time: false,
        })
    }

    /// Loss against size, with the law of each model (ruling R8); asks for two scales.
    fn scaling(&self, scales: &[&str]) -> Option<Figure> {
        let mut layers = Layers::default();
        let (mut most, mut laws) = (0, Vec::new());
        let mut several = false;
        for (model, &name) in self.names.iter().enumerate() {
            let paint = self.paint(model, Condition::Trained);
            let (mut points, mut bars, mut each) = (Vec::new(), Vec::new(), Vec::new());
            for scale in scales {
                let values = |metric| self.values(scale, name, Condition::Trained, metric);
                let (sizes, losses) =
                    (values(Metric::NonEmbeddingParameters), values(Metric::ValidationLoss));
                let size = mean(&sizes);
                if sizes.is_empty() || losses.is_empty() {
                    continue;
                }
                most = most.max(losses.len());
                points.push((size, mean(&losses)));
                if losses.len() > 1 {
                    each.extend(losses.iter().map(|&loss| [size, loss]));
                }
                bars.extend(t_interval(&losses).map(|[low, high]| [size, low, high]));
            }
            several |= points.len() > 1;
            if let Some(law) = fit(&points) {
                let ends = |least: fn(f64, f64) -> f64| points.iter().map(|p| p.0).reduce(least);
                if let (Some(from), Some(to)) = (ends(f64::min), ends(f64::max)) {
                    // Straight in logarithms unless the law has a floor.
                    let along = |i: u32| from * (to / from).powf(f64::from(i) / 20.0);
                    let path = (0..=20).map(|i| [along(i), law.loss(along(i))]).collect();
                    layers.middle.push((paint, Shape::Line(path)));
                    laws.push(format!("{name}: {}", law_text(&FittedLaw::from(&law))));
                }
            }
            if !points.is_empty() {
                layers.back.push((Paint { faint: true, ..paint }, Shape::Points(each)));
                layers.middle.push((paint, Shape::Bars(bars)));
                let points = points.iter().map(|&(x, y)| [x, y]).collect();
                layers.front.push((paint, Shape::Points(points)));
                layers.legend.push((paint, name.to_owned()));
            }
        }
        if !several {
            return None;
        }
        let x = Axis { title: "non-embedding parameters".to_owned(), log: true, ..Axis::default() };
        let y = Axis { title: "validation loss (nats/token)".to_owned(), log: true, ..Axis::default() };
        let mut note = points_over_trials(most);
        note += if most > 1 { "; bars: 95 % interval over trials" } else { "" };
        note += if laws.is_empty() { "" } else { "; lines: fitted law, " };
        note += &laws.join("; ");
        let title = "Loss against size".to_owned();
        let (legend, svg) = layers.svg(x, y)?;
        Some(Figure { scale: None, title, note, legend, svg, time: false })
    }
}

fn over_trials(n: usize) -> String {
    match n {
        1 => "One trial".to_owned(),
        n => format!("Mean of {n} trials; thin: each trial"),
    }
}

fn points_over_trials(n: usize) -> String {
    match n {
        1 => "One trial".to_owned(),
        n => format!("Points: mean of {n} trials"),
    }
}

/// What lies behind what.
#[derive(Debug, Default)]
struct Layers {
    back: Vec<(Paint, Shape)>,
    middle: Vec<(Paint, Shape)>,
    front: Vec<(Paint, Shape)>,
    legend: Vec<(Paint, String)>,
}

impl Layers {
    /// Adds the trials of one subject; whether there were any. Intervals stand beside each other.
    fn curves(&mut self, curves: &[&Curve], paint: Paint, shift: f64) -> bool {
        let points = |c: &Curve| c.points().map(|(x, y)| [x as f64, y.raw()]).collect::<Vec<_>>();
        let longest = curves.iter().map(|c| c.points().count()).max().unwrap_or(0);
        if curves.len() > 1 {
            let faint = Paint { faint: true, ..paint };
            self.back.extend(curves.iter().map(|c| (faint, Shape::Line(points(c)))));
        }
        let (mut line, mut bars) = (Vec::new(), Vec::new());
        let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (x, y) in curves.iter().flat_map(|c| c.points()) {
            at.entry(x).or_default().push(y.raw());
        }
        // Where a trial is silent there is no mean over the trials.
        for (x, values) in at.iter().filter(|(_, values)| values.len() == curves.len()) {
            line.push([*x as f64, mean(values)]);
            let interval = t_interval(values).filter(|_| longest <= FEW);
            bars.extend(interval.map(|[low, high]| [*x as f64 * shift, low, high]));
        }
        if let [only] = curves {
            line = points(only);
            let own = only.points().zip(only.intervals());
            bars = own.map(|((x, _), ends)| [x as f64 * shift, ends[0].raw(), ends[1].raw()]).collect();
        }
        if longest <= FEW {
            self.front.push((paint, Shape::Points(line.clone())));
        }
        self.front.push((paint, Shape::Line(line)));
        self.middle.push((paint, Shape::Bars(bars)));
        longest > 0
    }

    /// The same at places that have names and no distances: points, and so far beside the place.
    fn apart(mut self, by: f64) -> Self {
        let aside = |points: &mut Vec<[f64; 2]>| points.iter_mut().for_each(|point| point[0] += by);
        self.front.retain(|(_, shape)| !matches!(shape, Shape::Line(_)));
        for (_, shape) in [&mut self.back, &mut self.middle, &mut self.front].into_iter().flatten() {
            match shape {
                Shape::Line(points) | Shape::Points(points) => {
                    aside(points);
                    *shape = Shape::Points(std::mem::take(points));
                }
                Shape::Bars(bars) => bars.iter_mut().for_each(|bar| bar[0] += by),
            }
        }
        self
    }

    fn add(&mut self, other: Self) {
        self.back.extend(other.back);
        self.middle.extend(other.middle);
        self.front.extend(other.front);
        self.legend.extend(other.legend);
    }

    fn bars(&self) -> bool {
        self.middle.iter().any(|(_, shape)| matches!(shape, Shape::Bars(bars) if !bars.is_empty()))
    }

    fn svg(self, x: Axis, y: Axis) -> Option<(Vec<(Paint, String)>, Markup)> {
        let shapes = self.back.into_iter().chain(self.middle).chain(self.front).collect();
        Some((self.legend, Chart { x, y, shapes }.svg()?))
    }
}
