//! Disks that are full or read-only: small file systems in memory, mounted where the tests may mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::dicom::Name;
use crate::support::server::Server;

/// A file system of a few MiB; gone when dropped.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// None where nothing may be mounted, and the output says so.
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let disk = Self { folder };
        let options = format!("size={size},mode=0777");
        if disk.mount(&["-t", "tmpfs", "-o", &options, "tmpfs"]) {
            return Some(disk);
        }
        println!("SKIPPED full disks: this user may not mount");
        None
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let mounted = Command::new("mount")
            .args(arguments)
            .arg(self.path())
            .output();
        mounted.is_ok_and(|output| output.status.success())
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all room there is; give it back by removing the file.
    fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let mut size = 1 << 20;
        let mut file = fs::File::create(&filler).unwrap();
        while size > 0 {
            if std::io::Write::write_all(&mut file, &vec![1; size]).is_err() {
                size /= 2;
            }
        }
        filler
    }

    /// Lays a read-only view of the disk over it, or takes it away; a file that is open for writing does not matter.
    fn read_only(&self, yes: bool) {
        if yes {
            let path = self.path().to_str().expect("a plain path");
            assert!(self.mount(&["--bind", path]), "it can be mounted again");
            assert!(self.mount(&["-o", "remount,bind,ro"]), "read-only");
        } else {
            let gone = Command::new("umount").arg("-l").arg(self.path()).status();
            assert!(gone.is_ok_and(|status| status.success()));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// Stores are refused with one of the statuses, reads go on; when `mend` is done, stores work again.
#[track_caller]
fn endure(server: &Server, statuses: &[u16], size: usize, mend: impl FnOnce()) {
    let (before, during, after) = (Name::new(1, 1, 1), Name::new(1, 1, 2), Name::new(1, 1, 3));
    for attempt in 0..3 {
        let refused = server.store("/dicom-web", [&during.with_bulk(size)]);
        assert!(
            statuses.contains(&refused.status),
            "attempt {attempt}: {} {}\n{}",
            refused.status,
            refused.text(),
            server.log()
        );
        if refused.status == 503 {
            assert!(refused.header("retry-after").is_some());
        }
        assert!(server.stored(&before) == Some(before.with_bulk(3000).bytes));
        assert_eq!(server.stored(&during), None);
    }
    let found = server.get("/dicom-web/instances").expect(200).json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    mend();
    server
        .store("/dicom-web", [&after.with_bulk(size)])
        .expect(200);
    server
        .store("/dicom-web", [&during.with_bulk(size)])
        .expect(200);
    assert!(server.stored(&during) == Some(during.with_bulk(size).bytes));
    let said = server.fsck();
    assert!(said.contains(" 0 blobs without a row"), "{said}");
}

fn server(settings: &[(&str, &str)]) -> Server {
    let server = Server::with(settings);
    let name = Name::new(1, 1, 1);
    server
        .store("/dicom-web", [&name.with_bulk(3000)])
        .expect(200);
    server
}

#[test]
fn a_full_disk_under_the_blobs_is_507_until_there_is_room() {
    let Some(disk) = Disk::new("8m") else { return };
    let url = format!("file://{}", disk.path().join("blobs").display());
    let server = server(&[("STOWAGE_BLOB_URL", &url)]);
    let filler = disk.fill();
    endure(&server, &[507], 100_000, || {
        fs::remove_file(filler).unwrap()
    });
}

#[test]
fn a_full_disk_under_the_spool_is_507_until_there_is_room() {
    let Some(disk) = Disk::new("16m") else { return };
    let url = format!("file://{}", disk.path().join("blobs").display());
    let settings = [
        ("STOWAGE_BLOB_URL", url.as_str()),
        ("STOWAGE_PART_MEMORY_BYTES", "20000"),
    ];
    let server = server(&settings);
    let filler = disk.fill();
    endure(&server, &[507], 2 << 20, || {
        fs::remove_file(filler).unwrap()
    });
}

#[test]
fn a_full_disk_under_sqlite_is_507_until_there_is_room() {
    let (Some(disk), Ok(blobs)) = (Disk::new("16m"), tempfile::tempdir()) else {
        return;
    };
    let database = format!("sqlite://{}", disk.path().join("index.sqlite").display());
    let url = format!("file://{}", blobs.path().display());
    let settings = [
        ("STOWAGE_DATABASE_URL", database.as_str()),
        ("STOWAGE_BLOB_URL", &url),
    ];
    let server = server(&settings);
    let filler = disk.fill();
    endure(&server, &[507, 503], 100_000, || {
        fs::remove_file(filler).unwrap()
    });
}

#[test]
fn a_read_only_disk_is_507_until_it_can_be_written() {
    let Some(disk) = Disk::new("16m") else { return };
    let url = format!("file://{}", disk.path().join("blobs").display());
    let server = server(&[("STOWAGE_BLOB_URL", &url)]);
    disk.read_only(true);
    server.wait_for_health(503);
    endure(&server, &[507], 100_000, || disk.read_only(false));
    server.wait_for_health(200);
}
