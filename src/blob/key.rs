//! Names of blobs: each is given out once, in this process or any other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::dicom::uid::InstanceName;

/// Bytes of the digest that a key holds.
const SUM: usize = 8;

/// Names a blob: `{2 hex}/{study}/{series}/{instance}.{serial}_{digest}.dcm`, so that a lost index can be rebuilt, and that
/// bytes which were cut off by a power loss are known as such.
#[must_use]
pub fn instance_key(name: &InstanceName, serial: &str, digest: &[u8; 32]) -> String {
    let hash = blake3::hash(name.study.as_str().as_bytes());
    let prefix = &hash.to_hex()[..2];
    let sum = blake3::Hash::from_bytes(*digest).to_hex();
    let sum = &sum[..2 * SUM];
    format!(
        "{prefix}/{}/{}/{}.{serial}_{sum}.dcm",
        name.study, name.series, name.instance
    )
}

/// Whether a key says that the bytes have another digest; keys of older versions say nothing.
#[must_use]
pub fn contradicts(key: &str, digest: &[u8; 32]) -> bool {
    let sum = behind_name(key).split_once('_').map(|(_, sum)| sum);
    let digest = blake3::Hash::from_bytes(*digest).to_hex();
    sum.is_some_and(|sum| sum != &digest[..2 * SUM])
}

/// The number of a key that is never given out again; it begins with the time.
#[must_use]
pub fn key_serial(key: &str) -> &str {
    numbers(key).split('-').next().unwrap_or_default()
}

/// Numbers of the keys that this one says its bytes were made of: `{serial}-{of the last version}-{of the first}`.
pub fn serials_before(key: &str) -> impl Iterator<Item = &str> {
    numbers(key).split('-').skip(1)
}

/// The serial of a new blob that is made of one of another key: those are named that would otherwise be taken for instances
/// of their own when an index is made again of keys alone.
#[must_use]
pub fn serial_behind(serial: &str, before: &str) -> String {
    let last = key_serial(before);
    match serials_before(before).last() {
        Some(first) => format!("{serial}-{last}-{first}"),
        None => format!("{serial}-{last}"),
    }
}

fn numbers(key: &str) -> &str {
    let behind = behind_name(key);
    behind
        .split_once('_')
        .map_or(behind, |(numbers, _)| numbers)
}

/// What a key says behind the UID of the instance.
fn behind_name(key: &str) -> &str {
    key.rsplit('.').nth(1).unwrap_or_default()
}

/// Makes serials.
#[derive(Debug)]
pub(super) struct Serials {
    /// Part of every serial of this process; random, so that two processes never make the same key.
    pub(super) process: u64,
    next: AtomicU64,
}

impl Serials {
    pub(super) fn new() -> Self {
        Self {
            process: rand::random(),
            next: AtomicU64::new(0),
        }
    }

    /// Time in µs, process and count, in hex.
    pub(super) fn next(&self) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        format!(
            "{:014x}{:08x}{count:04x}",
            now.as_micros(),
            self.process & 0xFFFF_FFFF
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::uid::{InstanceUid, SeriesUid, StudyUid};

    #[test]
    fn a_key_holds_the_names_and_a_serial_that_differs() {
        let serials = Serials::new();
        let name = InstanceName {
            study: StudyUid::parse("1.2").unwrap(),
            series: SeriesUid::parse("1.3").unwrap(),
            instance: InstanceUid::parse("1.4").unwrap(),
        };
        let (one, other) = (serials.next(), serials.next());
        assert_ne!(one, other);
        let key = instance_key(&name, &one, &[0xA7; 32]);
        assert_eq!(
            key.get(2..),
            Some(format!("/1.2/1.3/1.4.{one}_a7a7a7a7a7a7a7a7.dcm").as_str())
        );
        assert!(!contradicts(&key, &[0xA7; 32]));
        assert!(contradicts(&key, &[0; 32]));
        assert!(!contradicts("aa/1.2/1.3/1.4.01.dcm", &[0; 32]));
        assert_eq!(key_serial(&key), one);
        assert_eq!(serials_before(&key).count(), 0);
    }

    #[test]
    fn a_key_names_what_its_bytes_were_made_of_however_often() {
        let mut key = "aa/1.2/1.3/1.4.01.dcm".to_owned();
        for (serial, before) in [
            ("02", &["01"][..]),
            ("03", &["02", "01"]),
            ("04", &["03", "01"]),
        ] {
            let behind = serial_behind(serial, &key);
            key = format!("aa/1.2/1.3/1.4.{behind}_0011223344556677.dcm");
            assert_eq!(key_serial(&key), serial);
            assert_eq!(serials_before(&key).collect::<Vec<_>>(), before);
        }
    }
}
