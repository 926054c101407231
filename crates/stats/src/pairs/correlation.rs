//! Correlation functions: xi(r), xi(s, mu) with multipoles, xi(r_p, pi) and w_p.

use halocast_core::PeriodicBox;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::columns::{Columns, Reach, checked};
use super::tally::{Nearer, Plane};
use super::{PairCounts, check_reach, check_separations, cross_pair_counts, in_bins, pair_counts};
use crate::{Bins, Error, Result};

/// The correlation function of a cloud, in shells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorrelationFunction {
    /// Bins of separation.
    pub bins: Bins,
    /// xi in each bin; NaN where the estimator has nothing to divide by.
    pub xi: Vec<f64>,
    /// Ordered pairs of the data in each bin.
    pub pairs: Vec<u64>,
}

impl CorrelationFunction {
    /// The Poisson error (1 + xi) / sqrt(DD / 2), DD / 2 pairs being independent: what counting alone leaves uncertain,
    /// a lower limit once points are clustered. Zero pairs give the error of one.
    pub fn poisson_error(&self) -> Vec<f64> {
        let pairs = self.pairs.iter().map(|&dd| (dd as f64 / 2.0).max(1.0));
        self.xi.iter().zip(pairs).map(|(xi, dd)| (1.0 + xi).max(1.0 / dd) / dd.sqrt()).collect()
    }
}

/// The correlation function of a cloud in a periodic box: DD / RR - 1 with RR = N (N - 1) V_shell / V.
///
/// ```
/// use halocast_core::{PeriodicBox, Rng};
/// use halocast_stats::{Bins, correlation_function};
///
/// let mut rng = Rng::new(1);
/// let points: Vec<[f64; 3]> = (0..5000).map(|_| [0; 3].map(|_| 10.0 * rng.uniform())).collect();
/// let found = correlation_function(&points, PeriodicBox::new(10.0)?, &Bins::linear(0.5, 3.0, 5)?)?;
/// // A Poisson cloud is not correlated.
/// assert!(found.xi.iter().zip(found.poisson_error()).all(|(xi, error)| xi.abs() < 5.0 * error));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// `Corrfunc.theory.xi` (Sinha & Garrison 2020); Peebles & Hauser 1974.
///
/// # Errors
/// As [`pair_counts`]; [`Error::TooFew`] for a single point.
pub fn correlation_function(
    points: &[[f64; 3]],
    periodic: PeriodicBox,
    bins: &Bins,
) -> Result<CorrelationFunction> {
    let expected = random_pairs("correlation function", points.len(), periodic)?;
    let PairCounts { pairs, .. } = pair_counts(points, Some(periodic), bins)?;
    let shells =
        bins.edges().windows(2).map(|e| 4.0 / 3.0 * std::f64::consts::PI * (e[1].powi(3) - e[0].powi(3)));
    let xi = pairs.iter().zip(shells).map(|(&dd, shell)| dd as f64 / (expected * shell) - 1.0).collect();
    Ok(CorrelationFunction { bins: bins.clone(), xi, pairs })
}

/// The estimator of Landy & Szalay 1993, (DD - 2 DR + RR) / RR with normalised pairs, for a cloud of any footprint that
/// `randoms` fill evenly. NaN in a bin without random pairs.
///
/// # Errors
/// As [`pair_counts`]; [`Error::TooFew`] for a single point in either cloud.
pub fn landy_szalay(
    points: &[[f64; 3]],
    randoms: &[[f64; 3]],
    periodic: Option<PeriodicBox>,
    bins: &Bins,
) -> Result<CorrelationFunction> {
    for (what, got) in [("the points", points.len()), ("the randoms", randoms.len())] {
        if got < 2 {
            let operation = "correlation function";
            return Err(Error::TooFew { operation, what: what.into(), expected: 2, got });
        }
    }
    let data = pair_counts(points, periodic, bins)?.pairs;
    let both = cross_pair_counts(points, randoms, periodic, bins)?.pairs;
    let random = pair_counts(randoms, periodic, bins)?.pairs;
    let (n, m) = (points.len() as f64, randoms.len() as f64);
    let xi = (0..bins.count())
        .map(|i| {
            let dd = data[i] as f64 / (n * (n - 1.0));
            let dr = both[i] as f64 / (n * m);
            let rr = random[i] as f64 / (m * (m - 1.0));
            (dd - 2.0 * dr + rr) / rr
        })
        .collect();
    Ok(CorrelationFunction { bins: bins.clone(), xi, pairs: data })
}

