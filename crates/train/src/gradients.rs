//! The gradients of one phase: averaged over parts of a batch, measured, clipped.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Storage, Tensor, Var};
use rayon::prelude::*;

use crate::{Error, Result};

/// The gradients of the parameters of one phase, in the order of their names.
#[derive(Clone, Debug)]
pub struct Gradients {
    names: Vec<String>,
    tensors: Vec<Tensor>,
}

impl Gradients {
    /// The gradients of some parameters; all others in `store` are left.
    ///
    /// # Errors
    /// [`Error::NoGradient`] naming a parameter the loss does not depend on.
    pub fn of<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a Var)>,
        store: &GradStore,
    ) -> Result<Self> {
        let (mut names, mut tensors) = (Vec::new(), Vec::new());
        for (name, var) in parameters {
            let gradient = store.get(var).ok_or_else(|| Error::NoGradient { parameter: name.to_owned() })?;
            names.push(name.to_owned());
            tensors.push(gradient.detach());
        }
        Ok(Self { names, tensors })
    }

    /// The parameters' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The gradients; each has the shape of its parameter.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The gradients, to be replaced by others of the same shapes. Never change one in place: two parameters may share
    /// the memory of their gradients.
    pub fn tensors_mut(&mut self) -> &mut [Tensor] {
        &mut self.tensors
    }

    /// Adds the gradients of another part of the batch.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        for (sum, more) in self.tensors.iter_mut().zip(&other.tensors) {
            *sum = (&*sum + more)?;
        }
        Ok(())
    }

    /// Multiplies all by a number.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        self.tensors.iter_mut().try_for_each(|tensor| {
            *tensor = (&*tensor * factor)?;
            Ok(())
        })
    }

    /// Appends all numbers to `out`, in the order of the names.
    pub(crate) fn append_to(&self, out: &mut Vec<f32>) -> Result<()> {
        self.tensors.iter().try_for_each(|tensor| with_values(tensor, |values| out.extend_from_slice(values)))
    }

    /// Takes all numbers from where [`Gradients::append_to`] has put them.
    pub(crate) fn read(&mut self, values: &[f32]) -> Result<()> {
        let mut at = 0;
        for tensor in &mut self.tensors {
            let own = &values[at..at + tensor.elem_count()];
            at += own.len();
            *tensor = Tensor::from_slice(own, tensor.shape(), tensor.device())?;
        }
        Ok(())
    }

    /// The Euclidean norm over all elements of all gradients, summed in f64 in a fixed order.
    ///
    /// # Errors
    /// When a gradient is not of f32.
    pub fn norm(&self) -> Result<f64> {
        let squares = self.tensors.iter().map(|tensor| with_values(tensor, sum_of_squares));
        Ok(squares.sum::<Result<f64>>()?.sqrt())
    }

    /// The first parameter whose gradient holds something that is no number.
    pub fn first_not_finite(&self) -> Option<&str> {
        let bad = |tensor: &Tensor| with_values(tensor, |v| v.iter().any(|x| !x.is_finite())).unwrap_or(true);
        self.tensors.iter().position(bad).map(|i| self.names[i].as_str())
    }

    /// Limits every element to $\[-c, c\]$.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn clip_value(&mut self, limit: f64) -> Result<()> {
        self.tensors.iter_mut().try_for_each(|tensor| {
            *tensor = tensor.clamp(-limit, limit)?;
            Ok(())
        })
    }

    /// Scales all so that their norm, which is `norm` now, is at most `limit`.
    ///
    /// # Source
    /// Pascanu et al. 2013, arXiv:1211.5063, Algorithm 1.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn clip_norm(&mut self, limit: f64, norm: f64) -> Result<()> {
        if norm > limit { self.scale(limit / norm) } else { Ok(()) }
    }
}

/// Elements of which one task adds the squares.
const CHUNK: usize = 16 * 1024;

fn sum_of_squares(values: &[f32]) -> f64 {
    let one = |chunk: &[f32]| chunk.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    values.par_chunks(CHUNK).map(one).collect::<Vec<f64>>().iter().sum()
}

/// Lends the numbers of a tensor, without a copy where they lie in order in the memory of the CPU.
pub(crate) fn with_values<R>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> R) -> Result<R> {
    {
        let (storage, layout) = tensor.storage_and_layout();
        if let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) =
            (&*storage, layout.contiguous_offsets())
        {
            return Ok(body(&values[start..end]));
        }
    }
    Ok(body(&tensor.flatten_all()?.to_vec1::<f32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn gradients() -> Gradients {
        let a = Var::new(&[[1.0f32, -2.0], [2.0, 0.0]], &Device::Cpu).unwrap();
        let b = Var::new(&[4.0f32], &Device::Cpu).unwrap();
        // d/dx (x^2 / 2) = x.
        let loss = ((a.sqr().unwrap().sum_all().unwrap() + b.sqr().unwrap().sum_all().unwrap()).unwrap()
            * 0.5)
            .unwrap();
        Gradients::of([("a", &a), ("b", &b)], &loss.backward().unwrap()).unwrap()
    }

    #[test]
    fn norms_and_clips_are_their_definitions() {
        let all = gradients();
        assert_eq!(all.norm().unwrap(), 5.0);

        let mut by_norm = all.clone();
        by_norm.clip_norm(2.5, 5.0).unwrap();
        assert_eq!(by_norm.tensors()[0].to_vec2::<f32>().unwrap(), [[0.5, -1.0], [1.0, 0.0]]);
        by_norm.clip_norm(3.0, 2.5).unwrap();
        assert_eq!(by_norm.norm().unwrap(), 2.5, "a short gradient stays");

        let mut by_value = all.clone();
        by_value.clip_value(1.5).unwrap();
        assert_eq!(by_value.tensors()[0].to_vec2::<f32>().unwrap(), [[1.0, -1.5], [1.5, 0.0]]);
        assert_eq!(by_value.tensors()[1].to_vec1::<f32>().unwrap(), [1.5]);
    }

    #[test]
    fn what_is_no_number_is_named() {
        let mut all = gradients();
        assert_eq!(all.first_not_finite(), None);
        all.tensors_mut()[1] = Tensor::new(&[f32::INFINITY], &Device::Cpu).unwrap();
        assert_eq!(all.first_not_finite(), Some("b"));
        assert!(!all.norm().unwrap().is_finite());
    }

    #[test]
    fn a_parameter_without_gradient_is_named() {
        let (a, b) = (Var::new(1.0f32, &Device::Cpu).unwrap(), Var::new(1.0f32, &Device::Cpu).unwrap());
        let store = a.sqr().unwrap().backward().unwrap();
        let error = Gradients::of([("a", &a), ("b", &b)], &store).unwrap_err();
        assert!(matches!(error, Error::NoGradient { parameter } if parameter == "b"));
    }
}
