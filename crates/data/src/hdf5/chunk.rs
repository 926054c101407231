//! Chunks: read by position, inflated, unshuffled, and laid out in rows.
//!
//! # Source
//! HDF5 File Format Specification 3.0; deflate is RFC 1951 in the wrapping of RFC 1950. Shuffle stores the first byte of
//! every number, then the second of every number, and so on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use flate2::{Decompress, FlushDecompress, Status};

use super::layout::Chunked;
use crate::npy::read_at;

/// The most that deflate shrinks anything: 258 bytes to two bits.
const DEFLATE_LIMIT: u64 = 1032;

/// Where a chunk lies in its dataset and in its file.
pub(super) struct Chunk {
    /// The index of its first number on every axis.
    pub at: Vec<usize>,
    /// The first byte in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: usize,
}

/// What chunks went through when they were written, in this order.
#[derive(Clone, Copy)]
pub(super) struct Filters {
    pub shuffle: bool,
    pub deflate: bool,
}

impl Filters {
    /// Whether `size` stored bytes can hold a chunk of `whole` bytes.
    pub(super) fn fits(self, size: u64, whole: u64) -> bool {
        if self.deflate { whole <= size.saturating_mul(DEFLATE_LIMIT) } else { whole == size }
    }
}

/// Chunks that were inflated lately, for reads of few rows here and there.
#[derive(Default)]
pub(super) struct ChunkCache {
    held: Mutex<Held>,
}

/// A chunk and when it was used last.
type Kept = (Arc<Vec<u8>>, u64);

#[derive(Default)]
struct Held {
    chunks: HashMap<(u64, u64), Kept>,
    bytes: usize,
    clock: u64,
}

/// Bytes of inflated chunks that a file keeps.
const CACHE_BYTES: usize = 32 << 20;

impl ChunkCache {
    fn get(&self, key: (u64, u64)) -> Option<Arc<Vec<u8>>> {
        let mut held = self.held.lock().ok()?;
        held.clock += 1;
        let now = held.clock;
        let (chunk, used) = held.chunks.get_mut(&key)?;
        *used = now;
        Some(chunk.clone())
    }

    fn put(&self, key: (u64, u64), chunk: &Arc<Vec<u8>>) {
        let Ok(mut held) = self.held.lock() else { return };
        if chunk.len() > CACHE_BYTES / 4 {
            return;
        }
        held.clock += 1;
        let now = held.clock;
        if held.chunks.insert(key, (chunk.clone(), now)).is_none() {
            held.bytes += chunk.len();
        }
        while held.bytes > CACHE_BYTES {
            let Some(oldest) = held.chunks.iter().min_by_key(|(_, (_, used))| *used).map(|(k, _)| *k) else {
                return;
            };
            if let Some((gone, _)) = held.chunks.remove(&oldest) {
                held.bytes -= gone.len();
            }
        }
    }
}

/// Fills `out` with the stored bytes of rows. Chunks of which all rows are asked for are not kept.
pub(super) fn read(
    chunked: &Chunked,
    file: &File,
    cache: &ChunkCache,
    rows: Range<usize>,
    out: &mut [u8],
) -> io::Result<()> {
    let Chunked { chunks, dims, element, .. } = chunked;
    if dims.is_empty() || rows.is_empty() {
        return Ok(());
    }
    let whole: usize = dims.iter().product::<usize>() * element;
    let first = chunks.partition_point(|c| c.at[0] + dims[0] <= rows.start);
    let mut scratch = Scratch::default();
    for chunk in chunks[first..].iter().take_while(|c| c.at[0] < rows.end) {
        let key = (chunked.key, chunk.offset);
        if let Some(kept) = cache.get(key) {
            place(chunked, chunk, &rows, &kept, out);
            continue;
        }
        let all = chunk.at[0] >= rows.start && (chunk.at[0] + dims[0]).min(chunked.shape[0]) <= rows.end;
        if all {
            let bytes = scratch.decode(chunked, file, chunk, whole)?;
            place(chunked, chunk, &rows, bytes, out);
        } else {
            scratch.decode(chunked, file, chunk, whole)?;
            let kept = Arc::new(std::mem::take(&mut scratch.decoded));
            place(chunked, chunk, &rows, &kept, out);
            cache.put(key, &kept);
        }
    }
    Ok(())
}