/// The correlation function about a line of sight.
#[derive(Clone, Debug, PartialEq)]
pub struct AnisotropicCorrelation {
    /// Bins of separation s.
    pub s: Bins,
    /// Bins of |mu|, the cosine of the angle to the line of sight, from 0 to 1.
    pub mu: Bins,
    /// xi, `[s, mu]`.
    pub xi: Array2<f64>,
    /// Ordered pairs, `[s, mu]`.
    pub pairs: Array2<u64>,
}

impl AnisotropicCorrelation {
    /// xi_0, xi_2 and xi_4: (2 l + 1) times the integral over mu from 0 to 1 of xi L_l, with xi constant and L_l integrated
    /// exactly in each bin of mu.
    pub fn multipoles(&self) -> [Vec<f64>; 3] {
        // Primitives of L_0, L_2, L_4.
        let primitive: [fn(f64) -> f64; 3] =
            [|x| x, |x| 0.5 * (x.powi(3) - x), |x| (7.0 * x.powi(5) - 10.0 * x.powi(3) + 3.0 * x) / 8.0];
        std::array::from_fn(|l| {
            let weight = |e: &[f64]| (4 * l + 1) as f64 * (primitive[l](e[1]) - primitive[l](e[0]));
            let weights: Vec<f64> = self.mu.edges().windows(2).map(weight).collect();
            self.xi.outer_iter().map(|row| row.iter().zip(&weights).map(|(xi, w)| xi * w).sum()).collect()
        })
    }
}

/// xi(s, mu) of a cloud in a periodic box in `mu_bins` equal bins of |mu|, about the axis `line_of_sight`. Positions may be
/// those of [`to_redshift_space`](super::to_redshift_space).
///
/// # Source
/// `Corrfunc.theory.DDsmu` with the natural estimator, RR = N (N - 1) V_shell d mu / V.
///
/// # Errors
/// As [`correlation_function`]; [`Error::Value`] for an axis beyond 2 or no bins.
pub fn anisotropic_correlation(
    points: &[[f64; 3]],
    periodic: PeriodicBox,
    s: &Bins,
    mu_bins: usize,
    line_of_sight: usize,
) -> Result<AnisotropicCorrelation> {
    let operation = "anisotropic correlation function";
    let mu = Bins::linear(0.0, 1.0, mu_bins)?;
    let reach = Reach::Sphere(check_separations(operation, s, Some(periodic))?);
    let expected = random_pairs(operation, points.len(), periodic)?;
    let turned = along_last(operation, points, periodic, line_of_sight)?;
    let tallies =
        Columns::new(&turned, &[], Some(periodic), reach).pairs(reach, || Plane::new(s.edges(), mu.edges()));
    let pairs = plane_pairs(tallies, (s.count(), mu.count()));
    let volume = |i: usize| {
        let e = &s.edges()[i..i + 2];
        4.0 / 3.0 * std::f64::consts::PI * (e[1].powi(3) - e[0].powi(3)) / mu_bins as f64
    };
    let xi = Array2::from_shape_fn(pairs.dim(), |(i, j)| pairs[[i, j]] as f64 / (expected * volume(i)) - 1.0);
    Ok(AnisotropicCorrelation { s: s.clone(), mu, xi, pairs })
}

/// The correlation function projected along a line of sight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectedCorrelation {
    /// Bins of the separation r_p across the line of sight.
    pub r_p: Bins,
    /// The limit along it.
    pub pi_max: f64,
    /// w_p in each bin, in the unit of the positions.
    pub w_p: Vec<f64>,
    /// Ordered pairs in each bin.
    pub pairs: Vec<u64>,
}

