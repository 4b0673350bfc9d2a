//! Kubernetes: an Indexed Job of trainings, one of times and one that judges, as a JSON list for `kubectl apply`.
//!
//! What it must know of Kubernetes: the index of a completion is in `JOB_COMPLETION_INDEX`; a failure policy asks for
//! pods that are never restarted in place; `Ignore` makes a new pod without counting, `FailIndex` gives an index up
//! and needs a limit by index; jobs do not wait for jobs, so the second and third are suspended.

use serde_json::{Value, json};

use super::{GRACE_SECONDS, RESUMABLE, Site};

/// What a cluster must be told beyond the site.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The container image with the program.
    pub image: String,
    /// A volume claim that many nodes can write to, for evidence and data.
    pub claim: String,
    /// Where it is mounted.
    pub mount: String,
    /// Pods at a time.
    pub parallelism: usize,
}

/// The list of jobs: `trainings` tasks from number 0 on, and `times` after them.
pub fn kubernetes(site: &Site, cluster: &Cluster, trainings: usize, times: usize) -> Value {
    let (program, options) = (super::quoted_path(&site.program), site.options());
    // The times begin where the trainings end.
    let shifted = format!("exec {program} run {options} --task $((JOB_COMPLETION_INDEX + {trainings}))");
    let judge = format!("exec {program} report {}", super::quoted_path(&site.out));
    let items = [
        job(site, cluster, "trial", &format!("exec {program} run {options}"), trainings, false),
        job(site, cluster, "times", &shifted, times, true),
        job(site, cluster, "judge", &judge, 1, true),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn job(site: &Site, cluster: &Cluster, part: &str, command: &str, count: usize, suspend: bool) -> Value {
    let container = "v5gate";
    // A verdict is an answer, not a failure.
    let verdicts =
        if part == "judge" { "; code=$?; [ $code -eq 10 ] || [ $code -eq 11 ] || exit $code" } else { "" };
    let command = match verdicts {
        "" => command.to_owned(),
        after => format!("{}{after}", command.trim_start_matches("exec ")),
    };
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name(&site.name, part)},
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": cluster.parallelism.min(count),
            "suspend": suspend,
            "backoffLimitPerIndex": 3,
            "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onExitCodes": {
                    "containerName": container, "operator": "In", "values": [RESUMABLE]
                }},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailIndex", "onExitCodes": {
                    "containerName": container, "operator": "In", "values": [2]
                }},
            ]},
            "template": {
                "metadata": {"labels": {"app": name(&site.name, part)}},
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 2 * GRACE_SECONDS,
                    "containers": [{
                        "name": container,
                        "image": cluster.image,
                        "command": ["/bin/sh", "-c", command],
                        "volumeMounts": [{"name": "evidence", "mountPath": cluster.mount}],
                    }],
                    "volumes": [{
                        "name": "evidence",
                        "persistentVolumeClaim": {"claimName": cluster.claim},
                    }],
                },
            },
        },
    })
}

/// A name as Kubernetes allows it: lower case, digits and hyphens.
fn name(protocol: &str, part: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    // 63 characters, of which "v5gate-" and the part with its hyphen take up to 13.
    let protocol: String = protocol.chars().map(plain).take(48).collect();
    format!("v5gate-{}-{part}", protocol.trim_matches('-'))
}
