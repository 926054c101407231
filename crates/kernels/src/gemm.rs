//! Matrix products inside a task: `C (+)= A B` on one thread, for matrices of any strides.
//!
//! The work is split over threads by the callers, in parts that depend on shapes alone: the result of a product
//! is then the same at any number of threads.

/// A matrix in memory: where it begins, and the distance between its rows and its columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) data: *const f32,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

// SAFETY: only a pointer that is read; whoever multiplies vouches for what it points to.
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}

impl Matrix {
    /// Rows of `width` numbers, one after another.
    pub(crate) fn rows(data: *const f32, width: usize) -> Self {
        Self { data, row: width, column: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self { data: self.data, row: self.column, column: self.row }
    }
}

/// `C = A B`, or `C += A B` where `add`: `A [m, k]`, `B [k, n]`, `C [m, n]` with rows `c_row` apart.
///
/// # Safety
/// All three lie in memory that is valid for their sizes and strides, and nobody else touches `C`.
pub(crate) unsafe fn product(
    (m, n, k): (usize, usize, usize),
    a: Matrix,
    b: Matrix,
    c: *mut f32,
    c_row: usize,
    add: bool,
) {
    // SAFETY: the caller vouches for the memory; the strides fit in `isize` as the matrices fit in memory.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            c_row as isize,
            add,
            a.data,
            a.column as isize,
            a.row as isize,
            b.data,
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_of_a_transpose() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [3, 2], used as its transpose [2, 3]
        let b = [1.0, 0.0, 1.0]; // [3, 1]
        let mut c = [10.0, 20.0];
        let (a, b) = (Matrix::rows(a.as_ptr(), 2).t(), Matrix::rows(b.as_ptr(), 1));
        // SAFETY: the arrays have the stated shapes.
        unsafe { product((2, 1, 3), a, b, c.as_mut_ptr(), 1, true) };
        assert_eq!(c, [16.0, 28.0]);
    }
}
