//! Optimal transport smoothed by an entropy, by Sinkhorn's iteration on logarithms.

use std::sync::OnceLock;

use candle_core::{DType, Shape, Tensor};
use rayon::prelude::*;

use super::Ground;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{on_cpu, with_scratch};
use crate::points::cloud::{lift, pair};
use crate::points::reference;
use crate::points::space::{Boundary, Space};
use crate::simd::math::{SUM_LANES, exp, fold};
use crate::simd::{Level, multiversion};
use crate::{Error, Result};

/// Points of one task.
const ROWS: usize = 16;

/// How [`sinkhorn_distance`] smooths and when it stops.
#[derive(Clone, Debug)]
pub struct SinkhornCfg {
    /// The cost.
    pub ground: Ground,
    /// Open space or a periodic box.
    pub boundary: Boundary,
    /// The weight of the entropy, in the unit of the cost. Structure below this cost is blurred; time grows as it falls.
    pub epsilon: f64,
    /// Iterations at most at the final `epsilon`.
    pub iterations: usize,
    /// Stops when no potential changes by more than this times `epsilon`.
    pub tolerance: f64,
    /// Takes half the value of each cloud with itself away, so that equal clouds are at distance zero.
    pub debias: bool,
    /// Weights of the points of both clouds, such as masses: `[batch, n]` and `[batch, m]`, not negative, of positive
    /// sum, each normalised to one. They count as constants.
    pub weights: Option<[Tensor; 2]>,
}

impl Default for SinkhornCfg {
    fn default() -> Self {
        Self {
            ground: Ground::Squared,
            boundary: Boundary::Open,
            epsilon: 0.01,
            iterations: 500,
            tolerance: 1e-3,
            debias: true,
            weights: None,
        }
    }
}

impl SinkhornCfg {
    /// The normalised weights of one side, `[batch, n]`.
    pub(in crate::points) fn masses(
        &self,
        op: &'static str,
        side: usize,
        cloud: &Tensor,
    ) -> Result<Vec<f64>> {
        let (batch, n) = (cloud.dim(0)?, cloud.dim(1)?);
        let Some(weights) = self.weights.as_ref().map(|weights| &weights[side]) else {
            return Ok(vec![1.0 / n as f64; batch * n]);
        };
        if weights.dims() != [batch, n] {
            return Err(Error::shape(op, "weights", format!("[{batch}, {n}]"), weights.dims()));
        }
        let mut masses = weights.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        for masses in masses.chunks_exact_mut(n) {
            let sum: f64 = masses.iter().sum();
            if !(sum > 0.0 && sum.is_finite()) || masses.iter().any(|&m| m < 0.0) {
                return Err(Error::argument(
                    op,
                    "weights",
                    "not negative, of positive sum in each example",
                    sum,
                ));
            }
            for mass in masses {
                *mass /= sum;
            }
        }
        Ok(masses)
    }
}

