//! Batches as tensors on a device, moved ahead of their use.

#![cfg(feature = "candle")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use candle_core::Device;
use halocast_core::{Batch, Dataset, Rng};
use halocast_data::{Loader, LoaderOptions, TensorBatch, TensorLoader};
use ndarray::{Array2, ArrayD};

/// Examples of their number and of noise; one may fail.
struct Noisy(Option<usize>);

impl Dataset for Noisy {
    fn len(&self) -> usize {
        50
    }

    fn event_shape(&self) -> Vec<usize> {
        vec![2]
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> halocast_core::Result<Batch> {
        if self.0.is_some_and(|bad| indices.contains(&bad)) {
            return Err(halocast_core::Error::Value {
                operation: "test",
                what: "example".into(),
                expected: "good".into(),
                got: "bad".into(),
            });
        }
        let values = indices.iter().flat_map(|&i| [i as f32, rng.normal() as f32]).collect();
        let fields = ArrayD::from_shape_vec(vec![indices.len(), 2], values).unwrap();
        Ok(Batch::new(fields, Some(Array2::from_elem((indices.len(), 3), indices[0] as f32))))
    }
}

/// The CPU, and a GPU where there is one.
fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    devices.extend(Device::cuda_if_available(0).ok().filter(Device::is_cuda));
    devices
}

#[test]
fn batches_are_moved_ahead_and_change_nothing() {
    let options = LoaderOptions { batch: 7, shuffle: true, passes: 2, ..LoaderOptions::default() };
    let loader = || Loader::new(Arc::new(Noisy(None)), options).unwrap();
    let expected: Vec<Batch> = loader().map(|batch| batch.unwrap()).collect();
    for device in devices() {
        for ahead in [0, 1, 4, 100] {
            let moved = TensorLoader::new(loader(), &device, ahead);
            assert_eq!(moved.total(), expected.len());
            let mut count = 0;
            for (tensors, batch) in moved.zip(&expected) {
                let TensorBatch { fields, parameters, condition } = tensors.unwrap();
                assert!(fields.device().same_device(&device) && condition.is_none());
                let flat = fields.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(flat, batch.fields.iter().copied().collect::<Vec<_>>());
                let flat = parameters.unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(flat, batch.parameters.as_ref().unwrap().iter().copied().collect::<Vec<_>>());
                count += 1;
            }
            assert_eq!(count, expected.len());
        }
    }
}

#[test]
fn an_error_ends_the_tensors_and_a_dropped_loader_its_thread() {
    let options = LoaderOptions { batch: 5, workers: 3, ..LoaderOptions::default() };
    let mut loader =
        TensorLoader::new(Loader::new(Arc::new(Noisy(Some(12))), options).unwrap(), &Device::Cpu, 2);
    assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
    assert!(loader.next().unwrap().unwrap_err().to_string().contains("bad"));
    assert!(loader.next().is_none());
    for ahead in [0, 3] {
        let mut loader =
            TensorLoader::new(Loader::new(Arc::new(Noisy(None)), options).unwrap(), &Device::Cpu, ahead);
        assert!(loader.next().unwrap().is_ok());
        drop(loader);
    }
}
