//! The variational autoencoder and the PixelCNN against their references.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use halocast::models::autoencoder::{
    CoderConfig, Observation, Vae, VaeConfig, free_bits, kl_between, kl_standard,
};
use halocast::models::autoregressive::{Mask, NetShape, PixelCnnNet};
use halocast::models::{Configured, Parameters, Trainable};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};

fn number(case: &Case, key: &str) -> Result<f64> {
    Ok(case.tensor(key)?.to_dtype(DType::F64)?.to_scalar()?)
}

/// Compares what a case may lack.
fn optional(case: &Case, key: &str, got: &Tensor) -> Result<()> {
    if case.io.contains_key(key) { case.forward(key, got) } else { Ok(()) }
}

#[test]
fn vae_of_the_examples_of_pytorch() -> Result<()> {
    for case in cases(|class, _| class == "VAE")? {
        let config = VaeConfig {
            event: vec![case.argument("D")?],
            latent: case.argument("latent")?,
            coder: CoderConfig::Mlp { hidden: case.argument("hidden")? },
            ..Default::default()
        };
        let model = Vae::new(&config, 0, &Device::Cpu)?;
        model.parameters().load(&case.weights)?;
        let (x, noise) = (case.tensor("x")?, case.tensor("eps")?);
        let (mean, log_variance) = model.encode(x, None)?;
        case.forward("mu", &mean)?;
        case.forward("logvar", &log_variance)?;
        let z = (&mean + ((&log_variance * 0.5)?.exp()? * noise)?)?;
        case.forward("z", &z)?;
        let recon = Observation::Bernoulli.mean(&model.decode(&z, None)?)?;
        case.forward("recon", &recon)?;
        let bce = model.log_observation(x, &z, None)?.sum_all()?.neg()?;
        let divergence = kl_standard(&mean, &log_variance)?;
        let total = divergence.sum_all()?;
        case.forward("bce_sum", &bce)?;
        case.forward("kld_sum", &total)?;
        case.forward("kld_per_sample", &divergence.sum(1)?)?;
        let loss = (&bce + &total)?;
        case.forward("elbo_loss", &loss)?;
        case.gradients("grad.", model.parameters(), &loss.backward()?)?;
        let betas: Vec<f64> =
            case.io.keys().filter_map(|key| key.strip_prefix("beta_loss.")?.parse().ok()).collect();
        for beta in betas {
            let (key, other) = (format!("beta_loss.{beta:?}"), format!("beta_loss.{beta}"));
            let key = if case.io.contains_key(&key) { key } else { other };
            case.forward(&key, &(&bce + (&total * beta)?)?)?;
        }
        if case.io.contains_key("gauss_nll_sigma") {
            let normal = Observation::Gaussian(number(&case, "gauss_nll_sigma")?);
            case.forward("gauss_nll_sum", &normal.log_prob(x, &recon, None)?.sum_all()?.neg()?)?;
        }
        optional(&case, "mse_sum", &(&recon - x)?.sqr()?.sum_all()?)?;
        if case.io.contains_key("kl_two_gaussians") {
            let other = (case.tensor("mu2")?, case.tensor("logvar2")?);
            case.forward("kl_two_gaussians", &kl_between((&mean, &log_variance), other)?.sum(1)?)?;
        }
        if case.io.contains_key("free_bits") {
            let least = number(&case, "free_bits")?;
            case.forward("kld_free_bits", &free_bits(&divergence, least)?)?;
        }
        if case.io.contains_key("iwae_eps") {
            let draws = case.tensor("iwae_eps")?;
            let count = draws.dims()[0];
            let weights = (0..count)
                .map(|k| Ok(model.log_weight(x, &draws.get(k)?.contiguous()?, None)?))
                .collect::<Result<Vec<_>>>()?;
            let weights = Tensor::stack(&weights, 0)?;
            case.forward("iwae_log_w", &weights)?;
            case.forward("iwae_bound", &(weights.log_sum_exp(0)? - (count as f64).ln())?)?;
        }
    }
    Ok(())
}

#[test]
fn pixelcnn() -> Result<()> {
    for case in cases(|class, _| class.contains("MaskedConv2d"))? {
        let shape = NetShape {
            inputs: case.argument("in_ch")?,
            hidden: case.argument("fm")?,
            outputs: case.argument("K")?,
            first_kernel: case.argument("k_first")?,
            kernel: case.argument("k")?,
            layers: case.argument("n_B_layers")?,
            parameters: 0,
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        let network = PixelCnnNet::new(&shape, parameters.builder())?;
        let trained = case
            .weights
            .iter()
            .filter(|(name, _)| !name.ends_with("mask"))
            .map(|(n, t)| (n.clone(), t.clone()));
        parameters.load(&trained.collect())?;
        for (name, mask) in case.weights.iter().filter(|(name, _)| name.ends_with("mask")) {
            let kernel = mask.dims()[3];
            let kind = if name == "0.mask" { Mask::A } else { Mask::B };
            let window = Tensor::from_vec(kind.window(kernel), (1, 1, kernel, kernel), &Device::Cpu)?;
            let window = window.to_dtype(DType::F32)?.broadcast_as(mask.shape())?;
            compare(&format!("{}: {name}", case.name), &window, mask, 1e-9, 0.0)?;
        }
        for (key, kind) in [("maskA_5x5", Mask::A), ("maskB_3x3", Mask::B)] {
            let Some(mask) = case.io.get(key) else { continue };
            let kernel = mask.dims()[3];
            let window = Tensor::from_vec(kind.window(kernel), (1, 1, kernel, kernel), &Device::Cpu)?;
            case.forward(key, &window.to_dtype(DType::F32)?.broadcast_as(mask.shape())?)?;
        }
        let network = network.with_raw_gradients();
        let x = Var::from_tensor(case.tensor("x")?)?;
        let logits = network.forward(x.as_tensor(), None)?;
        case.forward("logits", &logits)?;
        let label = case.tensor("label")?.narrow(1, 0, 1)?.to_dtype(DType::U32)?.contiguous()?;
        let chosen = logits.gather(&label, 1)?;
        let loss = (logits.log_sum_exp(1)? - chosen.squeeze(1)?)?.mean_all()?;
        case.forward("loss", &loss)?;
        let store = loss.backward()?;
        case.gradient("grad.x", store.get(&x).context("no gradient of x")?)?;
        case.gradients("grad.", &parameters, &store)?;

        // What the centre depends on, by the gradient of its outputs.
        if let Some(expected) = case.io.get("dependency_of_centre_pixel") {
            let (rows, columns) = expected.dims2()?;
            let first = Var::from_tensor(&case.tensor("x")?.narrow(0, 0, 1)?.contiguous()?)?;
            let out = network.forward(first.as_tensor(), None)?.narrow(2, rows / 2, 1)?;
            let out = out.narrow(3, columns / 2, 1)?.sqr()?.sum_all()?;
            let store = out.backward()?;
            let slope = store.get(&first).context("no gradient")?.abs()?.sum(1)?.squeeze(0)?;
            // Winograd's transforms leave the rounding of a pixel on its neighbours.
            let floor = 1e-5 * slope.max_all()?.to_scalar::<f32>()?;
            let seen = slope.gt(floor)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            let expected = expected.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            let wrong = seen.iter().zip(&expected).filter(|(a, b)| a != b).count();
            println!("{}: {wrong} pixels of {} of another dependency", case.name, seen.len());
            ensure!(wrong == 0, "{}: {seen:?}, expected {expected:?}", case.name);
        }
    }
    Ok(())
}
