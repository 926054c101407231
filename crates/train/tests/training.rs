//! Training as a whole: the loss falls, a stopped run goes on to the same bytes, faults are named.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use common::{Waves, assert_same_run, folder, model, train_config, trainer};
use halocast_models::{Model, SampleOptions};
use halocast_train::{
    Checkpoints, Ended, Error, Event, LearningRate, LossLog, OptimizerConfig, StepRecord, Stop, TrainConfig,
};

/// Trains in `folder` to the end, or until `stop` steps were taken in this call.
fn train(folder: &Path, config: &TrainConfig, stop: Option<u64>) -> halocast_train::Result<PathBuf> {
    let (model, waves) = (model(config), Waves::new(12));
    let mut trainer = trainer(&model, &waves, folder, config)?;
    let last = stop.map_or(u64::MAX, |s| trainer.step() + s);
    // A panic in the callback is as sudden as a kill, in one process.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        trainer.run(&mut |event| {
            if let Event::Step { record, .. } = event {
                assert!(record.step < last, "stopped");
            }
        })
    }));
    match ended {
        Ok(ended) => match ended? {
            Ended::Finished { checkpoint } => Ok(checkpoint),
            Ended::Stopped { state, .. } => Ok(state),
        },
        Err(_) => Ok(PathBuf::new()),
    }
}

#[test]
fn the_loss_falls() {
    let folder = folder("falls");
    train(&folder, &train_config(120), None).unwrap();
    let losses = LossLog::read(&folder.join("losses.jsonl")).unwrap();
    assert_eq!(losses.len(), 120);
    let mean =
        |range: &[StepRecord]| range.iter().map(|r| f64::from(r.loss)).sum::<f64>() / range.len() as f64;
    let (first, last) = (mean(&losses[..20]), mean(&losses[100..]));
    assert!(last < 0.5 * first, "{first} -> {last}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn stopped_anywhere_it_ends_in_the_same_bytes_and_the_same_log() {
    let config = train_config(18);
    let (whole, broken) = (folder("whole"), folder("broken"));
    train(&whole, &config, None).unwrap();
    for stop in [1, 3, 5, 2, 9] {
        train(&broken, &config, Some(stop)).unwrap();
    }
    train(&broken, &config, None).unwrap();
    assert_same_run(&whole, &broken);
    // A log that a crash cut in the middle of a line is mended.
    let log = broken.join("losses.jsonl");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 7]).unwrap();
    train(&broken, &config, None).unwrap();
    assert_eq!(LossLog::read(&log).unwrap().len(), 17);
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(broken).unwrap();
}

