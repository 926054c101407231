//! Processes that make one set together.

use anyhow::{Context, Result, ensure};

/// The variables in which launchers of MPI and Slurm tell a process its number and how many there are.
const LAUNCHERS: [[&str; 2]; 3] = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
    // Only a step that srun starts has a number of tasks; the batch script itself is alone.
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
];

/// Which of several processes this one is.
///
/// Process r of R makes the parts r, r + R, ...; the first then waits until all parts are there, and puts them together. They
/// speak through the folder alone, so that nothing of MPI is linked. The bytes are those that one process makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    rank: usize,
    ranks: usize,
}

impl Share {
    /// One process that makes all.
    pub const ALONE: Self = Self { rank: 0, ranks: 1 };

    /// From a text such as `2/8`: the third of eight.
    ///
    /// # Errors
    /// When it is none, or the number is not below how many there are.
    pub fn parse(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(r, n)| Some((r.parse().ok()?, n.parse().ok()?)));
        let (rank, ranks) = numbers.with_context(|| format!("{text:?}, expected RANK/RANKS such as 0/4"))?;
        ensure!(rank < ranks, "rank {rank} of {ranks}, expected one of 0 to RANKS - 1");
        Ok(Self { rank, ranks })
    }

    /// What the launcher says, by `variable`; alone where there is none.
    ///
    /// # Errors
    /// When it says what makes no sense.
    pub fn of_launcher(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        for [rank, ranks] in LAUNCHERS {
            if let (Some(r), Some(n)) = (variable(rank), variable(ranks)) {
                return Self::parse(&format!("{r}/{n}")).with_context(|| format!("{rank}/{ranks}"));
            }
        }
        Ok(Self::ALONE)
    }

    /// Whether this process puts the parts together.
    pub fn is_first(self) -> bool {
        self.rank == 0
    }

    /// The parts of this process, of `count`.
    pub(super) fn parts(self, count: usize) -> impl Iterator<Item = usize> {
        (self.rank..count).step_by(self.ranks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_understood() {
        let of = |set: &'static [(&str, &str)]| {
            Share::of_launcher(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(of(&[]).unwrap(), Share::ALONE);
        let third = Share { rank: 2, ranks: 8 };
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "8")]).unwrap(), third);
        assert_eq!(of(&[("PMI_RANK", "2"), ("PMI_SIZE", "8")]).unwrap(), third);
        assert_eq!(of(&[("SLURM_PROCID", "2"), ("SLURM_STEP_NUM_TASKS", "8")]).unwrap(), third);
        // A batch script, which no srun started.
        assert_eq!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap(), Share::ALONE);
        assert!(of(&[("PMI_RANK", "8"), ("PMI_SIZE", "8")]).is_err());
        assert!(Share::parse("1").is_err() && Share::parse("-1/2").is_err());
    }

    #[test]
    fn every_part_is_made_once() {
        let mut all: Vec<usize> = (0..3).flat_map(|rank| Share { rank, ranks: 3 }.parts(10)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(Share::parse("5/8").unwrap().parts(3).count(), 0);
    }
}
