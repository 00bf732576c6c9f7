//! What the kernel says of this process, under the names that every Prometheus client gives it.

use std::fs;

use prometheus::GaugeVec;

use super::{Added, unix_seconds};

pub(super) struct Process {
    resident: GaugeVec,
    threads: GaugeVec,
    descriptors: GaugeVec,
}

impl Process {
    pub(super) fn new(added: &Added<'_>) -> Self {
        let started = added.fraction("process_start_time_seconds", "When the process started.");
        started.with_label_values::<&str>(&[]).set(unix_seconds());
        Self {
            resident: added.fraction("process_resident_memory_bytes", "Memory that it holds in RAM."),
            threads: added.fraction("process_threads", "Threads that it has."),
            descriptors: added.fraction("process_open_fds", "File descriptors that it has open."),
        }
    }

    /// Reads them anew. What cannot be read is not shown, rather than shown as it was.
    pub(super) fn read(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        set(&self.resident, field(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024.0));
        set(&self.threads, field(&status, "Threads:"));
        // The directory that is read is open too.
        let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
        set(&self.descriptors, open.ok().and_then(|count| u32::try_from(count).ok()).map(f64::from));
    }
}

fn set(gauge: &GaugeVec, value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values::<&str>(&[]).set(value),
        None => gauge.reset(),
    }
}

/// The number of a line such as `VmRSS:     1234 kB`.
fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
