//! A self-contained HTML page: pictures, charts, tables, configuration.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use halocast::core::{Comparison, Map, write_whole};

use crate::chart::{Axes, Line, SAMPLES, TRUTH, chart, stacked};
use crate::judge::Curves;
use crate::picture::{Picture, Scale};

/// A page under construction.
pub struct Page {
    body: String,
    title: String,
}

impl Page {
    /// An empty page; `lead` is its first paragraph.
    pub fn new(title: &str, lead: &str) -> Self {
        Self {
            body: format!("<h1>{}</h1><p class=lead>{}</p>", escape(title), escape(lead)),
            title: title.into(),
        }
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let _ = write!(self.body, "<h2>{}</h2>", escape(text));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        let _ = write!(self.body, "<p>{}</p>", escape(text));
    }

    /// A paragraph that warns.
    pub fn warning(&mut self, text: &str) {
        let _ = write!(self.body, "<p class=warning>{}</p>", escape(text));
    }

    /// The verdict in one line, green or red.
    pub fn verdict(&mut self, good: bool, text: &str) {
        let class = if good { "good" } else { "bad" };
        let _ = write!(self.body, "<p class=\"verdict {class}\">{}</p>", escape(text));
    }

    /// A table with a header row.
    pub fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        self.body.push_str("<table><tr>");
        header.iter().for_each(|cell| self.body += &format!("<th>{}</th>", escape(cell)));
        for row in rows {
            self.body.push_str("</tr><tr>");
            row.iter().for_each(|cell| self.body += &format!("<td>{}</td>", escape(cell)));
        }
        self.body.push_str("</tr></table>");
    }

    /// Preformatted text: a configuration.
    pub fn code(&mut self, text: &str) {
        let _ = write!(self.body, "<pre>{}</pre>", escape(text));
    }

    /// Elements side by side, each with a caption.
    pub fn figures(&mut self, figures: &[(String, &str)]) {
        self.body.push_str("<div class=row>");
        for (element, caption) in figures {
            let caption = escape(caption);
            let _ = write!(self.body, "<figure>{element}<figcaption>{caption}</figcaption></figure>");
        }
        self.body.push_str("</div>");
    }

    /// Ensembles of maps beside one another under one colour scale, eight maps of each.
    ///
    /// # Errors
    /// When a picture cannot be encoded.
    pub fn ensembles(&mut self, ensembles: &[(&str, &[Map])], columns: usize) -> Result<()> {
        let scale = Scale::covering(ensembles.iter().flat_map(|e| e.1));
        let mut figures = Vec::new();
        for (caption, maps) in ensembles {
            let shown: Vec<&Map> = maps.iter().step_by((maps.len() / 8).max(1)).take(8).collect();
            figures.push((picture(&shown, columns, scale, caption)?, *caption));
        }
        self.figures(&figures);
        let unit = ensembles.iter().flat_map(|e| e.1).next().map_or("", |m| m.unit.label.as_str());
        self.body += &colour_bar(scale, unit)?;
        Ok(())
    }

    /// Single maps beside one another, each under its own colour scale.
    ///
    /// # Errors
    /// When a picture cannot be encoded.
    pub fn maps(&mut self, maps: &[(&str, &Map)]) -> Result<()> {
        let mut figures = Vec::new();
        for (caption, map) in maps {
            let scale = Scale::covering([*map]);
            let bar = colour_bar(scale, &map.unit.label)?;
            figures.push((picture(&[map], 1, scale, caption)? + &bar, *caption));
        }
        self.figures(&figures);
        Ok(())
    }

    /// The charts of a comparison of two ensembles: P(k) with its ratio, pixel distribution, Minkowski functionals.
    ///
    /// # Errors
    /// When a chart cannot be drawn.
    pub fn comparison(&mut self, statistics: &Curves, names: [&str; 2]) -> Result<()> {
        let spectrum = spectrum_with_ratio(&statistics.power, names)?;
        let pdf = curves(&statistics.pdf, names)?;
        self.figures(&[
            (spectrum, "Power spectrum of the maps, and the ratio of the two. Bands: scatter of one map."),
            (pdf, "Pixel distribution."),
        ]);
        let captions = ["Area M0", "Boundary M1", "Euler characteristic M2"];
        let mut figures = Vec::new();
        for (comparison, caption) in statistics.minkowski.iter().zip(captions) {
            figures.push((curves(comparison, names)?, caption));
        }
        self.figures(&figures);
        self.paragraph(
            "Minkowski functionals of the excursion sets above each threshold; bands are the scatter of one map.",
        );
        Ok(())
    }

    /// The training loss, smoothed over a hundredth of the run.
    ///
    /// # Errors
    /// When the chart cannot be drawn.
    pub fn losses(&mut self, steps: &[f64], losses: &[f64], chosen: Option<f64>) -> Result<()> {
        let window = (losses.len() / 100).max(1);
        let smooth: Vec<f64> =
            losses.chunks(window).map(|c| c.iter().sum::<f64>() / c.len() as f64).collect();
        let at: Vec<f64> = steps.chunks(window).map(|c| c.iter().sum::<f64>() / c.len() as f64).collect();
        let axes = Axes {
            x_label: "step",
            y_label: "training loss",
            log_y: true,
            mark_x: chosen,
            ..Axes::default()
        };
        let line = Line { name: "", x: &at, y: &smooth, scatter: None, colour: TRUTH };
        self.figures(&[(chart((560, 300), axes, &[line])?, "Training loss; dashed: the chosen checkpoint.")]);
        Ok(())
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>{}</title><style>{STYLE}</style>{}</html>\n",
            escape(&self.title),
            self.body
        );
        write_whole(path, |w| std::io::Write::write_all(w, page.as_bytes()))
            .context("cannot write the report")
    }
}

