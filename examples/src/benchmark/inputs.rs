//! Inputs of the benchmarks: the kinds of fields and points that the peers' scripts make.

use halocast::core::fft::{RealFft, wavenumber};
use halocast::core::{Cube, Map, Rng, Unit};
use ndarray::{Array2, Array3};
use rayon::prelude::*;

/// The side of the boxes of fields, in Mpc/h.
pub(super) const SIDE: f64 = 25.0;

/// Periodic Gaussian maps of unit variance with P(k) proportional to k^-2.
pub(super) fn maps(count: usize, n: usize, seed: u64) -> Vec<Map> {
    let key = Rng::new(seed).split_named("maps");
    let map = |i: usize| {
        let values = gaussian([1, n, n], -2.0, &mut key.split(i as u64));
        Map::square("field", Array2::from_shape_fn((n, n), |(y, x)| values[y * n + x]), SIDE)
    };
    (0..count).into_par_iter().map(map).collect()
}

/// A periodic Gaussian cube of unit variance with P(k) proportional to k^-1.5.
pub(super) fn cube(n: usize, seed: u64) -> Cube {
    let values = gaussian([n, n, n], -1.5, &mut Rng::new(seed).split_named("cube"));
    Cube {
        values: Array3::from_shape_fn((n, n, n), |(x, y, z)| values[(x * n + y) * n + z]),
        extent: [SIDE; 3],
        length_unit: Unit::mpc_h(),
        unit: Unit::dimensionless(),
        field: "field".into(),
        periodic: true,
    }
}

fn gaussian(shape: [usize; 3], slope: f64, rng: &mut Rng) -> Vec<f32> {
    let fft = RealFft::<f32>::new(shape);
    let mut field = rng.normals(shape.iter().product());
    let mut spectrum = fft.spectrum();
    fft.forward(&field, &mut spectrum);
    let [_, ny, half] = fft.spectrum_shape();
    for (i, value) in spectrum.iter_mut().enumerate() {
        let (plane, row, column) = (i / (ny * half), i / half % ny, i % half);
        let k = [wavenumber(plane, shape[0]), wavenumber(row, ny), column as i64];
        let k2 = k.iter().map(|k| (k * k) as f64).sum::<f64>();
        *value *= if k2 == 0.0 { 0.0 } else { k2.powf(slope / 4.0) as f32 };
    }
    fft.inverse(&mut spectrum, &mut field);
    let variance = field.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / field.len() as f64;
    field.iter_mut().for_each(|v| *v /= variance.sqrt() as f32);
    field
}

/// Points of a periodic unit box: six in ten in 400 clumps of very different weight, the others anywhere.
pub(super) fn points(count: usize, seed: u64) -> Vec<[f32; 3]> {
    const CLUMPS: usize = 400;
    let mut rng = Rng::new(seed).split_named("points");
    let centres: Vec<[f64; 3]> = (0..CLUMPS).map(|_| [0; 3].map(|_| rng.uniform())).collect();
    // Pareto's distribution of index 1.2, as running sums.
    let mut total = 0.0;
    let mut sums = Vec::with_capacity(CLUMPS);
    for _ in 0..CLUMPS {
        total += (1.0 - rng.uniform()).powf(-1.0 / 1.2);
        sums.push(total);
    }
    let inside = |x: f64| {
        let wrapped = x.rem_euclid(1.0) as f32;
        if wrapped < 1.0 { wrapped } else { 0.0 }
    };
    let mut point = |i: usize| {
        if i >= count * 6 / 10 {
            return [0; 3].map(|_| inside(rng.uniform()));
        }
        let drawn = rng.uniform() * total;
        let centre = centres[sums.partition_point(|s| *s <= drawn).min(CLUMPS - 1)];
        let radius = 0.03 * rng.uniform().powf(1.5);
        let direction = [0; 3].map(|_| rng.normal());
        let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        std::array::from_fn(|axis| inside(centre[axis] + radius * direction[axis] / length))
    };
    (0..count).map(&mut point).collect()
}

/// Masses uniform in (0, 1).
pub(super) fn masses(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed).split_named("masses");
    (0..count).map(|_| rng.uniform()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_what_they_say() {
        let map = &maps(1, 32, 1)[0];
        let variance = map.values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 1024.0;
        assert!((variance - 1.0).abs() < 1e-5);
        assert!(map.values.iter().map(|&v| f64::from(v)).sum::<f64>().abs() < 1e-3);
        let all = points(1000, 1);
        assert!(all.iter().flatten().all(|x| (0.0..1.0).contains(x)));
        // Clumps: the nearest of 600 others is far nearer than among evenly spread points, 0.55 n^-1/3.
        let nearest = |p: &[f32; 3]| {
            let squared = |q: &[f32; 3]| p.iter().zip(q).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            all.iter().filter(|q| *q != p).map(squared).fold(f32::INFINITY, f32::min).sqrt()
        };
        let mean = all[..600].iter().map(nearest).sum::<f32>() / 600.0;
        assert!(mean < 0.02, "{mean}");
    }
}
