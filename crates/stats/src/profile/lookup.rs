//! Finding the bin of a positive number at once: a table over the exponent and the first bits of the mantissa.

/// The bins `[edge_i, edge_(i+1))` of non-negative numbers, the last one closed.
pub(crate) struct Lookup {
    edges: Vec<f64>,
    lowest: u64,
    table: Vec<u32>,
}

/// Bits of a float64 that a cell of the table does not see: eight of the mantissa are left.
const SHIFT: u32 = 44;

impl Lookup {
    /// For increasing, non-negative edges, at least two.
    pub(crate) fn new(edges: Vec<f64>) -> Self {
        let least_positive = edges.iter().copied().find(|e| *e > 0.0).unwrap_or(1.0);
        let lowest = least_positive.to_bits() >> SHIFT;
        let highest = edges[edges.len() - 1].to_bits() >> SHIFT;
        // The bin of the least number of each cell; a cell may hold edges, which are then stepped over.
        let bin = |cell: u64| {
            let least = f64::from_bits((lowest + cell) << SHIFT);
            edges.partition_point(|&e| e <= least) as u32
        };
        let table = (0..=highest.saturating_sub(lowest)).map(bin).collect();
        Self { edges, lowest, table }
    }

    /// The bin of `value`, if it has one.
    #[inline]
    pub(crate) fn bin(&self, value: f64) -> Option<usize> {
        let last = self.edges.len() - 1;
        if value.is_nan() || value < self.edges[0] || value > self.edges[last] {
            return None;
        }
        let cell = (value.to_bits() >> SHIFT).checked_sub(self.lowest);
        let mut above = cell.map_or(0, |cell| self.table[cell as usize] as usize);
        while above < last && self.edges[above] <= value {
            above += 1;
        }
        Some(above.min(last).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    #[test]
    fn the_table_finds_what_a_search_finds() {
        let mut rng = Rng::new(1);
        for edges in [
            vec![0.0, 1.0, 2.0, 2.0001, 900.0],
            (0..65).map(|i| (0.1 * f64::from(i)).exp()).collect(),
            vec![1e-300, 1e-8, 1.0],
            vec![0.0, 1e-3],
        ] {
            let lookup = Lookup::new(edges.clone());
            let last = edges.len() - 1;
            let mut values: Vec<f64> = (0..5000).map(|_| edges[last] * 1.2 * rng.uniform().powi(3)).collect();
            values.extend(edges.iter().flat_map(|e| [*e, e.next_up(), e.next_down().abs()]));
            for v in values {
                let expected = match edges.partition_point(|&e| e <= v) {
                    0 => None,
                    i if i == edges.len() => (v == edges[last]).then_some(last - 1),
                    i => Some(i - 1),
                };
                assert_eq!(lookup.bin(v), expected, "{v} in {edges:?}");
            }
            assert_eq!(lookup.bin(f64::NAN), None);
        }
    }
}
