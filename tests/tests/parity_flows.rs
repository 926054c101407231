//! Normalizing flows against nflows and zuko: transforms, densities, inverses, gradients.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor, Var};
use halocast::kernels::Activation;
use halocast::models::flow::{
    ActNorm, Composite, Coupler, Coupling, Flow, FlowConfig, FlowKind, InvertibleConv, Layer, MaskedAffine,
    Order, Pieces, ResidualShape, SplineShape, Squeeze, spline, spline_inverse,
};
use halocast::models::{Bijection, Configured, Parameters, Trainable};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};

/// The floats of a state dict; indices, degrees, masks and the base distribution are buffers that a configuration gives.
fn trained(weights: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let buffers = [".mask", ".degrees", "features", "_permutation", ".order", "base.loc", "base.scale"];
    let kept = |(name, _): &(&String, &Tensor)| !buffers.iter().any(|buffer| name.ends_with(buffer));
    weights.iter().filter(kept).map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
}

/// An argument that may be absent.
fn optional<T: serde::de::DeserializeOwned>(case: &Case, key: &str, default: T) -> Result<T> {
    if case.meta["constructor"][key].is_null() { Ok(default) } else { case.argument(key) }
}

/// Refuses what is not supported, and names it.
fn requires(case: &Case, supported: &[&str]) -> Result<()> {
    for (key, value) in case.meta["constructor"].as_object().context("constructor")? {
        let plain =
            [serde_json::json!(false), serde_json::json!(0.0), serde_json::json!(0), serde_json::Value::Null];
        ensure!(
            supported.contains(&key.as_str()) || plain.contains(value),
            "{}: argument {key} = {value} is not supported",
            case.name
        );
    }
    Ok(())
}

fn activation(case: &Case) -> Result<Activation> {
    let name: String = optional(case, "activation", "relu".to_owned())?;
    let name = name.to_lowercase();
    [
        ("leaky_relu", Activation::LeakyRelu(0.01)),
        ("relu", Activation::Relu),
        ("tanh", Activation::Tanh),
        ("silu", Activation::Silu),
        ("sigmoid", Activation::Sigmoid),
        ("gelu", Activation::Gelu),
    ]
    .into_iter()
    .find_map(|(known, activation)| name.contains(known).then_some(activation))
    .with_context(|| format!("{}: activation {name} is not supported", case.name))
}

fn integers(case: &Case, name: &str) -> Result<Vec<usize>> {
    let tensor = case.weights.get(name).with_context(|| format!("{}: no buffer {name}", case.name))?;
    Ok(tensor.to_dtype(DType::I64)?.to_vec1::<i64>()?.into_iter().map(|i| i as usize).collect())
}

fn log_normal(z: &Tensor) -> Result<Tensor> {
    let constant = 0.5 * z.dims()[1] as f64 * std::f64::consts::TAU.ln();
    Ok((z.sqr()?.sum(1)? * -0.5)?.affine(1.0, -constant)?)
}

/// Everything a case holds of a bijection under a standard normal base.
fn check(case: &Case, flow: &dyn Bijection, parameters: &Parameters) -> Result<()> {
    let x = Var::from_tensor(case.tensor("x")?)?;
    let cond = case.io.get("context");
    let (z, volume) = flow.forward(x.as_tensor(), cond)?;
    let log_prob = (log_normal(&z)? + &volume)?;
    let nll = log_prob.mean_all()?.neg()?;
    case.forward("z", &z)?;
    if case.io.contains_key("logabsdet") {
        case.forward("logabsdet", &volume)?;
    }
    case.forward("log_prob", &log_prob)?;
    case.forward("nll", &nll)?;
    let store = nll.backward()?;
    case.gradient("grad.x", store.get(&x).context("no gradient of x")?)?;
    case.gradients("grad.", parameters, &store)?;
    let (sample, volume) = flow.inverse(case.tensor("base_noise")?, cond)?;
    let given = &case.meta["tolerance"]["inverse"];
    let (atol, rtol) = (given["atol"].as_f64().unwrap_or(1e-4), given["rtol"].as_f64().unwrap_or(1e-3));
    compare(&format!("{}: sample", case.name), &sample, case.tensor("sample")?, atol, rtol)?;
    if let Some(expected) = case.io.get("inverse_logabsdet") {
        compare(&format!("{}: inverse_logabsdet", case.name), &volume, expected, atol, rtol)?;
    }
    Ok(())
}

fn flow(case: &Case, config: &FlowConfig) -> Result<Flow> {
    let model = Flow::new(config, 0, &Device::Cpu)?;
    model.parameters().load(&trained(&case.weights)).with_context(|| case.name.clone())?;
    Ok(model)
}

fn context(case: &Case) -> usize {
    case.io.get("context").map_or(0, |c| c.dims()[1])
}

