//! The adversarial networks and losses against the reference implementation: outputs, gradients, running averages.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor, Var};
use halocast::kernels::{PadMode, record};
use halocast::models::Parameters;
use halocast::models::gan::{
    Critic, GanLoss, Norm, PatchConfig, PixelConfig, ResnetGenerator, ResnetGeneratorConfig, ResnetPadding,
    UnetGenerator, UnetGeneratorConfig, between, gradient_penalty,
};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};

type Network = Box<dyn Fn(&Tensor, bool) -> halocast::models::Result<Tensor>>;

fn norm_of(name: &str) -> Result<Norm> {
    Ok(match name {
        "batch" => Norm::Batch,
        "instance" => Norm::Instance,
        "none" => Norm::None,
        other => bail!("no normalisation {other:?}"),
    })
}

/// An argument that may be left out.
fn optional<T: serde::de::DeserializeOwned>(case: &Case, key: &str, default: T) -> Result<T> {
    if case.meta["constructor"][key].is_null() { Ok(default) } else { case.argument(key) }
}

fn only(case: &Case, known: &[&str]) -> Result<()> {
    let arguments = case.meta["constructor"].as_object().context("constructor")?;
    let unknown = arguments.keys().find(|key| !known.contains(&key.as_str()));
    ensure!(unknown.is_none(), "{}: the argument {unknown:?} is not read", case.name);
    Ok(())
}

fn dropout(case: &Case) -> Result<f64> {
    Ok(if optional(case, "use_dropout", false)? { 0.5 } else { 0.0 })
}

/// The network of a case on fresh parameters.
fn network(case: &Case, parameters: &Parameters) -> Result<Network> {
    let vb = parameters.builder();
    let norm = norm_of(&optional(case, "norm", "batch".to_owned())?)?;
    let inputs: usize = case.argument("input_nc")?;
    let class = case.meta["cls"].as_str().unwrap_or_default().rsplit("::").next().unwrap_or_default();
    Ok(match class {
        "UnetGenerator" => {
            only(case, &["input_nc", "output_nc", "num_downs", "ngf", "norm", "use_dropout"])?;
            let config = UnetGeneratorConfig {
                downs: case.argument("num_downs")?,
                width: optional(case, "ngf", 64)?,
                norm,
                dropout: dropout(case)?,
                ..Default::default()
            };
            let network = UnetGenerator::new(inputs, case.argument("output_nc")?, &config, vb)?;
            Box::new(move |x, train| network.forward(x, train, None))
        }
        "ResnetGenerator" => {
            only(case, &["input_nc", "output_nc", "ngf", "n_blocks", "norm", "padding_type", "use_dropout"])?;
            let padding = match optional(case, "padding_type", "reflect".to_owned())?.as_str() {
                "reflect" => ResnetPadding::Reflect,
                "replicate" => ResnetPadding::Replicate,
                "zero" => ResnetPadding::Zeros,
                other => bail!("{}: no padding {other:?}", case.name),
            };
            let config = ResnetGeneratorConfig {
                blocks: optional(case, "n_blocks", 6)?,
                width: optional(case, "ngf", 64)?,
                norm,
                dropout: dropout(case)?,
                padding,
                ..Default::default()
            };
            let network = ResnetGenerator::new(inputs, case.argument("output_nc")?, &config, vb)?;
            Box::new(move |x, train| network.forward(x, train, None))
        }
        "NLayerDiscriminator" => {
            only(case, &["input_nc", "ndf", "n_layers", "norm"])?;
            let (layers, width) = (optional(case, "n_layers", 3)?, optional(case, "ndf", 64)?);
            let config = PatchConfig { layers, width, norm, padding: PadMode::Zeros, ..Default::default() };
            let network = Critic::patch(inputs, &config, vb)?;
            Box::new(move |x, train| network.forward(x, train))
        }
        "PixelDiscriminator" => {
            only(case, &["input_nc", "ndf", "norm"])?;
            let config = PixelConfig { width: optional(case, "ndf", 64)?, norm, ..Default::default() };
            let network = Critic::pixel(inputs, &config, vb)?;
            Box::new(move |x, train| network.forward(x, train))
        }
        other => bail!("{}: no network {other:?}", case.name),
    })
}

fn pass(case: &Case, prefix: &str, train: bool) -> Result<()> {
    let parameters = Parameters::new(0, &Device::Cpu);
    let network = network(case, &parameters)?;
    let key = |name: &str| format!("{prefix}{name}");
    for by_tape in [false, true] {
        parameters.load(&case.weights)?;
        let x = Var::from_tensor(case.tensor("x")?)?;
        let forward = || -> Result<(Tensor, Tensor)> {
            let out = network(&x, train)?;
            let loss = case.weighted_loss(&out)?;
            Ok((out, loss))
        };
        let ((out, loss), store) = if by_tape {
            let (found, tape) = record(forward)?;
            let store = tape.backward(&found.1)?;
            (found, store)
        } else {
            let found = forward()?;
            let store = found.1.backward()?;
            (found, store)
        };
        case.forward(&key("out"), &out)?;
        case.forward(&key("loss"), &loss)?;
        case.gradients(&key("grad."), &parameters, &store)?;
        case.gradient(&key("grad.x"), store.get(&x).context("grad.x")?)?;
        let variables: HashMap<String, Var> = parameters.named().into_iter().collect();
        let mut after: Vec<&String> =
            case.io.keys().filter(|k| train && k.starts_with("train.after.")).collect();
        after.sort();
        for name in after {
            let var = name.strip_prefix("train.after.").and_then(|n| variables.get(n));
            case.forward(name, var.with_context(|| name.clone())?)?;
        }
    }
    Ok(())
}

