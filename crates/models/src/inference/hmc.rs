//! Hamiltonian Monte Carlo.

use halocast_core::Rng;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sampling::check_config;

/// A log-density, which need not be normalised, and its gradient.
pub type LogDensity<'a> = dyn FnMut(&[f64]) -> Result<(f64, Vec<f64>)> + 'a;

/// How long a trajectory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trajectory {
    /// So many leapfrog steps, accepted or not as a whole (Neal 2011).
    Steps(usize),
    /// Doubled until it turns back, at most so many times (no-U-turn sampler).
    NoUTurn(usize),
}

/// How a chain is run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HmcConfig {
    /// Draws that adapt the step and the masses, and are thrown away.
    pub warmup: usize,
    /// Draws that are kept.
    pub draws: usize,
    /// The length of a trajectory.
    pub trajectory: Trajectory,
    /// The acceptance that the step is adapted to.
    pub target: f64,
    /// The first step.
    pub step: f64,
}

impl Default for HmcConfig {
    fn default() -> Self {
        Self { warmup: 500, draws: 1000, trajectory: Trajectory::NoUTurn(10), target: 0.8, step: 0.1 }
    }
}

/// The draws of a chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The draws, `[draw][parameter]`.
    pub draws: Vec<Vec<f64>>,
    /// The log-density at each.
    pub log_density: Vec<f64>,
    /// Mean acceptance of the draws that were kept.
    pub acceptance: f64,
    /// The step they were made with.
    pub step: f64,
    /// Trajectories among them whose energy was lost: the step is too long for some corner of the density.
    pub divergences: usize,
    /// Evaluations of the density in all.
    pub evaluations: usize,
}

impl Chain {
    /// The mean of each parameter.
    pub fn mean(&self) -> Vec<f64> {
        let n = self.draws.len().max(1) as f64;
        let dim = self.draws.first().map_or(0, Vec::len);
        (0..dim).map(|i| self.draws.iter().map(|d| d[i]).sum::<f64>() / n).collect()
    }

    /// The covariance of the parameters.
    pub fn covariance(&self) -> Vec<Vec<f64>> {
        let (mean, n) = (self.mean(), self.draws.len().max(2) as f64);
        let of = |i: usize, j: usize| {
            self.draws.iter().map(|d| (d[i] - mean[i]) * (d[j] - mean[j])).sum::<f64>() / (n - 1.0)
        };
        (0..mean.len()).map(|i| (0..mean.len()).map(|j| of(i, j)).collect()).collect()
    }
}

/// A point of phase space with its log-density and gradient.
#[derive(Clone)]
struct State {
    x: Vec<f64>,
    p: Vec<f64>,
    value: f64,
    slope: Vec<f64>,
}

/// The density and the metric.
struct System<'a, 'b> {
    density: &'a mut LogDensity<'b>,
    /// Inverse masses: the variances of the parameters.
    inverse_mass: Vec<f64>,
    evaluations: usize,
}

impl System<'_, '_> {
    fn at(&mut self, x: Vec<f64>, p: Vec<f64>) -> Result<State> {
        self.evaluations += 1;
        let (value, slope) = (self.density)(&x)?;
        let finite = value.is_finite() && slope.iter().all(|s| s.is_finite());
        let value = if finite { value } else { f64::NEG_INFINITY };
        Ok(State { x, p, value, slope })
    }

    /// The logarithm of the joint density, less a constant.
    fn joint(&self, s: &State) -> f64 {
        s.value - 0.5 * s.p.iter().zip(&self.inverse_mass).map(|(p, m)| p * p * m).sum::<f64>()
    }

    fn leapfrog(&mut self, s: &State, step: f64) -> Result<State> {
        let mut p: Vec<f64> = s.p.iter().zip(&s.slope).map(|(p, g)| p + 0.5 * step * g).collect();
        let along = p.iter().zip(&self.inverse_mass);
        let x = s.x.iter().zip(along).map(|(x, (p, m))| x + step * m * p).collect();
        let mut next = self.at(x, vec![])?;
        if next.value.is_finite() {
            p.iter_mut().zip(&next.slope).for_each(|(p, g)| *p += 0.5 * step * g);
        }
        next.p = p;
        Ok(next)
    }

    fn momentum(&self, rng: &mut Rng) -> Vec<f64> {
        self.inverse_mass.iter().map(|m| rng.normal() / m.sqrt()).collect()
    }
}

/// Energy beyond which a trajectory counts as lost.
const LOST: f64 = 1000.0;

/// A subtree of a trajectory.
struct Tree {
    left: State,
    right: State,
    chosen: State,
    /// Logarithm of the sum of the weights of its points.
    log_weight: f64,
    /// Sum of the momenta.
    momentum: Vec<f64>,
    /// Whether it goes on: neither turned back nor lost.
    open: bool,
    lost: bool,
    acceptance: f64,
    points: usize,
}

