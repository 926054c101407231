//! No silent gradient fault: every parameter of every model of the registry has a gradient, and it is the right one.
//!
//! What the true gradient is, central differences of the loss in double precision say. The models compute in double
//! precision on the plain reference operations, whose own gradient must agree with the differences; the fast operations
//! in single precision must agree with that one element by element, once through Candle's `backward` and once through
//! the tape.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use halocast::core::{Batch, Rng};
use halocast::kernels::record;
use halocast::models::{Model, ModelConfig, Parameters};
use halocast_tests::zoo;

/// Steps of the differences, in units of the parameter (whose elements are of order 0.1 to 1). At the first, truncation
/// (step^2 / 6 times the third derivative) and rounding (1e-16 / step times the loss) are both near 1e-11. The second is
/// for losses with kinks: one within the first step's reach spoils the quotient, and seldom lies within the second's; a
/// wrong gradient is wrong at both. The others are for those of thousands of them, as many rectified numbers give, and for
/// functions bent sharply, as a norm of small numbers is.
const STEPS: [f64; 4] = [1e-5, 1e-6, 1e-7, 1e-8];

/// Largest error of a slope of the loss: relative to the norm of the gradient, and absolute for gradients near zero.
const SLOPE: (f64, f64) = (1e-6, 1e-9);

/// Largest error of an element of a gradient in single precision, relative to the largest element of its tensor: about a
/// hundred roundings of 6e-8 on the way down a network; and absolute, relative to the largest of all tensors, for
/// tensors whose gradient is a sum that cancels.
const ROUNDING: (f64, f64) = (2e-5, 2e-6);

/// A model and the batch and seed that make its loss a function of its parameters alone.
struct Case {
    model: Model,
    batch: Batch,
}

impl Case {
    fn new(config: &ModelConfig, dtype: DType) -> Result<Self> {
        let parameters = Parameters::with_dtype(11, dtype, &Device::Cpu);
        let model = config.build_with(parameters)?;
        let batch = zoo::batch(&model, 2, &mut Rng::new(12))?;
        Ok(Self { model, batch })
    }

    fn parameters(&self) -> Vec<(String, Var)> {
        self.model.trainable().parameters().named()
    }

    fn phases(&self) -> usize {
        self.model.trainable().phases()
    }

    fn loss(&self, phase: usize) -> Result<Tensor> {
        Ok(self.model.trainable().loss(phase, &self.batch, &mut Rng::new(13))?.total)
    }

    fn value(&self, phase: usize) -> Result<f64> {
        Ok(self.loss(phase)?.to_dtype(DType::F64)?.to_scalar()?)
    }

    fn by_candle(&self, phase: usize) -> Result<GradStore> {
        Ok(self.loss(phase)?.backward()?)
    }

    fn by_tape(&self, phase: usize) -> Result<GradStore> {
        let (loss, tape) = record(|| self.loss(phase))?;
        Ok(tape.backward(&loss)?)
    }

