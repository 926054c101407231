//! The earth mover's distance: exact by shortest augmenting paths, approximate by Sinkhorn's iteration.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::{Error, Result};

/// The least mean cost of moving the unit mass of n equal sources to m equal sinks, exact, for the costs `[n, m]`.
///
/// With costs |x - y|^p of two clouds or two sets of features it is W_p^p. Each source sends its mass along shortest
/// paths of the residual graph; O((n + m)^3) and (n m) memory, some seconds for two thousand points each.
///
/// ```
/// use halocast_stats::earth_movers;
/// use ndarray::array;
/// // Two sources at 0 and 1, sinks at 1 and 2: both move by one, or one by two.
/// let cost = array![[1.0, 2.0], [0.0, 1.0]];
/// assert_eq!(earth_movers(cost.view())?, 1.0);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Edmonds & Karp 1972, with Tomizawa's potentials; Jonker & Volgenant 1987 for n = m.
///
/// # Errors
/// [`Error::TooFew`] without sources or sinks; [`Error::Value`] for a cost that is not finite.
pub fn earth_movers(cost: ArrayView2<'_, f64>) -> Result<f64> {
    let (n, m) = check("earth mover's distance", cost)?;
    // Masses in units of 1 / lcm: whole numbers.
    let (mut a, mut b) = (n, m);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    let (supply, demand) = (m / a, n / a);
    let mut flow = Array2::<usize>::zeros((n, m));
    let mut left = vec![demand; m];
    // Reduced costs are never negative, whatever the costs are.
    let least = |j: usize| cost.column(j).iter().copied().fold(f64::INFINITY, f64::min);
    let (mut row_price, mut column_price) = (vec![0.0; n], (0..m).map(least).collect::<Vec<f64>>());
    for source in 0..n {
        let mut rest = supply;
        while rest > 0 {
            let sent = augment(cost, &mut flow, &mut left, (&mut row_price, &mut column_price), source, rest);
            if sent == 0 {
                return Err(Error::Value {
                    operation: "earth mover's distance",
                    what: "the costs".into(),
                    expected: "of a size that can be added".into(),
                    got: "overflow".into(),
                });
            }
            rest -= sent;
        }
    }
    let total: f64 = flow.indexed_iter().filter(|(_, f)| **f > 0).map(|(at, &f)| f as f64 * cost[at]).sum();
    Ok(total / (n * supply) as f64)
}

/// Dijkstra from `source` to the nearest sink with demand left, by reduced costs; sends what the path can carry.
fn augment(
    cost: ArrayView2<'_, f64>,
    flow: &mut Array2<usize>,
    left: &mut [usize],
    (row_price, column_price): (&mut [f64], &mut [f64]),
    source: usize,
    rest: usize,
) -> usize {
    let (n, m) = cost.dim();
    let mut row_distance = vec![f64::INFINITY; n];
    let mut column_distance = vec![f64::INFINITY; m];
    let (mut row_from, mut column_from) = (vec![usize::MAX; n], vec![usize::MAX; m]);
    let (mut row_done, mut column_done) = (vec![false; n], vec![false; m]);
    row_distance[source] = 0.0;
    let mut rows = vec![source];
    let sink = loop {
        // Rows whose distance is final relax their columns; the nearest open column is final next.
        for &i in &rows {
            row_done[i] = true;
            for j in (0..m).filter(|j| !column_done[*j]) {
                let reduced = (cost[[i, j]] + row_price[i] - column_price[j]).max(0.0);
                if row_distance[i] + reduced < column_distance[j] {
                    (column_distance[j], column_from[j]) = (row_distance[i] + reduced, i);
                }
            }
        }
        let open = (0..m).filter(|j| !column_done[*j] && column_distance[*j].is_finite());
        let Some(j) = open.min_by(|a, b| column_distance[*a].total_cmp(&column_distance[*b])) else {
            return 0;
        };
        column_done[j] = true;
        if left[j] > 0 {
            break j;
        }
        // Mass can be taken back from sink j at no reduced cost: those rows are as near as it.
        rows = (0..n).filter(|i| !row_done[*i] && flow[[*i, j]] > 0).collect();
        for &i in &rows {
            (row_distance[i], row_from[i]) = (column_distance[j], j);
        }
    };
    let limit = column_distance[sink];
    for i in (0..n).filter(|i| row_done[*i]) {
        row_price[i] += row_distance[i].min(limit) - limit;
    }
    for j in (0..m).filter(|j| column_done[*j]) {
        column_price[j] += column_distance[j].min(limit) - limit;
    }
    let mut path = Vec::new();
    let (mut j, mut sent) = (sink, rest.min(left[sink]));
    loop {
        let i = column_from[j];
        path.push((i, j, true));
        if i == source {
            break;
        }
        j = row_from[i];
        path.push((i, j, false));
        sent = sent.min(flow[[i, j]]);
    }
    for (i, j, forward) in path {
        if forward {
            flow[[i, j]] += sent;
        } else {
            flow[[i, j]] -= sent;
        }
    }
    left[sink] -= sent;
    sent
}

