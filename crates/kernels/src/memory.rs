//! Memory of the kernels: outputs written once by many tasks, scratch that is reused, tensors as slices.

use std::cell::RefCell;

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor};

/// A raw pointer that tasks of one operation share; each writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: only a pointer; whoever dereferences it promises that tasks write disjoint parts.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(slice: &mut [f32]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The pointer to element `index`.
    ///
    /// # Safety
    /// `index` lies within (or one past) the memory this was made of.
    #[inline(always)]
    pub(crate) unsafe fn at(self, index: usize) -> *mut f32 {
        // SAFETY: the caller keeps `index` in bounds.
        unsafe { self.0.add(index) }
    }

    /// The part `[start, start + len)` as a slice.
    ///
    /// # Safety
    /// The part lies within the memory, and no other task touches it while the slice lives.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller promises bounds and exclusive use. The memory may hold no value yet: every
        // bit pattern is an `f32`, and tasks write before they read.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// An output of `len` numbers that is allocated without being filled.
pub(crate) struct Output {
    data: Vec<f32>,
    len: usize,
}

impl Output {
    pub(crate) fn new(len: usize) -> Self {
        Self { data: Vec::with_capacity(len), len }
    }

    /// Where the tasks write.
    pub(crate) fn shared(&mut self) -> Shared {
        Shared(self.data.as_mut_ptr())
    }

    /// The filled vector.
    ///
    /// # Safety
    /// Every one of the `len` numbers was written.
    pub(crate) unsafe fn finish(mut self) -> Vec<f32> {
        // SAFETY: the capacity is at least `len` and the caller wrote all of it.
        unsafe { self.data.set_len(self.len) };
        self.data
    }
}

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with a scratch slice of `len` numbers of arbitrary content, aligned to 64 bytes.
///
/// The memory comes from a pool of this thread and returns to it: large scratch would otherwise be mapped,
/// faulted in and unmapped by the system on every call.
pub(crate) fn with_scratch<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    const ALIGN: usize = 16;
    let need = len + ALIGN;
    let mut buffer = POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        // The smallest that is large enough, else the largest (which then grows).
        let fit = (0..pool.len()).filter(|&i| pool[i].len() >= need).min_by_key(|&i| pool[i].len());
        let any = fit.or_else(|| (0..pool.len()).max_by_key(|&i| pool[i].len()));
        any.map(|i| pool.swap_remove(i)).unwrap_or_default()
    });
    if buffer.len() < need {
        buffer = vec![0.0; need];
    }
    let start = buffer.as_ptr().align_offset(64).min(ALIGN);
    let result = body(&mut buffer[start..start + len]);
    POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < 8 {
            pool.push(buffer);
        }
    });
    result
}

/// The numbers of a contiguous `f32` CPU storage.
pub(crate) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&data[start..end]),
        _ => candle_core::bail!("a kernel was given a tensor that is not contiguous f32"),
    }
}

/// Runs `body` on the numbers of a tensor (made contiguous where it is not).
pub(crate) fn with_numbers<R>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => body(numbers(storage, layout)?),
        _ => candle_core::bail!("a CPU kernel was given a tensor of another device"),
    }
}

/// A CPU tensor of these numbers.
pub(crate) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// Whether all tensors are `f32` on the CPU: what the kernels of this crate take.
pub(crate) fn on_cpu(tensors: &[&Tensor]) -> bool {
    let here = |t: &&Tensor| t.device().is_cpu() && t.dtype() == candle_core::DType::F32;
    !crate::device::played_by_host() && tensors.iter().all(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_aligned_and_nests() {
        with_scratch(100, |a| {
            with_scratch(50, |b| {
                assert_eq!(a.as_ptr() as usize % 64, 0);
                assert_eq!(b.as_ptr() as usize % 64, 0);
                assert_eq!((a.len(), b.len()), (100, 50));
                a.fill(1.0);
                b.fill(2.0);
                assert!(a.iter().all(|&v| v == 1.0));
            });
        });
    }
}
