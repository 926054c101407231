//! The tape gives the gradients that Candle's own graph gives, with Candle's operations between ours, shared inputs,
//! constants and recomputed blocks.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Tensor, Var};
use common::{distance, random};
use halocast_kernels::{
    Activation, Conv2dSpec, Result, add_channel, checkpoint, concat_channels, conv2d, group_norm, mse_loss,
    no_grad, record, silu,
};

/// A small network with every kind of edge: ours to ours, through Candle's reshape, product and sum, a variable used
/// twice, one that Candle alone sees, and a constant.
struct Network {
    w: Var,
    b: Var,
    gain: Var,
    bias: Var,
    time: Var,
    target: Tensor,
}

impl Network {
    fn new() -> Self {
        let var = |seed, shape: &[usize]| Var::from_tensor(&random(seed, shape)).unwrap();
        Self {
            w: var(1, &[4, 4, 3, 3]),
            b: var(2, &[4]),
            gain: var(3, &[4]),
            bias: var(4, &[4]),
            time: var(5, &[8]),
            target: random(6, &[2, 8, 6, 6]),
        }
    }

    fn variables(&self) -> [&Var; 5] {
        [&self.w, &self.b, &self.gain, &self.bias, &self.time]
    }

    fn block(&self, x: &Tensor) -> Result<Tensor> {
        let spec = Conv2dSpec { padding: 1, ..Default::default() };
        let h = conv2d(x, &self.w, Some(&self.b), spec)?;
        group_norm(&h, &self.gain, &self.bias, 2, 1e-5, Activation::Silu)
    }

    fn loss(&self, x: &Tensor, recompute: bool) -> Result<Tensor> {
        let block = |x: &Tensor| {
            if !recompute {
                return self.block(x);
            }
            let [w, b, gain, bias, _] = self.variables().map(|v| v.as_tensor().clone());
            checkpoint(&[x], move |x| {
                let spec = Conv2dSpec { padding: 1, ..Default::default() };
                group_norm(&conv2d(&x[0], &w, Some(&b), spec)?, &gain, &bias, 2, 1e-5, Activation::Silu)
            })
        };
        let h = block(x)?;
        // Candle's reshape of a variable; its own sum and product between ours; the same weights again.
        let h = add_channel(&h, &self.time.reshape((2, 4))?)?;
        let h = (block(&h)? + (&h * 0.5)?)?;
        let both = concat_channels(&h, &h.transpose(2, 3)?)?;
        mse_loss(&silu(&both)?, &self.target)
    }
}

#[test]
fn the_tape_agrees_with_candle() {
    let net = Network::new();
    for x in [random(7, &[2, 4, 6, 6]), Var::from_tensor(&random(7, &[2, 4, 6, 6])).unwrap().into_inner()] {
        let loss = net.loss(&x, false).unwrap();
        let expected = loss.backward().unwrap();
        for recompute in [false, true] {
            let (taped, tape) = record(|| net.loss(&x, recompute)).unwrap();
            assert!(!tape.is_empty());
            assert_eq!(taped.to_scalar::<f32>().unwrap(), loss.to_scalar::<f32>().unwrap());
            let got = tape.backward(&taped).unwrap();
            let inputs = net.variables().map(|v| v.as_tensor());
            for v in inputs.into_iter().chain(x.is_variable().then_some(&x)) {
                let d = distance(got.get(v).unwrap(), expected.get(v).unwrap());
                assert!(d < 1e-6, "off by {d:e}, recompute {recompute}");
            }
            assert_eq!(got.get(&x).is_some(), x.is_variable());
        }
    }
}

#[test]
fn a_loss_made_by_candle_is_taken_too() {
    let net = Network::new();
    let x = random(7, &[2, 4, 6, 6]);
    let loss = |x: &Tensor| -> Result<Tensor> { Ok(net.block(x)?.sqr()?.mean_all()?) };
    let expected = loss(&x).unwrap().backward().unwrap();
    let (y, tape) = record(|| loss(&x)).unwrap();
    let got = tape.backward(&y).unwrap();
    assert!(distance(got.get(&net.w).unwrap(), expected.get(&net.w).unwrap()) < 1e-6);
}

#[test]
fn recording_nests_and_ends_with_its_body() {
    let w = Var::from_tensor(&random(1, &[8])).unwrap();
    let (outer, tape) = record(|| {
        let a = silu(&w)?;
        let (b, inner) = record(|| silu(&w))?;
        assert_eq!(inner.len(), 1);
        inner.backward(&b)?;
        silu(&a)
    })
    .unwrap();
    assert_eq!(tape.len(), 2);
    assert!(tape.backward(&outer).unwrap().get(&w).is_some());
    // A failing body leaves no tape behind.
    let failed: Result<_> = record(|| group_norm(&w, &w, &w, 2, 1e-5, Activation::None));
    assert!(failed.is_err());
    // Outside, Candle's graph is built.
    assert!(silu(&w).unwrap().backward().unwrap().get(&w).is_some());
    assert!(!no_grad(|| silu(&w)).unwrap().track_op());
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    let w = Var::from_tensor(&random(1, &[8])).unwrap();
    let (y, tape) = record(|| silu(&w)).unwrap();
    let error = tape.backward_from(&y, random(2, &[4])).unwrap_err().to_string();
    assert!(error.contains("[4]") && error.contains("[8]"), "{error}");
}
