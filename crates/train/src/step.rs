//! One step of every phase: batch, loss, gradients, step.

use std::collections::BTreeMap;
use std::path::PathBuf;

use halocast_core::{Batch, Dataset, Rng, Shard};
use halocast_kernels::{record, sum_over_ranks};
use halocast_models::Trainable;
use ndarray::{ArrayD, IxDyn};

use crate::collective::{Collective, Local, together};
use crate::ledger::{Ledger, Part};
use crate::order::Order;
use crate::{BadBatch, Error, Gradients, Optimizer, Place, Result, StepRecord, TrainConfig, Weights};

/// Everything that a step reads or moves.
pub(crate) struct Stepper<'a> {
    pub(crate) model: &'a dyn Trainable,
    pub(crate) dataset: &'a dyn Dataset,
    pub(crate) config: TrainConfig,
    pub(crate) weights: Weights,
    /// One for each phase.
    pub(crate) optimizers: Vec<Optimizer>,
    pub(crate) ledger: Ledger,
    /// Where the batch goes that leads to something that is no number.
    pub(crate) bad_batch: PathBuf,
    /// Those who share each batch.
    pub(crate) collective: &'a dyn Collective,
    order: Order,
    root: Rng,
}

/// This rank's share of the batch of a step in its parts, and the generator of its noise as the data set left it.
struct Draw {
    indices: Vec<usize>,
    parts: Vec<Batch>,
    rng: Rng,
}

/// What a phase found at a batch.
struct Found {
    gradients: Gradients,
    loss: f32,
    parts: BTreeMap<&'static str, f64>,
}

impl<'a> Stepper<'a> {
    pub(crate) fn new(
        model: &'a dyn Trainable,
        dataset: &'a dyn Dataset,
        config: &TrainConfig,
        bad_batch: PathBuf,
    ) -> Result<Self> {
        let phases: Vec<&str> = (0..model.phases()).map(|phase| model.phase_name(phase)).collect();
        if let Some(name) = config.phases.keys().find(|name| !phases.contains(&name.as_str())) {
            let expected = format!("one of the model's phases {phases:?}");
            return Err(Error::Config { field: "phases", expected, got: name.clone() });
        }
        let (expected, got) = (model.example().fields, dataset.event_shape());
        if expected != got {
            let (expected, got) = (format!("{expected:?}, as the model takes them"), format!("{got:?}"));
            return Err(Error::Config { field: "examples of the data set", expected, got });
        }
        let named = model.parameters().named();
        let optimizer = |(phase, &name): (usize, &&str)| {
            let own = named.iter().filter(|(parameter, _)| model.trains(phase, parameter)).cloned();
            Optimizer::new(name, own, config.optimizer_of(name))
        };
        let root = Rng::new(config.seed);
        Ok(Self {
            optimizers: phases.iter().enumerate().map(optimizer).collect::<Result<_>>()?,
            weights: Weights::new(model.parameters(), &config.ema)?,
            order: Order::new(root.split_named("order"), dataset.len()),
            root: root.split_named("steps"),
            config: config.clone(),
            ledger: Ledger::default(),
            collective: &Local,
            model,
            dataset,
            bad_batch,
        })
    }

    /// The number of batches of a step: every repetition of a phase has its own, and phases share them.
    fn batches(&self) -> usize {
        self.optimizers.iter().map(|optimizer| optimizer.config().repeat).max().unwrap_or(1)
    }

    /// The number of examples of a step.
    pub(crate) fn examples(&self) -> usize {
        self.batches() * self.config.batch
    }

    /// Takes step number `step`, from 1: all repetitions of the first phase, then those of the next.
    pub(crate) fn take(&mut self, step: u64) -> Result<StepRecord> {
        let draws = (0..self.batches()).map(|i| self.draw(step, i)).collect::<Result<Vec<_>>>();
        let draws = together(self.collective, "batch", draws)?;
        let mut told = Told::new(self.optimizers.len() > 1);
        for phase in 0..self.optimizers.len() {
            let config = *self.optimizers[phase].config();
            let rate = config.learning_rate_at(step, self.config.iterations);
            for (repetition, draw) in draws.iter().take(config.repeat).enumerate() {
                let found = self.gradients(step, phase, draw)?;
                let norm = self.norm(step, phase, draw, &found.gradients)?;
                let count = (step - 1) * config.repeat as u64 + repetition as u64 + 1;
                if repetition + 1 == config.repeat {
                    told.phase(self.model.phase_name(phase), &found, norm, rate);
                }
                let optimizer = &mut self.optimizers[phase];
                self.ledger.time(Part::Optimizer, || optimizer.step(found.gradients, norm, rate, count))?;
            }
        }
        let weights = &mut self.weights;
        self.ledger.time(Part::Optimizer, || weights.update(step))?;
        self.ledger.steps += 1;
        self.ledger.examples += self.examples() as u64;
        Ok(told.record(step))
    }