#[test]
fn asked_to_stop_it_finishes_the_step_and_saves() {
    let config = train_config(12);
    let (whole, broken) = (folder("unasked"), folder("asked"));
    train(&whole, &config, None).unwrap();
    let (model, waves, stop) = (model(&config), Waves::new(12), Stop::default());
    let mut first = trainer(&model, &waves, &broken, &config).unwrap().with_stop(&stop);
    let ended = first.run(&mut |event| {
        if let Event::Step { record: StepRecord { step: 7, .. }, .. } = event {
            stop.set();
        }
    });
    assert_eq!(ended.unwrap(), Ended::Stopped { step: 7, state: broken.join("state.safetensors") });
    assert_eq!(trainer(&model, &waves, &broken, &config).unwrap().step(), 7);
    assert_eq!(first.losses().unwrap().len(), 7);
    train(&broken, &config, None).unwrap();
    assert_same_run(&whole, &broken);
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(broken).unwrap();
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let train_on = |threads: usize| {
        let folder = folder(&format!("threads-{threads}"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let last = pool.install(|| train(&folder, &train_config(6), None)).unwrap();
        let bytes = fs::read(last).unwrap();
        fs::remove_dir_all(folder).unwrap();
        bytes
    };
    assert!(train_on(1) == train_on(3));
}

#[test]
fn another_run_in_the_folder_is_refused() {
    let folder = folder("other");
    train(&folder, &train_config(4), None).unwrap();
    let optimizer = OptimizerConfig { learning_rate: 1e-4, ..train_config(4).optimizer };
    let error = train(&folder, &TrainConfig { optimizer, ..train_config(4) }, None).unwrap_err();
    assert!(matches!(error, Error::Resume { .. }), "{error}");
    // A longer run of the same making goes on.
    assert!(train(&folder, &train_config(8), None).unwrap().ends_with("checkpoint-00000008.safetensors"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_data_set_of_the_same_size_is_refused() {
    let folder = folder("data");
    train(&folder, &train_config(4), None).unwrap();
    let model = model(&train_config(8));
    let mut other = Waves::new(12);
    other.0[[11, 0, 3, 3]] += 1e-3;
    let resumed = trainer(&model, &other, &folder, &train_config(8));
    let message = resumed.err().map(|e| e.to_string()).unwrap();
    assert!(message.contains("the hash of the data"), "{message}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let folder = folder("diverged");
    let optimizer = OptimizerConfig { learning_rate: 1e30, ..Default::default() };
    let error = train(&folder, &TrainConfig { optimizer, ..train_config(20) }, None).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. } | Error::GradientNotFinite { .. }), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn checkpoints_are_judged_rotated_and_load_as_models() {
    let folder = folder("judged");
    let config = TrainConfig { keep_last: Some(1), keep_every: Some(12), ..train_config(24) };
    let (model, waves) = (model(&config), Waves::new(12));
    // The judge sees a model; its verdict is a made-up one that likes step 8 best.
    let judge = |step: u64, path: &Path| {
        let (header, model) = Model::load(path, &Device::Cpu)?;
        assert_eq!(header.step, step);
        let options = SampleOptions::default();
        model.generative().unwrap().sample(1, None, &options, &mut halocast_core::Rng::new(1))?;
        Ok((step as f64 - 8.0).abs())
    };
    let mut written = Vec::new();
    let mut run = trainer(&model, &waves, &folder, &config).unwrap().with_judge(judge);
    run.run(&mut |event| {
        if let Event::Checkpoint { step, .. } = event {
            written.push(step);
        }
    })
    .unwrap();
    assert_eq!(written, [4, 8, 12, 16, 20, 24]);
    let all = Checkpoints::read(&folder).unwrap();
    assert_eq!(all.best_by_score, Some(8));
    let kept: Vec<u64> = all.kept.iter().map(|record| record.step).collect();
    for step in [8, 12, 24] {
        assert!(kept.contains(&step), "{kept:?}");
    }
    assert!(kept.contains(&all.best_by_loss.unwrap()), "{kept:?}");
    // The mean loss of a checkpoint is that of the log.
    let losses = run.losses().unwrap();
    let first = losses[..4].iter().map(|r| f64::from(r.loss)).sum::<f64>() / 4.0;
    if let Some(record) = all.kept.iter().find(|record| record.step == 4) {
        assert!((record.loss.unwrap() - first).abs() < 1e-12);
    }
    // What the index says is what the folder holds.
    let mut listed: Vec<String> =
        all.kept.iter().flat_map(|r| std::iter::once(&r.file).chain(&r.others)).cloned().collect();
    let mut found: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("checkpoint-"))
        .collect();
    listed.sort();
    found.sort();
    assert_eq!(listed, found);
    // Every average is a model.
    assert_eq!(all.kept[0].others, ["checkpoint-00000008.ema-0.99.safetensors"]);
    Model::load(folder.join(&all.kept[0].others[0]), &Device::Cpu).unwrap();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_schedule_that_knows_the_end_forbids_another_length() {
    let folder = folder("cosine");
    let optimizer = OptimizerConfig { schedule: LearningRate::Cosine, ..train_config(4).optimizer };
    let config = |iterations| TrainConfig { optimizer, ..train_config(iterations) };
    train(&folder, &config(4), None).unwrap();
    assert!(matches!(train(&folder, &config(8), None), Err(Error::Resume { .. })));
    fs::remove_dir_all(folder).unwrap();
}
