//! SkyPilot: a managed job for a pool of workers, of which each of `--num-jobs` copies does one task. Written as
//! JSON, which is YAML as well.

use serde_json::{Value, json};

use super::{RESUMABLE, Site};

/// The task of one job; the number of the job is the number of the task.
pub fn skypilot(site: &Site) -> Value {
    let command =
        format!("{} run {} --task \"$SKYPILOT_JOB_RANK\"", super::quoted_path(&site.program), site.options());
    json!({
        "name": format!("v5gate-{}", site.name),
        "resources": {
            "job_recovery": {"max_restarts_on_errors": 3, "recover_on_exit_codes": [RESUMABLE]},
        },
        "run": command,
    })
}
