//! What holds of the adversarial networks beside the laws of every model.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

use candle_core::{DType, Device, Tensor};
use halocast_core::Rng;
use halocast_kernels::PadMode;
use halocast_kernels::nn::BatchNorm;
use halocast_models::gan::{
    Critic, CycleGan, CycleGanConfig, DiscriminatorConfig, Gan, GanConfig, GanLoss, GeneratorConfig, Norm,
    PatchConfig, Penalty, Pix2Pix, Pix2PixConfig, ResnetGenerator, ResnetGeneratorConfig, ResnetPadding,
    UnetGenerator, UnetGeneratorConfig,
};
use halocast_models::{Cond, Configured, Generative, Parameters, SampleOptions, Trainable};

fn maps(shape: [usize; 4], seed: u64) -> Tensor {
    let values = Rng::new(seed).normals(shape.iter().product());
    Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap()
}

fn largest(x: &Tensor) -> f64 {
    f64::from(x.abs().unwrap().max_all().unwrap().to_dtype(DType::F32).unwrap().to_scalar::<f32>().unwrap())
}

#[test]
fn circular_networks_commute_with_periodic_shifts() {
    let vb = Parameters::new(1, &Device::Cpu).builder();
    let unet = UnetGeneratorConfig { downs: 3, width: 4, padding: PadMode::Circular, ..Default::default() };
    let unet = UnetGenerator::new(1, 2, &unet, vb.pp("u")).unwrap();
    let padding = ResnetPadding::Circular;
    let resnet = ResnetGeneratorConfig { blocks: 2, width: 4, padding, ..Default::default() };
    let resnet = ResnetGenerator::new(1, 2, &resnet, vb.pp("r")).unwrap();
    let x = maps([2, 1, 16, 24], 3);
    // By a multiple of the coarsest pixel, 8.
    let shift = |t: &Tensor| t.roll(8, 2).unwrap().roll(-16, 3).unwrap();
    for name in ["U-Net", "residual"] {
        let network = |x: &Tensor| match name {
            "U-Net" => unet.forward(x, true, None).unwrap(),
            _ => resnet.forward(x, true, None).unwrap(),
        };
        let difference = (shift(&network(&x)) - network(&shift(&x))).unwrap();
        assert!(largest(&difference) < 1e-5, "{name}: {}", largest(&difference));
        assert!(largest(&network(&x)) > 1e-3, "{name} gives nothing");
    }
}

#[test]
fn the_derivative_of_a_critic_is_that_of_finite_differences() {
    for norm in [Norm::None, Norm::Instance, Norm::Layer, Norm::Batch] {
        let parameters = Parameters::with_dtype(1, DType::F64, &Device::Cpu);
        let config = PatchConfig { layers: 2, width: 4, norm, ..Default::default() };
        let critic = Critic::patch(1, &config, parameters.builder()).unwrap();
        let [x, v] = [1, 2].map(|seed| maps([2, 1, 16, 16], seed).to_dtype(DType::F64).unwrap());
        let (y, along) = critic.tangent(&x, &v, false).unwrap();
        assert_eq!(largest(&(&y - critic.forward(&x, false).unwrap()).unwrap()), 0.0);
        let step = 1e-6;
        let at = |s: f64| critic.forward(&(&x + (&v * s).unwrap()).unwrap(), false).unwrap();
        let quotient = ((at(step) - at(-step)).unwrap() / (2.0 * step)).unwrap();
        // Kinks within the step spoil a few parts in 1e4.
        let error = largest(&(quotient - &along).unwrap());
        assert!(error < 1e-3 * largest(&along), "{norm:?}: {error} of {}", largest(&along));
        assert_eq!(critic.mixes_examples(), norm == Norm::Batch);
        let penalty = Penalty::Gradient(10.0).of(&critic, &x, None, true);
        assert_eq!(penalty.is_err(), norm == Norm::Batch, "{norm:?}");
    }
}

fn pix2pix(sample_dropout: bool) -> Pix2PixConfig {
    let generator = UnetGeneratorConfig { downs: 3, width: 4, ..Default::default() };
    let discriminator = PatchConfig { layers: 1, width: 4, ..Default::default() };
    Pix2PixConfig {
        generator: GeneratorConfig::Unet(generator),
        discriminator: DiscriminatorConfig::Patch(discriminator),
        size: [16, 16],
        sample_dropout,
        ..Default::default()
    }
}

