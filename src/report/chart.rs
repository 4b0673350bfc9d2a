//! A chart as SVG. Data are brought to the unit square here, so that no number of a ledger reaches
//! the drawing library: what an axis cannot show (not finite, or not positive on a logarithmic one)
//! is a gap. Colours are classes, so that the page's style decides them, in light and in dark.

use std::fmt::Write;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, PathElement,
    RGBColor, SVGBackend, ShapeStyle, Text, TextStyle,
};

use crate::evidence::Value;

/// The canvas. Coordinates are whole numbers, so it is four times as fine as it is meant to be seen.
const SIZE: (u32, u32) = (1920, 1220);
/// Size of letters; the page's style may choose another up to a quarter larger.
const LETTER: u32 = 60;
const INK: RGBColor = RGBColor(1, 1, 1);
const AXIS: RGBColor = RGBColor(1, 1, 2);
const GRID: RGBColor = RGBColor(1, 1, 3);
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

    /// A colour that stands for the class until the drawing is done.
    fn stand_in(self) -> RGBColor {
        let colour = u8::try_from(self.colour.min(COLOURS)).unwrap_or(u8::MAX);
        RGBColor(2, colour, 2 * u8::from(self.dashed) + u8::from(self.faint))
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
    pub(super) fn svg(&self) -> Option<String> {
        let points = self.shapes.iter().flat_map(|(_, shape)| match shape {
            Shape::Line(points) | Shape::Points(points) => points.clone(),
            Shape::Bars(bars) => bars.iter().flat_map(|&[x, low, high]| [[x, low], [x, high]]).collect(),
        });
        let shown = |p: &[f64; 2]| self.x.place(p[0]).is_some() && self.y.place(p[1]).is_some();
        let (xs, ys): (Vec<f64>, Vec<f64>) = points.filter(shown).map(|[x, y]| (x, y)).unzip();
        let (x, y) = (Fitted::new(&self.x, &xs, 6, true)?, Fitted::new(&self.y, &ys, 6, false)?);
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), &x, &y).ok()?;
        Some(self.painted(text))
    }

    fn draw(
        &self,
        area: DrawingArea<SVGBackend<'_>, Shift>,
        x: &Fitted<'_>,
        y: &Fitted<'_>,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let letters = || TextStyle::from(("sans-serif", f64::from(LETTER) * 1.24).into_font()).color(&INK);
        area.draw(&Text::new(self.y.title.clone(), (16, 10), letters()))?;
        let mut chart = ChartBuilder::on(&area)
            .margin_top(120)
            .margin_right(70)
            .x_label_area_size(180)
            .y_label_area_size(250)
            .build_cartesian_2d(Ruler(x.ticks.clone()), Ruler(y.ticks.clone()))?;
        chart
            .configure_mesh()
            .axis_style(AXIS.stroke_width(4))
            .bold_line_style(GRID.stroke_width(3))
            .label_style(letters())
            .axis_desc_style(letters())
            .set_all_tick_mark_size(14)
            .x_desc(self.x.title.clone())
            .draw()?;
        for (paint, shape) in &self.shapes {
            let colour = paint.stand_in();
            let thin = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 6 };
            let line = thin.stroke_width(if paint.faint { 4 } else { 8 });
            let dot = |at: (f64, f64)| Circle::new(at, if paint.faint { 9 } else { 17 }, colour.filled());
            let place = |[px, py]: [f64; 2]| x.unit(px).zip(y.unit(py));
            match shape {
                Shape::Line(points) => {
                    for run in runs(points.iter().map(|&p| place(p))) {
                        match run[..] {
                            [alone] => chart.draw_series([dot(alone)]).map(drop)?,
                            _ => chart.draw_series([PathElement::new(run, line)]).map(drop)?,
                        }
                    }
                }
                Shape::Points(points) => {
                    chart.draw_series(points.iter().filter_map(|&p| place(p)).map(dot))?;
                }
                Shape::Bars(bars) => {
                    let bar = |&[px, low, high]: &[f64; 3]| {
                        let (px, high) = place([px, high])?;
                        // An end that a logarithmic axis cannot show lies below it.
                        let low = y.unit(low).or_else(|| low.is_finite().then_some(0.0))?;
                        let cap = |py| vec![(px - 0.008, py), (px + 0.008, py)];
                        Some([vec![(px, low), (px, high)], cap(low), cap(high)])
                    };
                    let strokes = bars.iter().filter_map(bar).flatten();
                    chart.draw_series(strokes.map(|path| PathElement::new(path, thin)))?;
                }
            }
        }
        area.present()
    }

    /// Classes in the place of the colours that stood in for them.
    fn painted(&self, mut text: String) -> String {
        let mut swap = |colour: RGBColor, stroke: &str, fill: &str| {
            let RGBColor(r, g, b) = colour;
            let hex = format!("#{r:02X}{g:02X}{b:02X}");
            text = text.replace(&format!("stroke=\"{hex}\""), &format!("class=\"{stroke}\""));
            text = text.replace(&format!("fill=\"{hex}\""), &format!("class=\"{fill}\""));
        };
        swap(INK, "ink", "ink");
        swap(AXIS, "axis", "axis");
        swap(GRID, "grid", "grid");
        let mut paints: Vec<Paint> = self.shapes.iter().map(|(paint, _)| *paint).collect();
        paints.sort_unstable();
        paints.dedup();
        for paint in paints {
            let class = paint.class();
            swap(paint.stand_in(), &format!("line {class}"), &format!("dot {class}"));
        }
        text.replace(" opacity=\"1\"", "").trim_end().to_owned()
    }
}

/// The runs of points between the gaps.
fn runs(points: impl Iterator<Item = Option<(f64, f64)>>) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for point in points {
        match (point, runs.last_mut()) {
            (Some(point), Some(run)) => run.push(point),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
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
            self.axis.ticks.iter().map(|&v| (v, Value::from(v).to_string())).collect()
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

/// The unit interval with ticks: all that the drawing library knows of an axis.
struct Ruler(Vec<(f64, String)>);

impl Ranged for Ruler {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (value * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        let bold = !hint.weight().allow_light_points();
        self.0.iter().filter(|_| bold).map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        0.0..1.0
    }
}

impl ValueFormatter<f64> for Ruler {
    fn format_ext(&self, value: &f64) -> String {
        self.0.iter().find(|tick| tick.0 == *value).map(|tick| tick.1.clone()).unwrap_or_default()
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
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{letter}", (value / unit * 1000.0).round() / 1000.0);
            return text;
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
            Chart { x: Axis::default(), y: axis, shapes }.svg()
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