/// Memory for one chunk after another.
#[derive(Default)]
struct Scratch {
    stored: Vec<u8>,
    inflated: Vec<u8>,
    decoded: Vec<u8>,
}

impl Scratch {
    fn decode(&mut self, chunked: &Chunked, file: &File, chunk: &Chunk, whole: usize) -> io::Result<&[u8]> {
        let Filters { shuffle, deflate } = chunked.filters;
        self.stored.resize(chunk.size, 0);
        read_at(file, &mut self.stored, chunk.offset)?;
        self.decoded.resize(whole, 0);
        match (deflate, shuffle) {
            (false, false) => std::mem::swap(&mut self.stored, &mut self.decoded),
            (true, false) => inflate(&self.stored, &mut self.decoded)?,
            (false, true) => unshuffle(&self.stored, chunked.element, &mut self.decoded),
            (true, true) => {
                self.inflated.resize(whole, 0);
                inflate(&self.stored, &mut self.inflated)?;
                unshuffle(&self.inflated, chunked.element, &mut self.decoded);
            }
        }
        Ok(&self.decoded)
    }
}

/// Inflates to exactly the length of `out`.
fn inflate(stored: &[u8], out: &mut [u8]) -> io::Result<()> {
    let mut inflater = Decompress::new(true);
    let status = inflater.decompress(stored, out, FlushDecompress::Finish).map_err(io::Error::other)?;
    let got = inflater.total_out();
    if status != Status::StreamEnd || got != out.len() as u64 {
        let expected = out.len();
        return Err(io::Error::other(format!(
            "a chunk inflates to {got} bytes or more, expected {expected}"
        )));
    }
    Ok(())
}

/// Byte j of number i is at `j * count + i`; what does not make a number at the end was left as it was.
fn unshuffle(shuffled: &[u8], element: usize, out: &mut [u8]) {
    let count = out.len() / element.max(1);
    fn planes<const N: usize>(shuffled: &[u8], count: usize, out: &mut [u8]) {
        let planes: [&[u8]; N] = std::array::from_fn(|j| &shuffled[j * count..(j + 1) * count]);
        for (i, number) in out.chunks_exact_mut(N).take(count).enumerate() {
            for j in 0..N {
                number[j] = planes[j][i];
            }
        }
    }
    match element {
        2 => planes::<2>(shuffled, count, out),
        4 => planes::<4>(shuffled, count, out),
        8 => planes::<8>(shuffled, count, out),
        _ => {
            for i in 0..count {
                for j in 0..element {
                    out[i * element + j] = shuffled[j * count + i];
                }
            }
        }
    }
    let rest = count * element;
    out[rest..].copy_from_slice(&shuffled[rest..]);
}