#[test]
fn samples_do_not_depend_on_the_batches() {
    let draw = |model: &dyn Generative, cond: Option<&Cond>, batch: usize, seed: u64| -> Vec<f32> {
        let options = SampleOptions { batch, ..Default::default() };
        let x = model.sample(5, cond, &options, &mut Rng::new(seed)).unwrap();
        x.flatten_all().unwrap().to_vec1().unwrap()
    };
    let cond = Cond::Field(maps([5, 1, 16, 16], 1));
    let noisy = Pix2Pix::new(&pix2pix(true), 1, &Device::Cpu).unwrap();
    assert_eq!(draw(&noisy, Some(&cond), 2, 3), draw(&noisy, Some(&cond), 5, 3));
    assert_ne!(draw(&noisy, Some(&cond), 2, 3), draw(&noisy, Some(&cond), 2, 4));
    let quiet = Pix2Pix::new(&pix2pix(false), 1, &Device::Cpu).unwrap();
    assert_eq!(draw(&quiet, Some(&cond), 2, 3), draw(&quiet, Some(&cond), 2, 4));
    let config = GanConfig { size: [8, 8], levels: 2, width: 4, latent: 5, ..Default::default() };
    let gan = Gan::new(&config, 1, &Device::Cpu).unwrap();
    assert_eq!(draw(&gan, None, 2, 3), draw(&gan, None, 5, 3));
    assert!(noisy.sample(4, Some(&cond), &SampleOptions::default(), &mut Rng::new(1)).is_err());
    let none = Cond::Field(Tensor::zeros((0, 1, 16, 16), DType::F32, &Device::Cpu).unwrap());
    let empty = noisy.sample(0, Some(&none), &SampleOptions::default(), &mut Rng::new(1)).unwrap();
    assert_eq!(empty.dims(), [0, 1, 16, 16]);
}

/// The number of parameters of a network that gradients move.
fn count(parameters: &Parameters, network: &str) -> usize {
    let own = parameters.named().into_iter();
    let own = own.filter(|(name, _)| name.starts_with(network) && !BatchNorm::is_buffer(name));
    own.map(|(_, var)| var.elem_count()).sum()
}

#[test]
fn the_papers_configurations_have_the_published_numbers_of_parameters() {
    // As the authors' programs print them in millions, for maps of three channels.
    let config = Pix2PixConfig { channels: 3, condition_channels: 3, ..Default::default() };
    let model = Pix2Pix::new(&config, 0, &Device::Cpu).unwrap();
    let millions = |network: &str| (count(model.parameters(), network) as f64 / 1e3).round() / 1e3;
    assert_eq!((millions("netG."), millions("netD.")), (54.414, 2.769));

    let config = CycleGanConfig { channels: 3, condition_channels: 3, pool: 1, ..Default::default() };
    let model = CycleGan::new(&config, 0, &Device::Cpu).unwrap();
    let millions = |network: &str| (count(model.parameters(), network) as f64 / 1e3).round() / 1e3;
    assert_eq!((millions("netG_A."), millions("netD_A.")), (11.378, 2.765));

    let model = Gan::new(&GanConfig { channels: 3, ..GanConfig::dcgan() }, 0, &Device::Cpu).unwrap();
    let found = ["netG.", "netD."].map(|network| count(model.parameters(), network));
    assert_eq!(found, [3_576_704, 2_765_568]);
}

#[test]
fn configurations_that_cannot_be_are_named() {
    let message = |e: Option<halocast_models::Error>| e.map(|e| e.to_string()).unwrap();
    let pix2pix_says = |change: &dyn Fn(&mut Pix2PixConfig)| {
        let mut config = pix2pix(true);
        change(&mut config);
        message(Pix2Pix::new(&config, 1, &Device::Cpu).err())
    };
    assert!(pix2pix_says(&|c| c.size = [16, 20]).contains("[16, 20]"));
    assert!(pix2pix_says(&|c| c.loss = GanLoss::Wasserstein).contains("loss"));
    assert!(pix2pix_says(&|c| c.lambda_l1 = f64::NAN).contains("lambda_l1"));
    assert!(pix2pix_says(&|c| c.channels = 0).contains("channels"));
    assert!(
        pix2pix_says(&|c| {
            c.discriminator = DiscriminatorConfig::Patch(PatchConfig { layers: 3, ..Default::default() });
            c.size = [8, 8];
        })
        .contains("layers")
    );
    let gan_says = |change: &dyn Fn(&mut GanConfig)| {
        let mut config = GanConfig { size: [8, 8], levels: 2, width: 4, latent: 5, ..Default::default() };
        change(&mut config);
        message(Gan::new(&config, 1, &Device::Cpu).err())
    };
    assert!(gan_says(&|c| c.discriminator_norm = Norm::Batch).contains("discriminator_norm"));
    assert!(gan_says(&|c| c.size = [8, 6]).contains("[8, 6]"));
    assert!(gan_says(&|c| c.levels = 0).contains("levels"));
    assert!(gan_says(&|c| (c.levels, c.generator_norm) = (3, Norm::Instance)).contains("one pixel"));
    assert!(gan_says(&|c| c.padding = PadMode::Reflect).contains("padding"));
    assert!(gan_says(&|c| c.penalty = Penalty::Zero(-1.0)).contains("penalty"));
    let config = CycleGanConfig { channels: 2, ..Default::default() };
    assert!(message(CycleGan::new(&config, 1, &Device::Cpu).err()).contains("lambda_identity"));
    let json = r#"{"generator": {"kind": "unet", "downs": 3, "wide": 4}}"#;
    assert!(serde_json::from_str::<Pix2PixConfig>(json).is_err());
    let json = r#"{"generator": {"kind": "unet", "downs": 3}, "size": [16, 16], "sample_dropout": false}"#;
    assert_eq!(serde_json::from_str::<Pix2PixConfig>(json).unwrap().lambda_l1, 100.0);
}
