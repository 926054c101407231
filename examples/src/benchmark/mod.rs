//! Benchmarks: jobs with the names, shapes and sizes of the scripts that time other tools on the same work.
//!
//! A job makes its input, then is run until its time is up; only the runs are timed. Where several jobs are asked for,
//! each has a process of its own, so that none finds the memory of another.

mod engine;
mod growth;
mod inputs;
mod io;
mod maps;
mod timing;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use halocast::core::write_whole;

use crate::console;

/// What is timed, again and again.
type Work = Box<dyn FnMut() -> Result<()>>;

/// Makes the input of a job from the seed.
type Prepare = Box<dyn Fn(u64) -> Result<Work>>;

/// One job.
struct Job {
    /// The peer's script.
    group: &'static str,
    name: String,
    what: &'static str,
    prepare: Prepare,
}

impl Job {
    fn new(
        group: &'static str,
        name: impl Into<String>,
        what: &'static str,
        prepare: impl Fn(u64) -> Result<Work> + 'static,
    ) -> Self {
        Self { group, name: name.into(), what, prepare: Box::new(prepare) }
    }
}

/// The end of a run: its result counts as used, so that the compiler leaves none of the work out.
fn done<T>(result: T) -> Result<()> {
    std::hint::black_box(result);
    Ok(())
}

/// Jobs of the peers' scripts that the libraries cannot do yet.
const NOT_YET: [(&str, &str); 4] = [
    ("b4_sph", "kdtree_build_1e6_3d"),
    ("dim", "dim_b8_fwd"),
    ("dim", "dim_b4_train"),
    ("adapointr", "adapointr_b4_train"),
];

/// The flags of a benchmark.
pub struct Options {
    /// Number of threads; 0 for one a core.
    pub threads: usize,
    /// Where the lines go, besides standard output.
    pub json: Option<PathBuf>,
    /// Seconds of timed runs a job.
    pub budget: f64,
    /// Seed of the inputs.
    pub seed: u64,
    /// Whether real-time scheduling is asked for.
    pub real_time: bool,
}

fn jobs() -> Vec<Job> {
    let peers = maps::jobs().into_iter().chain(growth::jobs()).chain(io::jobs());
    peers.chain(engine::jobs()).collect()
}

/// Prints a line for every job: group, name, what is timed.
///
/// # Errors
/// Never today: the programs' parts all tell how they ended.
pub fn list() -> Result<()> {
    for job in jobs() {
        console::say(format!("{:<13}  {:<36}  {}", job.group, job.name, job.what));
    }
    for (group, name) in NOT_YET {
        console::say(format!("{group:<13}  {name:<36}  not yet"));
    }
    Ok(())
}

/// Runs the jobs named, or all.
///
/// # Errors
/// When a name is unknown, a job fails, or the file cannot be written.
pub fn run(names: &[String], options: &Options) -> Result<()> {
    ensure!(
        options.budget >= 0.0 && options.budget.is_finite(),
        "--budget is {}, expected seconds",
        options.budget
    );
    let chosen = choose(names)?;
    let lines = match chosen.as_slice() {
        [job] => {
            console::set_threads(options.threads)?;
            let line = timing::time(job, options)?;
            console::say(&line);
            vec![line]
        }
        jobs => jobs.iter().map(|job| in_own_process(job, options)).collect::<Result<_>>()?,
    };
    if let Some(path) = &options.json {
        write_whole(path, |out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    }
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<Job>> {
    for name in names {
        let is = |group: &str, job: &str| group == name || job == name;
        if jobs().iter().any(|job| is(job.group, &job.name)) {
            continue;
        }
        if NOT_YET.iter().any(|(group, job)| is(group, job)) {
            bail!("the job {name:?} cannot be run yet");
        }
        bail!("there is no job {name:?}; --list names them");
    }
    let asked = |job: &Job| names.is_empty() || names.iter().any(|n| *n == job.group || *n == job.name);
    Ok(jobs().into_iter().filter(asked).collect())
}

fn in_own_process(job: &Job, options: &Options) -> Result<String> {
    let mut command = Command::new(std::env::current_exe().context("this program's own file")?);
    command.arg(&job.name).args(["--threads", &options.threads.to_string()]);
    command.args(["--budget", &options.budget.to_string(), "--seed", &options.seed.to_string()]);
    if options.real_time {
        command.arg("--real-time");
    }
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("job {}", job.name))?;
    ensure!(output.status.success(), "job {} failed: {}", job.name, output.status);
    let line = String::from_utf8(output.stdout)?.trim().to_owned();
    console::say(&line);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_job_has_its_own_name() {
        let all = jobs();
        let names: BTreeSet<&str> =
            all.iter().map(|job| job.name.as_str()).chain(NOT_YET.map(|(_, name)| name)).collect();
        assert_eq!(names.len(), all.len() + NOT_YET.len());
    }

    #[test]
    fn a_group_is_all_of_its_jobs_and_an_unknown_name_is_told() {
        let names = |asked: &str| -> Vec<String> {
            choose(&[asked.to_owned()]).unwrap().into_iter().map(|job| job.name).collect()
        };
        assert_eq!(names("b2_minkowski").len(), 2);
        assert_eq!(names("unet_b8_train"), ["unet_b8_train"]);
        let told = |name: &str| choose(&[name.to_owned()]).err().map(|e| e.to_string()).unwrap();
        assert!(told("kdtree_build_1e6_3d").contains("yet"));
        assert!(told("abacus").contains("abacus"));
    }
}
