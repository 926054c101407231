//! Splits that keep apart what is not independent, and patches of the sky.

use halocast_core::{Error, Map, Result, Rng};
use ndarray::s;

/// Splits examples into training, validation and test sets so that no group is in two of them.
///
/// `groups` holds the group of each example: the simulation of a map, the region of a patch. The groups are shuffled
/// by `rng` and dealt by `fractions`, which sum to one; a set with a positive fraction gets at least one group. The
/// indices of each set are ascending.
///
/// ```
/// use halocast_core::Rng;
/// use halocast_data::split_by_group;
/// # fn main() -> halocast_core::Result<()> {
/// let groups: Vec<usize> = (0..150).map(|i| i / 15).collect(); // 15 maps of each of 10 simulations
/// let [train, validation, test] = split_by_group(&groups, [0.8, 0.1, 0.1], &mut Rng::new(1))?;
/// assert_eq!([train.len(), validation.len(), test.len()], [120, 15, 15]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Value`] when the fractions are negative or do not sum to one, or there are fewer groups than sets.
pub fn split_by_group(groups: &[usize], fractions: [f64; 3], rng: &mut Rng) -> Result<[Vec<usize>; 3]> {
    let fault = |what: &str, expected: String, got: String| Error::Value {
        operation: "split",
        what: what.into(),
        expected,
        got,
    };
    let sum: f64 = fractions.iter().sum();
    if fractions.iter().any(|f| !f.is_finite() || *f < 0.0) || (sum - 1.0).abs() > 1e-6 {
        let expected = "at least 0 each and 1 in sum".into();
        return Err(fault("the fractions", expected, format!("{fractions:?}")));
    }
    let mut distinct: Vec<usize> = groups.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let needed = fractions.iter().filter(|f| **f > 0.0).count();
    if distinct.len() < needed {
        let got = distinct.len().to_string();
        return Err(fault("the number of groups", format!("at least {needed}"), got));
    }
    let n = distinct.len();
    let mut counts = fractions.map(|f| (f * n as f64).round() as usize);
    for (count, fraction) in counts.iter_mut().zip(fractions) {
        *count = (*count).max(usize::from(fraction > 0.0));
    }
    // Rounding is made up for by the largest set.
    while counts.iter().sum::<usize>() != n {
        let too_many = counts.iter().sum::<usize>() > n;
        let largest = (0..3).fold(0, |best, i| if counts[i] > counts[best] { i } else { best });
        if too_many {
            counts[largest] -= 1;
        } else {
            counts[largest] += 1;
        }
    }
    rng.shuffle(&mut distinct);
    let (train, rest) = distinct.split_at(counts[0]);
    let (validation, test) = rest.split_at(counts[1]);
    let mut split = [Vec::new(), Vec::new(), Vec::new()];
    for (set, members) in split.iter_mut().zip([train, validation, test]) {
        let mut members = members.to_vec();
        members.sort_unstable();
        set.extend((0..groups.len()).filter(|&i| members.binary_search(&groups[i]).is_ok()));
    }
    Ok(split)
}

/// Patches cut from maps of one sky.
#[derive(Clone, Debug, PartialEq)]
pub struct SkyPatches {
    /// The patches.
    pub maps: Vec<Map>,
    /// The region of the sky of each patch: the same region has the same number in every map.
    pub groups: Vec<usize>,
    /// The map that each patch was cut from.
    pub sources: Vec<usize>,
}

