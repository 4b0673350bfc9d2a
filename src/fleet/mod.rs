//! A protocol on many machines, by whatever engine starts processes there: this lists tasks, says what they cost and
//! how far they are, and writes what an engine reads. It schedules nothing: the number of an array's element is the
//! claim, the union of ledgers is the evidence, and the exit code says what became of a task.

mod cost;
mod kubernetes;
mod power;
mod progress;
mod skypilot;
mod slurm;

pub use cost::{Cost, Rate};
pub use kubernetes::{Cluster, kubernetes};
pub use power::{Forecast, forecast};
pub use progress::{Fleet, Progress, TaskState};
pub use skypilot::skypilot;
pub use slurm::{indices, slurm};

use std::path::PathBuf;

/// The exit code of a process that was asked to stop and whose work goes on where it was: `EX_TEMPFAIL`.
pub const RESUMABLE: u8 = 75;

/// Seconds from a signal until a process has left, at the latest.
pub const GRACE_SECONDS: u64 = 20;

/// A task's number as an engine says it: by `--task`, else as the element of a Slurm array or the index of a
/// Kubernetes job.
pub const NUMBERS: &[&str] = &["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"];

/// What a command line on another machine is made of.
#[derive(Clone, Debug)]
pub struct Site {
    /// The program.
    pub program: PathBuf,
    /// The protocol, a name or a file.
    pub protocol: String,
    /// Its name.
    pub name: String,
    /// The folder of evidence, which all machines share.
    pub out: PathBuf,
    /// The folder of data.
    pub data: Option<PathBuf>,
    /// Whether tasks of larger scales wait for those of 8M and below, and end at once where a PASS is out of reach.
    pub stop_for_futility: bool,
}

impl Site {
    /// `--protocol P --out DIR [--data DIR]`, as words of a shell.
    fn options(&self) -> String {
        let mut text = format!("--protocol {} --out {}", quoted(&self.protocol), quoted_path(&self.out));
        if let Some(data) = &self.data {
            text += &format!(" --data {}", quoted_path(data));
        }
        if self.stop_for_futility {
            text += " --stop-for-futility";
        }
        text
    }
}

fn quoted_path(path: &std::path::Path) -> String {
    quoted(&path.display().to_string())
}

/// One word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        assert_eq!(quoted("/data/x-1.toml"), "/data/x-1.toml");
        assert_eq!(quoted("a b$(c)"), "'a b$(c)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
