//! Parameter files: one row a simulation, six columns in one order.

use std::io::Write;
use std::path::{Path, PathBuf};

use halocast_core::write_whole;
use ndarray::Array2;

use crate::{Error, Result};

/// The columns of a parameter file in their order. Note that `A_AGN1` comes before `A_SN2`.
pub const CMD_PARAMETERS: [&str; 6] = ["Omega_m", "sigma_8", "A_SN1", "A_AGN1", "A_SN2", "A_AGN2"];

/// The parameters of a set of simulations.
#[derive(Clone, Debug, PartialEq)]
pub struct CmdParams {
    /// The file they were read from.
    pub path: PathBuf,
    /// `[simulation, parameter]`, the columns in the order of [`CMD_PARAMETERS`].
    pub values: Array2<f64>,
}

impl CmdParams {
    /// The number of simulations.
    pub fn len(&self) -> usize {
        self.values.nrows()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks the number of simulations.
    ///
    /// # Errors
    /// [`Error::Invalid`] with both numbers.
    pub fn require_rows(&self, expected: usize) -> Result<()> {
        if self.len() == expected {
            return Ok(());
        }
        Err(Error::invalid(&self.path, "number of rows", expected.to_string(), self.len().to_string()))
    }
}

/// Reads a parameter file: `params_{set}_{suite}.txt` with or without a header, or `CosmoAstroSeed_*.txt`.
///
/// A header has to name the columns in the order of [`CMD_PARAMETERS`]; a file whose header says otherwise is refused,
/// because either the header or the numbers are wrong (both are found), and the reader cannot know which.
///
/// # Errors
/// [`Error::Read`]; [`Error::Invalid`] for another order, another number of columns, or what is not a finite number,
/// with the line.
pub fn read_params(path: impl AsRef<Path>) -> Result<CmdParams> {
    read(path.as_ref(), true)
}

/// As [`read_params`], but a header is skipped unread: for files whose header is known to be wrong.
///
/// # Errors
/// As [`read_params`], but for the order.
pub fn read_params_by_position(path: impl AsRef<Path>) -> Result<CmdParams> {
    read(path.as_ref(), false)
}

fn read(path: &Path, trust_header: bool) -> Result<CmdParams> {
    let text = std::fs::read(path).map_err(Error::read(path))?;
    let text = String::from_utf8(text).map_err(|_| Error::invalid(path, "content", "text", "other bytes"))?;
    // Files of seeds have a name before the parameters and a seed after them.
    let mut named = false;
    let mut values = Vec::new();
    let mut rows = 0;
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        let words: Vec<&str> = line.trim_start_matches('#').split_whitespace().collect();
        let is_header = line.starts_with('#') || words.first().is_some_and(|w| canonical(w).is_some());
        if words.is_empty() {
            continue;
        }
        if is_header && rows == 0 {
            named = words[0].eq_ignore_ascii_case("name");
            if trust_header {
                check_header(path, &words, named)?;
            }
            continue;
        }
        if is_header {
            continue;
        }
        named |= rows == 0 && words.len() == 8 && words[0].parse::<f64>().is_err();
        let expected = if named { 8 } else { 6 };
        if words.len() != expected {
            let got = format!("{} columns", words.len());
            return Err(Error::invalid(path, format!("line {number}"), format!("{expected} columns"), got));
        }
        let first = usize::from(named);
        for (word, parameter) in words[first..first + 6].iter().zip(CMD_PARAMETERS) {
            match word.parse::<f64>() {
                Ok(value) if value.is_finite() => values.push(value),
                _ => {
                    let field = format!("line {number}, {parameter}");
                    return Err(Error::invalid(path, field, "a finite number", format!("{word:?}")));
                }
            }
        }
        rows += 1;
    }
    if rows == 0 {
        return Err(Error::invalid(path, "number of rows", "at least 1", "0"));
    }
    let values = Array2::from_shape_vec((rows, 6), values)
        .map_err(|e| Error::invalid(path, "content", "six columns", e.to_string()))?;
    check_ranges(path, &values)?;
    Ok(CmdParams { path: path.to_path_buf(), values })
}

/// The words of every row that is no header, with its line.
pub(super) fn rows_of_words(path: &Path) -> Result<Vec<(usize, Vec<String>)>> {
    let text = std::fs::read(path).map_err(Error::read(path))?;
    let text = String::from_utf8(text).map_err(|_| Error::invalid(path, "content", "text", "other bytes"))?;
    let rows = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && !line.split_whitespace().any(|w| canonical(w).is_some())
    });
    Ok(rows.map(|(i, line)| (i + 1, line.split_whitespace().map(str::to_owned).collect())).collect())
}

/// Rows from which the ranges of the columns can be told.
const TELLING_ROWS: usize = 100;

/// Checks the order of the columns by their ranges, where a latin hypercube fills them: A_SN1 and A_AGN1 reach from 1/4 to
/// 4, A_SN2 from 1/2 to 2.
fn check_ranges(path: &Path, values: &Array2<f64>) -> Result<()> {
    if values.nrows() < TELLING_ROWS {
        return Ok(());
    }
    let largest = |column: usize| values.column(column).fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let (agn1, sn2) = (largest(3), largest(4));
    if agn1 <= 2.01 && sn2 > 2.01 {
        let got = format!("A_AGN1 up to {agn1}, A_SN2 up to {sn2}: the two columns are swapped");
        return Err(Error::invalid(path, "ranges of the columns", "A_AGN1 up to 4 and A_SN2 up to 2", got));
    }
    Ok(())
}

