//! The product at one point: `C (+)= A B` with panels that the transforms have laid out for it.

use crate::simd::vector::Simd;

/// The operands: element `(r, k)` of `A` at `a + r a_row + k a_step`, row `k` of `B` at `b + k b_step`, row `r` of `C` at
/// `c + r c_row`.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) a: *const f32,
    pub(super) a_row: usize,
    pub(super) a_step: usize,
    pub(super) b: *const f32,
    pub(super) b_step: usize,
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
}

/// Multiplies `rows` (rounded up to `S::ROWS`) by `vectors` vectors (one or two) over `depth`.
///
/// # Safety
/// The operands are valid for these sizes and the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn strip<S: Simd>(o: Operands, rows: usize, vectors: usize, depth: usize, add: bool) {
    let mut row = 0;
    let rows = rows.next_multiple_of(S::ROWS);
    while row < rows {
        // Six rows of two vectors keep sixteen registers busier than four; what is left must be fours again.
        let six = S::ROWS == 4 && rows - row >= 6 && rows - row != 8;
        // SAFETY: rows up to a multiple of `S::ROWS` are valid by contract.
        unsafe {
            let block = Operands { a: o.a.add(row * o.a_row), c: o.c.add(row * o.c_row), ..o };
            match (S::ROWS, vectors) {
                (8, 1) => multiply::<S, 8, 1>(block, depth, add),
                (8, _) => multiply::<S, 8, 2>(block, depth, add),
                (_, 1) if six => multiply::<S, 6, 1>(block, depth, add),
                (_, 1) => multiply::<S, 4, 1>(block, depth, add),
                _ if six => multiply::<S, 6, 2>(block, depth, add),
                _ => multiply::<S, 4, 2>(block, depth, add),
            }
        }
        row += if six { 6 } else { S::ROWS };
    }
}

#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize, const N: usize>(o: Operands, depth: usize, add: bool) {
    // SAFETY: the caller vouches for operands and instructions.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; R];
        if add {
            for r in 0..R {
                for n in 0..N {
                    acc[r][n] = S::load(o.c.add(r * o.c_row + n * S::LANES));
                }
            }
        }
        let (mut a, mut b) = (o.a, o.b);
        for _ in 0..depth {
            let mut row = [S::splat(0.0); N];
            for n in 0..N {
                row[n] = S::load(b.add(n * S::LANES));
            }
            for r in 0..R {
                let factor = S::splat(*a.add(r * o.a_row));
                for n in 0..N {
                    acc[r][n] = S::fma(factor, row[n], acc[r][n]);
                }
            }
            a = a.add(o.a_step);
            b = b.add(o.b_step);
        }
        for r in 0..R {
            for n in 0..N {
                S::store(o.c.add(r * o.c_row + n * S::LANES), acc[r][n]);
            }
        }
    }
}
