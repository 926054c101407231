//! An adaptive solver of ordinary differential equations.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where each stage stands in its step (Dormand & Prince 1980).
const NODES: [f64; 6] = [0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0];

/// What each stage takes of those before.
const STAGES: [[f64; 5]; 6] = [
    [0.0; 5],
    [0.2, 0.0, 0.0, 0.0, 0.0],
    [3.0 / 40.0, 9.0 / 40.0, 0.0, 0.0, 0.0],
    [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0, 0.0, 0.0],
    [19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0, 0.0],
    [9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
];

/// The solution of fifth order.
const WEIGHTS: [f64; 6] = [35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0];

/// Its difference from that of fourth order; the last is of the slope at the end of the step.
const ERRORS: [f64; 7] =
    [-71.0 / 57600.0, 0.0, 71.0 / 16695.0, -71.0 / 1920.0, 17253.0 / 339200.0, -22.0 / 525.0, 1.0 / 40.0];

/// Dormand and Prince's pair of fifth and fourth order with a step that adapts: RK45.
///
/// The state is a number of independent systems of equal size, each of which has its own time and its own step: what
/// comes of one does not depend on the others, though all are evaluated together. The control of the step, its first
/// guess and the norm of the error (root mean square of error / (atol + rtol |y|)) are those of `scipy.integrate.RK45`,
/// which one system reproduces.
///
/// ```
/// use halocast_models::sde::Rk45;
/// // dy/dt = -y and -2y, as two systems of one number each.
/// let mut slopes = |_: &[f64], y: &[f64]| Ok(vec![-y[0], -2.0 * y[1]]);
/// let solution = Rk45::default().solve((0.0, 1.0), vec![1.0, 1.0], 2, &mut slopes)?;
/// assert!((solution.y[0] - (-1f64).exp()).abs() < 1e-5 && (solution.y[1] - (-2f64).exp()).abs() < 1e-5);
/// # Ok::<(), halocast_models::Error>(())
/// ```
///
/// # Source
/// Dormand & Prince 1980; Hairer, Norsett & Wanner 1993, section II.4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rk45 {
    /// Error allowed relative to |y|.
    pub rtol: f64,
    /// Error allowed absolutely.
    pub atol: f64,
    /// Give up after so many evaluations.
    pub max_evaluations: usize,
}

impl Default for Rk45 {
    fn default() -> Self {
        Self { rtol: 1e-5, atol: 1e-5, max_evaluations: 10_000 }
    }
}

/// dy/dt at the time of each system and the state of all.
pub type Slopes<'a> = dyn FnMut(&[f64], &[f64]) -> Result<Vec<f64>> + 'a;

/// What a solver found.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The state at the end.
    pub y: Vec<f64>,
    /// How often the slopes were evaluated, of all systems at once.
    pub evaluations: usize,
}

/// One system under way.
struct System {
    t: f64,
    step: f64,
    rejected: bool,
    done: bool,
}

