//! Work in parts: each made by one thread, written whole or not at all, found again after a kill.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use halocast::core::{Progress, write_whole};
use serde::Serialize;

/// The file that says what the folder holds.
const RECIPE: &str = "dataset.json";

/// Writes what the set is into its folder; a folder that holds another set is refused. Where the folder lies is not what it is.
pub(super) fn claim(out: &Path, kind: &str, what: &str, config: &impl Serialize) -> Result<()> {
    let mut recipe = serde_json::json!({
        "kind": kind,
        "what": what,
        "halocast": env!("CARGO_PKG_VERSION"),
        "config": config,
    });
    recipe["config"]["out"] = serde_json::Value::Null;
    let recipe = serde_json::to_string_pretty(&recipe)?;
    let path = out.join(RECIPE);
    match std::fs::read_to_string(&path) {
        Ok(old) if old != recipe => bail!("{}: holds another set; choose another folder", path.display()),
        Ok(_) => Ok(()),
        Err(_) => Ok(write_whole(&path, |w| w.write_all(recipe.as_bytes()))?),
    }
}

/// Makes the parts that are not there yet, one thread each.
pub(super) fn make_missing(
    count: usize,
    name: &str,
    is_there: impl Fn(usize) -> bool + Sync,
    make: impl Fn(usize) -> Result<()> + Sync,
    progress: &Progress<'_>,
) -> Result<()> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return Ok(());
            }
            if !is_there(i) {
                pool.install(|| make(i)).with_context(|| format!("{name} {i}"))?;
            }
            progress(done.fetch_add(1, Ordering::Relaxed) as u64 + 1, count as u64);
        }
    };
    let threads = rayon::current_num_threads().clamp(1, count.max(1));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| anyhow!("a {name} panicked"))?)
    })
}
