//! The order in which blobs get their rows again, by their keys alone.
//!
//! Invariants: of several blobs of one instance the newest comes first; what was made anew under other UIDs does not come at
//! all. However many blobs there are, a bounded part of their keys is in memory.

use futures_util::TryStreamExt;

use super::sorter::{MEMORY, Sorted, Sorter};
use crate::archive::Archive;
use crate::archive::error::Result;
use crate::blob::{key_serial, serials_before};
use crate::memory::Purpose;

/// Keys read at a time.
const BATCH: usize = 500;

/// How many blobs there are, by what is made of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BlobCounts {
    /// Blobs looked at.
    pub(super) all: u64,
    /// Those of instances that have other UIDs now.
    pub(super) moved: u64,
}

impl Archive {
    /// Lines that end with the key of each blob: the newest of each instance by age, oldest first, then all others, newest
    /// first; counts them. Blobs of instances that went on under other UIDs are left out.
    pub(super) async fn in_order(&self, counts: &mut BlobCounts) -> Result<Sorted> {
        let memory = self.reserve(Purpose::Background, MEMORY);
        let _memory = memory.await?;
        let mut by_serial = Sorter::new(self.blobs.clone());
        let mut listed = self.blobs.list(None);
        while let Some(key) = listed.try_next().await? {
            counts.all += 1;
            for before in serials_before(&key) {
                by_serial.push(format!("{before}\t0\t")).await?;
            }
            by_serial
                .push(format!("{}\t1\t{key}", key_serial(&key)))
                .await?;
        }
        let by_instance = self.marked(by_serial.sorted().await?).await?;
        let mut by_age = Sorter::new(self.blobs.clone());
        let mut lines = by_instance.sorted().await?;
        let mut group = InstanceGroup::default();
        loop {
            let (rest, batch) = lines.batch(BATCH).await?;
            lines = rest;
            if batch.is_empty() {
                return by_age.sorted().await;
            }
            for line in batch {
                match group.place(&line) {
                    Some(newest) => by_age.push(age_line(key_of(&line), newest)).await?,
                    None => counts.moved += 1,
                }
            }
        }
    }

    /// By instance, with a mark at those that a key says went on elsewhere.
    async fn marked(&self, mut lines: Sorted) -> Result<Sorter> {
        let mut by_instance = Sorter::new(self.blobs.clone());
        let mut named = String::new();
        loop {
            let (rest, batch) = lines.batch(BATCH).await?;
            lines = rest;
            if batch.is_empty() {
                return Ok(by_instance);
            }
            for line in batch {
                let serial = group_of(&line);
                match key_of(&line) {
                    "" => serial.clone_into(&mut named),
                    key => {
                        by_instance
                            .push(instance_line(key, named == serial))
                            .await?
                    }
                }
            }
        }
    }
}

/// The blobs of one instance, which come one behind the other, the newest first.
#[derive(Debug, Default)]
struct InstanceGroup {
    instance: String,
    /// Whether the newest of them went on under other UIDs: then all did.
    moved: bool,
}

impl InstanceGroup {
    /// Whether a line is that of the newest blob of its instance; none when the instance went on under other UIDs.
    fn place(&mut self, line: &str) -> Option<bool> {
        let newest = group_of(line) != self.instance;
        if newest {
            group_of(line).clone_into(&mut self.instance);
            self.moved = line.split('\t').nth(2) == Some("moved");
        }
        (!self.moved).then_some(newest)
    }
}

/// The part of a key that names the instance.
fn instance_of(key: &str) -> &str {
    let mut parts = key.rsplitn(3, '.');
    parts.nth(2).unwrap_or(key)
}

/// A line that sorts by instance, then by age, the newest first: the serial behind the instance UID starts with the time.
fn instance_line(key: &str, moved: bool) -> String {
    let mark = if moved { "moved" } else { "" };
    let serial = backwards(key_serial(key));
    format!("{}\t{serial}\t{mark}\t{key}", instance_of(key))
}

/// What a line begins with.
fn group_of(line: &str) -> &str {
    line.split('\t').next().unwrap_or_default()
}

/// A line that sorts by age: forwards for the newest blob of an instance, behind those backwards for the others.
fn age_line(key: &str, newest: bool) -> String {
    let serial = key_serial(key);
    match newest {
        true => format!("0{serial}\t{key}"),
        false => format!("1{}\t{key}", backwards(serial)),
    }
}

/// A text that sorts the other way round.
fn backwards(serial: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in serial.bytes() {
        // A text grows in memory only.
        let _ = write!(text, "{:02x}", u8::MAX - byte);
    }
    text
}

/// The key a line ends with; one that holds a tab is no key of ours.
pub(super) fn key_of(line: &str) -> &str {
    line.rsplit('\t').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// What the sorters make of keys.
    fn ordered(keys: &[&str]) -> Vec<String> {
        let named: HashSet<&str> = keys.iter().flat_map(|key| serials_before(key)).collect();
        let line = |key: &&str| instance_line(key, named.contains(key_serial(key)));
        let mut lines: Vec<String> = keys.iter().map(line).collect();
        lines.sort_unstable();
        let mut group = InstanceGroup::default();
        let placed = lines.iter().filter_map(|line| {
            let newest = group.place(line)?;
            Some(age_line(key_of(line), newest))
        });
        let mut aged: Vec<String> = placed.collect();
        aged.sort_unstable();
        aged.iter().map(|line| key_of(line).to_owned()).collect()
    }

    #[test]
    fn of_several_blobs_of_an_instance_the_newest_comes_first() {
        let keys = [
            "aa/1/2/1.5.01.dcm",
            "aa/1/2/1.6.02.dcm",
            "aa/1/2/1.5.03.dcm",
            "aa/1/2/1.7.04.dcm",
            "aa/1/2/1.5.05.dcm",
        ];
        assert_eq!(
            ordered(&keys),
            [
                "aa/1/2/1.6.02.dcm",
                "aa/1/2/1.7.04.dcm",
                "aa/1/2/1.5.05.dcm",
                "aa/1/2/1.5.03.dcm",
                "aa/1/2/1.5.01.dcm",
            ]
        );
    }

    #[test]
    fn what_went_on_under_other_uids_does_not_come_back_unless_it_was_stored_again() {
        let moved = [
            "aa/1/2/1.5.01.dcm",
            "aa/1/2/1.5.02-01.dcm",
            "bb/9/8/9.5.03-02-01.dcm",
        ];
        assert_eq!(ordered(&moved), ["bb/9/8/9.5.03-02-01.dcm"]);
        // What lies between went to the trash and was removed.
        let swept = [moved[0], moved[2]];
        assert_eq!(ordered(&swept), ["bb/9/8/9.5.03-02-01.dcm"]);
        let again = [moved[0], moved[2], "aa/1/2/1.5.04.dcm"];
        assert_eq!(
            ordered(&again),
            [
                "bb/9/8/9.5.03-02-01.dcm",
                "aa/1/2/1.5.04.dcm",
                "aa/1/2/1.5.01.dcm",
            ]
        );
    }
}