/// Copies the numbers of a chunk that are in `rows` to their places.
fn place(chunked: &Chunked, chunk: &Chunk, rows: &Range<usize>, decoded: &[u8], out: &mut [u8]) {
    let Chunked { dims, shape, element, .. } = chunked;
    let rank = dims.len();
    // The part of the chunk that is inside the dataset and the rows, per axis.
    let begin = rows.start.max(chunk.at[0]) - chunk.at[0];
    let end = rows.end.min(chunk.at[0] + dims[0]).min(shape[0]) - chunk.at[0];
    let extent = |axis: usize| dims[axis].min(shape[axis] - chunk.at[axis]);
    // Axes from `inner` on are whole on both sides: they are copied in one run.
    let mut inner = rank;
    while inner > 1 && dims[inner - 1] == shape[inner - 1] {
        inner -= 1;
    }
    let run_axis = inner - 1;
    let tail: usize = dims[inner..].iter().product::<usize>() * element;
    let stride = |shape: &[usize], axis: usize| shape[axis + 1..].iter().product::<usize>() * element;
    if run_axis == 0 {
        let from = begin * tail;
        let to = (chunk.at[0] + begin - rows.start) * tail;
        let length = (end - begin) * tail;
        out[to..to + length].copy_from_slice(&decoded[from..from + length]);
        return;
    }
    let run = extent(run_axis) * tail;
    if rank == 2 {
        let (from, to) = (dims[1] * element, shape[1] * element);
        let shift = chunk.at[1] * element;
        let target = out[(chunk.at[0] + begin - rows.start) * to..].chunks_mut(to);
        for (row, number) in decoded[begin * from..end * from].chunks_exact(from).zip(target) {
            match (run, *element) {
                // One number a row: columns are chunks of their own, as h5py makes them.
                (8, 8) => copy::<8>(row, number, 0, shift),
                (4, 4) => copy::<4>(row, number, 0, shift),
                _ => number[shift..shift + run].copy_from_slice(&row[..run]),
            }
        }
        return;
    }
    let source: Vec<usize> = (0..rank).map(|a| stride(dims, a)).collect();
    let target: Vec<usize> = (0..rank).map(|a| stride(shape, a)).collect();
    // An odometer over the axes outside the run.
    let mut index = vec![0; run_axis];
    index[0] = begin;
    let limit = |axis: usize| if axis == 0 { end } else { extent(axis) };
    'rows: loop {
        let from: usize = (0..run_axis).map(|a| index[a] * source[a]).sum();
        let to: usize = (0..run_axis)
            .map(|a| (index[a] + chunk.at[a] - if a == 0 { rows.start } else { 0 }) * target[a])
            .sum::<usize>()
            + chunk.at[run_axis] * target[run_axis];
        out[to..to + run].copy_from_slice(&decoded[from..from + run]);
        for axis in (0..run_axis).rev() {
            index[axis] += 1;
            if index[axis] < limit(axis) {
                continue 'rows;
            }
            index[axis] = if axis == 0 { begin } else { 0 };
        }
        return;
    }
}

fn copy<const N: usize>(from: &[u8], to: &mut [u8], i: usize, j: usize) {
    let mut number = [0; N];
    number.copy_from_slice(&from[i..i + N]);
    to[j..j + N].copy_from_slice(&number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_bytes_come_back_at_every_width() {
        for element in [1, 2, 3, 4, 6, 8] {
            let plain: Vec<u8> = (0..element * 7 + element / 2).map(|i| (i * 37) as u8).collect();
            let count = plain.len() / element;
            let mut shuffled = plain.clone();
            for i in 0..count {
                for j in 0..element {
                    shuffled[j * count + i] = plain[i * element + j];
                }
            }
            let mut out = vec![0; plain.len()];
            unshuffle(&shuffled, element, &mut out);
            assert_eq!(out, plain, "{element} bytes");
        }
    }

    #[test]
    fn a_chunk_of_another_length_is_refused() {
        use std::io::Write;
        let mut deflater = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        deflater.write_all(&[7; 100]).unwrap();
        let stored = deflater.finish().unwrap();
        let mut out = [0; 100];
        inflate(&stored, &mut out).unwrap();
        assert_eq!(out, [7; 100]);
        assert!(inflate(&stored, &mut [0; 99]).is_err());
        assert!(inflate(&stored, &mut [0; 101]).is_err());
        assert!(inflate(&stored[..stored.len() - 3], &mut out).is_err());
    }

    #[test]
    fn the_cache_forgets_the_oldest() {
        let cache = ChunkCache::default();
        let chunk = Arc::new(vec![0; CACHE_BYTES / 8]);
        for i in 0..9 {
            cache.put((0, i), &chunk);
        }
        assert!(cache.get((0, 0)).is_none() && cache.get((0, 8)).is_some());
        assert!(cache.held.lock().unwrap().bytes <= CACHE_BYTES);
    }
}
