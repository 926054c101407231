//! Work in parts: each made by one thread, written whole or not at all, found again after a kill.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use halocast::core::{Progress, write_whole};
use serde::Serialize;

use super::share::Share;

/// The file that says what the folder holds.
const RECIPE: &str = "dataset.json";

/// Between two looks at what the other processes have made.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes what the set is into its folder, or waits for the first process to; a folder that holds another set is refused. Where
/// the folder lies is not what it is.
pub(super) fn claim(out: &Path, kind: &str, what: &str, config: &impl Serialize, share: Share) -> Result<()> {
    let mut recipe = serde_json::json!({
        "kind": kind,
        "what": what,
        "halocast": env!("CARGO_PKG_VERSION"),
        "config": config,
    });
    recipe["config"]["out"] = serde_json::Value::Null;
    let recipe = serde_json::to_string_pretty(&recipe)?;
    let path = out.join(RECIPE);
    while !share.is_first() && !path.exists() {
        std::thread::sleep(PAUSE);
    }
    match std::fs::read_to_string(&path) {
        Ok(old) if old != recipe => bail!("{}: holds another set; choose another folder", path.display()),
        Ok(_) => Ok(()),
        Err(_) => Ok(write_whole(&path, |w| w.write_all(recipe.as_bytes()))?),
    }
}

/// Makes the parts of this process that are not there yet, one thread each. The first process returns when all parts are
/// there, those of the others too.
pub(super) fn make_missing(
    count: usize,
    name: &str,
    share: Share,
    is_there: impl Fn(usize) -> bool + Sync,
    make: impl Fn(usize) -> Result<()> + Sync,
    progress: &Progress<'_>,
) -> Result<()> {
    let own: Vec<usize> = share.parts(count).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        loop {
            let Some(&i) = own.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
            if !is_there(i) {
                pool.install(|| make(i)).with_context(|| format!("{name} {i}"))?;
            }
            progress(done.fetch_add(1, Ordering::Relaxed) as u64 + 1, own.len() as u64);
        }
    };
    let threads = rayon::current_num_threads().clamp(1, own.len().max(1));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| anyhow!("a {name} panicked"))?)
    })?;
    while share.is_first() && !(0..count).all(&is_there) {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
