//! The area that a circle and a rectangle share, in closed form.

/// The area of the circle of radius `r` about the origin inside `[x0, x1] x [y0, y1]`.
pub(crate) fn circle_rectangle([x0, x1]: [f64; 2], [y0, y1]: [f64; 2], r: f64) -> f64 {
    corner(x1, y1, r) - corner(x0, y1, r) - corner(x1, y0, r) + corner(x0, y0, r)
}

/// The area of the circle between the origin and the point (x, y), with the sign of x y.
fn corner(x: f64, y: f64, r: f64) -> f64 {
    let (a, b) = (x.abs().min(r), y.abs().min(r));
    let area = if a * a + b * b <= r * r {
        a * b
    } else {
        // The circle falls below the height b at this abscissa.
        let from = ((r - b) * (r + b)).sqrt();
        b * from + under_arc(a, r) - under_arc(from, r)
    };
    area * x.signum() * y.signum()
}

/// The integral of sqrt(r^2 - u^2) from 0 to x <= r.
fn under_arc(x: f64, r: f64) -> f64 {
    0.5 * (x * ((r - x) * (r + x)).max(0.0).sqrt() + r * r * (x / r).clamp(-1.0, 1.0).asin())
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    #[test]
    fn rectangles_share_what_fine_sampling_says() {
        for ([x0, x1], [y0, y1], r) in [
            ([-0.3, 0.7], [0.2, 1.2], 1.0),
            ([0.5, 1.5], [0.5, 1.5], 1.2),
            ([-2.0, 2.0], [-2.0, 2.0], 1.5),
            ([-0.1, 0.1], [-0.1, 0.1], 3.0),
            ([2.0, 3.0], [2.0, 3.0], 1.0),
            ([-1.0, 1.0], [0.9, 1.9], 1.0),
        ] {
            let n = 1000;
            let inside = (0..n * n)
                .filter(|i| {
                    let at = |k: usize, a: f64, b: f64| a + (b - a) * (k as f64 + 0.5) / f64::from(n as u32);
                    at(i % n, x0, x1).hypot(at(i / n, y0, y1)) < r
                })
                .count();
            let sampled = inside as f64 / (n * n) as f64 * (x1 - x0) * (y1 - y0);
            let exact = circle_rectangle([x0, x1], [y0, y1], r);
            assert!((exact - sampled).abs() < 2e-3 * (x1 - x0) * (y1 - y0), "{exact} {sampled}");
        }
    }

    #[test]
    fn pixels_tile_the_circle() {
        for r in [0.3, 2.0, 7.77] {
            let tile = |i: i32| [f64::from(i) - 0.3, f64::from(i) + 0.7];
            let sum: f64 = (-9..9)
                .flat_map(|i| (-9..9).map(move |j| (i, j)))
                .map(|(i, j)| circle_rectangle(tile(i), tile(j), r))
                .sum();
            assert!((sum / (PI * r * r) - 1.0).abs() < 1e-12);
        }
    }
}