#[test]
fn simple_real_nvp_of_nflows() -> Result<()> {
    for case in cases(|class, _| class.ends_with("SimpleRealNVP"))? {
        requires(
            &case,
            &[
                "features",
                "hidden_features",
                "num_layers",
                "num_blocks_per_layer",
                "activation",
                "use_volume_preserving",
                "context_features",
            ],
        )?;
        let additive: bool = optional(&case, "use_volume_preserving", false)?;
        let config = FlowConfig {
            event: vec![case.argument("features")?],
            kind: if additive { FlowKind::Nice } else { FlowKind::RealNvp },
            layers: case.argument("num_layers")?,
            hidden: case.argument("hidden_features")?,
            blocks: case.argument("num_blocks_per_layer")?,
            activation: activation(&case)?,
            parameters: context(&case),
            ..Default::default()
        };
        let model = flow(&case, &config)?;
        check(&case, &model, model.parameters())?;
    }
    Ok(())
}

#[test]
fn masked_autoregressive_flow_of_nflows() -> Result<()> {
    for case in cases(|class, _| class.ends_with("MaskedAutoregressiveFlow"))? {
        requires(
            &case,
            &[
                "features",
                "hidden_features",
                "num_layers",
                "num_blocks_per_layer",
                "activation",
                "scale_source",
                "use_residual_blocks",
                "use_random_permutations",
                "context_features",
            ],
        )?;
        let layers: usize = case.argument("num_layers")?;
        let name = |i: usize| format!("_transform._transforms.{}._permutation", 2 * i);
        let orders = (0..layers).map(|i| integers(&case, &name(i))).collect::<Result<_>>()?;
        let config = FlowConfig {
            event: vec![case.argument("features")?],
            kind: FlowKind::Maf,
            layers,
            hidden: case.argument("hidden_features")?,
            blocks: case.argument("num_blocks_per_layer")?,
            residual: optional(&case, "use_residual_blocks", true)?,
            activation: activation(&case)?,
            order: Order::Given(orders),
            parameters: context(&case),
            ..Default::default()
        };
        let model = flow(&case, &config)?;
        check(&case, &model, model.parameters())?;
    }
    Ok(())
}

#[test]
fn maf_of_zuko() -> Result<()> {
    for case in cases(|class, _| class == "zuko.flows.MAF")? {
        requires(&case, &["features", "context", "transforms", "hidden_features", "randperm", "activation"])?;
        let parameters = Parameters::new(0, &Device::Cpu);
        let context: usize = optional(&case, "context", 0)?;
        let widths: Vec<usize> = optional(&case, "hidden_features", vec![64, 64])?;
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        for i in 0..optional(&case, "transforms", 3)? {
            let name = format!("transform.transforms.{i}");
            let order = integers(&case, &format!("{name}.order"))?;
            let vb = parameters.builder().pp(&name);
            let layer = MaskedAffine::masked_mlp(&order, context, &widths, activation(&case)?, vb)?;
            for (j, mask) in layer.network().context("network")?.masks().iter().enumerate() {
                let key = format!("{name}.hyper.{}.mask", 2 * j);
                let stored = case.weights.get(&key).with_context(|| key.clone())?;
                compare(&format!("{}: {key}", case.name), mask, &stored.to_dtype(DType::F32)?, 1e-9, 0.0)?;
            }
            layers.push(Box::new(layer));
        }
        parameters.load(&trained(&case.weights))?;
        check(&case, &Composite::new(layers), &parameters)?;
        if !optional(&case, "randperm", false)? {
            // The same from a configuration.
            let config = FlowConfig {
                event: vec![case.argument("features")?],
                kind: FlowKind::MafMlp,
                layers: optional(&case, "transforms", 3)?,
                widths,
                activation: activation(&case)?,
                parameters: context,
                ..Default::default()
            };
            let model = flow(&case, &config)?;
            case.forward("z", &model.forward(case.tensor("x")?, case.io.get("context"))?.0)?;
        }
    }
    Ok(())
}