/// Entropic optimal transport between two clouds, `[batch]`:
///
/// $$ \mathrm{OT}\_\epsilon(a, b) = \min_P \sum_{ij} P_{ij} c_{ij} + \epsilon
///    \sum_{ij} P_{ij} \ln \frac{P_{ij}}{u_i v_j}, \qquad
///    \sum_j P_{ij} = u_i,\ \sum_i P_{ij} = v_j, $$
///
/// and with [`SinkhornCfg::debias`] the divergence
/// $\mathrm{OT}\_\epsilon(a, b) - \frac12 \mathrm{OT}\_\epsilon(a, a) - \frac12 \mathrm{OT}\_\epsilon(b, b)$.
/// `a [batch, n, axes]`, `b [batch, m, axes]`, one to three axes; the clouds may differ in size.
///
/// The iteration is on the potentials (logarithms), so a small $\epsilon$ does not underflow; it begins with a large
/// $\epsilon$ that is halved. Differentiable in both clouds: by the envelope theorem the gradient is
/// $\sum_j P_{ij} \nabla c_{ij}$, exact at convergence. O(n m) an iteration, linear memory.
///
/// # Source
/// Cuturi 2013, arXiv:1306.0895; Feydy et al. 2019, arXiv:1810.08278 (divergence); Schmitzer 2019, arXiv:1610.06519
/// (logarithms, scaling of epsilon).
///
/// # Errors
/// Where the shapes do not fit, a cloud is empty, a coordinate is not finite, `epsilon` or `iterations` is not positive,
/// weights do not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{SinkhornCfg, sinkhorn_distance};
/// let a = Tensor::new(&[[[0.0f32], [1.0]]], &Device::Cpu)?;
/// // A shift by one half costs its square.
/// let d = sinkhorn_distance(&a, &(&a + 0.5)?, &SinkhornCfg::default())?.to_vec1::<f32>()?[0];
/// assert!((d - 0.25).abs() < 1e-3);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn sinkhorn_distance(a: &Tensor, b: &Tensor, cfg: &SinkhornCfg) -> Result<Tensor> {
    const OP: &str = "sinkhorn_distance";
    let (p, q) = pair(OP, ("a", a), ("b", b))?;
    for (name, cloud, size) in [("a", a, p), ("b", b, q)] {
        if size.axes > 3 || size.points == 0 {
            return Err(Error::shape(OP, name, "[batch, 1 or more, 1 to 3]", cloud.dims()));
        }
    }
    if !(cfg.epsilon > 0.0 && cfg.epsilon.is_finite()) {
        return Err(Error::argument(OP, "epsilon", "positive and finite", cfg.epsilon));
    }
    if cfg.iterations == 0 {
        return Err(Error::argument(OP, "iterations", "at least 1", 0));
    }
    let space = Space::new(OP, &cfg.boundary, p.axes)?;
    let masses = [cfg.masses(OP, 0, a)?, cfg.masses(OP, 1, b)?];
    if !on_cpu(&[a, b]) {
        return reference::sinkhorn_distance(a, b, cfg);
    }
    let op = Sinkhorn {
        batch: p.batch,
        points: [p.points, q.points],
        axes: p.axes,
        space,
        masses,
        cfg: cfg.clone(),
        solved: OnceLock::new(),
    };
    Ok(autograd::apply(op, &[a, b])?)
}

/// A cloud with masses, coordinate by coordinate.
struct Masses {
    points: Vec<[f32; 3]>,
    axes: [Vec<f32>; 3],
    masses: Vec<f64>,
    logarithms: Vec<f32>,
}

impl Masses {
    fn new(points: Vec<[f32; 3]>, masses: &[f64]) -> Self {
        let axes = std::array::from_fn(|axis| points.iter().map(|p| p[axis]).collect());
        let logarithms = masses.iter().map(|m| m.ln() as f32).collect();
        Self { points, axes, masses: masses.to_vec(), logarithms }
    }
}

/// Potentials of both clouds.
type Potentials = [Vec<f32>; 2];

struct Sinkhorn {
    batch: usize,
    points: [usize; 2],
    axes: usize,
    space: Space,
    masses: [Vec<f64>; 2],
    cfg: SinkhornCfg,
    /// The potentials of each example for each term of the value, from the forward pass.
    solved: OnceLock<Vec<Vec<Potentials>>>,
}

impl Sinkhorn {
    fn clouds(&self, inputs: &[&[f32]], example: usize) -> Result<[Masses; 2]> {
        let cloud = |side: usize, name| -> Result<_> {
            let (n, size) = (self.points[side], self.points[side] * self.axes);
            let values = &inputs[side][example * size..][..size];
            let points = lift(self.name(), name, values, self.axes, &self.space)?;
            Ok(Masses::new(points, &self.masses[side][example * n..][..n]))
        };
        Ok([cloud(0, "a")?, cloud(1, "b")?])
    }

