//! The cheapest one-to-one assignment, by shortest augmenting paths.

/// The column assigned to each row of the square matrix `costs`, of least total cost. O(n^3) at worst.
///
/// Jonker & Volgenant 1987, Computing 38, 325; Crouse 2016, IEEE Trans. Aerosp. Electron. Syst. 52, 1679.
pub(in crate::points) fn assign(costs: &[f64], n: usize) -> Vec<usize> {
    const FREE: usize = usize::MAX;
    let (mut row_of, mut column_of) = (vec![FREE; n], vec![FREE; n]);
    // Dual prices: costs[i][j] >= u[i] + v[j], equal where assigned. First the cheapest row of each column.
    let (mut u, mut v) = (vec![0.0f64; n], vec![f64::INFINITY; n]);
    let mut cheapest = vec![0; n];
    for (i, row) in costs.chunks_exact(n.max(1)).enumerate() {
        for j in 0..n {
            if row[j] < v[j] {
                (v[j], cheapest[j]) = (row[j], i);
            }
        }
    }
    for j in 0..n {
        if column_of[cheapest[j]] == FREE {
            (column_of[cheapest[j]], row_of[j]) = (j, cheapest[j]);
        }
    }
    let (mut shortest, mut parent) = (vec![0.0; n], vec![FREE; n]);
    let (mut open, mut closed): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
    for start in 0..n {
        if column_of[start] != FREE {
            continue;
        }
        // Dijkstra's algorithm from the free row to a free column, with reduced costs as lengths.
        shortest.fill(f64::INFINITY);
        closed.clear();
        open.clear();
        open.extend(0..n);
        let (mut i, mut reached) = (start, 0.0);
        let end = loop {
            let row = &costs[i * n..][..n];
            let (mut lowest, mut best) = (f64::INFINITY, 0);
            for (at, &j) in open.iter().enumerate() {
                let length = reached + row[j] - u[i] - v[j];
                if length < shortest[j] {
                    (shortest[j], parent[j]) = (length, i);
                }
                if shortest[j] < lowest || (shortest[j] == lowest && row_of[j] == FREE) {
                    (lowest, best) = (shortest[j], at);
                }
            }
            reached = lowest;
            let j = open.swap_remove(best);
            if row_of[j] == FREE {
                break j;
            }
            closed.push(j);
            i = row_of[j];
        };
        u[start] += reached;
        for &j in &closed {
            u[row_of[j]] += reached - shortest[j];
            v[j] -= reached - shortest[j];
        }
        // Along the path every column goes to the row that it was reached from.
        let mut j = end;
        loop {
            let i = parent[j];
            row_of[j] = i;
            std::mem::swap(&mut column_of[i], &mut j);
            if i == start {
                break;
            }
        }
    }
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least cost over all permutations.
    fn least(costs: &[f64], n: usize, row: usize, used: u32) -> f64 {
        if row == n {
            return 0.0;
        }
        let free = (0..n).filter(|j| used >> j & 1 == 0);
        free.map(|j| costs[row * n + j] + least(costs, n, row + 1, used | 1 << j))
            .fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn costs_the_least_of_all_permutations() {
        let mut state = 7u64;
        for trial in 0..300 {
            let n = trial % 8;
            let costs: Vec<f64> = (0..n * n)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Small integers in every other trial: many ties.
                    let x = (state >> 40) as f64;
                    if trial % 2 == 0 { x } else { x % 4.0 }
                })
                .collect();
            let columns = assign(&costs, n);
            let mut sorted = columns.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n));
            let total: f64 = columns.iter().enumerate().map(|(i, j)| costs[i * n + j]).sum();
            assert_eq!(total, least(&costs, n, 0, 0), "{n}");
        }
    }
}