/// w_p(r_p) = 2 integral from 0 to pi_max of xi(r_p, pi) d pi of a cloud in a periodic box. With analytic random pairs, which
/// are uniform along pi, the integral is 2 pi_max (DD / RR - 1) over the whole cylinder: no bins along pi are needed.
///
/// # Source
/// `Corrfunc.theory.wp`; Davis & Peebles 1983.
///
/// # Errors
/// As [`correlation_function`]; [`Error::Value`] for an axis beyond 2, or `pi_max` that is not positive or beyond half the
/// box.
pub fn projected_correlation(
    points: &[[f64; 3]],
    periodic: PeriodicBox,
    r_p: &Bins,
    pi_max: f64,
    line_of_sight: usize,
) -> Result<ProjectedCorrelation> {
    let operation = "projected correlation function";
    let largest = check_separations(operation, r_p, Some(periodic))?;
    if !(pi_max.is_finite() && pi_max > 0.0) {
        let (what, expected) = ("pi_max".into(), "finite and positive".into());
        return Err(Error::Value { operation, what, expected, got: pi_max.to_string() });
    }
    check_reach(operation, "pi_max", pi_max, Some(periodic))?;
    let expected = random_pairs(operation, points.len(), periodic)?;
    let turned = along_last(operation, points, periodic, line_of_sight)?;
    let reach = Reach::Cylinder(largest, pi_max);
    let tallies = Columns::new(&turned, &[], Some(periodic), reach)
        .pairs(reach, || Nearer::across(r_p.edges(), pi_max));
    let pairs = in_bins(tallies, 2);
    let rings = r_p.edges().windows(2).map(|e| std::f64::consts::PI * (e[1] * e[1] - e[0] * e[0]));
    let w_p = pairs.iter().zip(rings).map(|(&dd, ring)| {
        let random = expected * ring * 2.0 * pi_max;
        2.0 * pi_max * (dd as f64 / random - 1.0)
    });
    Ok(ProjectedCorrelation { w_p: w_p.collect(), r_p: r_p.clone(), pi_max, pairs })
}

/// Ordered pairs of as many random points per unit of volume: N (N - 1) / V.
fn random_pairs(operation: &'static str, count: usize, periodic: PeriodicBox) -> Result<f64> {
    if count < 2 {
        return Err(Error::TooFew { operation, what: "the points".into(), expected: 2, got: count });
    }
    Ok(count as f64 * (count as f64 - 1.0) / periodic.volume())
}

/// Checked points, turned so that the line of sight is the last axis.
fn along_last(
    operation: &'static str,
    points: &[[f64; 3]],
    periodic: PeriodicBox,
    line_of_sight: usize,
) -> Result<Vec<[f64; 3]>> {
    if line_of_sight > 2 {
        let (what, expected) = ("the line of sight".into(), "0, 1 or 2".into());
        return Err(Error::Value { operation, what, expected, got: line_of_sight.to_string() });
    }
    let mut points = checked(operation, "the points", points, Some(periodic))?;
    points.iter_mut().for_each(|p| p.rotate_left(line_of_sight + 1));
    Ok(points)
}