    /// Batch `number` of a step: a function of the seed and the two numbers alone.
    fn draw(&mut self, step: u64, number: usize) -> Result<Draw> {
        let mut rng = self.root.split(step);
        if number > 0 {
            rng = rng.split(number as u64);
        }
        let place = (step - 1) * self.batches() as u64 + number as u64;
        let indices = self.order.batch(place, self.config.batch);
        let (dataset, total) = (self.dataset, self.config.batch);
        // The parts of all ranks follow one another in the batch.
        let (count, rank) = (self.config.accumulate, self.collective.rank());
        let (own, all) = (rank * count..(rank + 1) * count, self.collective.size() * count);
        self.ledger.time(Part::Data, || {
            let root = rng.clone();
            let parts = own.map(|part| {
                // Every part begins from the same state, and leaves the same: draws are keyed by the example.
                rng = root.clone();
                Shard::of_rank(part, all, total).batch(dataset, &indices, &mut rng)
            });
            let parts = parts.collect::<halocast_core::Result<Vec<_>>>()?;
            let own = parts.iter().flat_map(|part| &indices[part.shard.range()]).copied().collect();
            Ok(Draw { indices: own, parts, rng })
        })
    }

    /// The gradients of a phase at the batch of all ranks; where one of them fails, all do.
    fn gradients(&mut self, step: u64, phase: usize, draw: &Draw) -> Result<Found> {
        let own = self.own_gradients(step, phase, draw);
        let mut found = together(self.collective, "training step", own)?;
        if self.collective.size() > 1 {
            found.sum_over(self.collective)?;
        }
        let examples = self.config.batch;
        if !examples.is_power_of_two() {
            found.gradients.scale(unit(examples) / examples as f64)?;
        }
        Ok(found)
    }

    /// What a phase finds at this rank's share of a batch: the sum over its parts.
    fn own_gradients(&mut self, step: u64, phase: usize, draw: &Draw) -> Result<Found> {
        if self.collective.size() == 1 {
            return self.sum_of_parts(step, phase, draw);
        }
        // Statistics of a batch are those of the parts that all ranks work on at a time.
        let collective = self.collective;
        let sum = |values: &mut [f32]| collective.all_reduce_sum(values).map_err(|e| e.to_string());
        sum_over_ranks(&sum, || self.sum_of_parts(step, phase, draw))
    }

    fn sum_of_parts(&mut self, step: u64, phase: usize, draw: &Draw) -> Result<Found> {
        let mut sum: Option<Found> = None;
        for part in &draw.parts {
            let found = self.gradients_of(step, phase, draw, part)?;
            match &mut sum {
                None => sum = Some(found),
                Some(sum) => sum.add(&found)?,
            }
        }
        let (expected, got) = ("at least 1".to_owned(), self.config.accumulate.to_string());
        sum.ok_or(Error::Config { field: "accumulate", expected, got })
    }

    /// What a phase finds at a part of a batch of `total` examples: its share of the mean loss, and the gradients of the
    /// sum of the examples' losses divided by [`unit`]`(total)`.
    ///
    /// The mean over a part of n examples is differentiated from the seed n / unit, which is exact, so that what reaches
    /// each example does not depend on n: its gradient has the same bits however the batch is divided, and only the
    /// order of the sum over examples differs.
    fn gradients_of(&mut self, step: u64, phase: usize, draw: &Draw, batch: &Batch) -> Result<Found> {
        let mut rng = draw.noise(phase);
        let model = self.model;
        let (loss, tape) =
            self.ledger.time(Part::Forward, || record(|| model.loss(phase, batch, &mut rng)))?;
        let value = loss.total.to_scalar::<f32>()?;
        if !value.is_finite() {
            let reason = format!("the loss is {value}");
            let batch = self.keep(step, phase, draw, reason)?;
            return Err(Error::Diverged { step, phase: model.phase_name(phase).into(), loss: value, batch });
        }
        let shard = batch.shard;
        let seed = loss.total.ones_like()?.affine(shard.len as f64 / unit(shard.total), 0.0)?;
        let store = self.ledger.time(Part::Backward, || tape.backward_from(&loss.total, seed))?;
        let parts = loss.parts.iter().map(|&(name, part)| (name, f64::from(part) * shard.weight())).collect();
        let share = (f64::from(value) * shard.weight()) as f32;
        Ok(Found { gradients: self.optimizers[phase].gradients(&store)?, loss: share, parts })
    }

