//! What lies in the latent space of an autoencoder.

use anyhow::Result;
use candle_core::{Device, Tensor};
use halocast::core::Rng;
use halocast::models::Model;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use super::{by_rows, tensor};
use crate::science::gaussian::Gaussian;
use crate::science::study::to_array;

/// Latents of the training set.
pub(super) struct Latents<'a> {
    model: &'a Model,
    device: &'a Device,
    rows: Array2<f64>,
}

impl<'a> Latents<'a> {
    /// Those of a model, where it has an encoder.
    pub(super) fn of(
        model: &'a Model,
        train: ArrayView2<'_, f32>,
        device: &'a Device,
    ) -> Result<Option<Self>> {
        Ok(encode(model, train, device)?.map(|rows| Self { model, device, rows }))
    }

    pub(super) fn width(&self) -> usize {
        self.rows.ncols()
    }

    /// Spectra of latents drawn from a Gaussian of those of the training set.
    pub(super) fn draw(&self, n: usize, rng: &mut Rng) -> Result<Array2<f32>> {
        self.decode(&Gaussian::fit(self.rows.view())?.sample(n, rng))
    }

    /// Root mean square of what is lost between encoder and decoder.
    pub(super) fn reconstruction(&self, test: ArrayView2<'_, f32>) -> Result<f64> {
        let latents = self.encode(test)?;
        let squares = (&self.decode(&latents)? - &test).mapv(|d| f64::from(d).powi(2));
        Ok((squares.sum() / squares.len() as f64).sqrt())
    }

    /// The share of spectra that two means of the training set's latents put into the right one of two classes.
    pub(super) fn purity(&self, test: ArrayView2<'_, f32>, class: &[bool]) -> Result<f64> {
        let centres = two_means(&self.rows);
        let found = self.encode(test)?;
        let right = found
            .rows()
            .into_iter()
            .zip(class)
            .filter(|(row, class)| nearest(&centres, *row) == **class)
            .count();
        let share = right as f64 / class.len() as f64;
        Ok(share.max(1.0 - share))
    }

    /// Spectra along the latent that varies most, from -2 to 2 of its standard deviations, the others at their means.
    pub(super) fn traversal(&self) -> Result<Array2<f32>> {
        let mean = self.rows.mean_axis(Axis(0)).unwrap_or_default();
        let spread = self.rows.std_axis(Axis(0), 0.0);
        let widest = (0..spread.len()).max_by(|&a, &b| spread[a].total_cmp(&spread[b])).unwrap_or(0);
        let along = Array2::from_shape_fn((5, mean.len()), |(i, l)| {
            mean[l] + if l == widest { (i as f64 - 2.0) * spread[l] } else { 0.0 }
        });
        self.decode(&along)
    }

    fn encode(&self, rows: ArrayView2<'_, f32>) -> Result<Array2<f64>> {
        Ok(encode(self.model, rows, self.device)?.unwrap_or_default())
    }

    fn decode(&self, latents: &Array2<f64>) -> Result<Array2<f32>> {
        let z: Vec<f32> = latents.iter().map(|&v| v as f32).collect();
        let z = Tensor::from_vec(z, latents.dim(), self.device)?;
        let x = match self.model {
            Model::Autoencoder(model) => model.decode(&z)?,
            Model::Vae(model) => model.decode(&z, None)?,
            _ => z,
        };
        by_rows(&to_array(&x)?)
    }
}

/// The latents of events, of a variational autoencoder their means.
fn encode(model: &Model, rows: ArrayView2<'_, f32>, device: &Device) -> Result<Option<Array2<f64>>> {
    let x = tensor(rows, &model.trainable().example().fields, device)?;
    let latents = match model {
        Model::Autoencoder(model) => model.encode(&x)?,
        Model::Vae(model) => model.encode(&x, None)?.0,
        _ => return Ok(None),
    };
    Ok(Some(by_rows(&to_array(&latents)?)?.mapv(f64::from)))
}

/// Two centres by Lloyd's iteration, from the ends of the widest latent.
fn two_means(rows: &Array2<f64>) -> [Vec<f64>; 2] {
    let spread = rows.std_axis(Axis(0), 0.0);
    let widest = (0..spread.len()).max_by(|&a, &b| spread[a].total_cmp(&spread[b])).unwrap_or(0);
    let mut order: Vec<usize> = (0..rows.nrows()).collect();
    order.sort_by(|&a, &b| rows[[a, widest]].total_cmp(&rows[[b, widest]]));
    let mut centres = [order[0], order[order.len() - 1]].map(|i| rows.row(i).to_vec());
    for _ in 0..50 {
        let mut sums = [0, 1].map(|_| (vec![0.0; rows.ncols()], 0.0));
        for row in rows.rows() {
            let (sum, count) = &mut sums[usize::from(nearest(&centres, row))];
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            *count += 1.0;
        }
        centres = sums.map(|(sum, count)| sum.into_iter().map(|s| s / f64::max(count, 1.0)).collect());
    }
    centres
}

/// Whether the second centre is the nearer.
fn nearest(centres: &[Vec<f64>; 2], row: ArrayView1<'_, f64>) -> bool {
    let [a, b] = centres.each_ref().map(|c| c.iter().zip(row).map(|(c, v)| (c - v).powi(2)).sum::<f64>());
    b < a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_means_part_two_clouds() {
        let mut rng = Rng::new(2);
        let rows = Array2::from_shape_fn((200, 3), |(i, l)| {
            rng.normal() + if i % 2 == 0 && l == 1 { 8.0 } else { 0.0 }
        });
        let centres = two_means(&rows);
        let sides: Vec<bool> = rows.rows().into_iter().map(|r| nearest(&centres, r)).collect();
        assert!((0..200).all(|i| sides[i] == sides[i % 2]) && sides[0] != sides[1]);
    }
}
