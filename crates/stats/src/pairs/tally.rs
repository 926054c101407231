//! What is kept of the pairs: counts in shells and cylinders, mean separations, two-dimensional histograms.

use super::columns::Tally;

/// Pairs closer than each edge. Most pairs of a search lie in the outer bins, so edges are tried from the largest down, a
/// row of registers at a time, until none of a run lies inside.
pub(super) struct Nearer {
    squared: Vec<f64>,
    pub(super) below: Vec<u64>,
    /// Whether distances are taken across the last axis alone, and the limit along it.
    along: Option<f64>,
}

/// Distances that are compared together.
const LANES: usize = 32;

impl Nearer {
    pub(super) fn new(edges: &[f64]) -> Self {
        Self { squared: edges.iter().map(|e| e * e).collect(), below: vec![0; edges.len()], along: None }
    }

    /// Distances across the last axis, of pairs less than `along` apart along it.
    pub(super) fn across(edges: &[f64], along: f64) -> Self {
        Self { along: Some(along), ..Self::new(edges) }
    }

    #[inline(always)]
    fn compare(&mut self, squared: &[f64; LANES]) {
        for (edge, below) in self.squared.iter().zip(&mut self.below).rev() {
            let inside: u64 = squared.iter().map(|d| u64::from(d < edge)).sum();
            if inside == 0 {
                return;
            }
            *below += inside;
        }
    }

    /// The squared distance, infinite for a pair too far apart along the line.
    #[inline(always)]
    fn distance(&self, p: [f64; 3], x: f64, y: f64, z: f64) -> f64 {
        let (dx, dy, dz) = (p[0] - x, p[1] - y, p[2] - z);
        match self.along {
            None => dx * dx + dy * dy + dz * dz,
            Some(limit) => {
                let across = dx * dx + dy * dy;
                if dz.abs() < limit { across } else { f64::INFINITY }
            }
        }
    }
}

impl Tally for Nearer {
    #[inline(always)]
    fn near(&mut self, p: [f64; 3], x: &[f64], y: &[f64], z: &[f64]) {
        let (xs, x_rest) = x.as_chunks::<LANES>();
        let (ys, y_rest) = y.as_chunks::<LANES>();
        let (zs, z_rest) = z.as_chunks::<LANES>();
        let mut squared = [0.0; LANES];
        for ((x, y), z) in xs.iter().zip(ys).zip(zs) {
            for k in 0..LANES {
                squared[k] = self.distance(p, x[k], y[k], z[k]);
            }
            self.compare(&squared);
        }
        if !x_rest.is_empty() {
            squared = [f64::INFINITY; LANES];
            for k in 0..x_rest.len() {
                squared[k] = self.distance(p, x_rest[k], y_rest[k], z_rest[k]);
            }
            self.compare(&squared);
        }
    }
}

/// Sums of distances in shells: one pair at a time.
pub(super) struct Separations {
    squared: Vec<f64>,
    pub(super) sums: Vec<f64>,
    pub(super) pairs: Vec<u64>,
}

impl Separations {
    pub(super) fn new(edges: &[f64]) -> Self {
        let bins = edges.len() - 1;
        let squared = edges.iter().map(|e| e * e).collect();
        Self { squared, sums: vec![0.0; bins], pairs: vec![0; bins] }
    }
}

impl Tally for Separations {
    #[inline(always)]
    fn near(&mut self, p: [f64; 3], x: &[f64], y: &[f64], z: &[f64]) {
        for k in 0..x.len() {
            let d = [p[0] - x[k], p[1] - y[k], p[2] - z[k]];
            let squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            if let Some(bin) = bin_of(&self.squared, squared) {
                self.sums[bin] += squared.sqrt();
                self.pairs[bin] += 1;
            }
        }
    }
}

/// A histogram in distance and |cosine| of the angle to the last axis, `[distance, cosine]`.
pub(super) struct Plane {
    squared: Vec<f64>,
    cosines: Vec<f64>,
    pub(super) pairs: Vec<u64>,
}

impl Plane {
    pub(super) fn new(edges: &[f64], cosines: &[f64]) -> Self {
        let pairs = vec![0; (edges.len() - 1) * (cosines.len() - 1)];
        Self { squared: edges.iter().map(|e| e * e).collect(), cosines: cosines.to_vec(), pairs }
    }
}

impl Tally for Plane {
    #[inline(always)]
    fn near(&mut self, p: [f64; 3], x: &[f64], y: &[f64], z: &[f64]) {
        let last = self.cosines.len() - 2;
        for k in 0..x.len() {
            let (dx, dy, dz) = (p[0] - x[k], p[1] - y[k], (p[2] - z[k]).abs());
            let squared = dx * dx + dy * dy + dz * dz;
            if let Some(i) = bin_of(&self.squared, squared) {
                // Two points in one place have every direction; they count at mu = 0.
                let mu = if squared > 0.0 { dz / squared.sqrt() } else { 0.0 };
                // mu = 1 belongs to the last bin.
                let j = bin_of(&self.cosines, mu).unwrap_or(last);
                self.pairs[i * (last + 1) + j] += 1;
            }
        }
    }
}

/// The bin `[edge_i, edge_(i+1))` of a value, tried from the outermost: there are most pairs.
#[inline(always)]
fn bin_of(edges: &[f64], value: f64) -> Option<usize> {
    let last = edges.len() - 1;
    if value >= edges[last] {
        return None;
    }
    (0..last).rev().find(|&i| value >= edges[i])
}
