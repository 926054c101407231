//! What a run costs: time by part, memory, energy.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Examples are read and augmented.
    Data,
    /// The loss is computed.
    Forward,
    /// The gradients are computed.
    Backward,
    /// The parameters and their averages are moved.
    Optimizer,
    /// Checkpoints and states are written.
    Checkpoint,
    /// The caller draws samples, scores or bars.
    Caller,
}

/// The cost of a run, over all the calls that made it, as `ledger.json` holds it at the last saved state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Steps taken, those taken again after a crash included.
    pub steps: u64,
    /// Examples seen.
    pub examples: u64,
    /// Seconds for [`Part::Data`].
    pub data_s: f64,
    /// Seconds for [`Part::Forward`].
    pub forward_s: f64,
    /// Seconds for [`Part::Backward`].
    pub backward_s: f64,
    /// Seconds for [`Part::Optimizer`].
    pub optimizer_s: f64,
    /// Seconds for [`Part::Checkpoint`].
    pub checkpoint_s: f64,
    /// Seconds for [`Part::Caller`].
    pub caller_s: f64,
    /// Largest resident memory in MB, where the system tells (Linux).
    pub peak_mb: Option<f64>,
    /// Energy in joules of all processor packages, whatever ran on them, where the machine tells: see [`EnergyMeter`].
    pub energy_j: Option<f64>,
}

impl Ledger {
    /// Books a time.
    pub fn add(&mut self, part: Part, time: Duration) {
        let account = match part {
            Part::Data => &mut self.data_s,
            Part::Forward => &mut self.forward_s,
            Part::Backward => &mut self.backward_s,
            Part::Optimizer => &mut self.optimizer_s,
            Part::Checkpoint => &mut self.checkpoint_s,
            Part::Caller => &mut self.caller_s,
        };
        *account += time.as_secs_f64();
    }

    /// Runs `work` and books its time.
    pub fn time<R>(&mut self, part: Part, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.add(part, start.elapsed());
        result
    }

    /// Seconds of the steps themselves.
    pub fn step_s(&self) -> f64 {
        self.data_s + self.forward_s + self.backward_s + self.optimizer_s
    }

    /// Looks at memory and energy.
    pub fn look(&mut self, meter: Option<&mut EnergyMeter>) {
        let peak = memory_mb("VmHWM:");
        self.peak_mb = self.peak_mb.into_iter().chain(peak).reduce(f64::max);
        if let Some(meter) = meter {
            *self.energy_j.get_or_insert(0.0) += meter.joules_since();
        }
    }
}

/// A line of `/proc/self/status` in MB.
pub(crate) fn memory_mb(line: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let text = status.lines().find_map(|l| l.strip_prefix(line))?;
    let kilobytes: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// The energy counters of the processor packages: Linux's `powercap` interface to RAPL.
///
/// Many systems let root alone read them, and virtual machines seldom have them: then there is no meter.
#[derive(Debug)]
pub struct EnergyMeter {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    folder: PathBuf,
    /// The counter begins again at zero beyond this.
    range: u64,
    last: u64,
}

impl EnergyMeter {
    /// The meter of this machine, where it can be read.
    pub fn open() -> Option<Self> {
        Self::in_folder(Path::new("/sys/class/powercap"))
    }

    /// The meter under a folder laid out as `/sys/class/powercap`.
    pub fn in_folder(folder: &Path) -> Option<Self> {
        let mut packages: Vec<Package> = std::fs::read_dir(folder)
            .ok()?
            .filter_map(|entry| {
                let folder = entry.ok()?.path();
                // `intel-rapl:0` is a package; `intel-rapl:0:1` is a part of one.
                let number = folder.file_name()?.to_str()?.strip_prefix("intel-rapl:")?;
                number.parse::<u32>().ok()?;
                let range = counter(&folder, "max_energy_range_uj")?;
                let last = counter(&folder, "energy_uj")?;
                Some(Package { folder, range, last })
            })
            .collect();
        packages.sort_by(|a, b| a.folder.cmp(&b.folder));
        (!packages.is_empty()).then_some(Self { packages })
    }

    /// Joules since the last call, or since the meter was opened. A counter turns over after some minutes at full
    /// power; longer intervals lose whole turns.
    pub fn joules_since(&mut self) -> f64 {
        let mut microjoules = 0;
        for package in &mut self.packages {
            if let Some(now) = counter(&package.folder, "energy_uj") {
                microjoules += if now >= package.last {
                    now - package.last
                } else {
                    (package.range + now).saturating_sub(package.last)
                };
                package.last = now;
            }
        }
        microjoules as f64 * 1e-6
    }
}

fn counter(folder: &Path, name: &str) -> Option<u64> {
    std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
}

/// How fast a run is, for a progress bar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Examples a second, over the last twenty steps or so.
    pub examples_per_second: f64,
    /// The time to the last step at this pace.
    pub remaining: Duration,
}

/// Smooths the time of a step.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    seconds: Option<f64>,
}

impl Clock {
    pub(crate) fn tick(&mut self, seconds: f64, examples: usize, steps_left: u64) -> Pace {
        let smooth = self.seconds.map_or(seconds, |old| 0.95 * old + 0.05 * seconds).max(1e-9);
        self.seconds = Some(smooth);
        let remaining = Duration::try_from_secs_f64(smooth * steps_left as f64).unwrap_or(Duration::MAX);
        Pace { examples_per_second: examples as f64 / smooth, remaining }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn energy_is_the_difference_of_the_packages_counters_and_turns_over() {
        let root = std::env::temp_dir().join(format!("halocast-powercap-{}", std::process::id()));
        let set = |name: &str, energy: u64| {
            let folder = root.join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("max_energy_range_uj"), "1000000\n").unwrap();
            fs::write(folder.join("energy_uj"), format!("{energy}\n")).unwrap();
        };
        assert!(EnergyMeter::in_folder(&root).is_none());
        set("intel-rapl:0", 100_000);
        set("intel-rapl:1", 900_000);
        set("intel-rapl:0:0", 5);
        let mut meter = EnergyMeter::in_folder(&root).unwrap();
        set("intel-rapl:0", 350_000);
        set("intel-rapl:1", 50_000);
        set("intel-rapl:0:0", 999_999);
        assert!((meter.joules_since() - 0.4).abs() < 1e-12);
        assert_eq!(meter.joules_since(), 0.0);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_pace_is_examples_over_seconds() {
        let mut clock = Clock::default();
        let mut pace = Pace::default();
        (0..10).for_each(|_| pace = clock.tick(0.5, 8, 60));
        assert!((pace.examples_per_second - 16.0).abs() < 1e-9);
        assert!((pace.remaining.as_secs_f64() - 30.0).abs() < 1e-6);
    }
}
