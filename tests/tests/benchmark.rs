//! The benchmark program as a user meets it.

use anyhow::{Context, Result, ensure};
use halocast_tests::{requires_one_clear_line, run};

#[test]
fn the_list_names_jobs_that_run_and_jobs_that_do_not_yet() -> Result<()> {
    let output = run("benchmark", &["--list"])?;
    ensure!(output.status.success(), "--list failed");
    let list = String::from_utf8(output.stdout)?;
    for job in
        ["pk2d_200x256", "minkowski2d_200x256_50th", "mas3d_CIC_1e6_256", "unet_b8_train", "unet_b1_fwd"]
    {
        let line = list.lines().find(|line| line.split_whitespace().nth(1) == Some(job));
        ensure!(line.is_some_and(|line| !line.ends_with("not yet")), "{job} is not a job: {list}");
    }
    Ok(())
}

#[test]
fn jobs_are_one_line_of_json_each() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("times.jsonl");
    let path = file.to_str().context("a path that is text")?;
    let jobs = ["augment_64x256_dihedral", "rfft2_64x256"];
    let output =
        run("benchmark", &[&jobs[..], &["--threads", "1", "--budget", "0", "--json", path]].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    ensure!(said == std::fs::read_to_string(&file)?, "the file and the output differ: {said}");
    let mut names = Vec::new();
    for line in said.lines() {
        let record: serde_json::Value = serde_json::from_str(line)?;
        let number = |field: &str| record[field].as_f64().with_context(|| format!("{line}: no {field}"));
        ensure!(number("min_s")? > 0.0 && number("min_s")? <= number("median_s")?, "{line}");
        ensure!(
            number("peak_rss_mb")? > 1.0 && number("threads")? == 1.0 && number("runs")? >= 3.0,
            "{line}"
        );
        names.push(record["job"].as_str().context("no name")?.to_owned());
    }
    ensure!(names == jobs, "jobs {names:?}");
    Ok(())
}

#[test]
fn an_unknown_job_is_one_clear_line() -> Result<()> {
    requires_one_clear_line(&run("benchmark", &["abacus"])?, &["abacus", "--list"])?;
    requires_one_clear_line(&run("benchmark", &["unet_b8_fwd", "--budget=-1"])?, &["--budget"])
}
