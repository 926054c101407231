//! Fewer points of a cloud: at random, by mass, spread out, one a cell; and numbers fit for a network.

use halocast_core::{Cloud, Rng};
use ndarray::Axis;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const OPERATION: &str = "sub-sampling";

/// How points are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subsample {
    /// Each set of n points is as likely as any other.
    Random,
    /// One after another, without putting back, with a chance in proportion to this feature, such as `mass`
    /// (Efraimidis & Spirakis 2006).
    Weighted(String),
    /// The point farthest from those chosen before, from a random first one: spread over the whole cloud
    /// (Eldar et al. 1997). O(n N).
    Farthest,
    /// A random point of each occupied cell of a grid of this many cells along the longest side of the cloud; n is then the largest
    /// number, and among more cells it is drawn at random.
    Grid(usize),
}

/// The numbers of at most `n` points, ascending; of all where there are fewer. The same generator gives the same at any
/// number of threads.
///
/// ```
/// use halocast_core::{Cloud, Rng, Unit};
/// use halocast_maps::{Subsample, subsample};
/// use ndarray::array;
/// let line = array![[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [9.0, 0.0, 0.0]];
/// let cloud = Cloud::new(line, Unit::mpc_h(), None)?;
/// let spread = subsample(&cloud, 2, &Subsample::Farthest, &mut Rng::new(1))?;
/// assert!(spread.contains(&2));
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for a feature that is absent or has values that are no weights, a grid without cells, or a position that is
/// not finite, naming the point.
pub fn subsample(cloud: &Cloud, n: usize, how: &Subsample, rng: &mut Rng) -> Result<Vec<usize>> {
    let count = cloud.len();
    if let Some(i) = cloud.positions.outer_iter().position(|p| p.iter().any(|x| !x.is_finite())) {
        return Err(refuse(
            format!("the position of point {i}"),
            "finite",
            cloud.positions.row(i).to_string(),
        ));
    }
    let mut chosen: Vec<usize> = match how {
        _ if n == 0 || count == 0 => Vec::new(),
        Subsample::Random => random(count, n, rng),
        Subsample::Weighted(name) => weighted(cloud, n, name, rng)?,
        Subsample::Farthest => farthest(cloud, n, rng),
        Subsample::Grid(cells) => grid(cloud, n, *cells, rng)?,
    };
    chosen.sort_unstable();
    Ok(chosen)
}

/// The points of these numbers, with their features.
pub fn take_points(cloud: &Cloud, points: &[usize]) -> Cloud {
    Cloud {
        positions: cloud.positions.select(Axis(0), points),
        features: cloud.features.select(Axis(0), points),
        feature_names: cloud.feature_names.clone(),
        length_unit: cloud.length_unit.clone(),
        box_side: cloud.box_side,
    }
}

fn random(count: usize, n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    for i in 0..n.min(count) {
        all.swap(i, i + rng.below(count - i));
    }
    all.truncate(n);
    all
}

fn weighted(cloud: &Cloud, n: usize, name: &str, rng: &mut Rng) -> Result<Vec<usize>> {
    let column =
        cloud.feature_names.iter().position(|f| f == name).ok_or_else(|| {
            refuse("the feature of weights".into(), "one of the cloud's", format!("{name:?}"))
        })?;
    let mut keys: Vec<(f64, usize)> = Vec::with_capacity(cloud.len());
    for (i, &w) in cloud.features.column(column).iter().enumerate() {
        if !(w >= 0.0 && w.is_finite()) {
            return Err(refuse(format!("{name} of point {i}"), "finite and not negative", w.to_string()));
        }
        // -ln(u) / w ascending is u^(1/w) descending.
        let u = 1.0 - rng.uniform();
        if w > 0.0 {
            keys.push((-u.ln() / f64::from(w), i));
        }
    }
    keys.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(keys.into_iter().take(n).map(|(_, i)| i).collect())
}