    /// The terms of the value: which clouds, and their factor.
    fn terms(&self) -> &'static [([usize; 2], f64)] {
        let all = &[([0, 1], 1.0), ([0, 0], -0.5), ([1, 1], -0.5)];
        if self.cfg.debias { all } else { &all[..1] }
    }

    /// The potential of `to` that answers that of `from`.
    fn answer(&self, level: Level, to: &Masses, from: &Masses, potential: &[f32], epsilon: f64) -> Vec<f32> {
        let inverse = (1.0 / epsilon) as f32;
        let heights: Vec<f32> =
            potential.iter().zip(&from.logarithms).map(|(g, log)| g * inverse + log).collect();
        let mut out = vec![0.0; to.points.len()];
        out.par_chunks_mut(ROWS).zip(to.points.par_chunks(ROWS)).for_each(|(out, points)| {
            with_scratch(heights.len(), |scratch| {
                for (out, &q) in out.iter_mut().zip(points) {
                    exponents(level, &from.axes, &heights, q, inverse, self.cfg.ground, &self.space, scratch);
                    *out = -(epsilon * log_sum_exp(level, scratch)) as f32;
                }
            });
        });
        out
    }

    /// The potential of a cloud against itself. The plan is symmetric, and averaging a potential with its answer
    /// converges in a few steps where taking turns needs hundreds.
    fn solve_self(&self, a: &Masses) -> Potentials {
        let level = Level::current();
        let mut f = vec![0.0; a.points.len()];
        let average = |f: &mut Vec<f32>, epsilon: f64| {
            let answer = self.answer(level, a, a, f, epsilon);
            let change = f.iter().zip(&answer).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            for (f, answer) in f.iter_mut().zip(answer) {
                *f = 0.5 * (*f + answer);
            }
            f64::from(change)
        };
        let mut epsilon = self.largest_cost(a, a).max(self.cfg.epsilon);
        while epsilon > self.cfg.epsilon {
            average(&mut f, epsilon);
            epsilon *= 0.5;
        }
        let epsilon = self.cfg.epsilon;
        for _ in 0..self.cfg.iterations {
            if average(&mut f, epsilon) <= self.cfg.tolerance * epsilon {
                break;
            }
        }
        [f.clone(), f]
    }

    fn solve(&self, a: &Masses, b: &Masses) -> Potentials {
        let level = Level::current();
        let (mut f, mut g) = (vec![0.0; a.points.len()], vec![0.0; b.points.len()]);
        let mut epsilon = self.largest_cost(a, b).max(self.cfg.epsilon);
        while epsilon > self.cfg.epsilon {
            g = self.answer(level, b, a, &f, epsilon);
            f = self.answer(level, a, b, &g, epsilon);
            epsilon *= 0.5;
        }
        let epsilon = self.cfg.epsilon;
        for _ in 0..self.cfg.iterations {
            let next = self.answer(level, b, a, &f, epsilon);
            let change = next.iter().zip(&g).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            g = next;
            // Last, so that the plan has the masses of `a` exactly.
            f = self.answer(level, a, b, &g, epsilon);
            if f64::from(change) <= self.cfg.tolerance * epsilon {
                break;
            }
        }
        [f, g]
    }

    /// An upper bound of all costs.
    fn largest_cost(&self, a: &Masses, b: &Masses) -> f64 {
        let squared: f64 = (0..3)
            .map(|axis| {
                let all = || a.axes[axis].iter().chain(&b.axes[axis]);
                let low = all().fold(f32::INFINITY, |m, &x| m.min(x));
                let high = all().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
                f64::from(high - low).powi(2)
            })
            .sum();
        f64::from(self.cfg.ground.cost(squared as f32))
    }

    /// Adds `scale` times the gradient of a term to that of its first cloud (and, for the sides swapped, its second).
    fn pull_back(
        &self,
        level: Level,
        [a, b]: [&Masses; 2],
        [f, g]: [&[f32]; 2],
        scale: f32,
        gradient: &mut [f32],
    ) {
        let inverse = (1.0 / self.cfg.epsilon) as f32;
        let heights: Vec<f32> = g.iter().zip(&b.logarithms).map(|(g, log)| g * inverse + log).collect();
        gradient.par_chunks_mut(ROWS * self.axes).enumerate().for_each(|(task, gradient)| {
            with_scratch(heights.len(), |plan| {
                for (i, gradient) in gradient.chunks_exact_mut(self.axes).enumerate() {
                    let i = task * ROWS + i;
                    let q = a.points[i];
                    exponents(level, &b.axes, &heights, q, inverse, self.cfg.ground, &self.space, plan);
                    exponentials(level, plan, f[i] * inverse + a.logarithms[i]);
                    let mut sums = [0f64; 3];
                    for (p, &other) in plan.iter().zip(&b.points) {
                        let slope = p * self.cfg.ground.slope(self.space.squared(q, other));
                        let d = self.space.difference(q, other);
                        for (sum, d) in sums.iter_mut().zip(d) {
                            *sum += f64::from(slope * d);
                        }
                    }
                    for (to, sum) in gradient.iter_mut().zip(sums) {
                        *to += scale * sum as f32;
                    }
                }
            });
        });
    }
}

