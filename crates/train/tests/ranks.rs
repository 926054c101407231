//! Several ranks train as one does: in threads here; under MPI by `.ci/mpi`.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

mod common;

use std::fs;
use std::path::Path;

use candle_core::Device;
use common::{Waves, assert_same_run, folder, model, train_config, trainer};
use halocast_core::{Batch, Dataset, Rng};
use halocast_models::pointnet::PointNetConfig;
use halocast_models::{ModelConfig, load_checkpoint};
use halocast_train::{
    Collective, Ended, LossLog, OptimizerConfig, Result, Rule, SgdConfig, Stop, Threads, TrainConfig, Trainer,
};
use ndarray::{Array2, ArrayD};

/// Trains on so many ranks; what each gives.
fn train(ranks: usize, folder: &Path, config: &TrainConfig) -> Vec<Result<Ended>> {
    std::thread::scope(|scope| {
        let rank = |threads: Threads| {
            move || {
                let (model, waves) = (model(config), Waves::new(12));
                trainer(&model, &waves, folder, config)?.with_collective(&threads)?.run(&mut |_| {})
            }
        };
        let all: Vec<_> = Threads::group(ranks).into_iter().map(|t| scope.spawn(rank(t))).collect();
        all.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn train_all(ranks: usize, folder: &Path, config: &TrainConfig) {
    let ended = train(ranks, folder, config);
    assert!(ended.iter().all(|e| matches!(e, Ok(Ended::Finished { .. }))), "{ended:?}");
}

fn sgd(iterations: u64) -> TrainConfig {
    let rule = Rule::Sgd(SgdConfig { momentum: 0.9, ..Default::default() });
    let optimizer = OptimizerConfig { rule, learning_rate: 1e-2, ..Default::default() };
    TrainConfig { batch: 8, optimizer, checkpoint_every: 100, ..train_config(iterations) }
}

/// The relative L2 difference of the saved tensors whose names end so.
fn difference(a: &Path, b: &Path, suffix: &str) -> f64 {
    let read = |folder: &Path| {
        let path = folder.join("state.safetensors");
        load_checkpoint::<serde_json::Value>(&path, &Device::Cpu).unwrap().1
    };
    let (a, b) = (read(a), read(b));
    let (mut squares, mut apart) = (0.0, 0.0);
    for (name, tensor) in a.iter().filter(|(name, _)| name.ends_with(suffix)) {
        let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (x, y) in values(tensor).into_iter().zip(values(&b[name])) {
            squares += f64::from(x).powi(2);
            apart += f64::from(x - y).powi(2);
        }
    }
    assert!(squares > 0.0, "no {suffix}");
    (apart / squares).sqrt()
}

#[test]
fn gradients_weights_and_losses_are_those_of_one_rank() {
    let adam = TrainConfig { batch: 8, checkpoint_every: 100, ..train_config(20) };
    let (first, twenty, other) = (folder("rank-first"), folder("rank-twenty"), folder("rank-adam"));
    train_all(1, &first, &sgd(1));
    train_all(1, &twenty, &sgd(20));
    train_all(1, &other, &adam);
    // Eight examples on three ranks are shares of 3, 3 and 2; two parts on each rank are other shares again.
    for (ranks, accumulate) in [(2, 1), (3, 1), (2, 2)] {
        let shared = |config: &TrainConfig| TrainConfig { accumulate, ..config.clone() };
        let many = folder("rank-many");
        train_all(ranks, &many, &shared(&sgd(1)));
        // After one step the velocity is the gradient.
        let gradients = difference(&first, &many, "/velocity");
        assert!(gradients < 1e-6, "{ranks} ranks: {gradients}");
        fs::remove_dir_all(&many).unwrap();

        train_all(ranks, &many, &shared(&sgd(20)));
        let weights = difference(&twenty, &many, "/value");
        assert!(weights < 1e-5, "{ranks} ranks: {weights}");
        fs::remove_dir_all(&many).unwrap();

        train_all(ranks, &many, &shared(&adam));
        let losses = |folder: &Path| LossLog::read(&folder.join("losses.jsonl")).unwrap();
        let (one, all) = (losses(&other), losses(&many));
        assert_eq!((one.len(), all.len()), (20, 20));
        for (a, b) in one.iter().zip(&all) {
            assert!((a.loss - b.loss).abs() < 1e-3 * a.loss, "{ranks} ranks: {a:?} {b:?}");
        }
        fs::remove_dir_all(&many).unwrap();
    }
    [first, twenty, other].iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    // Halves of odd sizes.
    for batch in [6, 10, 12] {
        let config = TrainConfig { batch, ..sgd(1) };
        let (one, two) = (folder("rank-whole"), folder("rank-halves"));
        train_all(1, &one, &config);
        train_all(2, &two, &config);
        let gradients = difference(&one, &two, "/velocity");
        assert!(gradients < 1e-6, "batch {batch}: {gradients}");
        [one, two].iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    }
}

#[test]
fn the_same_ranks_give_the_same_bytes_and_others_go_on() {
    let (a, b, c) = (folder("rank-a"), folder("rank-b"), folder("rank-c"));
    let config = train_config(8);
    train_all(3, &a, &config);
    train_all(3, &b, &config);
    assert_same_run(&a, &b);
    // Four steps on three ranks, two on one, two on two.
    for (ranks, iterations) in [(3, 4), (1, 6), (2, 8)] {
        train_all(ranks, &c, &train_config(iterations));
    }
    assert!(difference(&a, &c, "/value") < 1e-4);
    assert_eq!(LossLog::read(&c.join("losses.jsonl")).unwrap().len(), 8);
    [a, b, c].iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
}

/// Clouds of points about a centre, and the centre.
struct Clouds;

impl Dataset for Clouds {
    fn len(&self) -> usize {
        12
    }

    fn event_shape(&self) -> Vec<usize> {
        vec![6, 3]
    }

    fn batch(&self, indices: &[usize], _: &mut Rng) -> halocast_core::Result<Batch> {
        let wave = |i: usize, k: usize| (1.7 * i as f32 + 0.9 * (k * k) as f32).sin();
        let clouds = ArrayD::from_shape_fn(vec![indices.len(), 6, 3], |at| {
            wave(indices[at[0]], 0) + 0.5 * wave(indices[at[0]] + 3, 3 * at[1] + at[2])
        });
        let centres = Array2::from_shape_fn((indices.len(), 1), |(i, _)| wave(indices[i], 0));
        Ok(Batch::new(clouds, Some(centres)))
    }
}

#[test]
fn statistics_of_a_batch_are_those_of_all_ranks() {
    let network = ModelConfig::Pointnet(PointNetConfig {
        points: 6,
        outputs: 1,
        widths: [6, 8, 12],
        head: [8, 6],
        dropout: 0.0,
        ..Default::default()
    });
    let train = |ranks: usize, name: &str, config: &TrainConfig| {
        let folder = folder(name);
        let rank = |threads: Threads| {
            let (network, folder) = (&network, &folder);
            move || -> Result<Ended> {
                let model = network.build(config.seed, &Device::Cpu)?;
                let null = serde_json::Value::Null;
                Trainer::new(model.trainable(), network, &Clouds, config, folder, null)?
                    .with_collective(&threads)?
                    .run(&mut |_| {})
            }
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = Threads::group(ranks).into_iter().map(|t| scope.spawn(rank(t))).collect();
            all.into_iter().for_each(|rank| assert!(rank.join().unwrap().is_ok()));
        });
        folder
    };
    // What is left of a gradient when the mean of eight values and their slope are taken away is a small difference of
    // sums, whose last bit depends on how they are cut: here a few 1e-6, where models without such statistics reach 1e-6.
    let compared = [(1, "/velocity", 5e-6), (20, "/value", 1e-5), (1, "running_var/value", 1e-6)];
    for (steps, suffix, tolerance) in compared {
        let config = sgd(steps);
        let whole = train(1, "statistics-whole", &config);
        for ranks in [2, 4] {
            let parts = train(ranks, "statistics-parts", &config);
            let apart = difference(&whole, &parts, suffix);
            assert!(apart < tolerance, "{suffix} after {steps} steps on {ranks} ranks: {apart}");
            fs::remove_dir_all(parts).unwrap();
        }
        fs::remove_dir_all(whole).unwrap();
    }
}

/// Waves of which one rank cannot read one.
struct Torn(Waves, bool);

impl Dataset for Torn {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        self.0.event_shape()
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> halocast_core::Result<Batch> {
        // Data are hashed with a generator of seed 0: only training fails.
        let hashed = rng.state() == Rng::new(0).state();
        let indices = if self.1 && !hashed { &[99][..] } else { indices };
        if indices == [99] {
            return Err(halocast_core::Error::Value {
                operation: "read",
                what: "example".into(),
                expected: "a disk that works".into(),
                got: "none".into(),
            });
        }
        self.0.batch(indices, rng)
    }
}

#[test]
fn a_rank_that_fails_ends_all_and_a_wish_to_stop_stops_all() {
    let (folder, config) = (folder("rank-fails"), train_config(8));
    train_all(2, &folder, &train_config(4));
    let on = |collective: &dyn Collective, torn: bool, stop: bool| {
        let (model, waves) = (model(&config), Torn(Waves::new(12), torn));
        let wish = Stop::default();
        if stop {
            wish.set();
        }
        let model_config = common::model_config();
        let trainer = halocast_train::Trainer::new(
            model.trainable(),
            &model_config,
            &waves,
            &config,
            &folder,
            serde_json::Value::Null,
        )?;
        trainer.with_stop(&wish).with_collective(collective)?.run(&mut |_| {})
    };
    let both = |torn: bool, stop: bool| -> Vec<Result<Ended>> {
        std::thread::scope(|scope| {
            let rank = |t: Threads| {
                let on = &on;
                scope.spawn(move || on(&t, torn && t.rank() == 1, stop && t.rank() == 1))
            };
            let all: Vec<_> = Threads::group(2).into_iter().map(rank).collect();
            all.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    };
    let failed: Vec<String> = both(true, false).into_iter().map(|r| r.unwrap_err().to_string()).collect();
    assert!(failed[0].contains("rank 1 failed") && failed[0].contains("a disk that works"), "{failed:?}");
    assert!(failed[1].contains("a disk that works"), "{failed:?}");
    let stopped = both(false, true);
    assert!(stopped.iter().all(|r| matches!(r, Ok(Ended::Stopped { step: 4, .. }))), "{stopped:?}");
    // Nothing was lost.
    train_all(1, &folder, &config);
    let few = TrainConfig { batch: 2, ..train_config(16) };
    let refused = train(3, &folder, &few);
    assert!(refused.iter().all(Result::is_err));
    fs::remove_dir_all(folder).unwrap();
}
