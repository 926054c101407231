//! Ridge regression, the plain rival of what learns.

/// The solution of a x = b for a symmetric positive `a`, by Cholesky's factors.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            a[i][j] = if i == j { (a[i][i] - sum).sqrt() } else { (a[i][j] - sum) / a[j][j] };
        }
    }
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    b
}

/// Ridge regression in its dual form, from the products `gram` of all pairs of rows: predictions at the rows `test`.
fn predict(gram: &[Vec<f64>], y: &[f64], train: &[usize], test: &[usize], strength: f64) -> Vec<f64> {
    let mean = train.iter().map(|&i| y[i]).sum::<f64>() / train.len() as f64;
    let mut own: Vec<Vec<f64>> = train.iter().map(|&i| train.iter().map(|&j| gram[i][j]).collect()).collect();
    (0..own.len()).for_each(|i| own[i][i] += strength);
    let weights = solve(own, train.iter().map(|&i| y[i] - mean).collect());
    let at = |&t: &usize| mean + train.iter().zip(&weights).map(|(&i, w)| gram[t][i] * w).sum::<f64>();
    test.iter().map(at).collect()
}

/// The root of the mean squared difference.
pub fn rmse(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// Predictions of `y` at the rows `test` from the rows `train`, with the one of `strengths` of the least error in five-fold
/// cross-validation on `train`. Rows are used as they are: standardise them first.
pub fn ridge(rows: &[Vec<f64>], y: &[f64], train: &[usize], test: &[usize], strengths: &[f64]) -> Vec<f64> {
    let dot = |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let gram: Vec<Vec<f64>> = rows.iter().map(|a| rows.iter().map(|b| dot(a, b)).collect()).collect();
    let error = |strength: f64| -> f64 {
        let fold = |k: usize| -> f64 {
            let part = |own: bool| -> Vec<usize> {
                train.iter().enumerate().filter(|(n, _)| (n % 5 == k) == own).map(|(_, &i)| i).collect()
            };
            let truth: Vec<f64> = part(true).iter().map(|&i| y[i]).collect();
            rmse(&predict(&gram, y, &part(false), &part(true), strength), &truth).powi(2)
        };
        (0..5).map(fold).sum()
    };
    let errors: Vec<f64> = strengths.iter().map(|&s| error(s)).collect();
    let best = (0..strengths.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap_or(0);
    predict(&gram, y, train, test, strengths[best])
}
