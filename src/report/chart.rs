//! A chart as SVG. Data are brought to the unit square first: what an axis cannot show (not finite, or not
//! positive on a logarithmic one) is a gap, and no other number of a ledger reaches the drawing. Colours and
//! widths are classes, so that the page's style decides them, in light and in dark.

use maud::{Markup, html};

use crate::evidence::Value;

/// The canvas, about as many pixels as it takes on the page.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 356.0;
/// The square within it that the axes frame.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 540.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 304.0;
/// Length of a tick.
const TICK: f64 = 4.0;
/// Half the width of an interval's cap, relative to the width of the square.
const CAP: f64 = 0.008;
/// Width of a character relative to the width of the square, with room to spare.
const CHARACTER: f64 = 0.024;
/// Colours of models, and the neutral one after them.
pub(super) const COLOURS: usize = 6;

/// One direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// Whether equal distances are equal ratios.
    pub log: bool,
    /// Where ticks stand, if not at round numbers.
    pub ticks: Vec<f64>,
    /// What stands at these ticks in the place of their numbers.
    pub names: Vec<String>,
    /// What it shows at least, and without a margin.
    pub range: Option<[f64; 2]>,
}

/// How something is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Paint {
    /// A colour of a model; the neutral one from [`COLOURS`] on.
    pub colour: usize,
    /// Dashed lines, hollow points.
    pub dashed: bool,
    /// In the background.
    pub faint: bool,
}

impl Paint {
    /// What the page's style calls it.
    pub(super) fn class(self) -> String {
        let mut class = format!("c{}", self.colour.min(COLOURS));
        class.push_str(if self.dashed { " dashed" } else { "" });
        class.push_str(if self.faint { " faint" } else { "" });
        class
    }
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Points joined in order, apart from gaps.
    Line(Vec<[f64; 2]>),
    /// Points.
    Points(Vec<[f64; 2]>),
    /// Intervals: where, from, to.
    Bars(Vec<[f64; 3]>),
}

/// A chart; what comes later lies on top.
#[derive(Clone, Debug, Default)]
pub(super) struct Chart {
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn.
    pub shapes: Vec<(Paint, Shape)>,
}

impl Chart {
    /// The chart as an SVG element; none where there is nothing to show.
    pub(super) fn svg(&self) -> Option<Markup> {
        let points = self.shapes.iter().flat_map(|(_, shape)| match shape {
            Shape::Line(points) | Shape::Points(points) => points.clone(),
            Shape::Bars(bars) => bars.iter().flat_map(|&[x, low, high]| [[x, low], [x, high]]).collect(),
        });
        let shown = |p: &[f64; 2]| self.x.place(p[0]).is_some() && self.y.place(p[1]).is_some();
        let (xs, ys): (Vec<f64>, Vec<f64>) = points.filter(shown).map(|[x, y]| (x, y)).unzip();
        let scaled =
            ScaledChart { x: Fitted::new(&self.x, &xs, 6, true)?, y: Fitted::new(&self.y, &ys, 6, false)? };
        Some(html! {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } xmlns="http://www.w3.org/2000/svg" {
                (scaled.frame())
                @for (paint, shape) in &self.shapes { (scaled.shape(*paint, shape)) }
            }
        })
    }
}

/// Both axes of a chart with the ranges of what it shows.
struct ScaledChart<'a> {
    x: Fitted<'a>,
    y: Fitted<'a>,
}

impl ScaledChart<'_> {
    /// The axes with their ticks, titles and the lines across.
    fn frame(&self) -> Markup {
        html! {
            text.ink x="4" y="0" dy="0.95em" { (self.y.axis.title) }
            text.ink x=(tenths((LEFT + RIGHT) / 2.0)) y=(HEIGHT - 6.0) text-anchor="middle" { (self.x.axis.title) }
            @for (at, label) in &self.x.ticks {
                @let x = across(*at);
                line.grid x1=(x) x2=(x) y1=(TOP) y2=(BOTTOM) {}
                line.axis x1=(x) x2=(x) y1=(BOTTOM) y2=(BOTTOM + TICK) {}
                text.ink x=(x) y=(BOTTOM + TICK) dy="1.05em" text-anchor="middle" { (label) }
            }
            @for (at, label) in &self.y.ticks {
                @let y = upwards(*at);
                line.grid x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
                line.axis x1=(LEFT - TICK) x2=(LEFT) y1=(y) y2=(y) {}
                text.ink x=(LEFT - 2.0 * TICK) y=(y) dy="0.35em" text-anchor="end" { (label) }
            }
            line.axis x1=(LEFT) x2=(LEFT) y1=(TOP) y2=(BOTTOM) {}
            line.axis x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
        }
    }

    fn shape(&self, paint: Paint, shape: &Shape) -> Markup {
        let class = paint.class();
        let dot = |[x, y]: [f64; 2]| {
            html! { circle class={ "dot " (class) } cx=(across(x)) cy=(upwards(y)) r=(if paint.faint { 2.6 } else { 5.0 }) {} }
        };
        let stroke = |kind: &str, places: String| {
            html! { polyline class={ "line " (kind) (class) } fill="none" points=(places) {} }
        };
        match shape {
            Shape::Line(points) => html! {
                @for run in runs(points.iter().map(|&p| self.place(p))) {
                    @if let [alone] = run[..] { (dot(alone)) } @else { (stroke("", joined(&run))) }
                }
            },
            Shape::Points(points) => {
                html! { @for place in points.iter().filter_map(|&p| self.place(p)) { (dot(place)) } }
            }
            Shape::Bars(bars) => {
                html! { @for bar in bars.iter().filter_map(|&bar| self.bar(bar)) { (stroke("bar ", bar)) } }
            }
        }
    }

    /// Where in the unit square a point lies.
    fn place(&self, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
        Some([self.x.unit(x)?, self.y.unit(y)?])
    }

    /// An interval as one stroke, with a cap at either end.
    fn bar(&self, [x, low, high]: [f64; 3]) -> Option<String> {
        let [x, high] = self.place([x, high])?;
        // An end that a logarithmic axis cannot show lies below it.
        let low = self.y.unit(low).or_else(|| low.is_finite().then_some(0.0))?;
        let ends = |y: f64| [[x - CAP, y], [x + CAP, y], [x, y]];
        let [a, b, c] = ends(low);
        let [d, e, f] = ends(high);
        Some(joined(&[a, b, c, f, d, e]))
    }
}

