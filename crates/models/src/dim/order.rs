//! The order in which each block reads the tokens.

use halocast_kernels::ScanOrder;

use super::DimConfig;
use crate::Result;

/// A way through the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    Rows,
    RowsBackwards,
    Columns,
    ColumnsBackwards,
}

impl Scan {
    const CYCLE: [Self; 4] = [Self::Rows, Self::RowsBackwards, Self::Columns, Self::ColumnsBackwards];

    /// The places of a grid of `[y, x]`, which lie row by row, in the order of the scan.
    fn places(self, [y, x]: [usize; 2]) -> Vec<usize> {
        let mut places: Vec<usize> = match self {
            Self::Rows | Self::RowsBackwards => (0..y * x).collect(),
            Self::Columns | Self::ColumnsBackwards => (0..y * x).map(|i| i % y * x + i / y).collect(),
        };
        if matches!(self, Self::RowsBackwards | Self::ColumnsBackwards) {
            places.reverse();
        }
        places
    }
}

/// The scan of each block: one step on in the cycle per block of the encoder, one step back per block of the decoder, so
/// that both ends of a long skip scan alike; rows in the first and the last.
fn scans(config: &DimConfig) -> Vec<Scan> {
    let middle = config.layers / 2;
    (0..config.layers).map(|i| Scan::CYCLE[i.min(2 * middle - i) % config.directions]).collect()
}

/// The order of each block over the tokens as they lie in memory: first tokens, split tokens, the padded grid row by row.
pub(super) fn orders(config: &DimConfig) -> Result<Vec<ScanOrder>> {
    let grid = config.grid().map(|side| side + config.pad);
    let (first, split) = (config.first_tokens(), config.pad);
    let order = |(block, scan): (usize, Scan)| {
        let grid = scan.places(grid).into_iter().map(|place| first + split + place);
        let split = first..first + split;
        let late = config.alternate_split && block % 2 == 0;
        let rest: Vec<usize> = if late { grid.chain(split).collect() } else { split.chain(grid).collect() };
        let all = (0..first).chain(rest).map(|place| place as u32).collect();
        Ok(ScanOrder::new(all)?)
    };
    scans(config).into_iter().enumerate().map(order).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_mirrored_and_ends_in_rows() {
        use Scan::{Columns, ColumnsBackwards, Rows, RowsBackwards};
        let small = DimConfig { layers: 5, ..DimConfig::small() };
        assert_eq!(scans(&small), [Rows, RowsBackwards, Columns, RowsBackwards, Rows]);
        let long = scans(&DimConfig { layers: 13, ..DimConfig::small() });
        assert_eq!(long[3..7], [ColumnsBackwards, Rows, RowsBackwards, Columns]);
        assert!(long.iter().eq(long.iter().rev()));
    }

    #[test]
    fn scans_go_through_the_grid_as_they_say() {
        assert_eq!(Scan::RowsBackwards.places([2, 3]), [5, 4, 3, 2, 1, 0]);
        assert_eq!(Scan::Columns.places([2, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(Scan::ColumnsBackwards.places([2, 3]), [5, 2, 4, 1, 3, 0]);
    }

    #[test]
    fn the_split_tokens_alternate_where_asked() {
        let config = DimConfig {
            size: [2, 2],
            patch: 2,
            pad: 1,
            layers: 3,
            classes: 1,
            alternate_split: true,
            ..DimConfig::small()
        };
        let all = orders(&config).unwrap();
        assert_eq!(all[0].positions(), [0, 1, 3, 4, 5, 6, 2]);
        assert_eq!(all[1].positions(), [0, 1, 2, 6, 5, 4, 3]);
    }
}
