//! The numbers of a cloud made fit for a network, and back.

use halocast_core::Cloud;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const OPERATION: &str = "normalisation of a cloud";

/// What is done to one feature before its mean and deviation are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stretch {
    /// Nothing.
    Linear,
    /// log10, for features above zero such as masses.
    Log10,
}

/// x -> (s(x) - mean) / deviation of every feature, and positions about their mean by one deviation common to the three axes, so
/// that distances keep their proportions. Invertible: [`CloudScaling::inverse`] gives back what [`CloudScaling::forward`] took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudScaling {
    /// The mean position.
    pub centre: [f64; 3],
    /// The root mean square deviation of a coordinate.
    pub length: f64,
    /// The features by name: stretch, mean, deviation.
    pub features: Vec<(String, Stretch, f64, f64)>,
}

impl CloudScaling {
    /// Of all points of some clouds. `stretch` says what is done to which feature; the others are left as they are.
    ///
    /// # Errors
    /// [`Error::Value`] for clouds without points or of different features, a number that is not finite, or a logarithm of one that
    /// is not positive.
    pub fn fit(clouds: &[Cloud], stretch: &[(&str, Stretch)]) -> Result<Self> {
        let refuse = |what: String, expected, got: String| {
            Err(Error::Value { operation: OPERATION, what, expected, got })
        };
        let names = clouds.first().map(|c| c.feature_names.clone()).unwrap_or_default();
        if let Some(other) = clouds.iter().find(|c| c.feature_names != names) {
            let got = format!("{:?} and {names:?}", other.feature_names);
            return refuse("the features".into(), "the same in all clouds", got);
        }
        let total: usize = clouds.iter().map(Cloud::len).sum();
        if total == 0 {
            return refuse("the number of points".into(), "at least 1", "0".into());
        }
        if let Some((name, _)) = stretch.iter().find(|(name, _)| !names.iter().any(|n| n == name)) {
            return refuse("a feature".into(), "one of the clouds'", format!("{name:?}, not in {names:?}"));
        }
        let coordinates =
            |a: usize| clouds.iter().flat_map(move |c| c.positions.column(a).into_iter().copied());
        let mut centre = [0.0; 3];
        let mut variance = 0.0;
        for a in 0..3 {
            let (mean, deviation) = moments(coordinates(a).map(f64::from));
            centre[a] = mean;
            variance += deviation * deviation / 3.0;
        }
        let mut features = Vec::new();
        for (column, name) in names.iter().enumerate() {
            let how = stretch.iter().find(|(n, _)| n == name).map_or(Stretch::Linear, |(_, s)| *s);
            let values = || clouds.iter().flat_map(move |c| c.features.column(column).into_iter().copied());
            let has_logarithm = |v: &f32| *v > 0.0;
            if let (Stretch::Log10, Some(bad)) = (how, values().find(|v| !has_logarithm(v))) {
                return refuse(format!("{name}, whose logarithm is taken"), "positive", bad.to_string());
            }
            let (mean, deviation) = moments(values().map(|v| stretched(how, f64::from(v))));
            features.push((name.clone(), how, mean, positive(deviation)));
        }
        let scaling = Self { centre, length: positive(variance.sqrt()), features };
        let numbers = scaling.features.iter().flat_map(|f| [f.2, f.3]).chain(centre).chain([scaling.length]);
        for x in numbers {
            if !x.is_finite() {
                return refuse("a mean or deviation".into(), "finite", x.to_string());
            }
        }
        Ok(scaling)
    }

    /// The cloud in the network's numbers. Its box side is divided by the same length.
    ///
    /// # Errors
    /// [`Error::Value`] for a cloud of other features.
    pub fn forward(&self, cloud: &Cloud) -> Result<Cloud> {
        self.change(
            cloud,
            |x, centre| (x - centre) / self.length,
            |v, (_, how, mean, deviation)| (stretched(*how, v) - mean) / deviation,
            1.0 / self.length,
        )
    }

    /// The cloud in its own units again.
    ///
    /// # Errors
    /// [`Error::Value`] for a cloud of other features.
    pub fn inverse(&self, cloud: &Cloud) -> Result<Cloud> {
        let back = |v: f64, (_, how, mean, deviation): &(String, Stretch, f64, f64)| {
            let v = mean + deviation * v;
            if *how == Stretch::Log10 { 10f64.powf(v) } else { v }
        };
        self.change(cloud, |x, centre| centre + self.length * x, back, self.length)
    }

