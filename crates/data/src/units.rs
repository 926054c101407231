//! Fields in other units.

use halocast_core::{Error, Field, FieldValues, Header, Result, Unit};

/// Converting fields, which core's types do not do by themselves: it takes the scale factor and h of a header.
pub trait ToUnit {
    /// The same field in another unit: of the same dimension, comoving or physical, with h or without.
    ///
    /// value' = value x to_cgs/to_cgs' x a^(n - n') x h^(m - m'), with the exponents (n, m) of the field's unit and (n', m')
    /// of the target. Floating-point fields keep their type.
    ///
    /// ```
    /// use halocast_core::{Cosmology, Field, FieldValues, Header, Unit};
    /// use halocast_data::ToUnit;
    /// use ndarray::arr1;
    /// # let header = Header { box_size: 1.0, time: 0.5, redshift: 1.0, cosmology: Cosmology { h: 0.7, ..Cosmology::camels() },
    /// #     mass_table: [0.0; 6], promised: [0; 6], mock: false };
    /// // 35 Mpc/h comoving at z = 1, h = 0.7 are 25 Mpc.
    /// let field = Field { values: FieldValues::F64(arr1(&[35e3]).into_dyn()), unit: Unit::kpc_h() };
    /// let physical = field.to(&Unit::new("Mpc", 3.085_677_581e24, 0.0, 0.0), &header)?;
    /// assert!((physical.values.to_f64()[0] - 25.0).abs() < 1e-5);
    /// assert!(field.to(&Unit::msun_h(), &header).is_err());
    /// # Ok::<(), halocast_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] when the two units are not known to be of one dimension, the field is of integers, or a value
    /// leaves the range of f32.
    fn to(&self, target: &Unit, header: &Header) -> Result<Field>;
}

impl ToUnit for Field {
    fn to(&self, target: &Unit, header: &Header) -> Result<Field> {
        let fault = |what: String, expected: String, got: String| Error::Value {
            operation: "unit conversion",
            what,
            expected,
            got,
        };
        let name = |unit: &Unit| format!("unit {:?}", unit.label);
        let known = |unit: &Unit| {
            dimension(unit).ok_or_else(|| {
                let got = format!("{:e} cgs", unit.to_cgs);
                fault(name(unit), "one of a known dimension".into(), got)
            })
        };
        if self.unit == *target {
            return Ok(self.clone());
        }
        let (from, to) = (known(&self.unit)?, known(target)?);
        if from != to {
            let words = |d: Dimension| format!("cm^{} g^{} s^{}", d.0[0], d.0[1], d.0[2]);
            return Err(fault(name(target), format!("{} as {}", words(from), name(&self.unit)), words(to)));
        }
        let factor = self.unit.factor_to(target, header.time, header.cosmology.h);
        let values = match &self.values {
            FieldValues::F32(values) => {
                let scaled = values.mapv(|x| (f64::from(x) * factor) as f32);
                let lost = values.iter().zip(&scaled).find(|(x, y)| x.is_finite() && !y.is_finite());
                if let Some((x, _)) = lost {
                    let got = format!("{x} x {factor:e}");
                    return Err(fault("a value".into(), "in the range of f32".into(), got));
                }
                FieldValues::F32(scaled)
            }
            FieldValues::F64(values) => FieldValues::F64(values.mapv(|x| x * factor)),
            _ => {
                let got = "integers".to_owned();
                return Err(fault("the field".into(), "floating-point numbers".into(), got));
            }
        };
        Ok(Field { values, unit: target.clone() })
    }
}

/// Labels come from files: the parser descends with every parenthesis.
const LABEL_LIMIT: usize = 256;

/// Exponents of cm, g and s, in halves.
#[derive(Clone, Copy, PartialEq)]
struct Dimension([f64; 3]);

