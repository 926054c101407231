//! The kernels on the host, for the tests: compiled by the host's C++ compiler against the prelude `host.h`.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_uint, c_ulong, c_void};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, Result, Storage, StorageRef};

use super::queue::{Arg, Memory};
use super::source::{COMMON, Kernel, PROGRAMS};

const PRELUDE: &str = include_str!("kernels/host.h");

/// In which order the threads of a block run between barriers: ascending (and the blocks too), descending, or at random.
static ORDER: Mutex<u32> = Mutex::new(0);

/// One argument as the prelude takes it.
#[repr(C)]
struct Argument {
    data: *mut c_void,
    count: c_ulong,
}

type Entry = unsafe extern "C" fn(*const Argument, c_uint, c_uint, c_uint, c_uint) -> *const c_char;

/// The C++ compiler of this machine.
pub(super) fn compiler() -> Option<String> {
    let given = std::env::var("CXX").ok();
    let names = given.as_deref().into_iter().chain(["c++", "g++", "clang++"]);
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    names.into_iter().find(works).map(str::to_owned)
}

/// The address of the loaded library, or why there is none.
fn library() -> std::result::Result<usize, &'static str> {
    static LIBRARY: OnceLock<std::result::Result<usize, &'static str>> = OnceLock::new();
    *LIBRARY.get_or_init(|| {
        if !cfg!(target_os = "linux") {
            return Err("the emulation of devices is for Linux");
        }
        let Some(compiler) = compiler() else {
            return Err("no C++ compiler: the kernels of devices are not tested");
        };
        let folder = std::env::temp_dir().join(format!("halocast-emulation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (source, object) = (folder.join("kernels.cc"), folder.join("kernels.so"));
        let programs: Vec<&str> = PROGRAMS.iter().map(|program| program.source).collect();
        std::fs::write(&source, [PRELUDE, COMMON, &programs.join("\n")].join("\n")).unwrap();
        let output = Command::new(compiler)
            .args(["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror"])
            .args(["-Wno-unused-function", "-U_FORTIFY_SOURCE", "-o"])
            .args([&object, &source])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = CString::new(object.to_str().unwrap()).unwrap();
        // SAFETY: a library without initialisers of its own, which stays loaded.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "{} cannot be loaded", object.display());
        std::fs::remove_dir_all(&folder).unwrap();
        Ok(handle as usize)
    })
}

thread_local! {
    static PLAYED: Cell<bool> = const { Cell::new(false) };
    static LAUNCHES: Cell<usize> = const { Cell::new(0) };
}

/// Whether tensors of the CPU count as those of a device on this thread.
pub(crate) fn played_by_host() -> bool {
    PLAYED.get()
}

/// How many kernels this thread has launched.
pub(super) fn launches() -> usize {
    LAUNCHES.get()
}

/// Runs `body` with the host as the device.
pub(super) fn on_device<R>(body: impl FnOnce() -> R) -> R {
    PLAYED.set(true);
    let result = body();
    PLAYED.set(false);
    result
}

/// Whether there is an emulation; says why not.
pub(super) fn available() -> bool {
    library().inspect_err(|why| println!("{why}")).is_ok()
}

/// Runs `body` under two orders of the threads, and asserts that it does not depend on them.
pub(super) fn in_every_order<T: PartialEq + std::fmt::Debug>(body: impl Fn() -> T) -> T {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let under = |order| {
        *ORDER.lock().unwrap() = order;
        body()
    };
    let result = under(0);
    assert!(under(7) == result, "the result depends on the order of the threads");
    result
}

pub(super) fn launch(kernel: Kernel, blocks: u32, args: &mut [Arg]) -> Result<()> {
    LAUNCHES.set(LAUNCHES.get() + 1);
    let handle = library().map_err(candle_core::Error::msg)?;
    let symbol = CString::new(format!("emulated_{}", kernel.name)).unwrap();
    // SAFETY: `handle` is that of a loaded library.
    let entry = unsafe { libc::dlsym(handle as *mut c_void, symbol.as_ptr()) };
    assert!(!entry.is_null(), "no kernel {}", kernel.name);
    // SAFETY: every entry of the prelude has this type.
    let entry: Entry = unsafe { std::mem::transmute(entry) };
    let read: Vec<Option<StorageRef>> = args
        .iter()
        .map(|arg| if let Arg::In(tensor) = arg { Some(tensor.storage_and_layout().0) } else { None })
        .collect();
    let scalars: Vec<u32> = args
        .iter()
        .map(|arg| match arg {
            Arg::Int(n) => *n as u32,
            Arg::Real(x) => x.to_bits(),
            _ => 0,
        })
        .collect();
    let mut arguments = Vec::new();
    for ((arg, read), scalar) in args.iter_mut().zip(&read).zip(&scalars) {
        let (data, start, count) = match (arg, read.as_deref()) {
            (Arg::In(x), Some(Storage::Cpu(storage))) => {
                let data = match storage {
                    CpuStorage::F32(x) => x.as_ptr().cast::<c_void>(),
                    CpuStorage::U32(x) => x.as_ptr().cast(),
                    _ => candle_core::bail!("neither F32 nor U32"),
                };
                (data.cast_mut(), x.layout().start_offset(), x.elem_count())
            }
            (Arg::Out { memory: Memory::Cpu(storage), start, len }, _) => {
                let data = match storage {
                    CpuStorage::F32(x) => x.as_mut_ptr().cast::<c_void>(),
                    CpuStorage::U32(x) => x.as_mut_ptr().cast(),
                    _ => candle_core::bail!("neither F32 nor U32"),
                };
                (data, *start, *len)
            }
            (Arg::Int(_) | Arg::Real(_), _) => ((scalar as *const u32).cast_mut().cast(), 0, 1),
            _ => candle_core::bail!("not on the host"),
        };
        arguments
            .push(Argument { data: data.cast::<u32>().wrapping_add(start).cast(), count: count as c_ulong });
    }
    // The prelude has one state.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let order = *ORDER.lock().unwrap();
    // SAFETY: the prelude checks number and bounds of the arguments; inputs are only read. The answer is a string of
    // the library's that the next launch overwrites.
    let error = unsafe {
        let (count, threads) = (arguments.len() as c_uint, kernel.threads as c_uint);
        CStr::from_ptr(entry(arguments.as_ptr(), count, blocks, threads, order)).to_str().unwrap().to_owned()
    };
    if error.is_empty() { Ok(()) } else { candle_core::bail!("{}: {error}", kernel.name) }
}
