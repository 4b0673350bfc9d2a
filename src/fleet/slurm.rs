//! Slurm: a shell script that submits arrays and, after them whatever became of them, a job that judges.
//!
//! What it must know of Slurm: a batch script gets a signal only with `B:`; `wait` in a shell ends when a trapped
//! signal arrives, so it is called again; a task that has left by itself within the grace of a preemption is not
//! requeued, so the script asks for that, by the array's name of the task; a requeued task has not ended, so what
//! waits for the array waits for it too.

use super::{GRACE_SECONDS, Site, quoted, quoted_path};

/// Numbers as Slurm lists them: `0-3,7`.
pub fn indices(numbers: &[usize]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| b - a <= 1);
    let one = |run: &[usize]| match run {
        [first, .., last] if first != last => format!("{first}-{last}"),
        [first, ..] => first.to_string(),
        [] => String::new(),
    };
    runs.map(one).collect::<Vec<_>>().join(",")
}

/// The script. `arrays` are the numbers of tasks; each array begins when the one before has ended. What `extra`
/// says goes to `sbatch` for every task, such as a partition or a time limit.
pub fn slurm(site: &Site, arrays: &[Vec<usize>], extra: &[String]) -> String {
    let (program, options) = (quoted_path(&site.program), site.options());
    let (name, out) = (quoted(&site.name), quoted_path(&site.out));
    let extra: String = extra.iter().map(|word| format!(" {}", quoted(word))).collect();
    let mut text = format!(
        "#!/bin/sh
# Submits what {name} still lacks, and a job that judges it. Run it again whenever something is lacking: a task
# that is proven is not in the list, and one that is begun goes on where it was.
set -eu
mkdir -p {out}/slurm
",
    );
    let mut after = String::new();
    for (i, numbers) in arrays.iter().filter(|numbers| !numbers.is_empty()).enumerate() {
        let array = format!("array{i}");
        text += &format!(
            r#"{array}=$(sbatch --parsable --job-name=v5gate-{name} --array={list} --requeue --open-mode=append \
  --signal=B:TERM@{notice} --output={out}/slurm/%A_%a.log{after}{extra} <<'TASK'
#!/bin/bash
{program} run {options} --task "$SLURM_ARRAY_TASK_ID" &
task=$!
trap 'kill -TERM "$task" 2>/dev/null' TERM INT
code=0
wait "$task" || code=$?
while kill -0 "$task" 2>/dev/null; do
  code=0
  wait "$task" || code=$?
done
if [ "$code" -eq {resumable} ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
TASK
)
{array}=${{{array}%%;*}}
echo "tasks: job ${array}"
"#,
            list = indices(numbers),
            notice = 3 * GRACE_SECONDS,
            resumable = super::RESUMABLE,
        );
        after = format!(" --dependency=afterany:\"${array}\"");
    }
    text += &format!(
        r#"judge=$(sbatch --parsable --job-name=v5gate-{name}-judge --output={out}/slurm/judge-%j.log{after}{extra} <<'JUDGE'
#!/bin/sh
exec {program} report {out}
JUDGE
)
echo "verdict: job ${{judge%%;*}}, which writes {out}/report.html"
"#
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_runs() {
        assert_eq!(indices(&[0, 1, 2, 3, 7, 9, 8]), "0-3,7-9");
        assert_eq!(indices(&[5]), "5");
        assert_eq!(indices(&[2, 4]), "2,4");
        assert_eq!(indices(&[]), "");
    }

    /// What comes from outside stays one word of the shell.
    #[test]
    fn nothing_escapes_its_quotes() {
        let site = Site {
            program: "/opt/my tools/v5gate".into(),
            protocol: "a'; rm -rf x; '".to_owned(),
            name: "p".to_owned(),
            out: "/scratch/$(out)".into(),
            data: None,
            stop_for_futility: false,
        };
        let script = slurm(&site, &[vec![0, 1]], &["--partition=a b".to_owned()]);
        assert!(script.contains(r"'a'\''; rm -rf x; '\'''"), "{script}");
        assert!(script.contains("'/opt/my tools/v5gate' run") && script.contains("'--partition=a b'"));
        assert!(!script.replace("'/scratch/$(out)'", "").contains("$(out)"), "{script}");
    }
}