/// The dimension that a label tells: products and quotients of names of units, such as `(1e10 Msun/h)/(ckpc/h)^3`.
/// `None` for labels that say nothing, such as `unknown`.
fn dimension(unit: &Unit) -> Option<Dimension> {
    let label = unit.label.trim();
    if label.is_empty() {
        // Without a label only a pure number is known.
        return (unit.to_cgs == 1.0).then_some(Dimension([0.0; 3]));
    }
    if label.len() > LABEL_LIMIT {
        return None;
    }
    let mut parser = Parser { rest: label };
    let found = parser.product()?;
    parser.rest.trim().is_empty().then_some(found)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// Factors in a row, each divided or multiplied, left to right.
    fn product(&mut self) -> Option<Dimension> {
        let mut sum = self.power()?.0;
        loop {
            self.rest = self.rest.trim_start();
            let sign = match self.rest.chars().next() {
                None | Some(')') => return Some(Dimension(sum)),
                Some('/') => {
                    self.rest = &self.rest[1..];
                    -1.0
                }
                Some('*') => {
                    self.rest = &self.rest[1..];
                    1.0
                }
                Some(_) => 1.0,
            };
            let factor = self.power()?.0;
            sum = std::array::from_fn(|i| sum[i] + sign * factor[i]);
        }
    }

    fn power(&mut self) -> Option<Dimension> {
        self.rest = self.rest.trim_start();
        let root = self.rest.strip_prefix("sqrt");
        if let Some(rest) = root {
            self.rest = rest.trim_start();
        }
        let base = match self.rest.strip_prefix('(') {
            Some(rest) => {
                self.rest = rest;
                let inner = self.product()?;
                self.rest = self.rest.trim_start().strip_prefix(')')?;
                inner
            }
            None => self.name()?,
        };
        let mut exponent = if root.is_some() { 0.5 } else { 1.0 };
        if let Some(rest) = self.rest.strip_prefix('^') {
            let end =
                rest.find(|c: char| !(c.is_ascii_digit() || c == '-' || c == '.')).unwrap_or(rest.len());
            exponent *= rest[..end].parse::<f64>().ok()?;
            self.rest = &rest[end..];
        }
        Some(Dimension(base.0.map(|x| x * exponent)))
    }

    fn name(&mut self) -> Option<Dimension> {
        let end = self.rest.find([' ', '/', '(', ')', '^', '*']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            return None;
        }
        if word == "unit" {
            self.rest = self.rest.trim_start().strip_prefix("pressure")?;
            return Some(Dimension([-1.0, 1.0, -2.0]));
        }
        if word.parse::<f64>().is_ok() {
            return Some(Dimension([0.0; 3]));
        }
        Some(Dimension(match word {
            "h" | "a" | "deg" | "rad" | "arcmin" | "arcsec" => [0.0; 3],
            "pc" | "kpc" | "ckpc" | "Mpc" | "cMpc" | "pMpc" | "Gpc" | "cm" | "m" | "km" => [1.0, 0.0, 0.0],
            "Msun" | "g" | "kg" => [0.0, 1.0, 0.0],
            "s" | "yr" | "Myr" | "Gyr" => [0.0, 0.0, 1.0],
            "erg" => [2.0, 1.0, -2.0],
            "Gauss" | "G" => [-0.5, 0.5, -1.0],
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Cosmology;
    use ndarray::arr1;

    use super::*;

    fn header(a: f64, h: f64) -> Header {
        Header {
            box_size: 1.0,
            time: a,
            redshift: 1.0 / a - 1.0,
            cosmology: Cosmology { h, ..Cosmology::camels() },
            mass_table: [0.0; 6],
            promised: [0; 6],
            mock: false,
        }
    }

    fn field(value: f64, unit: Unit) -> Field {
        Field { values: FieldValues::F64(arr1(&[value]).into_dyn()), unit }
    }

    #[test]
    fn comoving_and_physical_differ_by_the_scale_factor() {
        let header = header(0.25, 0.6774);
        let kpc = 3.085_677_581_491_367e21;
        for (unit, target, factor) in [
            (Unit::kpc_h(), Unit::new("kpc", kpc, 0.0, 0.0), 0.25 / 0.6774),
            (Unit::kpc_h(), Unit::mpc_h(), 1e-3),
            (Unit::msun_h_1e10(), Unit::msun_h(), 1e10),
            (Unit::km_s_sqrt_a(), Unit::new("km/s", 1e5, 0.0, 0.0), 0.5),
            (Unit::new("km/s/a", 1e5, -1.0, 0.0), Unit::new("km/s", 1e5, 0.0, 0.0), 4.0),
            (
                Unit::new("(1e10 Msun/h)/(ckpc/h)^3", 1e10 * 1.989e33 / kpc.powi(3), -3.0, 2.0),
                Unit::new("g/cm^3", 1.0, 0.0, 0.0),
                1e10 * 1.989e33 / kpc.powi(3) * 64.0 * 0.6774f64.powi(2),
            ),
        ] {
            let got = field(3.0, unit.clone()).to(&target, &header).unwrap();
            let value = got.values.to_f64()[0];
            assert!(
                (value / (3.0 * factor) - 1.0).abs() < 1e-6,
                "{} to {}: {value}",
                unit.label,
                target.label
            );
            let back = got.to(&unit, &header).unwrap().values.to_f64()[0];
            assert!((back - 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn units_of_other_dimensions_do_not_mix() {
        let header = header(1.0, 0.7);
        for (unit, target) in [
            (Unit::kpc_h(), Unit::msun_h()),
            (Unit::kpc_h(), Unit::dimensionless()),
            (Unit::new("unknown", 1.0, 0.0, 0.0), Unit::kpc_h()),
            (Unit::km_s_sqrt_a(), Unit::new("(km/s)^2", 1e10, 0.0, 0.0)),
            (Unit::new("mag", 1.0, 0.0, 0.0), Unit::kpc_h()),
        ] {
            let message = field(1.0, unit.clone()).to(&target, &header).unwrap_err().to_string();
            assert!(message.contains(&unit.label) || message.contains(&target.label), "{message}");
        }
    }

    #[test]
    fn labels_tell_their_dimension() {
        for (label, expected) in [
            ("(1e10 Msun/h)/(0.978 Gyr/h)", [0.0, 1.0, -1.0]),
            ("(h/a^2) sqrt(unit pressure)", [-0.5, 0.5, -1.0]),
            ("(1/a) 1e10 Msun (km/s)^3/ckpc", [2.0, 1.0, -3.0]),
            ("(1e10 Msun/h) (ckpc/h)^2/(0.978 Gyr/h)^2", [2.0, 1.0, -2.0]),
            ("km sqrt(a)/s", [1.0, 0.0, -1.0]),
            ("erg/(s cm^2)", [0.0, 1.0, -3.0]),
            ("(kpc/h) (km/s)", [2.0, 0.0, -1.0]),
        ] {
            let found = dimension(&Unit::new(label, 2.0, 0.0, 0.0)).map(|d| d.0);
            assert_eq!(found, Some(expected), "{label}");
        }
        assert!(dimension(&Unit::new("furlong", 2.0, 0.0, 0.0)).is_none());
        assert!(dimension(&Unit::new("(km", 2.0, 0.0, 0.0)).is_none());
    }

    #[test]
    fn f32_overflow_is_refused() {
        let mass = Field { values: FieldValues::F32(arr1(&[1e3f32]).into_dyn()), unit: Unit::msun_h_1e10() };
        let grams = Unit::new("g", 1.0, 0.0, 0.0);
        assert!(mass.to(&grams, &header(1.0, 0.7)).unwrap_err().to_string().contains("range of f32"));
    }
}
