//! From maps to a verdict: train, choose a checkpoint, sample, judge, report.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use halocast::core::{Map, Rng, write_whole};
use halocast::data::{MapDataset, Transform, write_npy};
use halocast::models::{Model, ModelConfig, SampleOptions};
use halocast::train::{Ended, Event, StepRecord, Trainer};
use ndarray::{ArrayD, Axis, IxDyn};
use serde::Serialize;

use super::{Options, Settings};
use crate::console::{Interrupt, Interrupted, Timings, bar, peak_rss_mb, say, spinner};
use crate::judge::{Novelty, Verdict, judge, novelty};
use crate::picture::{Picture, Scale};
use crate::report::Page;
use crate::truth::{self, Split};

/// What `--json` writes.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    #[serde(flatten)]
    novelty: &'a Novelty,
    agrees: bool,
    wall_s: f64,
    peak_rss_mb: Option<f64>,
    parameters: usize,
    /// The step at which this call found the run; 0 for a fresh one. `wall_s` and `timings` are this call's.
    resumed_from: u64,
    checkpoint_step: u64,
    maps: [usize; 4],
    timings: Vec<(String, f64)>,
    settings: &'a Settings,
}

/// A trained model: its checkpoints, by step, and its losses.
struct Run {
    checkpoints: Vec<(u64, PathBuf)>,
    losses: Vec<StepRecord>,
    parameters: usize,
    resumed_from: u64,
}

/// The embedded universe or given maps, to a trained model and its report.
///
/// # Errors
/// When input is bad, the settings are absurd or the disk refuses.
pub fn train_and_judge(options: &Options) -> Result<()> {
    let start = Instant::now();
    let timings = Timings::default();
    let mut settings = Settings::new(options);
    if settings.samples < 2 {
        bail!("--samples is {}, expected at least 2", settings.samples);
    }
    let truth = timings.stage("maps of the truth", || match options.maps.as_slice() {
        [] => {
            let universes = bar("universes", settings.mock.universes as u64);
            let folder = options.out.join("universe");
            let made = truth::embedded(&settings.mock, options.seed, &folder, &|done, _| {
                universes.set_position(done)
            });
            universes.finish();
            made
        }
        paths => truth::files(paths, settings.model.size[0], options.box_size),
    })?;
    say(&truth.description);
    let description = truth.description.clone();
    if !truth.maps.iter().all(|map| map.periodic) {
        settings = settings.open();
    }
    let split = truth.split(settings.split, options.seed)?;
    let counts = [split.train.len(), split.validation.len(), split.test.len(), settings.samples];
    say(format!("{} maps to train on, {} to choose by, {} to judge by", counts[0], counts[1], counts[2]));

    let transform = Transform::fit(&[settings.scaling], &split.train)?;
    let dataset = MapDataset::new(&split.train, transform)?.with_augmentation(true);
    let sampler = Maps { dataset: &dataset, settings: &settings, options };
    let run = timings.stage("training", || train(&sampler))?;
    let (step, checkpoint) = timings.stage("choice of checkpoint", || choose(&sampler, &run, &split))?;
    let samples = timings.stage("sampling", || sampler.draw("samples", &checkpoint, settings.samples, 0))?;
    let views: Vec<_> = samples.iter().map(|map| map.values.view()).collect();
    write_npy(options.out.join("samples.npy"), &ndarray::stack(Axis(0), &views)?.view().into_dyn())?;
    let (verdict, novelty) = timings.stage("statistics", || {
        let _spinner = spinner("statistics");
        let verdict = judge(&split.test, &split.test_groups, &samples)?;
        Ok((verdict, novelty(&split.train, &split.test, &samples)?))
    })?;

    let outcome = Outcome {
        agrees: verdict.agrees(),
        verdict: &verdict,
        novelty: &novelty,
        wall_s: start.elapsed().as_secs_f64(),
        peak_rss_mb: peak_rss_mb(),
        parameters: run.parameters,
        resumed_from: run.resumed_from,
        checkpoint_step: step,
        maps: counts,
        timings: timings.list(),
        settings: &settings,
    };
    let rows = rows(&outcome);
    let report = options.out.join("report.html");
    write_report(&report, &description, &split, &samples, &run, &outcome, &rows)?;
    picture(&split.test, &samples).save(&options.out.join("maps.png"))?;
    if let Some(path) = &options.json {
        write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &outcome)?))?;
    }
    rows.iter().for_each(|row| say(format!("{:44} {:>12}   {}", row[0], row[1], row[2])));
    say(format!("report: {}", report.display()));
    Ok(())
}

