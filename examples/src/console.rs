//! Progress bars, tables and the one line of an error, for a person at a terminal.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use halocast::train::Stop;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Runs a program: an error is one clear line on standard error and exit code 1; work that was [`Interrupted`] is one,
/// too, and exit code 130.
pub fn run(program: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A multi-line cause would hide the first line, which names the file.
            let line = format!("{error:#}").replace('\n', " ");
            #[allow(clippy::print_stderr)]
            {
                match error.is::<Interrupted>() {
                    true => eprintln!("{line}"),
                    false => eprintln!("error: {line}"),
                }
            }
            if error.is::<Interrupted>() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

/// The end of work that was asked to stop: what was saved, and how to go on.
#[derive(Debug)]
pub struct Interrupted(pub String);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Interrupted {}

/// What Ctrl-C does, and the signal by which batch systems announce the end: work that can be saved is asked to stop;
/// elsewhere, and at the second time, the program ends at once.
pub struct Interrupt {
    stop: Stop,
    idle: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> anyhow::Result<Self> {
        let (stop, idle) = (Stop::default(), Arc::new(AtomicBool::new(true)));
        for signal in [SIGINT, SIGTERM] {
            // They are asked in this order.
            flag::register_conditional_default(signal, idle.clone())?;
            flag::register_conditional_shutdown(signal, 130, stop.flag())?;
            flag::register(signal, stop.flag())?;
        }
        Ok(Self { stop, idle })
    }

    /// The flag that is set.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Runs work that looks at the flag.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.idle.store(false, Ordering::SeqCst);
        let result = work();
        self.idle.store(true, Ordering::SeqCst);
        result
    }
}

/// Runs a program on its command line: a flag that does not fit is one clear line and exit code 1, too.
pub fn main<A: clap::Parser>(program: impl FnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    match A::try_parse() {
        Ok(arguments) => run(|| program(arguments)),
        // --help and --version are no errors.
        Err(asked) if !asked.use_stderr() => {
            let _ = asked.print();
            ExitCode::SUCCESS
        }
        Err(error) => run(|| {
            let text = error.to_string();
            let first =
                text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(anyhow::anyhow!(first))
        }),
    }
}

/// A line for the person at the terminal.
#[allow(clippy::print_stdout)]
pub fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}

/// A progress bar of `total` steps named `what`.
pub fn bar(what: &str, total: u64) -> ProgressBar {
    let template = "{prefix:24} [{bar:30}] {pos}/{len} {elapsed}<{eta} {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// A sign of life for a stage that cannot say how far it is; it ends when dropped.
pub fn spinner(what: &str) -> Spinner {
    let style = ProgressStyle::with_template("{prefix:24} {spinner} {elapsed}");
    let bar = ProgressBar::new_spinner().with_prefix(what.to_owned());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    Spinner(bar)
}

/// See [`spinner`].
pub struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// The wall time of the stages of a program, in the order they ran.
#[derive(Default)]
pub struct Timings {
    stages: Mutex<Vec<(String, f64)>>,
}

impl Timings {
    /// Runs a stage and notes its time.
    pub fn stage<T>(&self, name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        let result = work()?;
        if let Ok(mut stages) = self.stages.lock() {
            stages.push((name.to_owned(), start.elapsed().as_secs_f64()));
        }
        Ok(result)
    }

    /// The stages and their seconds.
    pub fn list(&self) -> Vec<(String, f64)> {
        self.stages.lock().map(|s| s.clone()).unwrap_or_default()
    }
}

/// The largest resident memory of this process so far, in MB, where the system tells (Linux).
pub fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// Sets the number of threads of every parallel part; 0 leaves one a core.
///
/// # Errors
/// When the pool was made before.
pub fn set_threads(threads: usize) -> anyhow::Result<()> {
    if threads > 0 {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    Ok(())
}

/// The device of a `--device` flag.
///
/// # Errors
/// When the name is unknown, or this build or machine has no such device.
pub fn device(name: &str) -> anyhow::Result<candle_core::Device> {
    match name {
        "cpu" => Ok(candle_core::Device::Cpu),
        "cuda" => candle_core::Device::new_cuda(0).context("no CUDA device (built with --features cuda?)"),
        "metal" => {
            candle_core::Device::new_metal(0).context("no Metal device (built with --features metal?)")
        }
        other => anyhow::bail!("--device is {other:?}, expected cpu, cuda or metal"),
    }
}