fn log_add(a: f64, b: f64) -> f64 {
    let most = a.max(b);
    if most == f64::NEG_INFINITY { most } else { most + ((a - most).exp() + (b - most).exp()).ln() }
}

impl System<'_, '_> {
    /// Whether a trajectory of these ends and this sum of momenta still moves apart.
    fn apart(&self, left: &State, right: &State, momentum: &[f64]) -> bool {
        let along = |p: &[f64]| -> f64 {
            p.iter().zip(momentum).zip(&self.inverse_mass).map(|((a, b), m)| a * b * m).sum()
        };
        along(&left.p) > 0.0 && along(&right.p) > 0.0
    }

    fn tree(&mut self, from: &State, depth: usize, step: f64, start: f64, rng: &mut Rng) -> Result<Tree> {
        if depth == 0 {
            let s = self.leapfrog(from, step)?;
            let joint = self.joint(&s);
            let (lost, gain) = (joint.is_nan() || joint < start - LOST, joint - start);
            return Ok(Tree {
                left: s.clone(),
                right: s.clone(),
                momentum: s.p.clone(),
                chosen: s,
                log_weight: if lost { f64::NEG_INFINITY } else { gain },
                open: !lost,
                lost,
                acceptance: if lost { 0.0 } else { gain.min(0.0).exp() },
                points: 1,
            });
        }
        let first = self.tree(from, depth - 1, step, start, rng)?;
        if !first.open {
            return Ok(first);
        }
        let end = if step > 0.0 { first.right.clone() } else { first.left.clone() };
        let second = self.tree(&end, depth - 1, step, start, rng)?;
        Ok(self.join(first, second, step, false, rng))
    }

    /// Two trajectories of which the second continues the first. `eager` prefers the second (Betancourt 2017, A.3.2).
    fn join(&self, first: Tree, second: Tree, step: f64, eager: bool, rng: &mut Rng) -> Tree {
        let log_weight = log_add(first.log_weight, second.log_weight);
        let against = if eager { first.log_weight } else { log_weight };
        let take = second.open && rng.uniform().ln() < second.log_weight - against;
        let momentum: Vec<f64> = first.momentum.iter().zip(&second.momentum).map(|(a, b)| a + b).collect();
        let (left, right) = if step > 0.0 { (first.left, second.right) } else { (second.left, first.right) };
        let open = first.open && second.open && self.apart(&left, &right, &momentum);
        Tree {
            left,
            right,
            chosen: if take { second.chosen } else { first.chosen },
            log_weight,
            momentum,
            open,
            lost: first.lost || second.lost,
            acceptance: first.acceptance + second.acceptance,
            points: first.points + second.points,
        }
    }

    /// One draw; its acceptance, and whether its trajectory was lost.
    fn draw(
        &mut self,
        s: &State,
        trajectory: Trajectory,
        step: f64,
        rng: &mut Rng,
    ) -> Result<(State, f64, bool)> {
        let s = State { p: self.momentum(rng), ..s.clone() };
        let start = self.joint(&s);
        match trajectory {
            Trajectory::Steps(steps) => {
                let mut end = s.clone();
                for _ in 0..steps {
                    end = self.leapfrog(&end, step)?;
                    if !end.value.is_finite() {
                        break;
                    }
                }
                let gain = self.joint(&end) - start;
                let acceptance = if gain.is_nan() { 0.0 } else { gain.min(0.0).exp() };
                let lost = gain.is_nan() || gain < -LOST;
                let accepted = rng.uniform() < acceptance;
                Ok((if accepted { end } else { s }, acceptance, lost))
            }
            Trajectory::NoUTurn(most) => {
                let mut tree = Tree {
                    left: s.clone(),
                    right: s.clone(),
                    momentum: s.p.clone(),
                    chosen: s,
                    log_weight: 0.0,
                    open: true,
                    lost: false,
                    acceptance: 0.0,
                    points: 0,
                };
                for depth in 0..most {
                    let signed = if rng.uniform() < 0.5 { step } else { -step };
                    let end = if signed > 0.0 { tree.right.clone() } else { tree.left.clone() };
                    let more = self.tree(&end, depth, signed, start, rng)?;
                    tree = self.join(tree, more, signed, true, rng);
                    if !tree.open {
                        break;
                    }
                }
                Ok((tree.chosen, tree.acceptance / tree.points.max(1) as f64, tree.lost))
            }
        }
    }
}

/// Dual averaging of the logarithm of the step.
///
/// # Source
/// Hoffman & Gelman 2014, section 3.2, with their constants.
struct DualAveraging {
    centre: f64,
    error: f64,
    log_step: f64,
    average: f64,
    count: f64,
}

