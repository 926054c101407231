//! Particles sorted to the strips of a grid they touch, so that each strip is summed by one thread in their order.

use rayon::prelude::*;

/// Particles that one thread sorts at a time.
const BLOCK: usize = 1 << 16;

/// A grid cut into strips of whole planes along its first axis, and for each strip the particles that touch it.
///
/// Sums over a strip are the same at any number of threads, and no thread needs a grid of its own.
pub(crate) struct Strips {
    height: usize,
    number: usize,
    blocks: Vec<Sorted>,
}

/// The particles of one block: of strip s those from `start[s]` to `start[s + 1]`.
struct Sorted {
    start: Vec<usize>,
    particles: Vec<u32>,
}

impl Strips {
    /// Sorts `0 .. count` to the strips of `planes` planes by the signed planes `reach` tells, ends included; planes beyond
    /// the grid are those of its other side.
    pub(crate) fn new(
        planes: usize,
        count: usize,
        reach: impl Fn(usize) -> Option<(i64, i64)> + Sync,
    ) -> Self {
        // Strips of at least a few planes, so that few particles touch two.
        let height = planes.div_ceil(32).max(8.min(planes)).max(1);
        let number = planes.div_ceil(height);
        let n = planes as i64;
        let sort = |block: usize| {
            let range = block * BLOCK..((block + 1) * BLOCK).min(count);
            let each = |i: usize, touched: &mut dyn FnMut(usize)| {
                let Some((first, last)) = reach(i) else { return };
                if last - first + 1 >= n {
                    (0..number).for_each(touched);
                    return;
                }
                let (first, last) = (first.rem_euclid(n) as usize, last.rem_euclid(n) as usize);
                let (a, b) = (first / height, last / height);
                if first <= last {
                    (a..=b).for_each(touched);
                } else {
                    // Both ends may lie in one strip.
                    (0..=b).for_each(&mut *touched);
                    (a.max(b + 1)..number).for_each(touched);
                }
            };
            let mut start = vec![0usize; number + 1];
            range.clone().for_each(|i| each(i, &mut |strip| start[strip + 1] += 1));
            (0..number).for_each(|s| start[s + 1] += start[s]);
            let mut next = start.clone();
            let mut particles = vec![0u32; start[number]];
            range.clone().for_each(|i| {
                each(i, &mut |strip| {
                    particles[next[strip]] = (i - range.start) as u32;
                    next[strip] += 1;
                });
            });
            Sorted { start, particles }
        };
        let blocks = (0..count.div_ceil(BLOCK)).into_par_iter().map(sort).collect();
        Self { height, number, blocks }
    }

    /// Planes of a strip; the last may have fewer.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// The particles that touch a strip, in their order.
    pub(crate) fn particles(&self, strip: usize) -> impl Iterator<Item = usize> + '_ {
        debug_assert!(strip < self.number);
        self.blocks.iter().enumerate().flat_map(move |(block, sorted)| {
            sorted.particles[sorted.start[strip]..sorted.start[strip + 1]]
                .iter()
                .map(move |&local| block * BLOCK + local as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strip_knows_who_touches_it() {
        for planes in [1usize, 7, 8, 64, 300] {
            let reach = |i: usize| {
                let first = (i as i64 * 37) % 1000 - 500;
                (!i.is_multiple_of(11)).then_some((first, first + (i as i64 * i as i64) % 400))
            };
            let strips = Strips::new(planes, 150, reach);
            for strip in 0..planes.div_ceil(strips.height()) {
                let here = strip * strips.height()..((strip + 1) * strips.height()).min(planes);
                let touches = |&i: &usize| {
                    let hit = |p: i64| here.contains(&(p.rem_euclid(planes as i64) as usize));
                    reach(i).is_some_and(|(a, b)| (a..=b).any(hit))
                };
                let expected: Vec<usize> = (0..150).filter(touches).collect();
                assert_eq!(strips.particles(strip).collect::<Vec<_>>(), expected, "{planes} {strip}");
            }
        }
    }
}
