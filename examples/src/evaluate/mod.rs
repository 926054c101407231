//! Samples against the truth: every statistic side by side, with error bars and a verdict; the checkpoints of a run ranked.

mod checkpoints;
mod numbers;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use halocast::core::{Comparison, Map, write_whole};
use halocast::stats::Verdict;
use serde::Serialize;

pub use checkpoints::Ranked;
pub use numbers::Numbers;

use crate::console::{say, spinner};
use crate::judge::{Curves, judge};
use crate::report::Page;
use crate::summarize::{Input, Kind, ReadAs, read};

/// The command line.
pub struct Options {
    /// Maps of the truth.
    pub truth: PathBuf,
    /// Maps to judge.
    pub samples: Option<PathBuf>,
    /// The folder of a run whose checkpoints are ranked.
    pub checkpoints: Option<PathBuf>,
    /// How many maps each checkpoint is judged by.
    pub draws: usize,
    /// Side of the box in Mpc/h.
    pub box_size: f64,
    /// Whether the logarithm of every map is judged.
    pub log10: bool,
    /// Where the numbers go as JSON.
    pub json: Option<PathBuf>,
    /// Where the report goes.
    pub html: Option<PathBuf>,
    /// The seed.
    pub seed: u64,
    /// The device that samples.
    pub device: Device,
}

/// What is found of two ensembles.
#[derive(Serialize)]
pub struct Evaluation {
    /// The verdict in a sentence.
    pub sentence: String,
    /// Where each statistic fails.
    pub verdict: Verdict,
    /// One number each.
    pub numbers: Numbers,
    /// The curves behind them, with bins and units in their labels.
    pub curves: Curves,
}

#[derive(Serialize)]
struct Output<'a> {
    program: &'static str,
    version: &'static str,
    seed: u64,
    members: [usize; 2],
    evaluation: Option<&'a Evaluation>,
    ranking: Option<&'a [Ranked]>,
}

/// Compares `samples` to `truth`.
///
/// # Errors
/// When an ensemble has fewer than two maps or they differ in shape.
pub fn evaluate(truth: &[Map], samples: &[Map], seed: u64) -> Result<Evaluation> {
    for (name, maps) in [("TRUTH", truth), ("SAMPLES", samples)] {
        ensure!(maps.len() >= 2, "{name} has {} maps, expected at least 2: one has no scatter", maps.len());
    }
    let groups: Vec<usize> = (0..truth.len()).collect();
    let found = judge(truth, &groups, samples)?;
    let all: Vec<Comparison> = [&found.curves.power, &found.curves.pdf]
        .into_iter()
        .chain(&found.curves.minkowski)
        .cloned()
        .collect();
    let verdict = Verdict::new(&all, [truth.len(), samples.len()])?;
    let numbers = Numbers::new(truth, samples, &found, seed)?;
    Ok(Evaluation { sentence: verdict.to_string(), verdict, numbers, curves: found.curves })
}

/// Reads, compares, writes.
///
/// # Errors
/// When a file is refused, the ensembles do not fit, or a place to write to is refused.
pub fn run(options: &Options) -> Result<()> {
    let truth = maps(&options.truth, options)?;
    let (mut evaluation, mut members) = (None, [truth.len(), options.draws]);
    let samples = options.samples.as_ref().map(|path| maps(path, options)).transpose()?;
    if let Some(samples) = &samples {
        members[1] = samples.len();
        let _spinner = spinner("statistics");
        evaluation = Some(evaluate(&truth, samples, options.seed)?);
    }
    let ranking =
        options.checkpoints.as_ref().map(|folder| checkpoints::rank(folder, &truth, options)).transpose()?;
    ensure!(evaluation.is_some() || ranking.is_some(), "neither SAMPLES nor --checkpoints is given");

    if let Some(found) = &evaluation {
        say(&found.sentence);
        found.numbers.rows().iter().for_each(|row| say(format!("{:44} {:>12}   {}", row[0], row[1], row[2])));
    }
    for (i, ranked) in ranking.iter().flatten().enumerate() {
        say(format!("{:>3}. step {:>9}  score {:.4}  {}", i + 1, ranked.step, ranked.score, ranked.sentence));
    }
    if let Some(path) = &options.json {
        let output = Output {
            program: "evaluate",
            version: env!("CARGO_PKG_VERSION"),
            seed: options.seed,
            members,
            evaluation: evaluation.as_ref(),
            ranking: ranking.as_deref(),
        };
        write_whole(path, |out| Ok(serde_json::to_writer_pretty(out, &output)?))?;
    }
    if let Some(path) = &options.html {
        let found = evaluation.as_ref().map(|e| (e, samples.as_deref().unwrap_or_default()));
        page(&truth, found, ranking.as_deref())?.save(path)?;
    }
    Ok(())
}

fn page(truth: &[Map], found: Option<(&Evaluation, &[Map])>, ranking: Option<&[Ranked]>) -> Result<Page> {
    let mut page = Page::new("Evaluation", "Samples beside the truth. Bands: the scatter of one map.");
    if let Some((found, samples)) = found {
        page.verdict(found.verdict.passes(), &found.sentence);
        page.table(&["number", "value", "meaning"], &found.numbers.rows());
        page.heading("Curves");
        page.comparison(&found.curves, ["truth", "samples"])?;
        page.heading("Maps");
        page.ensembles(&[("truth", truth), ("samples", samples)], 4)?;
    }
    if let Some(ranking) = ranking {
        page.heading("Checkpoints, best first");
        let row = |r: &Ranked| {
            let loss = r.loss.map_or_else(String::new, |l| format!("{l:.5}"));
            vec![r.step.to_string(), format!("{:.4}", r.score), loss, r.sentence.clone()]
        };
        let rows: Vec<Vec<String>> = ranking.iter().map(row).collect();
        page.table(&["step", "score", "training loss", "verdict"], &rows);
    }
    Ok(page)
}

fn maps(path: &std::path::Path, options: &Options) -> Result<Vec<Map>> {
    let how = ReadAs { kind: Kind::Maps, box_size: Some(options.box_size), ..ReadAs::default() };
    let Input::Maps(maps) = read(path, &how)? else { bail!("{}: expected maps", path.display()) };
    if !options.log10 {
        return Ok(maps);
    }
    for (i, map) in maps.iter().enumerate() {
        if let Some(v) = map.values.iter().find(|v| v.is_nan() || **v <= 0.0) {
            bail!("{}: map {i} has a pixel of {v}, expected positive ones for --log10", path.display());
        }
    }
    Ok(maps.iter().map(|m| m.map_values(f32::log10)).collect())
}