fn train(maps: &Maps<'_>) -> Result<Run> {
    let Maps { dataset, settings, options } = *maps;
    let config = ModelConfig::Ddpm(settings.model.clone());
    let model = config.build(settings.train.seed, &options.device)?;
    let extra = serde_json::json!({ "transform": dataset.transform(0) });
    let interrupt = Interrupt::install()?;
    let folder = options.out.join("run");
    let mut trainer = Trainer::new(model.trainable(), &config, dataset, &settings.train, folder, extra)?
        .with_stop(interrupt.stop());
    let resumed_from = trainer.step();
    let parameters = model.trainable().parameters().count();
    say(format!("{parameters} parameters, from step {}", trainer.step()));
    let steps = bar("training", settings.train.iterations);
    steps.set_position(trainer.step());
    let mut smooth = None;
    let mut drawn = Ok(());
    let mut show = |event: Event<'_>| match event {
        Event::Step { record, pace } => {
            let loss = smooth.map_or(record.loss, |s: f32| 0.98 * s + 0.02 * record.loss);
            smooth = Some(loss);
            steps.set_message(format!("loss {loss:.4}, {:.1} maps/s", pace.examples_per_second));
            steps.set_position(record.step);
        }
        // What the model can do so far, for whoever watches.
        Event::Checkpoint { step, path } if drawn.is_ok() => drawn = maps.show(step, path),
        _ => {}
    };
    let ended = interrupt.during(|| trainer.run(&mut show))?;
    drawn?;
    if let Ended::Stopped { step, state } = ended {
        steps.abandon();
        let line = format!(
            "stopped after step {step}, saved in {}: the same command goes on from there",
            state.display()
        );
        return Err(Interrupted(line).into());
    }
    steps.finish();
    let checkpoints = (1..=settings.train.iterations)
        .map(|step| (step, trainer.checkpoint_path(step)))
        .filter(|(_, path)| path.exists())
        .collect();
    Ok(Run { checkpoints, losses: trainer.losses()?, parameters, resumed_from })
}

/// Draws maps from checkpoints.
struct Maps<'a> {
    dataset: &'a MapDataset,
    settings: &'a Settings,
    options: &'a Options,
}

impl Maps<'_> {
    /// A few samples of a checkpoint as `run/samples-NNNNNNNN.png`.
    fn show(&self, step: u64, checkpoint: &Path) -> Result<()> {
        let samples = self.draw(&format!("samples of step {step}"), checkpoint, 8, step)?;
        let scale = Scale::covering(&samples);
        let folder = self.options.out.join("run");
        Picture::grid(&samples.iter().collect::<Vec<_>>(), 8, 2, scale)
            .save(&folder.join(format!("samples-{step:08}.png")))
    }

    fn draw(&self, what: &str, checkpoint: &Path, n: usize, stream: u64) -> Result<Vec<Map>> {
        let (_, model) = Model::load(checkpoint, &self.options.device)?;
        let progress = bar(what, 0);
        let tick = |done: u64, total: u64| {
            progress.set_length(total);
            progress.set_position(done);
        };
        let options = SampleOptions { sampler: self.settings.sampler, progress: &tick, ..Default::default() };
        let mut rng = Rng::new(self.options.seed).split_named("samples").split(stream);
        let generative = model.generative().context("this model draws no samples")?;
        let tensor = generative.sample(n, None, &options, &mut rng)?;
        progress.finish();
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let fields = ArrayD::from_shape_vec(IxDyn(tensor.dims()), values)?;
        Ok(self.dataset.restore(&fields, 0)?)
    }
}

/// The checkpoint whose samples are nearest to the validation maps.
fn choose(maps: &Maps<'_>, run: &Run, split: &Split) -> Result<(u64, PathBuf)> {
    let settings = maps.settings;
    let last = run.checkpoints.iter().rev().take(settings.candidates);
    let mut best: Option<(f64, u64, PathBuf)> = None;
    for (step, path) in last {
        let samples = maps.draw(&format!("checkpoint {step}"), path, settings.candidate_samples, *step)?;
        let verdict = judge(&split.validation, &split.validation_groups, &samples)?;
        let (pk, mf) = (verdict.pk_mean_abs_frac, verdict.minkowski_inside);
        say(format!("step {step}: P(k) {pk:.3}, Minkowski inside {mf:.2}, score {:.3}", verdict.score()));
        if best.as_ref().is_none_or(|b| verdict.score() < b.0) {
            best = Some((verdict.score(), *step, path.clone()));
        }
    }
    best.map(|(_, step, path)| (step, path)).ok_or_else(|| anyhow::anyhow!("the run has no checkpoint"))
}

