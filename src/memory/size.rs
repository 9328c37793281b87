//! How large the budget is: as set, or by what the machine or its cgroup has.

/// Smallest budget, in bytes.
pub const LEAST: usize = 256 << 20;

/// The budget when none is set: a quarter of the memory of the machine or of its cgroup, at least [`LEAST`] bytes.
#[must_use]
pub fn default_bytes() -> usize {
    let all = cgroup_bytes().into_iter().chain(machine_bytes()).min();
    let all = all.and_then(|bytes| usize::try_from(bytes).ok());
    all.map_or(LEAST, |bytes| (bytes / 4).max(LEAST))
}

/// The budget that is set, or the default.
#[must_use]
pub fn budget_bytes(set: Option<u64>) -> usize {
    set.map_or_else(default_bytes, |bytes| {
        usize::try_from(bytes).unwrap_or(usize::MAX)
    })
}

/// Memory of the machine, in bytes.
fn machine_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Least limit of the cgroups (version 2 or 1) this process is in, in bytes.
fn cgroup_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut files = vec![
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next(), fields.next(), fields.next());
        match (controllers, path) {
            (Some(""), Some(path)) => files.push(format!("/sys/fs/cgroup{path}/memory.max")),
            (Some(list), Some(path)) if list.split(',').any(|name| name == "memory") => {
                files.push(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"));
            }
            _ => {}
        }
    }
    let read = |file: String| std::fs::read_to_string(file).ok()?.trim().parse().ok();
    files.into_iter().filter_map(read).min()
}
