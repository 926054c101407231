//! Tables of numbers as text: columns separated by white space or commas, with or without a header.

use std::path::{Path, PathBuf};

use ndarray::Array2;

use crate::{Error, Result};

/// A table of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTable {
    /// The file.
    pub path: PathBuf,
    /// The titles of the columns, where the file has a header.
    pub names: Option<Vec<String>>,
    /// `[row, column]`; what is no number, such as a name in a column of names, is NaN.
    pub values: Array2<f64>,
}

impl TextTable {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.nrows()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column of a title.
    ///
    /// # Errors
    /// [`Error::Absent`] listing the titles there are; [`Error::Invalid`] when a number of it is not finite.
    pub fn column(&self, name: &str) -> Result<Vec<f64>> {
        let names = self.names.as_deref().unwrap_or(&[]);
        let Some(at) = names.iter().position(|n| n == name) else {
            let (field, available) = (format!("column {name:?}"), names.join(", "));
            return Err(Error::Absent { path: self.path.clone(), field, available });
        };
        let column = self.values.column(at).to_vec();
        if let Some(row) = column.iter().position(|x| !x.is_finite()) {
            let field = format!("row {row} of column {name:?}");
            return Err(Error::invalid(&self.path, field, "a finite number", column[row].to_string()));
        }
        Ok(column)
    }
}

/// Reads a table of numbers.
///
/// The first line that is not empty is a header when it begins with `#` or has a word that is no number where the next
/// line has one; further lines that begin with `#` are remarks. All rows have the same number of columns.
///
/// # Errors
/// [`Error::Read`]; [`Error::Invalid`] for what is not text, rows of different length, with the line, or no row.
pub fn read_text_table(path: impl AsRef<Path>) -> Result<TextTable> {
    let path = path.as_ref();
    let text = std::fs::read(path).map_err(Error::read(path))?;
    let text = String::from_utf8(text).map_err(|_| Error::invalid(path, "content", "text", "other bytes"))?;
    // The last line is never a header or a remark above the numbers.
    let commas = text.lines().rfind(|l| !l.trim().is_empty()).is_some_and(|l| l.contains(','));
    let words = |line: &str| -> Vec<String> {
        let line = line.trim().trim_start_matches('#');
        match commas {
            true => line.split(',').map(|w| w.trim().to_owned()).collect(),
            false => line.split_whitespace().map(str::to_owned).collect(),
        }
    };
    let number = |word: &String| word.parse::<f64>().ok();
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    let mut names = None;
    if let Some(&(_, line)) = lines.peek() {
        let first = words(line);
        let second = text.lines().filter(|l| !l.trim().is_empty()).nth(1).map(words).unwrap_or_default();
        let titled = first.len() == second.len()
            && first.iter().zip(&second).any(|(a, b)| number(a).is_none() && number(b).is_some());
        if line.trim_start().starts_with('#') || titled {
            names = Some(first);
            lines.next();
        }
    }
    let (mut values, mut rows, mut columns) = (Vec::new(), 0, 0);
    for (i, line) in lines {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let row = words(line);
        if rows == 0 {
            columns = row.len();
        }
        if row.len() != columns {
            let got = format!("{} columns", row.len());
            return Err(Error::invalid(path, format!("line {}", i + 1), format!("{columns} columns"), got));
        }
        values.extend(row.iter().map(|w| number(w).unwrap_or(f64::NAN)));
        rows += 1;
    }
    if rows == 0 || values.iter().all(|v| v.is_nan()) {
        return Err(Error::invalid(path, "content", "rows of numbers", format!("{rows} rows of other text")));
    }
    // A remark above the numbers is no header.
    names = names.filter(|n| n.len() == columns);
    let values = Array2::from_shape_vec((rows, columns), values)
        .map_err(|e| Error::invalid(path, "content", "a table", e.to_string()))?;
    Ok(TextTable { path: path.to_path_buf(), names, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TextTable> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, text).unwrap();
        read_text_table(&path)
    }

    #[test]
    fn headers_are_told_from_rows() {
        for (text, names) in [
            ("1 2\n3 4\n", None),
            ("# a b\n1 2\n3 4\n", Some(["a", "b"])),
            ("a,b\n1,2\n3,4\n", Some(["a", "b"])),
            ("# made by hand, in a hurry\n# a\n1 2\n3 4\n", None),
        ] {
            let table = parse(text).unwrap();
            assert_eq!(table.values, ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]), "{text}");
            assert_eq!(table.names, names.map(|n| n.map(str::to_owned).to_vec()), "{text}");
        }
        let table = parse(",mass,url\n0,14.5,http://x/\n1,12,http://y/\n").unwrap();
        assert_eq!(table.column("mass").unwrap(), [14.5, 12.0]);
        assert!(table.column("url").unwrap_err().to_string().contains("row 0"));
        assert!(table.column("sfr").unwrap_err().to_string().contains("mass"));
    }

    #[test]
    fn other_text_is_refused() {
        assert!(parse("1 2\n3\n").unwrap_err().to_string().contains("line 2"));
        assert!(parse("").is_err() && parse("just words\nand more\n").is_err());
    }
}