/// Places in the unit square as the points of a line on the canvas.
fn joined(places: &[[f64; 2]]) -> String {
    let places = places.iter().map(|&[x, y]| format!("{},{}", across(x), upwards(y)));
    places.collect::<Vec<_>>().join(" ")
}

fn across(x: f64) -> f64 {
    tenths(LEFT + x * (RIGHT - LEFT))
}

fn upwards(y: f64) -> f64 {
    tenths(BOTTOM - y * (BOTTOM - TOP))
}

/// No coordinate needs to be finer.
fn tenths(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// The runs of points between the gaps.
fn runs(points: impl Iterator<Item = Option<[f64; 2]>>) -> Vec<Vec<[f64; 2]>> {
    let points: Vec<Option<[f64; 2]>> = points.collect();
    let runs = points.split(Option::is_none).map(|run| run.iter().copied().flatten().collect());
    runs.filter(|run: &Vec<_>| !run.is_empty()).collect()
}

impl Axis {
    /// Where a value lies along the axis, if anywhere.
    fn place(&self, value: f64) -> Option<f64> {
        let at = if self.log { value.log10() } else { value };
        at.is_finite().then_some(at)
    }
}

/// An axis with its range and its ticks: where in the square, and what is written there.
struct Fitted<'a> {
    axis: &'a Axis,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl<'a> Fitted<'a> {
    /// The range of these values with a margin; none of none.
    fn new(axis: &'a Axis, values: &[f64], most: usize, across: bool) -> Option<Self> {
        let placed: Vec<f64> = values.iter().filter_map(|&v| axis.place(v)).collect();
        let least = |xs: &[f64]| xs.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = |xs: &[f64]| xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut low, mut high) = (least(&placed), greatest(&placed));
        if placed.is_empty() {
            return None;
        }
        let fixed: Vec<f64> = axis.range.into_iter().flatten().filter_map(|v| axis.place(v)).collect();
        let margin = half(low.min(least(&fixed)), high.max(greatest(&fixed))) * 0.08;
        low = if least(&fixed) <= low { least(&fixed) } else { (low - margin).max(f64::MIN) };
        high = if greatest(&fixed) >= high { greatest(&fixed) } else { (high + margin).min(f64::MAX) };
        if !half(low, high).is_normal() {
            let margin = if low.abs() > 1e-3 { low.abs() * 0.1 } else { 1e-3 };
            (low, high) = ((low - margin).max(f64::MIN), (high + margin).min(f64::MAX));
        }
        let mut fitted = Fitted { axis, low, high, ticks: Vec::new() };
        fitted.ticks = fitted.ticks(most, across);
        Some(fitted)
    }

    /// Where in the unit interval a value lies.
    fn unit(&self, value: f64) -> Option<f64> {
        let at = self.axis.place(value)?;
        Some(half(self.low, at) / half(self.low, self.high)).filter(|u| u.is_finite())
    }

    fn ticks(&self, most: usize, across: bool) -> Vec<(f64, String)> {
        let (low, high) = (self.low, self.high);
        let labels: Vec<(f64, String)> = if !self.axis.ticks.is_empty() {
            let name = |i: usize, v| self.axis.names.get(i).cloned().unwrap_or(Value::from(v).to_string());
            self.axis.ticks.iter().enumerate().map(|(i, &v)| (v, name(i, v))).collect()
        } else if self.axis.log {
            let own = |v: f64| (v, label(v, 10_f64.powf(v.log10().floor())));
            let powers = |digits: &[f64]| powers(low, high, digits).into_iter().map(own).collect::<Vec<_>>();
            let decades = powers(&[1.0]);
            let stride = decades.len().div_ceil(most).max(1);
            let decades: Vec<_> = decades.into_iter().step_by(stride).collect();
            let enough = |ticks: &Vec<(f64, String)>| (3..=most + 2).contains(&ticks.len());
            let finer =
                [decades, powers(&[1.0, 2.0, 5.0]), powers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])];
            let round = || round(10_f64.powf(low), 10_f64.powf(high), most);
            finer.into_iter().find(enough).unwrap_or_else(round)
        } else {
            round(low, high, most)
        };
        let inside = |(v, label)| Some((self.unit(v).filter(|u| (-1e-9..=1.0 + 1e-9).contains(u))?, label));
        let mut ticks: Vec<(f64, String)> = labels.into_iter().filter_map(inside).collect();
        ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        ticks.dedup_by(|a, b| a.0 == b.0);
        let room = |a: &str, b: &str| match across {
            true => CHARACTER * ((a.chars().count() + b.chars().count()) as f64 / 2.0 + 1.0),
            false => 0.08,
        };
        let apart = |of: &[(f64, String)]| of.windows(2).all(|w| w[1].0 - w[0].0 >= room(&w[0].1, &w[1].1));
        let every = |n: usize| ticks.iter().step_by(n).cloned().collect::<Vec<_>>();
        (1..=ticks.len()).map(every).find(|some| apart(some)).unwrap_or_default()
    }
}