impl Rk45 {
    /// Follows dy/dt = `slopes`(t, y) over `span`, whichever way it goes. `y` holds `systems` systems one behind the
    /// other; `slopes` is given the time of each.
    ///
    /// # Errors
    /// [`Error::Config`] when the tolerances are not positive, `y` is not a multiple of `systems`, a step falls below
    /// the spacing of numbers, or there are more evaluations than allowed; errors of `slopes`.
    pub fn solve(
        &self,
        span: (f64, f64),
        mut y: Vec<f64>,
        systems: usize,
        slopes: &mut Slopes<'_>,
    ) -> Result<Solution> {
        let length = (span.1 - span.0).abs();
        let fits = systems > 0 && !y.is_empty() && y.len().is_multiple_of(systems);
        if !(self.rtol >= 0.0
            && self.atol >= 0.0
            && self.rtol + self.atol > 0.0
            && length.is_finite()
            && fits)
        {
            let got = format!("{self:?}, {} numbers in {systems} systems over {span:?}", y.len());
            return Err(failed("positive tolerances and systems of equal size", got));
        }
        let size = y.len() / systems;
        let forward = if span.1 >= span.0 { 1.0 } else { -1.0 };
        let mut evaluations = 0;
        let mut evaluate = |t: &[f64], y: &[f64]| -> Result<Vec<f64>> {
            evaluations += 1;
            if evaluations > self.max_evaluations {
                return Err(failed(
                    "an end within the evaluations allowed",
                    format!("more than {evaluations}"),
                ));
            }
            let f = slopes(t, y)?;
            if f.len() == y.len() {
                Ok(f)
            } else {
                Err(failed("a slope for every number", f.len().to_string()))
            }
        };
        let mut slope = evaluate(&vec![span.0; systems], &y)?;
        let first = self.first_steps(span.0, length, forward, &y, &slope, systems, &mut evaluate)?;
        let mut state: Vec<System> = first
            .into_iter()
            .map(|step| System { t: span.0, step, rejected: false, done: length == 0.0 })
            .collect();
        while state.iter().any(|s| !s.done) {
            // Systems that have arrived stand still.
            let mut steps = Vec::with_capacity(systems);
            for system in &mut state {
                let least = 10.0 * f64::EPSILON * system.t.abs().max(f64::MIN_POSITIVE);
                if !system.done && (system.step < least || system.step.is_nan()) {
                    return Err(failed("a step that the numbers resolve", format!("{:e}", system.step)));
                }
                system.step = system.step.min((span.1 - system.t).abs());
                steps.push(if system.done { 0.0 } else { forward * system.step });
            }
            let time =
                |node: f64| -> Vec<f64> { state.iter().zip(&steps).map(|(s, h)| s.t + node * h).collect() };
            let mut stages = vec![slope.clone()];
            for (node, weights) in NODES.iter().zip(&STAGES).skip(1) {
                let at = combined(&y, &steps, size, &stages, weights);
                stages.push(evaluate(&time(*node), &at)?);
            }
            let next = combined(&y, &steps, size, &stages, &WEIGHTS);
            stages.push(evaluate(&time(1.0), &next)?);
            for (i, system) in state.iter_mut().enumerate().filter(|(_, s)| !s.done) {
                let range = i * size..(i + 1) * size;
                let error = |k: usize| -> f64 {
                    let sum: f64 = stages.iter().zip(ERRORS).map(|(f, e)| f[k] * e).sum();
                    sum * steps[i] / (self.atol + self.rtol * y[k].abs().max(next[k].abs()))
                };
                let norm = rms(range.clone().map(error), size);
                if norm < 1.0 {
                    let growth = if norm == 0.0 { 10.0 } else { (0.9 * norm.powf(-0.2)).min(10.0) };
                    let growth = if system.rejected { growth.min(1.0) } else { growth };
                    let end = (span.1 - system.t).abs() <= system.step;
                    system.t = if end { span.1 } else { system.t + steps[i] };
                    system.done = end;
                    system.step *= growth;
                    system.rejected = false;
                    y[range.clone()].copy_from_slice(&next[range.clone()]);
                    slope[range.clone()].copy_from_slice(&stages[6][range]);
                } else {
                    let shrink = if norm.is_finite() { (0.9 * norm.powf(-0.2)).max(0.2) } else { 0.2 };
                    system.step *= shrink;
                    system.rejected = true;
                }
            }
        }
        Ok(Solution { y, evaluations })
    }