    /// The norm of the gradients of a phase; one that is no number ends the run before any parameter is touched.
    fn norm(&mut self, step: u64, phase: usize, draw: &Draw, gradients: &Gradients) -> Result<f64> {
        let norm = self.ledger.time(Part::Optimizer, || gradients.norm())?;
        if norm.is_finite() {
            return Ok(norm);
        }
        let parameter = gradients.first_not_finite().unwrap_or("all together").to_owned();
        let reason = format!("the gradient of {parameter} is of norm {norm}");
        let batch = self.keep(step, phase, draw, reason)?;
        Err(Error::GradientNotFinite { step, norm, parameter, batch })
    }

    /// Leaves a batch for inspection.
    fn keep(&self, step: u64, phase: usize, draw: &Draw, reason: String) -> Result<PathBuf> {
        tracing::error!(step, reason, "the run stops");
        let phase = self.model.phase_name(phase).to_owned();
        let place = Place { step, phase, seed: self.config.seed, reason };
        let bad = BadBatch { place, indices: draw.indices.clone(), batch: draw.whole() };
        bad.save(&self.bad_batch)?;
        Ok(self.bad_batch.clone())
    }
}

impl Draw {
    /// The generator of the noise of a phase: independent of those of the others.
    fn noise(&self, phase: usize) -> Rng {
        match phase {
            0 => self.rng.clone(),
            _ => self.rng.split_named("phase").split(phase as u64),
        }
    }

    /// The batch in one piece.
    fn whole(&self) -> Batch {
        // The parts are of one data set and fit together.
        Batch::concatenate(&self.parts).unwrap_or_else(|_| Batch::new(ArrayD::zeros(IxDyn(&[0])), None))
    }
}

impl Found {
    fn add(&mut self, other: &Self) -> Result<()> {
        self.loss += other.loss;
        other.parts.iter().for_each(|(name, part)| *self.parts.entry(name).or_default() += part);
        self.gradients.add(&other.gradients)
    }

    /// The sum over all ranks, of the loss, its parts and the gradients in the order of their names at once.
    fn sum_over(&mut self, collective: &dyn Collective) -> Result<()> {
        let mut values = vec![self.loss];
        values.extend(self.parts.values().map(|&part| part as f32));
        let first = values.len();
        self.gradients.append_to(&mut values)?;
        collective.all_reduce_sum(&mut values)?;
        self.loss = values[0];
        self.parts.values_mut().zip(&values[1..]).for_each(|(part, &sum)| *part = f64::from(sum));
        self.gradients.read(&values[first..])
    }
}

/// The power of two by which the gradients of a batch of so many examples are divided while they are summed.
fn unit(examples: usize) -> f64 {
    examples.next_power_of_two() as f64
}

/// Gathers the record of a step from its phases.
struct Told {
    several: bool,
    squares: f64,
    rate: Option<f64>,
    record: StepRecord,
}

impl Told {
    fn new(several: bool) -> Self {
        Self { several, squares: 0.0, rate: None, record: StepRecord::default() }
    }

    fn phase(&mut self, name: &str, found: &Found, norm: f64, rate: f64) {
        self.record.loss += found.loss;
        self.squares += norm * norm;
        self.rate.get_or_insert(rate);
        let mut tell = |what: &str, value: f64| {
            let key = if self.several { format!("{name}/{what}") } else { what.to_owned() };
            self.record.parts.insert(key, value);
        };
        // The total has its own place.
        let parts = found.parts.iter().filter(|(part, _)| **part != "loss");
        parts.for_each(|(part, value)| tell(part, *value));
        if self.several {
            tell("loss", f64::from(found.loss));
            tell("gradient_norm", norm);
            tell("learning_rate", rate);
        }
    }

    fn record(self, step: u64) -> StepRecord {
        let gradient_norm = self.squares.sqrt();
        StepRecord { step, gradient_norm, learning_rate: self.rate.unwrap_or(0.0), ..self.record }
    }
}