    fn change(
        &self,
        cloud: &Cloud,
        place: impl Fn(f64, f64) -> f64,
        feature: impl Fn(f64, &(String, Stretch, f64, f64)) -> f64,
        side: f64,
    ) -> Result<Cloud> {
        if !cloud.feature_names.iter().eq(self.features.iter().map(|f| &f.0)) {
            let names: Vec<_> = self.features.iter().map(|f| &f.0).collect();
            return Err(Error::Value {
                operation: OPERATION,
                what: "the features".into(),
                expected: "those it was fitted to",
                got: format!("{:?}, not {names:?}", cloud.feature_names),
            });
        }
        let mut out = cloud.clone();
        for ((_, a), x) in out.positions.indexed_iter_mut() {
            *x = place(f64::from(*x), self.centre[a]) as f32;
        }
        for ((_, c), v) in out.features.indexed_iter_mut() {
            *v = feature(f64::from(*v), &self.features[c]) as f32;
        }
        out.box_side = cloud.box_side.map(|s| s * side);
        Ok(out)
    }
}

fn stretched(how: Stretch, v: f64) -> f64 {
    match how {
        Stretch::Linear => v,
        Stretch::Log10 => v.log10(),
    }
}

/// One where all values are the same.
fn positive(deviation: f64) -> f64 {
    if deviation == 0.0 { 1.0 } else { deviation }
}

fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (mut n, mut sum) = (0.0, 0.0);
    values.clone().for_each(|v| (n, sum) = (n + 1.0, sum + v));
    let mean = sum / n;
    (mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[cfg(test)]
mod tests {
    use halocast_core::{Rng, Unit};
    use ndarray::Array2;

    use super::*;

    fn clouds() -> Vec<Cloud> {
        let mut rng = Rng::new(1);
        (0..3)
            .map(|_| {
                let positions =
                    Array2::from_shape_fn((200, 3), |(_, a)| (20.0 + a as f64 * rng.normal()) as f32);
                let mut cloud = Cloud::new(positions, Unit::mpc_h(), Some(40.0)).unwrap();
                cloud.features = Array2::from_shape_fn((200, 2), |(_, c)| match c {
                    0 => 10f64.powf(11.0 + 0.5 * rng.normal()) as f32,
                    _ => 7.0,
                });
                cloud.feature_names = vec!["mass".into(), "kind".into()];
                cloud
            })
            .collect()
    }

    #[test]
    fn the_scaled_cloud_is_standard_and_comes_back() {
        let clouds = clouds();
        let scaling = CloudScaling::fit(&clouds, &[("mass", Stretch::Log10)]).unwrap();
        let scaled: Vec<Cloud> = clouds.iter().map(|c| scaling.forward(c).unwrap()).collect();
        let again = CloudScaling::fit(&scaled, &[]).unwrap();
        assert!((again.length - 1.0).abs() < 1e-5 && again.centre.iter().all(|c| c.abs() < 1e-5));
        assert!(again.features[0].2.abs() < 1e-5 && (again.features[0].3 - 1.0).abs() < 1e-5);
        // Axes keep their proportions, and a constant feature becomes zero.
        assert!(scaled[0].features.column(1).iter().all(|v| *v == 0.0));
        for (cloud, scaled) in clouds.iter().zip(&scaled) {
            let back = scaling.inverse(scaled).unwrap();
            let close = |a: &f32, b: &f32| (a - b).abs() <= 2e-5 * b.abs();
            assert!(back.positions.iter().zip(&cloud.positions).all(|(a, b)| close(a, b)));
            assert!(back.features.iter().zip(&cloud.features).all(|(a, b)| close(a, b)));
            assert!((back.box_side.unwrap() - 40.0).abs() < 1e-12);
        }
    }

    #[test]
    fn bad_input_is_named() {
        let mut clouds = clouds();
        let fit = |c: &[Cloud], s: &[(&str, Stretch)]| CloudScaling::fit(c, s).unwrap_err().to_string();
        assert!(fit(&[], &[]).contains("points"));
        assert!(fit(&clouds, &[("age", Stretch::Linear)]).contains("age"));
        let scaling = CloudScaling::fit(&clouds, &[]).unwrap();
        clouds[1].features[[4, 0]] = 0.0;
        assert!(fit(&clouds, &[("mass", Stretch::Log10)]).contains("mass"));
        clouds[1].feature_names[0] = "light".into();
        assert!(fit(&clouds, &[]).contains("light"));
        assert!(scaling.forward(&clouds[1]).unwrap_err().to_string().contains("light"));
        clouds[0].positions[[0, 0]] = f32::NAN;
        assert!(fit(&clouds[..1], &[]).contains("finite"));
    }
}
