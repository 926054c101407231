//! The errors of this crate: each is one line that names the file and the field.

use std::fmt;
use std::path::{Path, PathBuf};

use halocast_core::Species;

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a file and the core types.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing of the kind looked for.
    #[error("{path}: found no {}", line(.expected))]
    NotFound {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        expected: String,
    },
    /// A file is shorter than its header says.
    #[error("{path}: truncated: {} needs {expected} bytes, the file has {got}", line(.field))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The part that does not fit.
        field: String,
        /// The length the header asks for.
        expected: u64,
        /// The length of the file.
        got: u64,
    },
    /// Something in a file is not what it has to be: a type, a shape, a number, a name.
    #[error("{path}: {}: expected {}, got {}", line(.field), line(.expected), line(.got))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The part at fault.
        field: String,
        /// What it should be, in words.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A file has no such field.
    #[error("{path}: has no {}; it has: {}", line(.field), line(.available))]
    Absent {
        /// The file.
        path: PathBuf,
        /// The field asked for.
        field: String,
        /// The fields there are.
        available: String,
    },
    /// The HDF5 library could not read or write something.
    #[error("{path}: cannot {operation} {}: {}{hint}", line(.field), line(.source))]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// What was attempted: open, read, write.
        operation: &'static str,
        /// The object inside the file.
        field: String,
        /// What may help, empty when nothing is known to.
        hint: &'static str,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A suite of simulations has no such thing, whatever its files say.
    #[error("{path}: {suite} has no {what}: {why}")]
    Lacks {
        /// The file or folder.
        path: PathBuf,
        /// The suite.
        suite: String,
        /// What was asked for.
        what: String,
        /// Why it cannot be there.
        why: &'static str,
    },
    /// A snapshot has fewer files or particles than its header promises.
    #[error("{0}")]
    Incomplete(Incomplete),
    /// A core type refused what was read or asked.
    #[error(transparent)]
    Core(#[from] halocast_core::Error),
}

/// Letters of a part of a message that are shown.
const SHOWN: usize = 1000;

/// A part of a message in one line, whatever bytes of a file are in it: control characters are written out, what is long is
/// cut.
fn line(part: impl fmt::Display) -> String {
    let part = part.to_string();
    let mut line = String::with_capacity(part.len().min(SHOWN));
    for (i, letter) in part.chars().enumerate() {
        match letter {
            _ if i == SHOWN => {
                line.push_str("...");
                break;
            }
            _ if letter.is_control() => line.extend(letter.escape_default()),
            _ => line.push(letter),
        }
    }
    line
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Read { path: path.to_path_buf(), source }
    }

    pub(crate) fn invalid(
        path: &Path,
        field: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Error {
        Error::Invalid {
            path: path.to_path_buf(),
            field: field.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }
}

/// What a snapshot lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// The folder or file that was read.
    pub path: PathBuf,
    /// The numbers of the files that are missing.
    pub missing: Vec<u64>,
    /// The number of files the header promises.
    pub chunks_expected: u64,
    /// The number of files found.
    pub chunks_found: u64,
    /// Particles per type where the counts disagree: type, promised, stored.
    pub counts: Vec<(Species, u64, u64)>,
    /// Rows per table of a group catalogue where the counts disagree: table, promised, stored.
    pub tables: Vec<(String, u64, u64)>,
}

impl Incomplete {
    /// Whether anything is missing.
    pub(crate) fn is_something(&self) -> bool {
        !self.missing.is_empty()
            || !self.counts.is_empty()
            || !self.tables.is_empty()
            || self.chunks_found != self.chunks_expected
    }

    /// The same as lines: one for the files, one for each particle type.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.missing.is_empty() || self.chunks_found != self.chunks_expected {
            let shown: Vec<_> = self.missing.iter().take(12).map(u64::to_string).collect();
            let more = if self.missing.len() > 12 { ", ..." } else { "" };
            let which = match self.missing.len() {
                0 => "number of chunks is wrong".to_owned(),
                1 => format!("chunk {} of {} missing", shown[0], self.chunks_expected),
                n => format!("{n} chunks of {} missing ({}{more})", self.chunks_expected, shown.join(", ")),
            };
            let (expected, found) = (self.chunks_expected, self.chunks_found);
            let path = self.path.display();
            lines.push(format!("{which} in {path}: {expected} expected, {found} found"));
        }
        for (species, promised, stored) in &self.counts {
            lines.push(format!(
                "PartType{}: header promises {promised}, files hold {stored}",
                species.number()
            ));
        }
        for (table, promised, stored) in &self.tables {
            lines.push(format!("{table}: header promises {promised}, files hold {stored}"));
        }
        lines
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        if self.missing.is_empty() && self.chunks_found == self.chunks_expected {
            write!(f, "{}: ", self.path.display())?;
        }
        write!(f, "{}", lines.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_a_file_holds() {
        let path = Path::new("a.npy");
        let message = Error::invalid(path, "a\nb", "text", "x\r\u{7}".repeat(1000)).to_string();
        assert!(message.starts_with(r"a.npy: a\nb: expected text, got x\r\u{7}x"), "{message}");
        assert!(message.ends_with("...") && message.len() < 9000 && !message.chars().any(char::is_control));
    }
}
