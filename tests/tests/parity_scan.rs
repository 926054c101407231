//! The sequence operations of Mamba against the reference implementation: outputs and gradients.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use halocast::kernels::{Activation, ScanOptions, causal_conv1d, linear, selective_scan};
use halocast_tests::{compare, reference_folder, tensors};

struct Case {
    io: HashMap<String, Tensor>,
    /// Absolute and relative, of outputs and of gradients.
    tolerance: [f64; 4],
}

impl Case {
    fn read(folder: &Path) -> Result<Self> {
        let meta: serde_json::Value =
            serde_json::from_reader(std::fs::File::open(folder.join("meta.json"))?)?;
        let value = |kind: &str, key: &str| meta["tolerance"][kind][key].as_f64().context("tolerance");
        let tolerance =
            [value("fwd", "atol")?, value("fwd", "rtol")?, value("grad", "atol")?, value("grad", "rtol")?];
        Ok(Self { io: tensors(&folder.join("io.safetensors"))?, tolerance })
    }

    fn var(&self, name: &str) -> Result<Var> {
        Ok(Var::from_tensor(self.io.get(name).with_context(|| name.to_owned())?)?)
    }

    fn output(&self, name: &str, got: &Tensor) -> Result<()> {
        compare(name, got, &self.io[name], self.tolerance[0], self.tolerance[1])
    }

    fn gradient(&self, name: &str, store: &GradStore, var: &Var) -> Result<()> {
        let got = store.get(var).with_context(|| format!("{name}: no gradient"))?;
        compare(name, got, &self.io[name], self.tolerance[2], self.tolerance[3])
    }
}

#[test]
fn selective_scan_of_the_reference() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(()) };
    let case = Case::read(&folder.join("selective_scan"))?;
    for (kind, delta, b, c) in [
        ("full", "delta", "B", "C"),
        ("no_z", "delta", "B", "C"),
        ("plain", "plain.delta", "B", "C"),
        ("const_BC", "delta", "constB", "constC"),
    ] {
        let vars = [("u", "u"), ("delta", delta), ("A", "A"), ("B", b), ("C", c)]
            .into_iter()
            .chain([("D", "D"), ("z", "z"), ("delta_bias", "delta_bias")])
            .map(|(name, stored)| Ok((name, case.var(stored)?)))
            .collect::<Result<HashMap<_, _>>>()?;
        let plain = kind == "plain";
        let options = ScanOptions {
            skip: (!plain).then_some(&vars["D"]),
            gate: (!plain && kind != "no_z").then_some(&vars["z"]),
            delta_bias: (!plain).then_some(&vars["delta_bias"]),
            delta_softplus: !plain,
        };
        let [u, delta, a, b, c] = ["u", "delta", "A", "B", "C"].map(|name| vars[name].as_tensor());
        let y = selective_scan(u, delta, a, b, c, &options)?;
        case.output(&format!("{kind}.out"), &y)?;
        let loss = (&y * &case.io["w"])?.sum_all()?;
        case.output(&format!("{kind}.loss"), &loss)?;
        let store = loss.backward()?;
        for (name, var) in &vars {
            let key = format!("{kind}.grad.{name}");
            if case.io.contains_key(&key) {
                case.gradient(&key, &store, var)?;
            }
        }
    }
    Ok(())
}

#[test]
fn causal_convolution_of_the_reference() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(()) };
    let case = Case::read(&folder.join("causal_conv1d"))?;
    let [x, weight, bias] = ["x", "weight", "bias"].map(|name| case.var(name));
    let (x, weight, bias) = (x?, weight?, bias?);
    case.output("out", &causal_conv1d(&x, &weight, Some(&bias), Activation::None)?)?;
    let y = causal_conv1d(&x, &weight, Some(&bias), Activation::Silu)?;
    case.output("out_silu", &y)?;
    let store = (&y * &case.io["w"])?.sum_all()?.backward()?;
    for (name, var) in [("grad.x", &x), ("grad.weight", &weight), ("grad.bias", &bias)] {
        case.gradient(name, &store, var)?;
    }
    Ok(())
}

/// The block composed of the operations: in, convolution, input-dependent coefficients, scan with gate, out.
#[test]
fn mamba_block_of_the_reference() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(()) };
    let folder = folder.join("mamba_block");
    let case = Case::read(&folder)?;
    let weights = tensors(&folder.join("weights.safetensors"))?
        .into_iter()
        .map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?)))
        .collect::<Result<HashMap<_, _>>>()?;
    let weight = |name: &str| weights[name].as_tensor();
    let x = case.var("x")?;
    let (width, states) = weight("A_log").dims2()?;
    let rank = weight("dt_proj.weight").dim(1)?;

    let both = linear(&x, weight("in_proj.weight"), None)?.transpose(1, 2)?.contiguous()?;
    let (u, z) = (both.narrow(1, 0, width)?, both.narrow(1, width, width)?);
    case.output("inter.z", &z)?;
    let u = causal_conv1d(&u, weight("conv1d.weight"), Some(weight("conv1d.bias")), Activation::Silu)?;
    case.output("inter.conv_silu", &u)?;
    let coefficients = linear(&u.transpose(1, 2)?.contiguous()?, weight("x_proj.weight"), None)?;
    let part = |start: usize, len: usize| coefficients.narrow(2, start, len)?.contiguous();
    let delta = linear(&part(0, rank)?, weight("dt_proj.weight"), None)?.transpose(1, 2)?;
    let b = part(rank, states)?.transpose(1, 2)?;
    let c = part(rank + states, states)?.transpose(1, 2)?;
    let options = ScanOptions {
        skip: Some(weight("D")),
        gate: Some(&z),
        delta_bias: Some(weight("dt_proj.bias")),
        delta_softplus: true,
    };
    let a = weight("A_log").exp()?.neg()?;
    let y = selective_scan(&u, &delta, &a, &b, &c, &options)?;
    let out = linear(&y.transpose(1, 2)?.contiguous()?, weight("out_proj.weight"), None)?;
    case.output("out", &out)?;
    let loss = ((&out * &case.io["loss_weight"])?.mean_all()? + (out.sqr()?.mean_all()? * 0.5)?)?;
    case.output("loss", &loss)?;
    let store = loss.backward()?;
    case.gradient("grad.x", &store, &x)?;
    for (name, var) in &weights {
        case.gradient(&format!("grad.{name}"), &store, var)?;
    }
    Ok(())
}
