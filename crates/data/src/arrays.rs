//! A data set of arrays that lie in memory: spectra, summary vectors, clouds.

use std::sync::Arc;

use halocast_core::{Batch, Dataset, Error, Result, Rng};
use ndarray::{Array2, ArrayD, Axis};

/// Examples that are rows of arrays, as they are: vectors `[example, value]`, spectra `[example, channel, value]`, clouds
/// `[example, point, feature]`.
///
/// ```
/// use halocast_core::{Dataset, Rng};
/// use halocast_data::ArrayDataset;
/// use ndarray::{Array2, ArrayD};
/// # fn main() -> halocast_core::Result<()> {
/// // Power spectra of 10 simulations, in 5 bins, and the two parameters of each.
/// let spectra = ArrayD::from_shape_fn(vec![10, 5], |i| (i[0] * i[1]) as f32);
/// let parameters = Array2::from_shape_fn((10, 2), |(i, _)| i as f32);
/// let data = ArrayDataset::new(spectra)?.with_parameters(parameters)?;
/// let batch = data.batch(&[3, 0], &mut Rng::new(1))?;
/// assert_eq!(batch.fields.shape(), [2, 5]);
/// assert_eq!(batch.parameters.unwrap().row(0).to_vec(), [3.0, 3.0]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ArrayDataset {
    fields: Arc<ArrayD<f32>>,
    parameters: Option<Arc<Array2<f32>>>,
    condition: Option<Arc<ArrayD<f32>>>,
    counts: Option<Arc<Vec<usize>>>,
}

impl ArrayDataset {
    /// A data set of the rows of `fields`.
    ///
    /// # Errors
    /// [`Error::Shape`] when it has no rows or nothing in them; [`Error::Value`] when a value is not finite.
    pub fn new(fields: ArrayD<f32>) -> Result<Self> {
        if fields.ndim() < 2 || fields.is_empty() {
            return Err(misfit("fields", "[example, ..] and not empty".into(), fields.shape()));
        }
        require_finite("fields", fields.iter())?;
        Ok(Self { fields: Arc::new(fields), parameters: None, condition: None, counts: None })
    }

    /// The same data set with parameters, one row for each example.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of rows is another; [`Error::Value`] when a value is not finite.
    pub fn with_parameters(mut self, parameters: Array2<f32>) -> Result<Self> {
        if parameters.nrows() != self.len() {
            let expected = format!("[{}, parameter]", self.len());
            return Err(misfit("parameters", expected, parameters.shape()));
        }
        require_finite("parameters", parameters.iter())?;
        self.parameters = Some(Arc::new(parameters));
        Ok(self)
    }

    /// The same data set with what each example is to be made from.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of rows is another; [`Error::Value`] when a value is not finite.
    pub fn with_condition(mut self, condition: ArrayD<f32>) -> Result<Self> {
        if condition.ndim() < 2 || condition.shape()[0] != self.len() {
            return Err(misfit("condition", format!("[{}, ..]", self.len()), condition.shape()));
        }
        require_finite("condition", condition.iter())?;
        self.condition = Some(Arc::new(condition));
        Ok(self)
    }

    /// The same data set of clouds, of which only the first `counts[i]` points are real.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not as many counts as clouds; [`Error::Value`] when a cloud has fewer points than its
    /// count says.
    pub fn with_counts(mut self, counts: Vec<usize>) -> Result<Self> {
        if counts.len() != self.len() {
            return Err(misfit("counts", format!("[{}]", self.len()), &[counts.len()]));
        }
        let points = self.fields.shape()[1];
        if let Some((i, count)) = counts.iter().enumerate().find(|(_, count)| **count > points) {
            return Err(Error::Value {
                operation: "data set",
                what: format!("count of example {i}"),
                expected: format!("at most {points}"),
                got: count.to_string(),
            });
        }
        self.counts = Some(Arc::new(counts));
        Ok(self)
    }
}

fn misfit(what: &str, expected: String, got: &[usize]) -> Error {
    Error::Shape { operation: "data set", what: what.into(), expected, got: got.to_vec() }
}

fn require_finite<'a>(what: &str, values: impl Iterator<Item = &'a f32>) -> Result<()> {
    match values.enumerate().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((i, value)) => Err(Error::Value {
            operation: "data set",
            what: format!("value {i} of the {what}"),
            expected: "finite".into(),
            got: value.to_string(),
        }),
    }
}

impl Dataset for ArrayDataset {
    fn len(&self) -> usize {
        self.fields.shape()[0]
    }

    fn event_shape(&self) -> Vec<usize> {
        self.fields.shape()[1..].to_vec()
    }

    fn batch(&self, indices: &[usize], _: &mut Rng) -> Result<Batch> {
        if let Some(index) = indices.iter().find(|i| **i >= self.len()) {
            return Err(Error::Value {
                operation: "data set",
                what: "index".into(),
                expected: format!("below {}", self.len()),
                got: index.to_string(),
            });
        }
        let parameters = self.parameters.as_ref().map(|p| p.select(Axis(0), indices));
        Ok(Batch {
            condition: self.condition.as_ref().map(|c| c.select(Axis(0), indices)),
            counts: self.counts.as_ref().map(|c| indices.iter().map(|&i| c[i]).collect()),
            ..Batch::new(self.fields.select(Axis(0), indices), parameters)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_an_example_comes_with_it() {
        let fields = ArrayD::from_shape_fn(vec![4, 3, 2], |i| (100 * i[0] + 10 * i[1] + i[2]) as f32);
        let data = ArrayDataset::new(fields.clone())
            .and_then(|d| d.with_condition(fields.mapv(|v| -v)))
            .and_then(|d| d.with_counts(vec![3, 0, 1, 2]))
            .unwrap();
        let batch = data.batch(&[2, 1], &mut Rng::new(1)).unwrap();
        assert_eq!(batch.fields[[0, 1, 1]], 211.0);
        assert_eq!(batch.condition.unwrap(), batch.fields.mapv(|v| -v));
        assert_eq!(batch.counts.unwrap(), [1, 0]);
        assert!(batch.parameters.is_none());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = |result: Result<ArrayDataset>| result.unwrap_err().to_string();
        let data = || ArrayDataset::new(ArrayD::zeros(vec![4, 3])).unwrap();
        assert!(message(ArrayDataset::new(ArrayD::zeros(vec![0, 3]))).contains("[0, 3]"));
        assert!(message(ArrayDataset::new(ArrayD::from_elem(vec![1, 3], f32::NAN))).contains("NaN"));
        assert!(message(data().with_parameters(Array2::zeros((3, 1)))).contains("[4, parameter]"));
        assert!(message(data().with_condition(ArrayD::zeros(vec![5, 1]))).contains("[5, 1]"));
        assert!(message(data().with_counts(vec![1, 2, 4, 0])).contains("example 2"));
        assert!(data().batch(&[4], &mut Rng::new(1)).is_err());
    }
}