#[test]
fn networks_forward_and_gradients() -> Result<()> {
    let classes = ["UnetGenerator", "ResnetGenerator", "NLayerDiscriminator", "PixelDiscriminator"];
    for case in cases(|cls, _| classes.iter().any(|class| cls.ends_with(&format!("::{class}"))))? {
        pass(&case, "", false)?;
        if case.io.contains_key("train.out") {
            pass(&case, "train.", true)?;
        }
    }
    Ok(())
}

#[test]
fn losses_and_their_gradients() -> Result<()> {
    for case in cases(|cls, _| cls.contains("GANLoss"))? {
        let x = Var::from_tensor(case.tensor("prediction")?)?;
        for (loss, name) in [
            (GanLoss::Vanilla, "vanilla"),
            (GanLoss::LeastSquares, "lsgan"),
            (GanLoss::Wasserstein, "wgangp"),
        ] {
            for (real, kind) in [(true, "real"), (false, "fake")] {
                let key = format!("{name}.{kind}");
                let value = loss.of(&x, real)?;
                case.forward(&key, &value)?;
                let store = value.backward()?;
                case.gradient(&format!("{key}.grad"), store.get(&x).context("gradient")?)?;
            }
        }
        let l1 = (case.tensor("l1_a")? - case.tensor("l1_b")?)?.abs()?.mean_all()?;
        case.forward("l1", &l1)?;
    }
    Ok(())
}

/// The critic that `constructor.gp` describes, as `PixelDiscriminator(1,4,instance) eval; type mixed, constant 1,
/// lambda 10`: the channels, the width, for patches the layers, and the normalisation. With the type, weight and constant.
fn critic_of(case: &Case, parameters: &Parameters) -> Result<(Critic, String, (f64, f64))> {
    let text: String = case.argument("gp")?;
    let (class, rest) = text.split_once('(').context("gp: no class")?;
    let (arguments, rest) = rest.split_once(')').context("gp: no arguments")?;
    let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let number = |i: usize| -> Result<usize> { Ok(arguments.get(i).context("gp: argument")?.parse()?) };
    let norm = norm_of(arguments.last().context("gp: norm")?)?;
    let vb = parameters.builder();
    let critic = match (class.trim(), arguments.len()) {
        ("PixelDiscriminator", 3) => {
            Critic::pixel(number(0)?, &PixelConfig { width: number(1)?, norm, ..Default::default() }, vb)?
        }
        ("NLayerDiscriminator", 4) => {
            let config = PatchConfig { width: number(1)?, layers: number(2)?, norm, ..Default::default() };
            Critic::patch(number(0)?, &config, vb)?
        }
        other => bail!("{}: no critic {other:?}", case.name),
    };
    let words: Vec<&str> = rest.split([' ', ',', ';']).filter(|w| !w.is_empty()).collect();
    ensure!(words.contains(&"eval"), "{}: a critic that trains mixes the examples of a batch", case.name);
    let after =
        |key: &str| -> Option<&str> { words.windows(2).find(|pair| pair[0] == key).map(|pair| pair[1]) };
    let constant: f64 = after("constant").unwrap_or("1").parse()?;
    let weight = after("lambda").unwrap_or("10").parse()?;
    Ok((critic, after("type").unwrap_or("mixed").to_owned(), (weight, constant)))
}

#[test]
fn gradient_penalty_and_its_gradients() -> Result<()> {
    for case in cases(|cls, _| cls.contains("cal_gradient_penalty"))? {
        let parameters = Parameters::new(0, &Device::Cpu);
        let (critic, kind, weight) = critic_of(&case, &parameters)?;
        parameters.load(&case.weights)?;
        let (real, fake) = (case.tensor("gp_real")?, case.tensor("gp_fake")?);
        let alpha: Vec<f64> =
            case.tensor("gp_alpha")?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        let x = match kind.as_str() {
            "real" => real.clone(),
            "fake" => fake.clone(),
            "mixed" => between(real, fake, &alpha)?,
            other => bail!("{}: no type {other:?}", case.name),
        };
        for by_tape in [false, true] {
            let of = || gradient_penalty(&critic, &x, None, false, weight);
            let ((penalty, slope), store) = if by_tape {
                let (found, tape) = record(of)?;
                let store = tape.backward(&found.0)?;
                (found, store)
            } else {
                let found = of()?;
                let store = found.0.backward()?;
                (found, store)
            };
            case.forward("gp", &penalty)?;
            let expected = case.tensor("gp_gradients")?;
            let (atol, rtol) = case.tolerance("grad");
            compare(&format!("{}: gp_gradients", case.name), &slope.flatten_from(1)?, expected, atol, rtol)?;
            case.gradients("gp.grad.", &parameters, &store)?;
        }
    }
    Ok(())
}