fn picture(maps: &[&Map], columns: usize, scale: Scale, alt: &str) -> Result<String> {
    let side = maps.iter().flat_map(|m| m.shape()).max().unwrap_or(1);
    // A map is about as wide as a hand's breadth, alone twice that.
    let zoom = (if maps.len() > 1 { 144 } else { 512 } / side).max(1);
    Picture::grid(maps, columns, zoom, scale).html(alt)
}

fn colour_bar(scale: Scale, unit: &str) -> Result<String> {
    let (low, high) = scale.ends();
    let bar = Picture::colour_bar(scale, 320, 12).html("colour scale")?;
    Ok(format!("<p class=scale>{low:.2} {bar} {high:.2} {}</p>", escape(unit)))
}

/// One statistic of two ensembles.
fn curves(comparison: &Comparison, names: [&str; 2]) -> Result<String> {
    let (truth, samples) = (&comparison.truth, &comparison.samples);
    let axes = Axes { x_label: &truth.x_label, y_label: &truth.y_label, ..Axes::default() };
    let lines = [
        Line { name: names[0], x: &truth.x, y: &truth.mean, scatter: band(&truth.std), colour: TRUTH },
        Line { name: names[1], x: &samples.x, y: &samples.mean, scatter: None, colour: SAMPLES },
    ];
    chart((430, 330), axes, &lines)
}

/// The scatter of one map does not exist.
fn band(scatter: &[f64]) -> Option<&[f64]> {
    scatter.iter().any(|s| *s > 0.0).then_some(scatter)
}

fn spectrum_with_ratio(comparison: &Comparison, names: [&str; 2]) -> Result<String> {
    let (truth, samples) = (&comparison.truth, &comparison.samples);
    let upper = Axes { x_label: "", y_label: &truth.y_label, log_x: true, log_y: true, ..Axes::default() };
    let lines = [
        Line { name: names[0], x: &truth.x, y: &truth.mean, scatter: band(&truth.std), colour: TRUTH },
        Line {
            name: names[1],
            x: &samples.x,
            y: &samples.mean,
            scatter: band(&samples.std),
            colour: SAMPLES,
        },
    ];
    let ratio_label = format!("{} / {}", names[1], names[0]);
    let ratio: Vec<f64> = samples.mean.iter().zip(&truth.mean).map(|(s, t)| s / t).collect();
    let scatter: Vec<f64> = truth.std.iter().zip(&truth.mean).map(|(s, t)| s / t).collect();
    let one = vec![1.0; truth.x.len()];
    let far = ratio.iter().filter(|r| !(0.5..=1.5).contains(*r)).count() > ratio.len() / 4;
    let lower = Axes {
        x_label: &truth.x_label,
        y_label: &ratio_label,
        log_x: true,
        // Samples are within a half of the truth, or something is wrong; other pairs may differ by powers of ten.
        log_y: far,
        y_range: (!far).then_some((0.5, 1.5)),
        ..Axes::default()
    };
    let ratios = [
        Line { name: "", x: &truth.x, y: &one, scatter: band(&scatter), colour: TRUTH },
        Line { name: "", x: &samples.x, y: &ratio, scatter: None, colour: SAMPLES },
    ];
    stacked((560, 460), &[(1.6, upper, &lines), (1.0, lower, &ratios)])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:1360px;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-weight:600;margin-bottom:.2rem}h2{font-weight:600;margin:2rem 0 .5rem;border-bottom:1px solid #ddd}\
.lead{color:#555;margin-top:0}.row{display:flex;flex-wrap:wrap;gap:1.2rem;align-items:flex-start}\
figure{margin:0}figcaption{font-size:.85rem;color:#555;max-width:600px}img{image-rendering:pixelated;vertical-align:middle}\
table{border-collapse:collapse;margin:.5rem 0}th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid #e5e5e5;\
font-variant-numeric:tabular-nums}pre{background:#f6f6f6;padding:1rem;overflow:auto;font-size:.8rem}\
.verdict{font-size:1.15rem;padding:.6rem 1rem;border-radius:.4rem}.good{background:#e4f3e6}.bad{background:#fbe6e2}\
.warning{background:#fff4d6;padding:.5rem 1rem;border-radius:.4rem}.scale{font-size:.85rem;color:#555}";
