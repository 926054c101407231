//! Particles by coarse cells of a periodic box, to find those in a sphere.

use halocast_core::PeriodicBox;

/// Particles sorted into cells of about one mean separation.
pub(super) struct Grid<'a> {
    positions: &'a [[f32; 3]],
    space: PeriodicBox,
    cells: i64,
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl<'a> Grid<'a> {
    pub(super) fn new(positions: &'a [[f32; 3]], space: PeriodicBox) -> Self {
        let cells = ((positions.len() as f64).cbrt() as i64).clamp(1, 512);
        let to_cells = cells as f64 / space.side();
        let index = |x: f32| ((f64::from(x) * to_cells) as i64).min(cells - 1);
        let cell = |x: &[f32; 3]| ((index(x[0]) * cells + index(x[1])) * cells + index(x[2])) as usize;
        let mut starts = vec![0u32; (cells * cells * cells) as usize + 1];
        for x in positions {
            starts[cell(x) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; positions.len()];
        for (i, x) in positions.iter().enumerate() {
            let at = &mut next[cell(x)];
            order[*at as usize] = i as u32;
            *at += 1;
        }
        Self { positions, space, cells, starts, order }
    }

    /// Particles within `radius` (below half the side) of `centre`, as (squared distance, index), the nearest first.
    pub(super) fn sphere(&self, centre: [f64; 3], radius: f64) -> Vec<(f64, u32)> {
        let side = self.space.side();
        let to_cells = self.cells as f64 / side;
        let span = |x: f64| {
            let (low, high) =
                (((x - radius) * to_cells).floor() as i64, ((x + radius) * to_cells).floor() as i64);
            low..=high.min(low + self.cells - 1)
        };
        let wrap = |i: i64| i.rem_euclid(self.cells);
        let mut found = Vec::new();
        for i in span(centre[0]) {
            for j in span(centre[1]) {
                for k in span(centre[2]) {
                    let cell = ((wrap(i) * self.cells + wrap(j)) * self.cells + wrap(k)) as usize;
                    for &p in &self.order[self.starts[cell] as usize..self.starts[cell + 1] as usize] {
                        let x = self.positions[p as usize];
                        let d: f64 =
                            (0..3).map(|a| self.space.separation(f64::from(x[a]) - centre[a]).powi(2)).sum();
                        if d <= radius * radius {
                            found.push((d, p));
                        }
                    }
                }
            }
        }
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    #[test]
    fn a_sphere_holds_what_brute_force_finds() {
        let (side, mut rng) = (10.0, Rng::new(3));
        let positions: Vec<[f32; 3]> =
            (0..1000).map(|_| [0; 3].map(|_| (side * rng.uniform()) as f32)).collect();
        let space = PeriodicBox::new(side).unwrap();
        let grid = Grid::new(&positions, space);
        for (centre, radius) in [([0.1, 5.0, 9.9], 1.0), ([5.0; 3], 4.9), ([9.99, 0.0, 0.0], 0.3)] {
            let mut found: Vec<u32> = grid.sphere(centre, radius).iter().map(|f| f.1).collect();
            found.sort_unstable();
            let inside = |i: &u32| space.distance(positions[*i as usize].map(f64::from), centre) <= radius;
            assert_eq!(found, (0..1000).filter(inside).collect::<Vec<_>>());
        }
    }
}