fn farthest(cloud: &Cloud, n: usize, rng: &mut Rng) -> Vec<usize> {
    let points: Vec<[f32; 3]> = cloud.positions.outer_iter().map(|p| [p[0], p[1], p[2]]).collect();
    let side = cloud.box_side.map(|s| s as f32);
    let squared = |a: &[f32; 3], b: &[f32; 3]| -> f32 {
        (0..3)
            .map(|i| {
                let d = a[i] - b[i];
                let d = side.map_or(d, |s| d - s * (d / s).round());
                d * d
            })
            .sum()
    };
    let mut nearest = vec![f32::INFINITY; points.len()];
    let mut chosen = vec![rng.below(points.len())];
    while chosen.len() < n.min(points.len()) {
        let last = points[chosen[chosen.len() - 1]];
        // Ties go to the lower number, so that pieces may be compared in any order.
        let next = nearest
            .par_chunks_mut(8192)
            .zip(points.par_chunks(8192))
            .enumerate()
            .map(|(chunk, (nearest, points))| {
                let mut best = (-1.0f32, usize::MAX);
                for (i, (near, p)) in nearest.iter_mut().zip(points).enumerate() {
                    *near = near.min(squared(&last, p));
                    if *near > best.0 {
                        best = (*near, chunk * 8192 + i);
                    }
                }
                best
            })
            .reduce(|| (-1.0, usize::MAX), |a, b| if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) { b } else { a });
        if next.0 <= 0.0 {
            // Only copies of chosen points are left.
            let taken: std::collections::BTreeSet<usize> = chosen.iter().copied().collect();
            let rest = (0..points.len()).filter(|i| !taken.contains(i));
            let missing = n.min(points.len()) - chosen.len();
            chosen.extend(rest.take(missing).collect::<Vec<_>>());
            break;
        }
        chosen.push(next.1);
    }
    chosen
}

fn grid(cloud: &Cloud, n: usize, cells: usize, rng: &mut Rng) -> Result<Vec<usize>> {
    if cells == 0 || cells > 1 << 20 {
        return Err(refuse("the number of cells".into(), "from 1 to 2^20 a side", cells.to_string()));
    }
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for p in cloud.positions.outer_iter() {
        for a in 0..3 {
            (low[a], high[a]) = (low[a].min(f64::from(p[a])), high[a].max(f64::from(p[a])));
        }
    }
    let extent = (0..3).map(|a| high[a] - low[a]).fold(0.0, f64::max);
    let width = if extent > 0.0 { extent / cells as f64 } else { 1.0 };
    let mut keyed: Vec<([u32; 3], u64, usize)> = cloud
        .positions
        .outer_iter()
        .enumerate()
        .map(|(i, p)| {
            let cell = |a: usize| (((f64::from(p[a]) - low[a]) / width) as u32).min(cells as u32 - 1);
            ([cell(0), cell(1), cell(2)], rng.next_u64(), i)
        })
        .collect();
    keyed.sort_unstable();
    keyed.dedup_by_key(|k| k.0);
    if keyed.len() > n {
        keyed.sort_unstable_by_key(|k| (k.1, k.2));
        keyed.truncate(n);
    }
    Ok(keyed.into_iter().map(|(_, _, i)| i).collect())
}

