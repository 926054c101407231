//! Where the numbers of a dataset lie: the reader of positions beside the reader of structure.
//!
//! `hdf5-reader` parses the structure of a file; what is large is read here, by position, into memory that the caller
//! owns. Two layouts are known: one piece, and chunks under any of HDF5's indices that went through no filter but
//! shuffle and deflate. All else is left to the crate.
//!
//! # Source
//! HDF5 File Format Specification 3.0, sections IV.A.2.i (data layout) and IV.A.2.l (filter pipeline).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use hdf5_reader::chunk_index::{ChunkEntry, single_chunk_entry};
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::filter_pipeline::{FILTER_DEFLATE, FILTER_SHUFFLE};
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use hdf5_reader::{Dataset, Hdf5File, btree_v1, chunk_index, extensible_array, fixed_array};

use super::chunk::{self, Chunk, ChunkCache, Filters};
use crate::npy::read_at;

/// The place of a dataset's numbers.
pub(super) enum Layout {
    /// In one piece from this byte on.
    Contiguous {
        /// The first byte.
        offset: u64,
    },
    /// In chunks of one shape.
    Chunked(Chunked),
}

/// A dataset in chunks.
pub(super) struct Chunked {
    /// The key of the dataset in the cache.
    pub key: u64,
    /// The chunks, ascending by their first row.
    pub chunks: Vec<Chunk>,
    /// The shape of a chunk, the last ones of an axis cut by nothing.
    pub dims: Vec<usize>,
    /// The shape of the dataset.
    pub shape: Vec<usize>,
    /// Bytes of a number.
    pub element: usize,
    /// What the chunks went through.
    pub filters: Filters,
}

type Fault = hdf5_reader::error::Error;

impl Layout {
    /// The layout of a dataset whose numbers have `element` bytes; `None` for one that is not known here.
    pub(super) fn of(
        file: &Hdf5File,
        length: u64,
        dataset: &Dataset,
        shape: &[usize],
        element: usize,
    ) -> Result<Option<Self>, Fault> {
        let header = file.get_or_parse_header(dataset.address())?;
        let base = file.superblock().base_address;
        let (mut layout, mut pipeline) = (None, None);
        for message in &header.messages {
            match message {
                HdfMessage::DataLayout(found) => layout = Some(&found.layout),
                HdfMessage::FilterPipeline(found) => pipeline = Some(&found.filters),
                HdfMessage::ExternalFiles(_) => return Ok(None),
                _ => {}
            }
        }
        let bytes = shape.iter().try_fold(element as u64, |n, &axis| n.checked_mul(axis as u64));
        let Some(bytes) = bytes else { return Ok(None) };
        match layout {
            Some(DataLayout::Contiguous { address, size }) => {
                let end = address.checked_add(base).and_then(|a| a.checked_add(bytes));
                let inside = end.is_some_and(|end| end <= length);
                // What does not fit is refused by the crate, with its words.
                Ok((inside && *size == bytes).then(|| Self::Contiguous { offset: address + base }))
            }
            Some(DataLayout::Chunked { address, dims, chunk_indexing, .. }) => {
                let Some(filters) = Filters::of(pipeline.map_or(&[][..], |f| f)) else { return Ok(None) };
                let undefined = u64::MAX >> (64 - 8 * u32::from(file.superblock().offset_size.clamp(1, 8)));
                if *address == undefined || dims.len() != shape.len() || dims.contains(&0) {
                    return Ok(None);
                }
                let entries = entries(file, dataset, *address, dims, chunk_indexing.as_ref(), element)?;
                let dims: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
                let chunked = Chunked {
                    key: *address,
                    chunks: Vec::new(),
                    dims,
                    shape: shape.to_vec(),
                    element,
                    filters,
                };
                let chunked = chunked.with(entries, base, length);
                chunked.as_ref().map_or(Ok(()), Chunked::check_overlap)?;
                Ok(chunked.map(Self::Chunked))
            }
            _ => Ok(None),
        }
    }

    /// Fills `out` with the stored bytes of rows, which lie within the dataset.
    pub(super) fn read(
        &self,
        file: &File,
        cache: &ChunkCache,
        rows: Range<usize>,
        row_bytes: usize,
        out: &mut [u8],
    ) -> io::Result<()> {
        match self {
            Self::Contiguous { offset } => read_at(file, out, offset + (rows.start * row_bytes) as u64),
            Self::Chunked(chunked) => chunk::read(chunked, file, cache, rows, out),
        }
    }

    /// The rows that are best read together: those of a chunk, or those of about `bytes`.
    pub(super) fn band(&self, row_bytes: usize, bytes: usize) -> usize {
        match self {
            Self::Contiguous { .. } => (bytes / row_bytes.max(1)).max(1),
            Self::Chunked(chunked) => chunked.dims.first().copied().unwrap_or(1),
        }
    }
}

impl Chunked {
    /// Takes the chunks; `None` when they do not tile the dataset.
    fn with(mut self, entries: Vec<ChunkEntry>, base: u64, length: u64) -> Option<Self> {
        let whole = self.dims.iter().try_fold(self.element as u64, |n, &d| n.checked_mul(d as u64))?;
        let per_axis: Vec<usize> = self.shape.iter().zip(&self.dims).map(|(n, d)| n.div_ceil(*d)).collect();
        let expected = per_axis.iter().try_fold(1usize, |n, &c| n.checked_mul(c))?;
        for entry in entries {
            let at: Vec<usize> =
                entry.offsets.iter().map(|&o| usize::try_from(o).ok()).collect::<Option<_>>()?;
            let aligned = at.len() == self.dims.len() && at.iter().zip(&self.dims).all(|(o, d)| o % d == 0);
            if !aligned {
                return None;
            }
            if at.iter().zip(&self.shape).any(|(o, n)| o >= n) {
                // Left over from when the dataset was larger.
                continue;
            }
            let size = if entry.size == 0 { whole } else { entry.size };
            let offset = entry.address.checked_add(base)?;
            if offset.checked_add(size)? > length || entry.filter_mask != 0 {
                return None;
            }
            if !self.filters.fits(size, whole) {
                return None;
            }
            self.chunks.push(Chunk { at, offset, size: usize::try_from(size).ok()? });
        }
        self.chunks.sort_by(|a, b| a.at.cmp(&b.at));
        // What comes twice is told by `check_overlap`.
        let distinct = self.chunks.windows(2).all(|pair| pair[0].at != pair[1].at);
        (!distinct || self.chunks.len() == expected).then_some(self)
    }
}

