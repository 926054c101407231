//! The sizes of a convolution over one, two or three axes.

use super::geometry::{ConvSpec, Geometry, PadMode};
use crate::{Error, Result};

/// The sizes of a convolution `[n, ci, ..size] -> [n, co, ..out]`, with axes of one pixel in front where there are fewer
/// than three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) n: usize,
    pub(crate) ci: usize,
    pub(crate) co: usize,
    pub(crate) groups: usize,
    pub(crate) size: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) out: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) padding: [usize; 3],
    pub(crate) mode: PadMode,
    /// How many of the axes there are.
    pub(crate) axes: usize,
}

/// Sizes of `axes` axes with `fill` in front.
fn three(sizes: &[usize], fill: usize) -> [usize; 3] {
    let mut all = [fill; 3];
    all[3 - sizes.len()..].copy_from_slice(sizes);
    all
}

impl Sizes {
    /// Of the convolution of `x [n, ci, ..]` with `w [co, ci / groups, ..]`.
    pub(crate) fn conv(
        op: &'static str,
        axes: usize,
        x: &[usize],
        w: &[usize],
        spec: ConvSpec,
    ) -> Result<Self> {
        let (names, kernels) = names(axes);
        check(op, spec)?;
        if spec.output_padding != 0 {
            let expected = "zero but for transposed convolutions";
            return Err(Error::argument(op, "output_padding", expected, spec.output_padding));
        }
        if x.len() != axes + 2 || x[1..].contains(&0) {
            return Err(Error::shape(op, "x", format!("[n, ci, {names}] and not empty but for n"), x));
        }
        let groups = spec.groups;
        if !x[1].is_multiple_of(groups) {
            return Err(Error::argument(op, "groups", format!("a divisor of the {} channels", x[1]), groups));
        }
        let inputs = x[1] / groups;
        if w.len() != axes + 2 || w[1] != inputs || w.contains(&0) {
            return Err(Error::shape(op, "weight", format!("[co, {inputs}, {kernels}]"), w));
        }
        if !w[0].is_multiple_of(groups) {
            return Err(Error::argument(op, "groups", format!("a divisor of the {} outputs", w[0]), groups));
        }
        let (size, kernel) = (&x[2..], &w[2..]);
        if size.iter().zip(kernel).any(|(size, kernel)| size + 2 * spec.padding < *kernel) {
            let expected = format!("no smaller than the kernel {}", words(kernel));
            return Err(Error::shape(op, "x", expected, x));
        }
        if spec.pad_mode == PadMode::Reflect && size.iter().any(|&size| spec.padding >= size) {
            let expected = format!("less than every side of {} where it reflects", words(size));
            return Err(Error::argument(op, "padding", expected, spec.padding));
        }
        let out: Vec<usize> = size
            .iter()
            .zip(kernel)
            .map(|(size, kernel)| (size + 2 * spec.padding - kernel) / spec.stride + 1)
            .collect();
        Ok(Self::new(x[0], (x[1], w[0]), size, kernel, &out, spec))
    }

    /// Of the convolution whose adjoint takes `x [n, ci, ..]` with `w [ci, co / groups, ..]` to the output: its `size` and
    /// `ci` are those of the transposed convolution's output, its `co` and `out` those of `x`.
    pub(crate) fn transposed(
        op: &'static str,
        axes: usize,
        x: &[usize],
        w: &[usize],
        spec: ConvSpec,
    ) -> Result<Self> {
        let (names, kernels) = names(axes);
        check(op, spec)?;
        let ConvSpec { stride, padding, pad_mode, groups, output_padding } = spec;
        if pad_mode == PadMode::Reflect {
            return Err(Error::argument(op, "pad_mode", "zeros or circular", "reflect"));
        }
        let least = if pad_mode == PadMode::Circular { 1 } else { stride };
        if output_padding >= least {
            return Err(Error::argument(op, "output_padding", format!("less than {least}"), output_padding));
        }
        if x.len() != axes + 2 || x[1..].contains(&0) {
            return Err(Error::shape(op, "x", format!("[n, ci, {names}] and not empty but for n"), x));
        }
        if w.len() != axes + 2 || w[0] != x[1] || w.contains(&0) {
            return Err(Error::shape(op, "weight", format!("[{}, co, {kernels}]", x[1]), w));
        }
        if !x[1].is_multiple_of(groups) {
            return Err(Error::argument(op, "groups", format!("a divisor of the {} channels", x[1]), groups));
        }
        let mut size = Vec::with_capacity(axes);
        for (&from, &kernel) in x[2..].iter().zip(&w[2..]) {
            let to = match pad_mode {
                PadMode::Circular => {
                    let shrink = kernel.checked_sub(2 * padding);
                    shrink.filter(|shrink| (1..=stride).contains(shrink)).map(|_| from * stride)
                }
                _ => ((from - 1) * stride + kernel + output_padding)
                    .checked_sub(2 * padding)
                    .filter(|&s| s > 0),
            };
            let Some(to) = to else {
                let expected = match pad_mode {
                    PadMode::Circular => {
                        format!("such that 1 <= kernel - 2 padding <= stride = {stride}")
                    }
                    _ => "less than half of the unpadded output".to_string(),
                };
                return Err(Error::argument(op, "padding", expected, padding));
            };
            size.push(to);
        }
        Ok(Self::new(x[0], (w[1] * groups, x[1]), &size, &w[2..], &x[2..], spec))
    }