/// Half of the way from one number to another: unlike the whole way always a number.
fn half(from: f64, to: f64) -> f64 {
    to / 2.0 - from / 2.0
}

/// Powers of ten times these digits, between two exponents.
fn powers(low: f64, high: f64, digits: &[f64]) -> Vec<f64> {
    let exponents = low.floor() as i32..=high.floor() as i32;
    let all = exponents.flat_map(|e| digits.iter().map(move |d| d * 10_f64.powi(e)));
    all.filter(|v| (low..=high).contains(&v.log10())).collect()
}

/// About so many round numbers in a range, with labels as exact as their distance asks for.
fn round(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let distance = half(low, high) / (most as f64 / 2.0);
    let power = 10_f64.powf(distance.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|step| *step >= distance);
    let Some(step) = step.filter(|step| step.is_normal()) else {
        return Vec::new();
    };
    let first = (low / step).ceil();
    // Plus zero: there is no negative nothing.
    let all = (0..=most).map(|i| (first + i as f64) * step + 0.0);
    all.filter(|v| v.is_finite() && *v <= high).map(|v| (v, label(v, step))).collect()
}

/// A number as a label, told apart from others that differ by `step`.
fn label(value: f64, step: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e15).contains(&size) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    for (unit, letter) in [(1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')] {
        if size >= unit && step >= unit / 1000.0 {
            return format!("{}{letter}", (value / unit * 1000.0).round() / 1000.0);
        }
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(log: bool, values: &[f64]) -> Vec<String> {
        let axis = Axis { log, ..Axis::default() };
        let fitted = Fitted::new(&axis, values, 6, true).expect("values");
        fitted.ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(false, &[0.0, 1.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(false, &[0.0, 2.7e6]), ["0", "500k", "1M", "1.5M", "2M", "2.5M"]);
        assert_eq!(labels(true, &[300.0, 2.7e6]), ["1k", "10k", "100k", "1M"]);
        assert_eq!(labels(true, &[3.1, 4.4]), ["3.5", "4.0"]);
        assert_eq!(labels(false, &[7.0, 7.0]), ["6.5", "7.0", "7.5"]);
    }

    #[test]
    fn what_an_axis_cannot_show_is_a_gap() {
        let line = |points: &[[f64; 2]], log| {
            let paint = Paint { colour: 0, dashed: false, faint: false };
            let axis = Axis { log, ..Axis::default() };
            let shapes = vec![(paint, Shape::Line(points.to_vec()))];
            Chart { x: Axis::default(), y: axis, shapes }.svg().map(Markup::into_string)
        };
        let count = |svg: Option<String>| {
            let svg = svg.expect("a chart");
            (svg.matches("class=\"line c0").count(), svg.matches("class=\"dot c0").count())
        };
        let gap = [[1.0, 1.0], [2.0, 2.0], [3.0, f64::NAN], [4.0, 1.0]];
        assert_eq!(count(line(&gap, false)), (1, 1));
        let negative = [[1.0, 1.0], [2.0, 2.0], [3.0, -1.0], [4.0, 1.0], [5.0, 0.0]];
        assert_eq!(count(line(&negative, true)), (1, 1));
        assert_eq!(count(line(&negative, false)), (1, 0));
        assert_eq!(line(&[[1.0, f64::INFINITY]], false), None);
        assert_eq!(line(&[], false), None);
    }
}