/// The table of the report and of the terminal: what, value, meaning.
fn rows(outcome: &Outcome<'_>) -> Vec<Vec<String>> {
    let (v, n) = (outcome.verdict, outcome.novelty);
    let [m0, m1, m2] = v.minkowski_inside_each;
    let memory = outcome.peak_rss_mb.map_or("unknown".into(), |mb| format!("{mb:.0} MB"));
    let row = |a: &str, b: String, c: &str| vec![a.to_owned(), b, c.to_owned()];
    vec![
        row("P(k), mean |samples / truth - 1|", format!("{:.3}", v.pk_mean_abs_frac), "at most 0.15"),
        row(
            "the same between halves of the truth",
            format!("{:.3}", v.pk_split_half),
            "whole simulations on one side",
        ),
        row("Minkowski inside the truth's envelope", format!("{:.2}", v.minkowski_inside), "at least 0.90"),
        row("of it M0, M1, M2", format!("{m0:.2} {m1:.2} {m2:.2}"), "fractions of 50 thresholds"),
        row(
            "pixel distribution, Wasserstein-1",
            format!("{:.3}", v.pdf_wasserstein),
            "in pixel standard deviations",
        ),
        row(
            "distance to the nearest training map",
            format!("{:.2}", n.nearest_ratio),
            "relative to unseen true maps",
        ),
        row(
            "nearer to training than any true map",
            format!("{:.2}", n.nearest_suspicious),
            "fraction of samples",
        ),
        row("parameters", outcome.parameters.to_string(), "of the network"),
        row("chosen checkpoint", outcome.checkpoint_step.to_string(), "step"),
        row("wall time", format!("{:.0} s", outcome.wall_s), "of this call, before the report"),
        row("peak memory", memory, ""),
    ]
}

/// Two rows of maps, truth in the left half and samples in the right, under one colour scale.
fn picture(truth: &[Map], samples: &[Map]) -> Picture {
    let scale = Scale::covering(truth.iter().chain(samples));
    let spread = |maps: &[Map], i: usize| maps[i * maps.len() / 8].clone();
    let shown: Vec<Map> =
        (0..16).map(|i| spread(if i % 8 < 4 { truth } else { samples }, i / 8 * 4 + i % 4)).collect();
    Picture::grid(&shown.iter().collect::<Vec<_>>(), 8, 2, scale)
}

fn write_report(
    path: &Path,
    description: &str,
    split: &Split,
    samples: &[Map],
    run: &Run,
    outcome: &Outcome<'_>,
    rows: &[Vec<String>],
) -> Result<()> {
    let verdict = outcome.verdict;
    let mut page = Page::new("halocast quickstart", description);
    let word = if outcome.agrees { "agree" } else { "do not agree" };
    page.verdict(
        outcome.agrees,
        &format!(
            "The statistics of the {} samples {word} with those of {} maps the model never saw: P(k) to {:.1} %, \
             Minkowski functionals inside the envelope at {:.0} % of the thresholds.",
            samples.len(),
            split.test.len(),
            100.0 * verdict.pk_mean_abs_frac,
            100.0 * verdict.minkowski_inside
        ),
    );
    page.ensembles(&[("Truth", split.test.as_slice()), ("Samples", samples)], 4)?;
    page.heading("Statistics");
    page.comparison(&verdict.curves, ["truth", "samples"])?;
    page.table(&["measure", "value", "meaning"], rows);
    page.heading("Training");
    let steps: Vec<f64> = run.losses.iter().map(|r| r.step as f64).collect();
    let losses: Vec<f64> = run.losses.iter().map(|r| f64::from(r.loss)).collect();
    page.losses(&steps, &losses, Some(outcome.checkpoint_step as f64))?;
    let stages: Vec<Vec<String>> =
        outcome.timings.iter().map(|(name, s)| vec![name.clone(), format!("{s:.1}")]).collect();
    page.table(&["stage", "seconds"], &stages);
    page.heading("Configuration");
    page.code(&serde_json::to_string_pretty(outcome.settings)?);
    page.save(path)
}
