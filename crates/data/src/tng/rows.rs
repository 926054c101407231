//! Which rows of which files are read, and the reading of single ones.

use std::ops::Range;

use halocast_core::FieldValues;
use ndarray::Axis;

use crate::hdf5::{Hdf5Read, Hdf5Type, NumbersMut, numbers_mut, split, zeros};
use crate::{Error, Result};

/// Rows that are read at once where only some of them are wanted.
pub(super) const BLOCK: usize = 1 << 16;
/// Rows between wanted ones that are read along rather than jumped over.
const GAP: usize = 512;

/// Rows of one file.
pub(super) enum Rows {
    Range(Range<usize>),
    /// Ascending.
    These(Vec<usize>),
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Range(rows) => rows.len(),
            Self::These(rows) => rows.len(),
        }
    }
}

/// Rows of the files of a snapshot, in the order in which they are wanted.
pub(super) type Wanted = Vec<(usize, Rows)>;

/// Reads single rows: neighbours together, a block at a time.
pub(super) fn read_these(
    file: &dyn Hdf5Read,
    dataset: &str,
    rows: &[usize],
    target: &Hdf5Type,
    tail: &[usize],
    out: NumbersMut<'_>,
) -> Result<()> {
    let per_row: usize = tail.iter().product();
    let misfit = || Error::invalid(file.path(), dataset, "numbers", target.to_string());
    let (mut rest, mut at) = (out, 0);
    while at < rows.len() {
        let first = rows[at];
        let mut end = at + 1;
        while end < rows.len() && rows[end] - rows[end - 1] <= GAP && rows[end] - first < BLOCK {
            end += 1;
        }
        let span = first..rows[end - 1] + 1;
        let (own, others) = split(rest, (end - at) * per_row);
        if span.len() == end - at {
            file.read_into(dataset, span, own)?;
        } else {
            let shape: Vec<usize> = std::iter::once(span.len()).chain(tail.iter().copied()).collect();
            let mut block = zeros(target, &shape).ok_or_else(misfit)?;
            file.read_into(dataset, span, numbers_mut(&mut block).ok_or_else(misfit)?)?;
            let picked: Vec<usize> = rows[at..end].iter().map(|row| row - first).collect();
            crate::hdf5::assign(file.path(), dataset, &select(&block, &picked), Some(own))?;
        }
        rest = others;
        at = end;
    }
    Ok(())
}

/// Rows of an array.
pub(super) fn select(values: &FieldValues, rows: &[usize]) -> FieldValues {
    match values {
        FieldValues::F32(v) => FieldValues::F32(v.select(Axis(0), rows)),
        FieldValues::F64(v) => FieldValues::F64(v.select(Axis(0), rows)),
        FieldValues::I64(v) => FieldValues::I64(v.select(Axis(0), rows)),
        FieldValues::U64(v) => FieldValues::U64(v.select(Axis(0), rows)),
        other => other.clone(),
    }
}

/// One of `stride` rows, counted over all parts.
pub(super) fn thin(wanted: Wanted, stride: usize) -> Wanted {
    if stride == 1 {
        return wanted;
    }
    let mut seen = 0usize;
    let mut thinned = Vec::new();
    for (chunk, rows) in wanted {
        let skip = (stride - seen % stride) % stride;
        seen += rows.len();
        let these: Vec<usize> = match rows {
            Rows::Range(rows) => rows.skip(skip).step_by(stride).collect(),
            Rows::These(rows) => rows.into_iter().skip(skip).step_by(stride).collect(),
        };
        if !these.is_empty() {
            thinned.push((chunk, Rows::These(these)));
        }
    }
    thinned
}

/// The rows whose flag is set; the flags are in the order of the parts.
pub(super) fn keep(wanted: Wanted, flags: &[bool]) -> Wanted {
    if flags.iter().all(|&f| f) {
        return wanted;
    }
    let mut flags = flags.iter();
    let mut kept = Vec::new();
    for (chunk, rows) in wanted {
        let flags = flags.by_ref().take(rows.len());
        let chosen = |rows: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
            rows.zip(flags).filter(|(_, flag)| **flag).map(|(row, _)| row).collect()
        };
        let these = match rows {
            Rows::Range(mut rows) => chosen(&mut rows),
            Rows::These(rows) => chosen(&mut rows.into_iter()),
        };
        kept.push((chunk, Rows::These(these)));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(wanted: &Wanted) -> Vec<(usize, Vec<usize>)> {
        let list = |rows: &Rows| match rows {
            Rows::Range(rows) => rows.clone().collect(),
            Rows::These(rows) => rows.clone(),
        };
        wanted.iter().map(|(i, r)| (*i, list(r))).collect()
    }

    #[test]
    fn a_stride_counts_over_the_files() {
        let wanted = || vec![(0, Rows::Range(0..5)), (1, Rows::Range(2..4)), (3, Rows::Range(0..6))];
        let all: Vec<(usize, usize)> =
            rows(&wanted()).into_iter().flat_map(|(i, r)| r.into_iter().map(move |r| (i, r))).collect();
        for stride in 1..15 {
            let thinned: Vec<(usize, usize)> = rows(&thin(wanted(), stride))
                .into_iter()
                .flat_map(|(i, r)| r.into_iter().map(move |r| (i, r)))
                .collect();
            assert_eq!(thinned, all.iter().copied().step_by(stride).collect::<Vec<_>>(), "{stride}");
        }
    }

    #[test]
    fn flags_pick_rows_over_the_files() {
        let wanted = vec![(0, Rows::Range(3..6)), (2, Rows::These(vec![1, 9]))];
        let kept = keep(wanted, &[false, true, true, false, true]);
        assert_eq!(rows(&kept), [(0, vec![4, 5]), (2, vec![9])]);
    }
}