    /// A first step of each system, from how fast its slope changes.
    fn first_steps(
        &self,
        t: f64,
        length: f64,
        forward: f64,
        y: &[f64],
        slope: &[f64],
        systems: usize,
        evaluate: &mut Slopes<'_>,
    ) -> Result<Vec<f64>> {
        let size = y.len() / systems;
        let scale = |k: usize| self.atol + self.rtol * y[k].abs();
        let guess: Vec<(f64, f64)> = (0..systems)
            .map(|i| {
                let range = i * size..(i + 1) * size;
                let d0 = rms(range.clone().map(|k| y[k] / scale(k)), size);
                let d1 = rms(range.map(|k| slope[k] / scale(k)), size);
                let step = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
                (step.min(length), d1)
            })
            .collect();
        let steps: Vec<f64> = guess.iter().map(|(step, _)| forward * step).collect();
        let times: Vec<f64> = steps.iter().map(|h| t + h).collect();
        let ahead = evaluate(&times, &combined(y, &steps, size, &[slope.to_vec()], &[1.0]))?;
        let refined = guess.iter().enumerate().map(|(i, &(step, d1))| {
            let range = i * size..(i + 1) * size;
            let d2 = rms(range.map(|k| (ahead[k] - slope[k]) / scale(k)), size) / step;
            let other = if d1 <= 1e-15 && d2 <= 1e-15 {
                (step * 1e-3).max(1e-6)
            } else {
                (0.01 / d1.max(d2)).powf(0.2)
            };
            (100.0 * step).min(other).min(length)
        });
        Ok(refined.collect())
    }
}

/// y + step * sum of weight * slope, with the step of each system.
fn combined(y: &[f64], steps: &[f64], size: usize, slopes: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let value = |k: usize| {
        let sum: f64 = slopes.iter().zip(weights).map(|(f, w)| f[k] * w).sum();
        y[k] + steps[k / size] * sum
    };
    (0..y.len()).map(value).collect()
}

fn rms(values: impl Iterator<Item = f64>, size: usize) -> f64 {
    (values.map(|v| v * v).sum::<f64>() / size as f64).sqrt()
}

fn failed(expected: &str, got: String) -> Error {
    Error::Config { model: "RK45", field: "integration".into(), expected: expected.into(), got }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A harmonic oscillator, of energy one.
    fn oscillator(_: &[f64], y: &[f64]) -> Result<Vec<f64>> {
        Ok(y.chunks(2).flat_map(|p| [p[1], -p[0]]).collect())
    }

    #[test]
    fn the_error_follows_the_tolerance_and_the_cost_the_order() {
        let mut cost = Vec::new();
        for tolerance in [1e-5, 1e-10] {
            let solver = Rk45 { rtol: tolerance, atol: tolerance, ..Default::default() };
            let end = solver.solve((0.0, 5.0), vec![1.0, 0.0], 1, &mut oscillator).unwrap();
            let error = (end.y[0] - 5f64.cos()).abs().max((end.y[1] + 5f64.sin()).abs());
            assert!(error < 20.0 * tolerance, "{tolerance}: {error}");
            cost.push(end.evaluations as f64);
        }
        // At fifth order 1e5 times the accuracy costs 10 times the steps.
        assert!((6.0..16.0).contains(&(cost[1] / cost[0])), "{cost:?}");
    }

    #[test]
    fn time_may_run_back_and_systems_do_not_meet() {
        let back =
            |y: Vec<f64>, systems| Rk45::default().solve((3.0, 0.5), y, systems, &mut oscillator).unwrap().y;
        let (a, b) = (back(vec![1.0, 0.0], 1), back(vec![-70.0, 500.0], 1));
        assert_eq!(back(vec![1.0, 0.0, -70.0, 500.0], 2), [a, b].concat());
    }

    #[test]
    fn what_cannot_be_solved_is_said() {
        let mut explodes = |_: &[f64], y: &[f64]| Ok(vec![y[0] * y[0]]);
        let message = Rk45::default().solve((0.0, 2.0), vec![1.0], 1, &mut explodes).unwrap_err().to_string();
        assert!(message.contains("RK45"), "{message}");
        assert!(Rk45::default().solve((0.0, 1.0), vec![1.0; 3], 2, &mut explodes).is_err());
        assert!(
            Rk45 { rtol: 0.0, atol: 0.0, ..Default::default() }
                .solve((0.0, 1.0), vec![1.0], 1, &mut explodes)
                .is_err()
        );
    }
}
