//! Rows as a table for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Row;

/// A table in Markdown, one for each task.
pub fn markdown(rows: &[Row]) -> String {
    let tasks: BTreeSet<&str> = rows.iter().map(|row| row.task.as_str()).collect();
    let mut text = String::new();
    for task in tasks {
        let own: Vec<&Row> = rows.iter().filter(|row| row.task == task).collect();
        let split = own.iter().find_map(|row| row.pk_split_half);
        let _ = writeln!(text, "### {task}\n");
        if let Some(split) = split {
            let _ = writeln!(text, "P(k) of halves of the test maps differ by {split:.3}.\n");
        }
        text.push_str(
            "| model | P(k) error | PDF | Minkowski | r(k) | PSNR dB | SSIM | ln p, nats/dim | parameters | \
             steps | training s | sample s | evaluations |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in own {
            let number = |value: Option<f64>, digits: usize| {
                value.map_or(String::from("-"), |v| format!("{v:.digits$}"))
            };
            let whole = |value: Option<u64>| value.map_or(String::from("-"), |v| v.to_string());
            let nats = match (row.log_prob, row.log_prob_error) {
                (Some(mean), Some(error)) => format!("{mean:.3} ± {error:.3}"),
                _ => "-".into(),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {nats} | {} | {} | {} | {} | {} |",
                row.name,
                number(row.pk_error, 3),
                number(row.pdf, 3),
                number(row.minkowski, 2),
                number(row.coherence, 3),
                number(row.psnr, 1),
                number(row.ssim, 3),
                whole(row.parameters.map(|p| p as u64)),
                whole(row.steps),
                number(row.train_s, 0),
                number(row.sample_s, 3),
                whole(row.evaluations),
            );
        }
        text.push('\n');
    }
    text
}