    fn new(
        n: usize,
        (ci, co): (usize, usize),
        size: &[usize],
        kernel: &[usize],
        out: &[usize],
        spec: ConvSpec,
    ) -> Self {
        let axes = size.len();
        Self {
            n,
            ci,
            co,
            groups: spec.groups,
            size: three(size, 1),
            kernel: three(kernel, 1),
            out: three(out, 1),
            stride: three(&[spec.stride; 3][..axes], 1),
            padding: three(&[spec.padding; 3][..axes], 0),
            mode: spec.pad_mode,
            axes,
        }
    }

    /// Pixels of an input channel.
    pub(crate) fn in_volume(&self) -> usize {
        self.size.iter().product()
    }

    /// Pixels of an output channel.
    pub(crate) fn out_volume(&self) -> usize {
        self.out.iter().product()
    }

    /// Taps of a kernel.
    pub(crate) fn window(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Shape of the input.
    pub(crate) fn in_shape(&self) -> Vec<usize> {
        [&[self.n, self.ci], &self.size[3 - self.axes..]].concat()
    }

    /// Shape of the output.
    pub(crate) fn out_shape(&self) -> Vec<usize> {
        [&[self.n, self.co], &self.out[3 - self.axes..]].concat()
    }

    /// Whether each group has one input channel.
    pub(crate) fn depthwise(&self) -> bool {
        self.groups == self.ci && self.groups > 1
    }

    /// The two-dimensional convolution that this is, if it is one without groups or reflection.
    pub(crate) fn plane(&self) -> Option<Geometry> {
        let [_, h, w] = self.size;
        let [kd, kh, kw] = self.kernel;
        let [_, oh, ow] = self.out;
        let line = self.axes == 1 && (self.padding[2] > 0 || kw > 1 || self.stride[2] > 1);
        let flat = self.axes < 3 || (self.size[0] == 1 && kd == 1 && self.padding[0] == 0);
        let edges = self.mode != PadMode::Reflect || self.padding[2] == 0;
        (self.groups == 1 && flat && !line && edges).then(|| Geometry {
            n: self.n,
            ci: self.ci,
            h,
            w,
            co: self.co,
            kh,
            kw,
            oh,
            ow,
            spec: ConvSpec {
                stride: self.stride[2],
                padding: self.padding[2],
                pad_mode: self.mode,
                ..Default::default()
            },
        })
    }
}

fn check(op: &'static str, spec: ConvSpec) -> Result<()> {
    if spec.stride == 0 {
        return Err(Error::argument(op, "stride", "at least 1", 0));
    }
    if spec.groups == 0 {
        return Err(Error::argument(op, "groups", "at least 1", 0));
    }
    Ok(())
}

/// What errors call the axes of maps and of kernels.
fn names(axes: usize) -> (&'static str, &'static str) {
    match axes {
        1 => ("l", "k"),
        2 => ("h, w", "kh, kw"),
        _ => ("d, h, w", "kd, kh, kw"),
    }
}

fn words(sizes: &[usize]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_any_number_of_axes() {
        let spec = ConvSpec { stride: 2, padding: 1, groups: 2, ..Default::default() };
        let s = Sizes::conv("conv1d", 1, &[3, 4, 9], &[6, 2, 4], spec).unwrap();
        assert_eq!((s.out, s.in_shape(), s.out_shape()), ([1, 1, 4], vec![3, 4, 9], vec![3, 6, 4]));
        let spec = ConvSpec { output_padding: 1, ..spec };
        let s = Sizes::transposed("conv_transpose3d", 3, &[1, 4, 2, 3, 4], &[4, 5, 3, 3, 3], spec).unwrap();
        assert_eq!((s.size, s.ci, s.co), ([4, 6, 8], 10, 4));
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let spec = ConvSpec::default();
        let conv = |x: &[usize], w: &[usize], spec| Sizes::conv("conv2d", 2, x, w, spec).is_err();
        assert!(conv(&[1, 2, 6], &[3, 2, 4, 4], spec));
        assert!(conv(&[1, 1, 6, 6], &[3, 2, 4, 4], spec));
        assert!(conv(&[1, 2, 3, 3], &[3, 2, 4, 4], spec));
        assert!(conv(&[1, 2, 6, 6], &[3, 2, 4, 4], ConvSpec { stride: 0, ..spec }));
        assert!(conv(&[1, 2, 6, 6], &[3, 2, 4, 4], ConvSpec { groups: 0, ..spec }));
        assert!(conv(&[1, 2, 6, 6], &[3, 1, 4, 4], ConvSpec { groups: 2, ..spec }));
        assert!(conv(&[1, 2, 6, 6], &[3, 2, 4, 4], ConvSpec { output_padding: 1, ..spec }));
        let reflect = ConvSpec { padding: 6, pad_mode: PadMode::Reflect, ..spec };
        assert!(conv(&[1, 2, 6, 6], &[3, 2, 4, 4], reflect));
        let transposed = |spec| Sizes::transposed("t", 2, &[1, 2, 6, 6], &[2, 3, 4, 4], spec);
        assert!(transposed(ConvSpec { stride: 2, pad_mode: PadMode::Circular, ..spec }).is_err());
        let text = transposed(ConvSpec { padding: 1, ..reflect }).unwrap_err().to_string();
        assert!(text.contains("zeros or circular") && text.contains("reflect"), "{text}");
    }
}
