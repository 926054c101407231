//! Every kernel in the emulation beside the operation of the CPU: values, gradients, in several orders of the threads.

mod adam;
mod attention;
mod fourier;
mod gather;
mod metal;
mod norm;
mod points;
mod random;
mod scan;

use candle_core::{Device, Tensor, Var};

use super::emulation::{available, in_every_order, launches, on_device};
use super::source::KERNELS;
use crate::{Result, record};

/// Numbers of about unit size, the same on every run.
fn random(seed: u64, shape: &[usize]) -> Tensor {
    crate::random_normal(shape, &mut halocast_core::Rng::new(seed), &Device::Cpu).unwrap()
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

/// The largest difference relative to the largest number of `b`; infinite where there is a NaN.
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (a, b) = (numbers(a), numbers(b));
    let scale = b.iter().fold(1e-20f32, |m, v| m.max(v.abs()));
    let off = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    a.iter().zip(&b).map(off).fold(0.0, f32::max) / scale
}

/// The output of `f`, and the gradients of its product with fixed numbers, on Candle's graph or on the tape.
fn output_and_gradients(
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    on_tape: bool,
) -> Vec<Tensor> {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|x| x.as_tensor().clone()).collect();
    let (y, grads) = if on_tape {
        let (y, tape) = record(|| f(&tensors)).unwrap();
        let dy = random(99, y.dims());
        (y.clone(), tape.backward_from(&y, dy).unwrap())
    } else {
        let y = f(&tensors).unwrap();
        let grads = (&y * random(99, y.dims())).unwrap().sum_all().unwrap().backward().unwrap();
        (y, grads)
    };
    let grads = vars.iter().map(|x| grads.get(x).expect("a gradient").clone());
    std::iter::once(y.detach()).chain(grads).collect()
}

/// Asserts that `f` gives on the device what it does on the CPU, to `tolerance` of the largest number of each part.
fn compare(name: &str, tolerance: f32, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    if !available() {
        return;
    }
    let expected = output_and_gradients(&f, inputs, false);
    let launched = launches();
    let found = in_every_order(|| {
        let all = on_device(|| output_and_gradients(&f, inputs, false));
        let bits: Vec<Vec<u32>> = all.iter().map(bits).collect();
        (bits, all.iter().map(|x| x.dims().to_vec()).collect::<Vec<_>>())
    });
    assert!(launches() > launched, "{name}: no kernel was launched");
    let taped = on_device(|| output_and_gradients(&f, inputs, true));
    let taped: Vec<Vec<u32>> = taped.iter().map(bits).collect();
    assert_eq!(found.0, taped, "{name}: the tape's gradients are others");
    for (i, ((found, dims), expected)) in found.0.iter().zip(&found.1).zip(&expected).enumerate() {
        let found: Vec<f32> = found.iter().map(|&x| f32::from_bits(x)).collect();
        let found = Tensor::from_vec(found, dims.as_slice(), &Device::Cpu).unwrap();
        let off = distance(&found, expected);
        assert!(off <= tolerance, "{name}: part {i} (0 the output, then gradients) is off by {off:e}");
    }
}

#[test]
fn every_kernel_is_in_the_library() {
    let mut names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
    let declared: usize =
        super::source::PROGRAMS.iter().map(|program| program.source.matches("\nKERNEL(").count()).sum();
    assert_eq!(names.len(), declared);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), declared);
    for kernel in KERNELS {
        let head = format!("\nKERNEL({}, {},", kernel.name, kernel.threads);
        assert!(kernel.program.source.contains(&head), "{head}");
    }
}