/// Cuts square patches of `size` pixels, `stride` apart, from maps that show the same sky.
///
/// Convergence maps of different source redshifts show the same structures, so patches of one region are not
/// independent: they share a group, for [`split_by_group`]. Patches must not overlap, else regions would not be
/// independent either. What does not fill a patch at the edge is left out.
///
/// # Errors
/// [`Error::Shape`] when the maps differ in shape or are smaller than a patch; [`Error::Value`] when there is no map,
/// `size` is 0 or `stride < size`.
pub fn sky_patches(maps: &[Map], size: usize, stride: usize) -> Result<SkyPatches> {
    let value = |what: &str, expected: String, got: usize| Error::Value {
        operation: "sky patches",
        what: what.into(),
        expected,
        got: got.to_string(),
    };
    let Some(first) = maps.first() else {
        return Err(value("the number of maps", "at least 1".into(), 0));
    };
    if size == 0 {
        return Err(value("the size", "at least 1".into(), size));
    }
    if stride < size {
        return Err(value(
            "the stride",
            format!("at least the size, {size}: patches must not overlap"),
            stride,
        ));
    }
    let [ny, nx] = first.shape();
    let mut patches = SkyPatches { maps: Vec::new(), groups: Vec::new(), sources: Vec::new() };
    for (source, map) in maps.iter().enumerate() {
        if map.shape() != [ny, nx] || ny < size || nx < size {
            return Err(Error::Shape {
                operation: "sky patches",
                what: format!("map {source} ({:?})", map.field),
                expected: format!("[{ny}, {nx}] as the first map, at least [{size}, {size}]"),
                got: map.shape().to_vec(),
            });
        }
        let corners = |n: usize| (0..=n - size).step_by(stride);
        for (region, (y, x)) in corners(ny).flat_map(|y| corners(nx).map(move |x| (y, x))).enumerate() {
            patches.maps.push(Map {
                values: map.values.slice(s![y..y + size, x..x + size]).to_owned(),
                extent: [map.extent[0] * size as f64 / ny as f64, map.extent[1] * size as f64 / nx as f64],
                periodic: false,
                ..map_without_values(map)
            });
            patches.groups.push(region);
            patches.sources.push(source);
        }
    }
    Ok(patches)
}

/// The labels of a map; copying its pixels for each patch would be waste.
fn map_without_values(map: &Map) -> Map {
    Map {
        values: ndarray::Array2::zeros((0, 0)),
        extent: map.extent,
        length_unit: map.length_unit.clone(),
        unit: map.unit.clone(),
        field: map.field.clone(),
        periodic: map.periodic,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn no_group_is_in_two_sets() {
        let mut rng = Rng::new(3);
        for n in [3, 4, 7, 20, 1000] {
            let groups: Vec<usize> = (0..5 * n).map(|i| 7 * (i % n)).collect();
            for fractions in [[0.8, 0.1, 0.1], [0.34, 0.33, 0.33], [0.98, 0.01, 0.01], [0.5, 0.5, 0.0]] {
                let split = split_by_group(&groups, fractions, &mut rng).unwrap();
                let mut all: Vec<usize> = split.iter().flatten().copied().collect();
                all.sort_unstable();
                assert_eq!(all, (0..groups.len()).collect::<Vec<_>>());
                let of =
                    |set: &[usize]| set.iter().map(|&i| groups[i]).collect::<std::collections::BTreeSet<_>>();
                let sets = [of(&split[0]), of(&split[1]), of(&split[2])];
                assert!(
                    sets[0].is_disjoint(&sets[1])
                        && sets[0].is_disjoint(&sets[2])
                        && sets[1].is_disjoint(&sets[2])
                );
                for (set, fraction) in sets.iter().zip(fractions) {
                    assert_eq!(set.is_empty(), fraction == 0.0);
                    assert!(
                        (set.len() as f64 - fraction * n as f64).abs() <= 2.0,
                        "{n} {fractions:?} {}",
                        set.len()
                    );
                }
            }
        }
        assert!(split_by_group(&[1, 1, 2], [0.8, 0.1, 0.1], &mut rng).is_err());
        assert!(split_by_group(&[1, 2, 3], [0.8, 0.1, 0.2], &mut rng).is_err());
        let again = |seed| split_by_group(&[1, 2, 3, 4, 5], [0.6, 0.2, 0.2], &mut Rng::new(seed)).unwrap();
        assert_eq!(again(1), again(1));
    }

    #[test]
    fn patches_of_one_region_share_a_group() {
        let map = |k: usize| {
            let values = Array2::from_shape_fn((10, 8), |(y, x)| (1000 * k + 10 * y + x) as f32);
            Map { extent: [5.0, 4.0], ..Map::square("kappa", values, 1.0) }
        };
        let patches = sky_patches(&[map(0), map(1)], 4, 4).unwrap();
        assert_eq!(patches.groups, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(patches.sources, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(patches.maps[7].values[[0, 0]], 1044.0);
        assert_eq!((patches.maps[0].extent, patches.maps[0].periodic), ([2.0, 2.0], false));
        assert!(sky_patches(&[map(0)], 4, 2).is_err());
        assert!(sky_patches(&[map(0)], 9, 9).is_err());
        assert!(sky_patches(&[], 4, 4).is_err());
    }
}