    /// The slope of the loss where `var` moves along `direction`, of unit length.
    fn slope(&self, phase: usize, var: &Var, direction: &[f64], step: f64) -> Result<f64> {
        let kept = var.as_tensor().copy()?;
        let direction = Tensor::from_slice(direction, var.shape(), &Device::Cpu)?;
        let at = |distance: f64| -> Result<f64> {
            var.set(&(&kept + (&direction * distance)?)?)?;
            self.value(phase)
        };
        let slope = (at(step)? - at(-step)?) / (2.0 * step);
        var.set(&kept)?;
        Ok(slope)
    }
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn largest(x: impl IntoIterator<Item = f64>) -> f64 {
    x.into_iter().fold(0.0, |m: f64, v| if v.is_nan() { f64::INFINITY } else { m.max(v.abs()) })
}

fn unit(x: &[f64]) -> Vec<f64> {
    let length = norm(x).max(f64::MIN_POSITIVE);
    x.iter().map(|v| v / length).collect()
}

#[test]
fn the_table_holds_every_model_of_the_registry() -> Result<()> {
    let tested: BTreeSet<String> =
        zoo::zoo().iter().map(|(_, config)| zoo::tag(config)).collect::<Result<_>>()?;
    let registered = zoo::registered();
    ensure!(!registered.is_empty(), "the registry does not tell its models");
    ensure!(tested == registered, "tests/src/zoo.rs holds {tested:?}, the registry {registered:?}");
    Ok(())
}

#[test]
fn every_parameter_has_the_gradient_of_finite_differences() -> Result<()> {
    for (name, config) in zoo::zoo() {
        let case = Case::new(&config, DType::F64)?;
        let mut rng = Rng::new(14);
        let mut found = BTreeSet::new();
        let mut worst = 0.0f64;
        for phase in 0..case.phases() {
            let gradients = case.by_candle(phase)?;
            for (parameter, var) in case.parameters() {
                let Some(gradient) = gradients.get(&var) else {
                    // A parameter of another phase, or one that no gradient moves.
                    let trains = case.model.trainable().trains(phase, &parameter);
                    ensure!(!trains, "{name}, phase {phase}: {parameter} has no gradient");
                    continue;
                };
                if zoo::estimated(&config, &parameter) {
                    found.insert(parameter);
                    continue;
                }
                let gradient = values(gradient)?;
                let random: Vec<f64> = rng.normals(gradient.len()).into_iter().map(f64::from).collect();
                // Half along the gradient, where a wrong factor shows; half across it, where a wrong element does.
                let mixed: Vec<f64> = unit(&random).iter().zip(unit(&gradient)).map(|(a, b)| a + b).collect();
                let direction = unit(&mixed);
                let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
                let tolerance = SLOPE.0 * norm(&gradient) + SLOPE.1;
                let mut error = f64::INFINITY;
                for step in STEPS {
                    if error > 1.0 {
                        let slope = case.slope(phase, &var, &direction, step)?;
                        error = largest([slope - expected]) / tolerance;
                    }
                }
                worst = worst.max(error);
                ensure!(
                    error <= 1.0,
                    "{name}, phase {phase}: {parameter}: the slope of the loss is {error:.3} tolerances from {expected:e}"
                );
                found.insert(parameter);
            }
        }
        for (parameter, _) in case.parameters() {
            let trains = (0..case.phases()).any(|phase| case.model.trainable().trains(phase, &parameter));
            ensure!(
                !trains || found.contains(&parameter),
                "{name}: {parameter} has no gradient in any phase"
            );
        }
        println!("{name}: {} parameters, largest error {worst:.3} of the tolerance", found.len());
    }
    Ok(())
}

#[test]
fn the_fast_gradients_are_those_of_double_precision() -> Result<()> {
    for (name, config) in zoo::zoo() {
        let (fast, exact) = (Case::new(&config, DType::F32)?, Case::new(&config, DType::F64)?);
        for phase in 0..fast.phases() {
            let (loss, truth) = (fast.value(phase)?, exact.value(phase)?);
            ensure!((loss - truth).abs() <= 1e-5 * truth.abs(), "{name}: loss {loss}, expected {truth}");
            let reference = exact.by_candle(phase)?;
            for (way, gradients) in [("Candle", fast.by_candle(phase)?), ("tape", fast.by_tape(phase)?)] {
                agree(&fast, &gradients, &exact, &reference)
                    .with_context(|| format!("{name}, phase {phase}, by {way}"))
                    .map(|worst| println!("{name}, by {way}: largest error {worst:.3} of the tolerance"))?;
            }
        }
    }
    Ok(())
}

/// Requires the same set of gradients with the same elements, and returns the largest error over the tolerance.
fn agree(fast: &Case, gradients: &GradStore, exact: &Case, reference: &GradStore) -> Result<f64> {
    let mut pairs = Vec::new();
    for ((name, var), (_, exact)) in fast.parameters().into_iter().zip(exact.parameters()) {
        match (gradients.get(&var), reference.get(&exact)) {
            (Some(a), Some(b)) => pairs.push((name, values(a)?, values(b)?)),
            (None, None) => {}
            (a, _) => {
                let which = if a.is_some() { "only" } else { "not" };
                anyhow::bail!("{name} has a gradient {which} in single precision");
            }
        }
    }
    let scale = largest(pairs.iter().map(|(_, _, b)| largest(b.iter().copied())));
    let mut worst = 0.0f64;
    for (name, a, b) in pairs {
        let tolerance = ROUNDING.0 * largest(b.iter().copied()) + ROUNDING.1 * scale;
        let error = largest(a.iter().zip(&b).map(|(a, b)| a - b));
        ensure!(error <= tolerance, "{name}: largest error {error:e}, tolerance {tolerance:e}");
        worst = worst.max(error / tolerance);
    }
    Ok(worst)
}