fn check_header(path: &Path, words: &[&str], named: bool) -> Result<()> {
    let columns = if named { words.get(1..7).unwrap_or(&[]) } else { words };
    let names: Vec<_> = columns.iter().map(|w| canonical(w)).collect();
    if names.iter().all(Option::is_none) && !named {
        // A remark, not a header.
        return Ok(());
    }
    if names.iter().map(|n| n.unwrap_or("?")).eq(CMD_PARAMETERS) {
        return Ok(());
    }
    Err(Error::invalid(path, "columns of the header", CMD_PARAMETERS.join(" "), columns.join(" ")))
}

/// The parameter that a column title names.
fn canonical(word: &str) -> Option<&'static str> {
    let plain: String = word.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    Some(match plain.as_str() {
        "omegam" | "om" | "omega0" => "Omega_m",
        "sigma8" | "s8" => "sigma_8",
        "asn1" | "sn1" => "A_SN1",
        "asn2" | "sn2" => "A_SN2",
        "aagn1" | "agn1" => "A_AGN1",
        "aagn2" | "agn2" => "A_AGN2",
        _ => return None,
    })
}

/// Writes `params_{set}_{suite}.txt` into a folder, without a header as the published files are, and returns its path.
///
/// `values` is `[simulation, parameter]` in the order of [`CMD_PARAMETERS`].
///
/// # Errors
/// [`Error::Invalid`] when there are not six finite columns; [`Error::Core`] when it cannot be written.
pub fn write_params(dir: impl AsRef<Path>, suite: &str, set: &str, values: &Array2<f64>) -> Result<PathBuf> {
    let path = dir.as_ref().join(format!("params_{set}_{suite}.txt"));
    if values.ncols() != 6 || values.iter().any(|v| !v.is_finite()) {
        let got = format!("{} columns, or a number that is not finite", values.ncols());
        return Err(Error::invalid(&path, "parameters", "6 columns of finite numbers", got));
    }
    write_whole(&path, |out| {
        for row in values.outer_iter() {
            let words: Vec<String> = row.iter().map(|v| format!("{v:.5}")).collect();
            // Five decimals when they are exact, as published; else all digits.
            let exact = words.iter().zip(&row).all(|(w, v)| w.parse() == Ok(*v));
            let words = if exact { words } else { row.iter().map(f64::to_string).collect() };
            writeln!(out, "{}", words.join(" "))?;
        }
        Ok(())
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CmdParams> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params_LH_X.txt");
        std::fs::write(&path, text).unwrap();
        read_params(&path)
    }

    #[test]
    fn headers_are_read_and_checked() {
        let row = "0.3 0.8 1.0 2.0 0.5 1.5\n";
        for header in [
            "",
            "# Om\tsigma8\tSN1\tAGN1\tSN2\tAGN2\n",
            "Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2\n",
            "# made by hand\n\n",
        ] {
            assert_eq!(
                parse(&format!("{header}{row}{row}")).unwrap().values.row(1).to_vec(),
                [0.3, 0.8, 1.0, 2.0, 0.5, 1.5]
            );
        }
        let message =
            parse(&format!("Omega_m sigma_8 A_SN1 A_SN2 A_AGN1 A_AGN2\n{row}")).unwrap_err().to_string();
        assert!(
            message.contains("A_SN1 A_AGN1 A_SN2") && message.contains("A_SN1 A_SN2 A_AGN1"),
            "{message}"
        );
        let named = parse(&format!(
            "#Name Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2 seed\n LH_0 {} 17\n",
            row.trim()
        ))
        .unwrap();
        assert_eq!(named.values[[0, 3]], 2.0);
    }

    #[test]
    fn bad_rows_are_named_by_their_line() {
        for (text, parts) in [
            ("0.3 0.8 1 1 1 1\n0.3 nan 1 1 1 1\n", ["line 2, sigma_8", "nan"]),
            ("0.3 0.8 1 1 1\n", ["line 1", "5 columns"]),
            ("0.3 0.8 1 1 1 x\n", ["A_AGN2", "\"x\""]),
            ("\n# nothing\n", ["number of rows", "0"]),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(parts.iter().all(|p| message.contains(p)), "{message}");
        }
        let message = parse("0.3 0.8 1 1 1 1\n").unwrap().require_rows(1000).unwrap_err().to_string();
        assert!(message.contains("1000") && message.contains("params_LH_X.txt"), "{message}");
    }

    #[test]
    fn swapped_columns_are_noticed_without_a_header() {
        let row = |i: usize, agn1: f64, sn2: f64| {
            let t = i as f64 / 199.0;
            format!("0.3 0.8 {} {} {} 1\n", 0.25 + 3.75 * t, agn1 * t + 0.25, sn2 * t + 0.25)
        };
        let right: String = (0..200).map(|i| row(i, 3.75, 1.75)).collect();
        let swapped: String = (0..200).map(|i| row(i, 1.75, 3.75)).collect();
        assert_eq!(parse(&right).unwrap().len(), 200);
        let message = parse(&swapped).unwrap_err().to_string();
        assert!(message.contains("swapped") && message.contains("A_SN2 up to 4"), "{message}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let values = Array2::from_shape_fn((3, 6), |(i, j)| 0.1 + i as f64 + j as f64 / 3.0);
        let path = write_params(dir.path(), "Mock", "LH", &values).unwrap();
        assert!(path.ends_with("params_LH_Mock.txt"));
        assert_eq!(read_params(path).unwrap().values, values);
    }
}