impl DualAveraging {
    fn new(step: f64) -> Self {
        Self { centre: (10.0 * step).ln(), error: 0.0, log_step: step.ln(), average: step.ln(), count: 0.0 }
    }

    fn update(&mut self, missing: f64) {
        self.count += 1.0;
        let eta = 1.0 / (self.count + 10.0);
        self.error += eta * (missing - self.error);
        self.log_step = self.centre - self.count.sqrt() / 0.05 * self.error;
        let weight = self.count.powf(-0.75);
        self.average += weight * (self.log_step - self.average);
    }
}

/// Draws from a density by Hamiltonian Monte Carlo: a particle at $x$ with momentum $p \sim N(0, M)$ moves in the potential
/// $-\ln \pi$ by the leapfrog integrator.
///
/// `density` gives the logarithm of the density, which need not be normalised, and its gradient; minus infinity is a wall.
/// During the warm-up the step follows dual averaging, and in its second and third quarter the masses (diagonal) the
/// variances of the draws. Each leapfrog step costs one evaluation.
///
/// # Source
/// Neal 2011 (Handbook of MCMC, chapter 5); Hoffman & Gelman 2014, JMLR 15, 1593 (no-U-turn sampler, dual averaging);
/// Betancourt 2017, arXiv:1701.02434, appendix A (multinomial choice of the draw, criterion of the turn).
///
/// # Errors
/// [`crate::Error::Config`] when the configuration is absurd or the density is not finite at the start; errors of the
/// density.
///
/// ```
/// use halocast_core::Rng;
/// use halocast_models::inference::{HmcConfig, hmc};
/// let mut normal = |x: &[f64]| Ok((-0.5 * (x[0] - 3.0) * (x[0] - 3.0), vec![3.0 - x[0]]));
/// let chain = hmc(&mut normal, &[0.0], &HmcConfig::default(), &mut Rng::new(1))?;
/// assert!((chain.mean()[0] - 3.0).abs() < 0.2);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub fn hmc(density: &mut LogDensity<'_>, start: &[f64], config: &HmcConfig, rng: &mut Rng) -> Result<Chain> {
    let length = match config.trajectory {
        Trajectory::Steps(steps) => steps > 0,
        Trajectory::NoUTurn(depth) => (1..=20).contains(&depth),
    };
    let positive = config.step > 0.0 && config.step.is_finite();
    check_config(
        "HMC",
        [
            ("trajectory", length, "at least 1 step, 1 to 20 doublings", format!("{:?}", config.trajectory)),
            ("target", config.target > 0.0 && config.target < 1.0, "in (0, 1)", config.target.to_string()),
            ("step", positive, "finite, positive", config.step.to_string()),
            ("start", !start.is_empty(), "at least one parameter", start.len().to_string()),
        ],
    )?;
    let mut system = System { density, inverse_mass: vec![1.0; start.len()], evaluations: 0 };
    let mut state = system.at(start.to_vec(), vec![0.0; start.len()])?;
    let (finite, got) = (state.value.is_finite(), format!("{} at {start:?}", state.value));
    check_config("HMC", [("density", finite, "finite at the start", got)])?;

    let mut step = DualAveraging::new(config.step);
    let (quarter, mut seen) = (config.warmup / 4, Vec::new());
    let mut chain = Chain {
        draws: Vec::with_capacity(config.draws),
        log_density: Vec::with_capacity(config.draws),
        acceptance: 0.0,
        step: config.step,
        divergences: 0,
        evaluations: 0,
    };
    for i in 0..config.warmup + config.draws {
        let warm = i < config.warmup;
        let size = if warm { step.log_step.exp() } else { chain.step };
        let (next, acceptance, lost) = system.draw(&state, config.trajectory, size, rng)?;
        state = next;
        if warm {
            step.update(config.target - acceptance);
            if i >= quarter {
                seen.push(state.x.clone());
            }
            let ends = [2 * quarter, 3 * quarter].contains(&(i + 1));
            if ends && seen.len() > 10 {
                let n = seen.len() as f64;
                for (j, mass) in system.inverse_mass.iter_mut().enumerate() {
                    let mean = seen.iter().map(|x| x[j]).sum::<f64>() / n;
                    let variance = seen.iter().map(|x| (x[j] - mean).powi(2)).sum::<f64>() / (n - 1.0);
                    // Drawn to a small number where there are few draws, as in Stan.
                    *mass = (n * variance + 5e-3) / (n + 5.0);
                }
                seen.clear();
                step = DualAveraging::new(step.average.exp());
            }
            if i + 1 == config.warmup {
                chain.step = step.average.exp();
            }
        } else {
            chain.draws.push(state.x.clone());
            chain.log_density.push(state.value);
            chain.acceptance += acceptance / config.draws as f64;
            chain.divergences += usize::from(lost);
        }
    }
    chain.evaluations = system.evaluations;
    Ok(chain)
}