/// The cost of the plan that Sinkhorn's iteration finds for regularisation `epsilon`, in units of the cost: an upper bound of
/// [`earth_movers`] that tends to it with epsilon. In logarithms, so that a small epsilon does not underflow; iterated until
/// the masses are met to `tolerance` (relative, summed), `most` iterations at most. O(n m) an iteration, in parallel.
///
/// # Source
/// Cuturi 2013; Peyre & Cuturi 2019, section 4.4.
///
/// # Errors
/// As [`earth_movers`]; [`Error::Value`] for an epsilon or tolerance that is not positive, or when `most` iterations are not
/// enough, with the error that is left.
pub fn sinkhorn(cost: ArrayView2<'_, f64>, epsilon: f64, tolerance: f64, most: usize) -> Result<f64> {
    let operation = "Sinkhorn distance";
    let (n, m) = check(operation, cost)?;
    for (what, value) in [("epsilon", epsilon), ("the tolerance", tolerance)] {
        if !(value.is_finite() && value > 0.0) {
            let (what, expected) = (what.into(), "finite and positive".into());
            return Err(Error::Value { operation, what, expected, got: value.to_string() });
        }
    }
    let transposed = cost.t().as_standard_layout().into_owned();
    let (mut f, mut g) = (vec![0.0; n], vec![0.0; m]);
    let soft = |cost: ArrayView2<'_, f64>, other: &[f64]| -> Vec<f64> {
        let count = other.len() as f64;
        (0..cost.nrows())
            .into_par_iter()
            .map(|i| {
                let terms = || cost.row(i).into_iter().zip(other).map(|(c, g)| (g - c) / epsilon);
                let largest = terms().fold(f64::NEG_INFINITY, f64::max);
                -epsilon * (largest + (terms().map(|t| (t - largest).exp()).sum::<f64>() / count).ln())
            })
            .collect()
    };
    let mut error = f64::INFINITY;
    for _ in 0..most {
        f = soft(cost, &g);
        g = soft(transposed.view(), &f);
        let rows = (0..n).into_par_iter().map(|i| {
            let row = cost.row(i);
            let mass: f64 = row.iter().zip(&g).map(|(c, g)| ((f[i] + g - c) / epsilon).exp()).sum();
            (mass / m as f64 - 1.0).abs()
        });
        error = rows.collect::<Vec<f64>>().iter().sum::<f64>() / n as f64;
        if error <= tolerance {
            break;
        }
    }
    if error > tolerance {
        let (what, expected) =
            (format!("the error of the masses after {most} iterations"), tolerance.to_string());
        return Err(Error::Value {
            operation,
            what,
            expected: format!("at most {expected}"),
            got: error.to_string(),
        });
    }
    let row = |i: usize| -> f64 {
        let row = cost.row(i);
        row.iter().zip(&g).map(|(c, g)| c * ((f[i] + g - c) / epsilon).exp()).sum()
    };
    let rows: Vec<f64> = (0..n).into_par_iter().map(row).collect();
    Ok(rows.iter().sum::<f64>() / (n * m) as f64)
}

fn check(operation: &'static str, cost: ArrayView2<'_, f64>) -> Result<(usize, usize)> {
    for (what, got) in [("the sources", cost.nrows()), ("the sinks", cost.ncols())] {
        if got == 0 {
            return Err(Error::TooFew { operation, what: what.into(), expected: 1, got });
        }
    }
    match cost.indexed_iter().find(|(_, c)| !c.is_finite()) {
        None => Ok(cost.dim()),
        Some(((i, j), c)) => {
            let (what, expected) = (format!("the cost from {i} to {j}"), "finite".into());
            Err(Error::Value { operation, what, expected, got: c.to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;
    use crate::wasserstein;

    fn line(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| rng.normal()).collect()
    }

    fn costs(a: &[f64], b: &[f64], p: f64) -> Array2<f64> {
        Array2::from_shape_fn((a.len(), b.len()), |(i, j)| (a[i] - b[j]).abs().powf(p))
    }

    #[test]
    fn one_dimension_is_solved_by_sorting() {
        for (n, m, p) in [(30, 30, 1.0), (24, 36, 2.0), (7, 13, 2.0), (1, 5, 1.0)] {
            let (a, b) = (line(n, 1), line(m, 2));
            let expected = wasserstein(&a, &b, p).unwrap().powf(p);
            let found = earth_movers(costs(&a, &b, p).view()).unwrap();
            assert!((found - expected).abs() < 1e-12 * (1.0 + expected), "{n} {m}: {found} {expected}");
        }
    }

    #[test]
    fn small_plans_are_the_best_of_all_permutations() {
        let mut rng = Rng::new(9);
        for _ in 0..20 {
            let cost = Array2::from_shape_fn((6, 6), |_| rng.uniform() - 0.3);
            let mut best = f64::INFINITY;
            let mut order = [0, 1, 2, 3, 4, 5];
            permutations(&mut order, 0, &mut |p| {
                best = best.min((0..6).map(|i| cost[[i, p[i]]]).sum::<f64>() / 6.0);
            });
            assert!((earth_movers(cost.view()).unwrap() - best).abs() < 1e-12);
        }
    }

    fn permutations(order: &mut [usize; 6], k: usize, visit: &mut impl FnMut(&[usize; 6])) {
        if k == 6 {
            return visit(order);
        }
        for i in k..6 {
            order.swap(k, i);
            permutations(order, k + 1, visit);
            order.swap(k, i);
        }
    }

    #[test]
    fn sinkhorn_tends_to_the_exact_cost_from_above() {
        let cost = costs(&line(40, 3), &line(50, 4), 2.0);
        let exact = earth_movers(cost.view()).unwrap();
        let found: Vec<f64> =
            [1.0, 0.1].iter().map(|&e| sinkhorn(cost.view(), e, 1e-4, 5000).unwrap()).collect();
        assert!(
            found[0] > found[1] && found[1] > exact - 1e-3 && found[1] < exact + 0.4,
            "{found:?} {exact}"
        );
        assert!(sinkhorn(cost.view(), 1e-3, 1e-9, 3).unwrap_err().to_string().contains("3 iterations"));
        assert!(sinkhorn(cost.view(), 0.0, 1e-3, 3).is_err());
        assert!(earth_movers(Array2::from_elem((2, 2), f64::NAN).view()).is_err());
        assert!(earth_movers(Array2::zeros((0, 2)).view()).is_err());
    }
}