impl Op for Sinkhorn {
    fn name(&self) -> &'static str {
        "sinkhorn_distance"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (mut values, mut solved) = (vec![], vec![]);
        for example in 0..self.batch {
            let clouds = self.clouds(inputs, example)?;
            let mut potentials = vec![];
            let mut value = 0.0;
            for &([a, b], factor) in self.terms() {
                let [f, g] =
                    if a == b { self.solve_self(&clouds[a]) } else { self.solve(&clouds[a], &clouds[b]) };
                let mean = |m: &Masses, p: &[f32]| -> f64 {
                    m.masses.iter().zip(p).map(|(m, &p)| m * f64::from(p)).sum()
                };
                value += factor * (mean(&clouds[a], &f) + mean(&clouds[b], &g));
                potentials.push([f, g]);
            }
            values.push(value as f32);
            solved.push(potentials);
        }
        let _ = self.solved.set(solved);
        Ok((values, self.batch.into()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Some(solved) = self.solved.get() else {
            candle_core::bail!("sinkhorn_distance: backward before forward")
        };
        let level = Level::current();
        let sizes = self.points.map(|n| n * self.axes);
        let mut gradients = sizes.map(|size| vec![0.0; self.batch * size]);
        for example in 0..self.batch {
            let clouds = self.clouds(inputs, example)?;
            for (&([a, b], factor), [f, g]) in self.terms().iter().zip(&solved[example]) {
                let scale = factor as f32 * dy[example];
                let (x, y) = (&clouds[a], &clouds[b]);
                let to = &mut gradients[a][example * sizes[a]..][..sizes[a]];
                self.pull_back(level, [x, y], [f, g], scale, to);
                let to = &mut gradients[b][example * sizes[b]..][..sizes[b]];
                self.pull_back(level, [y, x], [g, f], scale, to);
            }
        }
        Ok(gradients.map(Gradient::Values).into())
    }
}

multiversion! {
    /// `out[j] = heights[j] - c(q, j) inverse`.
    fn exponents(
        axes: &[Vec<f32>; 3],
        heights: &[f32],
        q: [f32; 3],
        inverse: f32,
        ground: Ground,
        space: &Space,
        out: &mut [f32],
    ) {
        let _ = FMA;
        let n = out.len();
        let (x, y, z, heights) = (&axes[0][..n], &axes[1][..n], &axes[2][..n], &heights[..n]);
        if space.periodic {
            for j in 0..n {
                out[j] = space.squared([x[j], y[j], z[j]], q);
            }
        } else {
            for j in 0..n {
                let d = [x[j] - q[0], y[j] - q[1], z[j] - q[2]];
                out[j] = (d[0] * d[0] + d[1] * d[1]) + d[2] * d[2];
            }
        }
        match ground {
            Ground::Squared => {
                for (out, h) in out.iter_mut().zip(heights) {
                    *out = h - *out * inverse;
                }
            }
            Ground::Distance => {
                for (out, h) in out.iter_mut().zip(heights) {
                    *out = h - out.sqrt() * inverse;
                }
            }
        }
    }
}

multiversion! {
    fn log_sum_exp(x: &[f32]) -> f64 {
        let mut largest = [f32::NEG_INFINITY; SUM_LANES];
        for x in x.chunks(SUM_LANES) {
            for (m, &x) in largest.iter_mut().zip(x) {
                *m = if x > *m { x } else { *m };
            }
        }
        let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; SUM_LANES];
        for x in x.chunks(SUM_LANES) {
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum += exp::<FMA>(x - largest);
            }
        }
        f64::from(fold(sums)).ln() + f64::from(largest)
    }
}

multiversion! {
    /// `x = exp(x + offset)`.
    fn exponentials(x: &mut [f32], offset: f32) {
        for x in x {
            *x = exp::<FMA>(*x + offset);
        }
    }
}