impl Chunked {
    /// Checks that no number has two chunks and no byte of the file belongs to two.
    fn check_overlap(&self) -> Result<(), Fault> {
        if let Some(pair) = self.chunks.windows(2).find(|pair| pair[0].at == pair[1].at) {
            return Err(Fault::InvalidData(format!("two chunks at {:?} overlap", pair[0].at)));
        }
        let mut places: Vec<(u64, u64, &[usize])> =
            self.chunks.iter().map(|c| (c.offset, c.offset + c.size as u64, &c.at[..])).collect();
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            None => Ok(()),
            Some(pair) => Err(Fault::InvalidData(format!(
                "chunks {:?} and {:?} overlap: bytes {}..{} and {}..{} of the file",
                pair[0].2, pair[1].2, pair[0].0, pair[0].1, pair[1].0, pair[1].1
            ))),
        }
    }
}

impl Filters {
    fn of(filters: &[hdf5_reader::messages::filter_pipeline::FilterDescription]) -> Option<Self> {
        let ids: Vec<u16> = filters.iter().map(|f| f.id).collect();
        Some(match ids[..] {
            [] => Self { shuffle: false, deflate: false },
            [FILTER_SHUFFLE] => Self { shuffle: true, deflate: false },
            [FILTER_DEFLATE] => Self { shuffle: false, deflate: true },
            [FILTER_SHUFFLE, FILTER_DEFLATE] => Self { shuffle: true, deflate: true },
            _ => return None,
        })
    }
}

fn entries(
    file: &Hdf5File,
    dataset: &Dataset,
    address: u64,
    dims: &[u32],
    indexing: Option<&ChunkIndexing>,
    element: usize,
) -> Result<Vec<ChunkEntry>, Fault> {
    let storage = file.storage();
    let (offset_size, length_size) = (file.superblock().offset_size, file.superblock().length_size);
    let (shape, rank) = (dataset.shape(), dataset.ndim());
    match indexing {
        None => {
            let leaves = btree_v1::collect_btree_v1_leaves_storage(
                storage,
                address,
                offset_size,
                length_size,
                Some(rank as u32),
                dims,
                None,
            )?;
            let entry = |(key, address): (btree_v1::BTreeV1Key, u64)| match key {
                btree_v1::BTreeV1Key::RawData { chunk_size, filter_mask, offsets } => Some(ChunkEntry {
                    address,
                    size: u64::from(chunk_size),
                    filter_mask,
                    offsets: offsets.into_iter().take(rank).collect(),
                }),
                _ => None,
            };
            Ok(leaves.into_iter().filter_map(entry).collect())
        }
        Some(ChunkIndexing::SingleChunk { filtered_size, filters }) => {
            Ok(vec![single_chunk_entry(address, *filtered_size, *filters, rank)])
        }
        Some(ChunkIndexing::BTreeV2) => chunk_index::collect_v2_chunk_entries_storage(
            storage,
            address,
            offset_size,
            length_size,
            rank as u32,
            dims,
            None,
        ),
        Some(ChunkIndexing::Implicit) => {
            chunk_index::collect_implicit_chunk_entries(address, shape, dims, element, None, storage.len())
        }
        Some(ChunkIndexing::FixedArray { .. }) => fixed_array::collect_fixed_array_chunk_entries_storage(
            storage,
            address,
            offset_size,
            length_size,
            shape,
            dims,
            None,
        ),
        Some(ChunkIndexing::ExtensibleArray { .. }) => {
            extensible_array::collect_extensible_array_chunk_entries_storage(
                storage,
                address,
                offset_size,
                length_size,
                shape,
                dataset.max_dims(),
                dims,
                None,
            )
        }
    }
}

/// Layouts that were found, by dataset.
pub(super) type Layouts = std::sync::Mutex<std::collections::HashMap<String, Option<Arc<Layout>>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_chunks_are_refused() {
        let filters = Filters { shuffle: false, deflate: false };
        let chunked = |places: [(usize, u64); 3]| {
            let empty =
                Chunked { key: 0, chunks: Vec::new(), dims: vec![4], shape: vec![12], element: 8, filters };
            let entry = |(at, address): (usize, u64)| ChunkEntry {
                address,
                size: 32,
                filter_mask: 0,
                offsets: vec![at as u64],
            };
            let chunked = empty.with(places.map(entry).to_vec(), 0, 1000).unwrap();
            chunked.check_overlap().map_err(|e| e.to_string())
        };
        assert_eq!(chunked([(8, 500), (0, 100), (4, 132)]), Ok(()));
        let message = chunked([(0, 100), (4, 500), (8, 131)]).unwrap_err();
        assert!(message.contains("[0] and [8] overlap: bytes 100..132 and 131..163"), "{message}");
        let message = chunked([(0, 100), (4, 500), (4, 200)]).unwrap_err();
        assert!(message.contains("two chunks at [4]"), "{message}");
    }
}