fn refuse(what: String, expected: &'static str, got: String) -> Error {
    Error::Value { operation: OPERATION, what, expected, got }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use halocast_core::Unit;
    use ndarray::Array2;

    use super::*;

    fn cloud(count: usize) -> Cloud {
        let mut rng = Rng::new(8);
        let positions = Array2::from_shape_fn((count, 3), |_| rng.uniform() as f32);
        let mut cloud = Cloud::new(positions, Unit::mpc_h(), None).unwrap();
        cloud.features = Array2::from_shape_fn((count, 1), |(i, _)| if i % 4 == 0 { 3.0 } else { 1.0 });
        cloud.feature_names = vec!["mass".into()];
        cloud
    }

    #[test]
    fn every_way_gives_different_points_and_repeats_itself() {
        let cloud = cloud(20_000);
        let ways =
            [Subsample::Random, Subsample::Weighted("mass".into()), Subsample::Farthest, Subsample::Grid(10)];
        for how in ways {
            let run = || subsample(&cloud, 50, &how, &mut Rng::new(4)).unwrap();
            let chosen = run();
            assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 50, "{how:?}");
            let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert_eq!(chosen, single.install(run));
            assert_ne!(chosen, subsample(&cloud, 50, &how, &mut Rng::new(5)).unwrap());
            let part = take_points(&cloud, &chosen);
            assert_eq!(part.positions.row(3), cloud.positions.row(chosen[3]));
            assert_eq!(part.features.shape(), [50, 1]);
            assert!(subsample(&cloud, 0, &how, &mut Rng::new(4)).unwrap().is_empty());
        }
    }

    #[test]
    fn all_points_when_fewer() {
        let cloud = cloud(10);
        for how in [Subsample::Random, Subsample::Weighted("mass".into()), Subsample::Farthest] {
            let all: Vec<usize> = (0..10).collect();
            assert_eq!(subsample(&cloud, 99, &how, &mut Rng::new(1)).unwrap(), all, "{how:?}");
        }
        let mut same = cloud;
        same.positions.fill(0.5);
        assert_eq!(subsample(&same, 4, &Subsample::Farthest, &mut Rng::new(1)).unwrap().len(), 4);
        assert_eq!(subsample(&same, 4, &Subsample::Grid(9), &mut Rng::new(1)).unwrap().len(), 1);
    }

    #[test]
    fn heavy_points_come_more_often() {
        // The chance of the first draw: 3 of 6 for the heavy quarter.
        let cloud = cloud(8);
        let how = Subsample::Weighted("mass".into());
        let mut rng = Rng::new(2);
        let mut is_heavy = || subsample(&cloud, 1, &how, &mut rng).unwrap()[0].is_multiple_of(4);
        let heavy = (0..4000).filter(|_| is_heavy()).count();
        assert!((heavy as f64 / 4000.0 - 0.5).abs() < 5.0 * 0.5 / 4000f64.sqrt(), "{heavy}");
    }

    #[test]
    fn the_farthest_points_cover_the_cloud() {
        let cloud = cloud(3000);
        let cover = |chosen: &[usize]| {
            let mut worst = 0.0f32;
            for p in cloud.positions.outer_iter() {
                let near = chosen.iter().map(|&i| (&p - &cloud.positions.row(i)).mapv(|x| x * x).sum());
                worst = worst.max(near.fold(f32::INFINITY, f32::min));
            }
            worst
        };
        // No point of the cloud is farther from the chosen than the chosen are from one another; random ones come closer.
        let apart = |chosen: &[usize]| {
            let mut least = f32::INFINITY;
            for (n, &i) in chosen.iter().enumerate() {
                for &j in &chosen[..n] {
                    let d = (&cloud.positions.row(i) - &cloud.positions.row(j)).mapv(|x| x * x).sum();
                    least = least.min(d);
                }
            }
            least
        };
        let spread = subsample(&cloud, 60, &Subsample::Farthest, &mut Rng::new(1)).unwrap();
        let random = subsample(&cloud, 60, &Subsample::Random, &mut Rng::new(1)).unwrap();
        assert!(cover(&spread) <= 1.0001 * apart(&spread));
        assert!(cover(&random) > apart(&random) && cover(&random) > cover(&spread));
    }

    #[test]
    fn bad_input_is_named() {
        let mut cloud = cloud(5);
        let run = |cloud: &Cloud, how| subsample(cloud, 2, &how, &mut Rng::new(1)).unwrap_err().to_string();
        assert!(run(&cloud, Subsample::Weighted("age".into())).contains("age"));
        assert!(run(&cloud, Subsample::Grid(0)).contains("cells"));
        cloud.features[[3, 0]] = -1.0;
        assert!(run(&cloud, Subsample::Weighted("mass".into())).contains("point 3"));
        cloud.positions[[2, 1]] = f32::NAN;
        assert!(run(&cloud, Subsample::Random).contains("point 2"));
    }
}
