//! Eigenvalues and eigenvectors of small symmetric matrices.

use ndarray::Array2;

/// The eigenvalues of a symmetric matrix, in no order, and the eigenvectors in the columns, by Jacobi's rotations: exact
/// to rounding, O(n^3) a sweep and some ten sweeps, for matrices of up to a few hundred rows.
pub(crate) fn symmetric(matrix: &Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let n = matrix.nrows();
    let mut a = matrix.clone();
    let mut vectors = Array2::eye(n);
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|at| a[at] * a[at]).sum();
        let diagonal: f64 = (0..n).map(|i| a[[i, i]] * a[[i, i]]).sum();
        if off <= 1e-32 * diagonal.max(f64::MIN_POSITIVE) {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, p, q);
            }
        }
    }
    ((0..n).map(|i| a[[i, i]]).collect(), vectors)
}

/// Turns in the plane of p and q so that their element vanishes.
fn rotate(a: &mut Array2<f64>, vectors: &mut Array2<f64>, p: usize, q: usize) {
    let off = a[[p, q]];
    if off == 0.0 {
        return;
    }
    let theta = (a[[q, q]] - a[[p, p]]) / (2.0 * off);
    let sign = if theta >= 0.0 { 1.0 } else { -1.0 };
    let t = sign / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    let n = a.nrows();
    for k in 0..n {
        let (x, y) = (a[[k, p]], a[[k, q]]);
        (a[[k, p]], a[[k, q]]) = (c * x - s * y, s * x + c * y);
    }
    for k in 0..n {
        let (x, y) = (a[[p, k]], a[[q, k]]);
        (a[[p, k]], a[[q, k]]) = (c * x - s * y, s * x + c * y);
        let (x, y) = (vectors[[k, p]], vectors[[k, q]]);
        (vectors[[k, p]], vectors[[k, q]]) = (c * x - s * y, s * x + c * y);
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    #[test]
    fn the_matrix_is_put_together_again() {
        let mut rng = Rng::new(1);
        for n in [1, 2, 3, 17] {
            let half = Array2::from_shape_fn((n, n), |_| rng.normal());
            let matrix = &half + &half.t();
            let (values, vectors) = symmetric(&matrix);
            let back = vectors.dot(&Array2::from_diag(&ndarray::Array1::from(values))).dot(&vectors.t());
            assert!((&back - &matrix).iter().all(|d| d.abs() < 1e-12 * n as f64));
        }
    }
}
