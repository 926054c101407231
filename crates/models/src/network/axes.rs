//! Layers over one, two or three axes: lines, maps, cubes.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{Conv1d, Conv2d, Conv3d};
use halocast_kernels::{ConvSpec, pixel_unshuffle};

use crate::Result;

/// A convolution over as many axes as the event has.
pub(crate) enum Conv {
    Line(Conv1d),
    Map(Conv2d),
    Cube(Conv3d),
}

impl Conv {
    /// A convolution that keeps the size, with an odd `kernel`, of one axis, two or else three.
    pub(crate) fn new(
        axes: usize,
        from: usize,
        to: usize,
        kernel: usize,
        spec: ConvSpec,
        vb: VarBuilder,
    ) -> Result<Self> {
        let spec = ConvSpec { padding: kernel / 2, ..spec };
        Ok(match axes {
            1 => Self::Line(Conv1d::new(from, to, kernel, spec, vb)?),
            2 => Self::Map(Conv2d::new(from, to, kernel, spec, vb)?),
            _ => Self::Cube(Conv3d::new(from, to, kernel, spec, vb)?),
        })
    }

    /// A pointwise convolution without bias.
    pub(crate) fn pointwise(axes: usize, from: usize, to: usize, vb: VarBuilder) -> Result<Self> {
        let spec = ConvSpec::default();
        Ok(match axes {
            1 => Self::Line(Conv1d::new_no_bias(from, to, 1, spec, vb)?),
            2 => Self::Map(Conv2d::new_no_bias(from, to, 1, spec, vb)?),
            _ => Self::Cube(Conv3d::new_no_bias(from, to, 1, spec, vb)?),
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Line(conv) => conv.forward(x)?,
            Self::Map(conv) => conv.forward(x)?,
            Self::Cube(conv) => conv.forward(x)?,
        })
    }
}

/// Blocks of 2 along each axis as channels: `[b, c, 2 y, 2 x]` gives `[b, 4 c, y, x]`, the offsets within a block fastest.
pub(crate) fn space_to_depth(x: &Tensor) -> Result<Tensor> {
    let dims = x.dims();
    if let [_, _, _, _] = dims {
        return Ok(pixel_unshuffle(x, 2)?);
    }
    let (batch, channels, sides) = (dims[0], dims[1], &dims[2..]);
    let split: Vec<usize> =
        [batch, channels].into_iter().chain(sides.iter().flat_map(|s| [s / 2, 2])).collect();
    // Of the axes (s, 2) of each side, the second ones go behind the channels.
    let order: Vec<usize> = [0, 1]
        .into_iter()
        .chain((0..sides.len()).map(|i| 3 + 2 * i))
        .chain((0..sides.len()).map(|i| 2 + 2 * i))
        .collect();
    let shape: Vec<usize> =
        [batch, channels << sides.len()].into_iter().chain(sides.iter().map(|s| s / 2)).collect();
    Ok(x.reshape(split)?.permute(order)?.contiguous()?.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn blocks_of_a_line_and_of_a_cube_become_channels() {
        let x = Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((1, 2, 4)).unwrap();
        let y = space_to_depth(&x).unwrap().squeeze(0).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[0.0, 2.0], [1.0, 3.0], [4.0, 6.0], [5.0, 7.0]]);
        // A cube whose values do not depend on z is the map.
        let map = Tensor::arange(0f32, 16.0, &Device::Cpu).unwrap().reshape((1, 1, 4, 4)).unwrap();
        let cube = map.unsqueeze(4).unwrap().broadcast_as((1, 1, 4, 4, 2)).unwrap().contiguous().unwrap();
        let cube = space_to_depth(&cube).unwrap();
        assert_eq!(cube.dims(), [1, 8, 2, 2, 1]);
        let even = Tensor::new(&[0u32, 2, 4, 6], &Device::Cpu).unwrap();
        let got = cube.index_select(&even, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = space_to_depth(&map).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got, expected);
    }
}