#[test]
fn spline_couplings_of_nflows() -> Result<()> {
    for case in cases(|class, _| class.contains("PiecewiseRationalQuadraticCoupling"))? {
        requires(&case, &["features", "bins", "tails", "tail_bound", "hidden", "blocks", "activation"])?;
        let tails: String = case.argument("tails")?;
        ensure!(tails == "linear", "{}: tails {tails} are not supported", case.name);
        let spline_shape = SplineShape { bins: case.argument("bins")?, bound: case.argument("tail_bound")? };
        let shape = ResidualShape {
            hidden: case.argument("hidden")?,
            blocks: case.argument("blocks")?,
            context: context(&case),
            activation: activation(&case)?,
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        let known =
            |name: &String| name.strip_prefix("_transform._transforms.")?.split('.').next()?.parse().ok();
        let numbers: BTreeSet<usize> = case.weights.keys().filter_map(known).collect();
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        for i in numbers {
            let name = format!("_transform._transforms.{i}");
            let change = integers(&case, &format!("{name}.transform_features"))?;
            let (vb, coupler) = (parameters.builder().pp(&name), Coupler::Spline(spline_shape));
            layers.push(Box::new(Coupling::new(
                case.argument("features")?,
                &change,
                coupler,
                &shape,
                false,
                vb,
            )?));
        }
        parameters.load(&trained(&case.weights))?;
        check(&case, &Composite::new(layers), &parameters)?;

        if case.io.contains_key("spline.x") {
            let bins = case.tensor("spline.uw")?.dims()[1];
            let bound = case.tensor("spline.tail_bound")?.to_dtype(DType::F64)?.to_scalar()?;
            let pieces = Pieces {
                widths: case.tensor("spline.uw")?.clone(),
                heights: case.tensor("spline.uh")?.clone(),
                slopes: case.tensor("spline.ud")?.clone(),
            };
            let shape = SplineShape { bins, bound };
            let (y, volume) = spline(case.tensor("spline.x")?, &pieces, shape)?;
            case.forward("spline.y", &y)?;
            case.forward("spline.logabsdet", &volume)?;
            let (x, volume) = spline_inverse(case.tensor("spline.y")?, &pieces, shape)?;
            let (atol, rtol) = (1e-4, 1e-3);
            for (key, got) in [("spline.inverse_of_y", x), ("spline.inverse_logabsdet", volume)] {
                compare(&format!("{}: {key}", case.name), &got, case.tensor(key)?, atol, rtol)?;
            }
        }
    }
    Ok(())
}

#[test]
fn glow_pieces() -> Result<()> {
    for case in cases(|class, _| class.contains("ActNorm"))? {
        let x = case.tensor("x")?;
        let parameters = Parameters::new(0, &Device::Cpu);
        let vb = parameters.builder();
        let channels: usize = case.argument("num_channels")?;
        let actnorm = ActNorm::new(channels, vb.pp("actnorm"))?;
        let order = integers(&case, "conv.permutation._permutation")?;
        let conv = InvertibleConv::lu(&order, vb.pp("conv"))?;

        actnorm.initialise(x, None, &parameters)?;
        let (y, volume) = actnorm.forward(x, None)?;
        case.forward("actnorm_init_out", &y)?;
        case.forward("actnorm_init_logabsdet", &volume)?;
        for (name, var) in parameters.named() {
            if let Some(own) = name.strip_prefix("actnorm.") {
                case.forward(&format!("actnorm_{own}"), var.as_tensor())?;
            }
        }

        let mut stored = trained(&case.weights);
        stored.remove("actnorm.initialized");
        parameters.load(&stored)?;
        let (y, volume) = actnorm.forward(x, None)?;
        case.forward("actnorm_out", &y)?;
        case.forward("actnorm_logabsdet", &volume)?;
        case.forward("actnorm_inverse", &actnorm.inverse(&y, None)?.0)?;

        // The convolution is that of the normalised maps.
        let (y, volume) = conv.forward(&y, None)?;
        case.forward("conv_weight_dense", &conv.weight()?)?;
        case.forward("conv_out", &y)?;
        case.forward("conv_logabsdet", &volume)?;
        let (back, volume) = conv.inverse(&y, None)?;
        case.forward("conv_inverse", &back)?;
        case.forward("conv_inverse_logabsdet", &volume)?;

        case.forward("squeeze_out", &Squeeze.forward(x, None)?.0)?;

        let weight = Var::from_tensor(case.tensor("plain_W")?)?;
        let plain = InvertibleConv::of(weight.as_tensor().clone());
        let (y, volume) = plain.forward(x, None)?;
        case.forward("plain_out", &y)?;
        let first = volume.get(0)?;
        case.forward("plain_logdet", &first)?;
        let store = first.backward()?;
        case.gradient("plain_grad_logdet_W", store.get(&weight).context("no gradient of W")?)?;
    }
    Ok(())
}

#[test]
fn every_case_of_a_flow_is_read() -> Result<()> {
    let known = [
        "SimpleRealNVP",
        "MaskedAutoregressiveFlow",
        "PiecewiseRationalQuadraticCoupling",
        "ActNorm",
        "zuko.flows.MAF",
    ];
    for case in cases(|class, _| class.contains("nflows") || class.contains("zuko"))? {
        let class = case.meta["cls"].as_str().unwrap_or_default();
        if !known.iter().any(|name| class.contains(name)) {
            bail!("{}: class {class} is not supported", case.name);
        }
    }
    Ok(())
}
