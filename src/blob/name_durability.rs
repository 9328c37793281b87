//! Whether the sync of a file makes its name durable, too (ADR 17).
//!
//! Invariant: `true` is said only of file systems of which it is known; all others get a sync for each folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether `fsync` of a file behind its rename makes the new name durable, and the names of the folders above it.
///
/// So it is where everything that concerns names goes through one journal in the order of its making: XFS, and ext4 with a
/// journal.
pub(super) fn sync_covers_names(folder: &Path) -> bool {
    // It may be made later; then it is where the folder above it is.
    let Some(there) = folder.ancestors().find_map(|at| fs::metadata(at).ok()) else {
        return false;
    };
    let device = device_name(there.dev());
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    match file_system(&mounts, &device) {
        Some("xfs") => true,
        Some("ext4") => has_journal(&device),
        _ => false,
    }
}

/// `major:minor`.
fn device_name(device: u64) -> String {
    format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    )
}

/// The kind of file system that is mounted from a device: behind the dash of a line whose third word is the device.
fn file_system<'t>(mounts: &'t str, device: &str) -> Option<&'t str> {
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(device))?;
    let (_, behind) = line.split_once(" - ")?;
    behind.split(' ').next()
}

/// Whether the kernel runs a journal that is in the device itself; ext2 and ext4 may have none.
fn has_journal(device: &str) -> bool {
    let Ok(target) = fs::read_link(format!("/sys/dev/block/{device}")) else {
        return false;
    };
    let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let prefix = format!("{name}-");
    fs::read_dir("/proc/fs/jbd2").is_ok_and(|journals| {
        let mut names = journals.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.any(|journal| journal.starts_with(&prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
23 22 0:20 / /proc rw shared:5 - proc proc rw
24 22 8:17 /data /srv/a\\040b rw,noatime - xfs /dev/sdb1 rw
25 22 0:31 / /dev/shm rw - tmpfs tmpfs rw
";

    #[test]
    fn a_file_system_is_found_by_the_device_of_a_folder() {
        assert_eq!(file_system(MOUNTS, "254:0"), Some("ext4"));
        assert_eq!(file_system(MOUNTS, "8:17"), Some("xfs"));
        assert_eq!(file_system(MOUNTS, "0:31"), Some("tmpfs"));
        assert_eq!(file_system(MOUNTS, "54:0"), None);
        assert_eq!(file_system("", "254:0"), None);
    }

    #[test]
    fn what_is_not_known_gets_a_sync_for_each_folder() {
        assert!(!sync_covers_names(Path::new("/proc")));
        assert!(!sync_covers_names(Path::new("")));
        let missing = Path::new("/proc/self/there/is/no/such/folder");
        assert!(!sync_covers_names(missing));
        assert!(!has_journal("0:0"));
    }
}