fn plane_pairs(tallies: Vec<Plane>, shape: (usize, usize)) -> Array2<u64> {
    let mut pairs = Array2::zeros(shape);
    for tally in tallies {
        pairs.iter_mut().zip(tally.pairs).for_each(|(a, b)| *a += 2 * b);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::tests::scattered;
    use super::*;

    const SIDE: f64 = 8.0;

    fn periodic() -> PeriodicBox {
        PeriodicBox::new(SIDE).unwrap()
    }

    #[test]
    fn all_directions_together_are_the_isotropic_counts() {
        let points = scattered(500, SIDE, 3);
        let bins = Bins::logarithmic(0.05, 4.0, 8).unwrap();
        let whole = correlation_function(&points, periodic(), &bins).unwrap();
        for axis in 0..3 {
            let found = anisotropic_correlation(&points, periodic(), &bins, 10, axis).unwrap();
            for i in 0..bins.count() {
                assert_eq!(found.pairs.row(i).sum(), whole.pairs[i]);
                assert!((found.multipoles()[0][i] - whole.xi[i]).abs() < 1e-9 * (1.0 + whole.xi[i]));
            }
        }
    }

    #[test]
    fn pairs_along_the_line_have_the_multipoles_of_their_direction() {
        // Pairs along z: mu = 1. With xi = A in the last of n bins of mu alone, xi_2 / xi_0 tends to 5.
        let points: Vec<[f64; 3]> = (0..50)
            .flat_map(|i| {
                let [x, y] = [f64::from(i % 7), f64::from(i / 7)];
                [[x, y, 1.0], [x, y, 1.3]]
            })
            .collect();
        let bins = Bins::new(vec![0.2, 0.4]).unwrap();
        let found = anisotropic_correlation(&points, periodic(), &bins, 1000, 2).unwrap();
        assert_eq!(found.pairs.sum(), 100);
        let [m0, m2, m4] = found.multipoles().map(|m| m[0]);
        assert!(
            (m2 / (m0 + 1.0) - 5.0).abs() < 0.02 && (m4 / (m0 + 1.0) - 9.0).abs() < 0.1,
            "{m0} {m2} {m4}"
        );
        let across = anisotropic_correlation(&points, periodic(), &bins, 1000, 0).unwrap().multipoles();
        assert!((across[1][0] / (across[0][0] + 1.0) + 2.5).abs() < 0.02);
    }

    #[test]
    fn the_projection_is_the_sum_along_the_line() {
        let points = scattered(400, SIDE, 5);
        let bins = Bins::linear(0.1, 3.0, 5).unwrap();
        for axis in 0..3 {
            let found = projected_correlation(&points, periodic(), &bins, 2.5, axis).unwrap();
            let mut pairs = vec![0u64; 5];
            for (i, p) in points.iter().enumerate() {
                for (_, q) in points.iter().enumerate().filter(|(j, _)| *j != i) {
                    let d: [f64; 3] = std::array::from_fn(|a| periodic().separation(p[a] - q[a]));
                    let across = (0..3).filter(|a| *a != axis).map(|a| d[a] * d[a]).sum::<f64>().sqrt();
                    let bin = bins.edges().partition_point(|&e| e <= across);
                    if d[axis].abs() < 2.5 && (1..=5).contains(&bin) {
                        pairs[bin - 1] += 1;
                    }
                }
            }
            assert_eq!(found.pairs, pairs);
        }
        assert!(projected_correlation(&points, periodic(), &bins, 5.0, 0).is_err());
        assert!(projected_correlation(&points, periodic(), &bins, f64::NAN, 0).is_err());
        assert!(projected_correlation(&points, periodic(), &bins, 1.0, 3).is_err());
    }

    #[test]
    fn randoms_stand_in_for_the_analytic_pairs() {
        let points = scattered(600, SIDE, 7);
        let mut rng = halocast_core::Rng::new(9);
        let randoms: Vec<[f64; 3]> = (0..6000).map(|_| [0; 3].map(|_| SIDE * rng.uniform())).collect();
        let bins = Bins::linear(0.2, 2.0, 4).unwrap();
        let analytic = correlation_function(&points, periodic(), &bins).unwrap();
        let found = landy_szalay(&points, &randoms, Some(periodic()), &bins).unwrap();
        for (a, b) in analytic.xi.iter().zip(&found.xi) {
            assert!((a - b).abs() < 0.05 * (1.0 + a.abs()), "{a} {b}");
        }
        // An open footprint is forgiven.
        let open = landy_szalay(&randoms[..3000], &randoms[3000..], None, &bins).unwrap();
        assert!(open.xi.iter().all(|xi| xi.abs() < 0.05), "{:?}", open.xi);
        assert!(correlation_function(&points[..1], periodic(), &bins).is_err());
    }
}
