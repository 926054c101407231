//! Line charts as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

/// A line, and a band around it where `scatter` is given.
pub struct Line<'a> {
    /// The name in the legend.
    pub name: &'a str,
    /// Abscissae.
    pub x: &'a [f64],
    /// Ordinates.
    pub y: &'a [f64],
    /// Half the height of the band.
    pub scatter: Option<&'a [f64]>,
    /// Red, green, blue.
    pub colour: RGBColor,
}

/// The colour of the truth in every chart.
pub const TRUTH: RGBColor = RGBColor(31, 78, 121);
/// The colour of the samples in every chart.
pub const SAMPLES: RGBColor = RGBColor(200, 80, 30);

/// The axes of a chart.
#[derive(Clone, Copy, Default)]
pub struct Axes<'a> {
    /// What stands below.
    pub x_label: &'a str,
    /// What stands at the left.
    pub y_label: &'a str,
    /// Whether the abscissa is logarithmic.
    pub log_x: bool,
    /// Whether the ordinate is logarithmic.
    pub log_y: bool,
    /// Fixed ends of the ordinate.
    pub y_range: Option<(f64, f64)>,
    /// Abscissa of a dashed vertical line.
    pub mark_x: Option<f64>,
}

/// One chart as an SVG element.
///
/// # Errors
/// When the drawing fails.
pub fn chart(size: (u32, u32), axes: Axes<'_>, lines: &[Line<'_>]) -> Result<String> {
    stacked(size, &[(1.0, axes, lines)])
}

/// Charts above one another, each with its share of the height.
///
/// # Errors
/// When the drawing fails.
pub fn stacked(size: (u32, u32), panels: &[(f64, Axes<'_>, &[Line<'_>])]) -> Result<String> {
    let mut svg = String::new();
    {
        let mut rest = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let total: f64 = panels.iter().map(|p| p.0).sum();
        for (i, (share, axes, lines)) in panels.iter().enumerate() {
            let last = i + 1 == panels.len();
            let height = (f64::from(size.1) * share / total) as u32;
            let area = if last {
                rest.clone()
            } else {
                let (area, below) = rest.split_vertically(height);
                rest = below;
                area
            };
            panel(&area, *axes, lines).map_err(|e| anyhow!("cannot draw a chart: {e}"))?;
        }
        rest.present().map_err(|e| anyhow!("cannot draw a chart: {e}"))?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Problem<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Draws in the plane of (log x, log y) where asked, so that one coordinate type serves all charts.
fn panel<'a>(area: &Area<'a>, axes: Axes<'_>, lines: &[Line<'_>]) -> std::result::Result<(), Problem<'a>> {
    let turn = |v: f64, log: bool| if log { v.log10() } else { v };
    let points = |line: &Line<'_>, sign: f64| -> Vec<(f64, f64)> {
        let shift = |i: usize| sign * line.scatter.map_or(0.0, |s| s[i]);
        // Below a logarithmic axis the band ends at a thousandth of its line.
        let floor = |i: usize| if axes.log_y { 1e-3 * line.y[i].abs() } else { f64::NEG_INFINITY };
        (0..line.x.len().min(line.y.len()))
            .map(|i| (turn(line.x[i], axes.log_x), turn((line.y[i] + shift(i)).max(floor(i)), axes.log_y)))
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect()
    };
    let all: Vec<(f64, f64)> =
        lines.iter().flat_map(|l| [points(l, -1.0), points(l, 1.0)].concat()).collect();
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low < high {
            (low, high)
        } else if low == high {
            (low - 0.5, high + 0.5)
        } else {
            (0.0, 1.0)
        }
    };
    let (x0, x1) = ends(&mut all.iter().map(|p| p.0));
    let (y0, y1) = match axes.y_range {
        Some((low, high)) => (turn(low, axes.log_y), turn(high, axes.log_y)),
        None => {
            let (low, high) = ends(&mut all.iter().map(|p| p.1));
            let margin = 0.05 * (high - low);
            (low - margin, high + margin)
        }
    };
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(16)
        .x_label_area_size(if axes.x_label.is_empty() { 18 } else { 40 })
        .y_label_area_size(64)
        .build_cartesian_2d(Axis::new(x0, x1, axes.log_x), Axis::new(y0, y1, axes.log_y))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.08))
        .x_desc(axes.x_label)
        .y_desc(axes.y_label)
        .label_style(("sans-serif", 12))
        .axis_desc_style(("sans-serif", 13))
        .x_label_formatter(&|v| label(*v, axes.log_x))
        .y_label_formatter(&|v| label(*v, axes.log_y))
        .draw()?;
    draw_lines(&mut chart, lines, &points)?;
    if let Some(x) = axes.mark_x.map(|x| turn(x, axes.log_x)) {
        chart.draw_series(DashedLineSeries::new([(x, y0), (x, y1)], 4, 4, BLACK.mix(0.5).into()))?;
    }
    if lines.iter().any(|l| !l.name.is_empty()) {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .label_font(("sans-serif", 12))
            .draw()?;
    }
    Ok(())
}

/// A linear coordinate (of the logarithm, where the axis is logarithmic) with ticks at round places.
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(low: f64, high: f64, log: bool) -> Self {
        Self { low, high, ticks: ticks(low, high, log) }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let along = (value - self.low) / (self.high - self.low);
        limit.0 + (along * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

/// Round places for ticks: 1, 2, 5 times powers of ten on short logarithmic axes, powers of ten on long ones.
fn ticks(low: f64, high: f64, log: bool) -> Vec<f64> {
    if log {
        let multiples: &[f64] = if high - low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = low.floor() as i32..=high.ceil() as i32;
        let round: Vec<f64> = decades
            .flat_map(|d| multiples.iter().map(move |m| m.log10() + f64::from(d)))
            .filter(|t| (low..=high).contains(t))
            .collect();
        if round.len() > 2 {
            return round;
        }
        // Less than a decade: even steps of the value itself.
        return ticks(10f64.powf(low), 10f64.powf(high), false).into_iter().map(f64::log10).collect();
    }
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last.min(first + 50)).map(|i| i as f64 * step).collect()
}

fn label(v: f64, log: bool) -> String {
    let value = if log { 10f64.powf(v) } else { v };
    let size = value.abs();
    if size < 1e-12 {
        "0".into()
    } else if (1e-3..1e5).contains(&size) {
        // Rounding to four digits hides what the decimal system cannot write.
        let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
    } else {
        format!("{value:.0e}")
    }
}

/// The drawn points of a line, shifted by so many times its scatter.
type Points<'p> = dyn Fn(&Line<'_>, f64) -> Vec<(f64, f64)> + 'p;
type Plane<'c, 'a> = ChartContext<'c, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

fn draw_lines<'a>(
    chart: &mut Plane<'_, 'a>,
    lines: &[Line<'_>],
    points: &Points<'_>,
) -> std::result::Result<(), Problem<'a>> {
    for line in lines.iter().filter(|l| l.scatter.is_some()) {
        let outline: Vec<(f64, f64)> =
            points(line, 1.0).into_iter().chain(points(line, -1.0).into_iter().rev()).collect();
        chart.draw_series([Polygon::new(outline, line.colour.mix(0.18))])?;
    }
    for line in lines {
        let colour = line.colour;
        let series = chart.draw_series(LineSeries::new(points(line, 0.0), colour.stroke_width(2)))?;
        if !line.name.is_empty() {
            series
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
    }
    Ok(())
}
