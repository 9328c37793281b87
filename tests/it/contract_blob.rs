//! What every blob store promises, whatever stands behind it: one suite, run on local disk and on an S3 server.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use stowage::blob::{BlobError, Blobs, CHUNK, Payload, instance_key, serial_behind};
use stowage::checksum::ContentSums;
use stowage::config::Config;
use stowage::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use tempfile::TempDir;

use crate::support::s3::{Effect, Fault, S3};
use crate::support::server::{end_of, wait_until_async};

/// A store to be held to its promises.
struct Store {
    blobs: Blobs,
    folder: TempDir,
    s3: Option<S3>,
}

impl Store {
    async fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = Config::default().storage;
        storage.blob_url = Some(format!("file://{}", folder.path().join("b").display()));
        Self {
            blobs: Blobs::connect(&storage).await.unwrap(),
            folder,
            s3: None,
        }
    }

    async fn s3() -> Self {
        let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
        let storage = s3.storage("some/where", folder.path());
        Self {
            blobs: Blobs::connect(&storage).await.unwrap(),
            folder,
            s3: Some(s3),
        }
    }

    /// Writes past the store: what a broken disk or a careless operator would do.
    fn truncate(&self, key: &str, length: u64) {
        let path = match &self.s3 {
            Some(s3) => s3.file(&format!("some/where/{key}")),
            None => self.folder.path().join("b").join(key),
        };
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(length).unwrap();
    }
}

macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod local_disk {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&super::Store::local().await).await;
            })*
        }
        #[cfg(feature = "cloud")]
        mod s3 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&super::Store::s3().await).await;
            })*
        }
    };
}

promises! {
    what_was_stored_is_read_back_by_range_stream_and_source,
    a_spooled_blob_is_what_was_spooled,
    a_stream_is_cut_into_chunks_of_whole_values,
    slow_readers_do_not_stop_others,
    what_is_not_there_is_missing,
    what_ends_too_early_is_short,
    a_removed_blob_is_gone_and_may_be_removed_again,
    a_discarded_blob_vanishes,
    every_blob_is_listed_once_by_its_key_and_age,
    a_store_that_can_be_used_says_so,
}

/// Bytes that differ at each place.
fn bytes(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

const KEY: &str = "ab/1.2.3/1.2.4/1.2.5.0000.dcm";

async fn keep(blobs: &Blobs, key: &str, bytes: &Bytes) {
    let payload = Payload::Memory(bytes.clone());
    blobs.store(key, payload).await.unwrap();
    blobs.sync_dirs([key].into_iter()).await.unwrap();
}

async fn spool(blobs: &Blobs, bytes: &Bytes) -> Payload {
    let (blobs, bytes) = (blobs.clone(), bytes.clone());
    let spooled = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let file = blobs.spool().unwrap();
        file.file().unwrap().write_all(&bytes).unwrap();
        file
    });
    Payload::Spooled(spooled.await.unwrap())
}

async fn collect(blobs: &Blobs, key: &str, offset: u64, length: u64) -> Vec<u8> {
    let chunks = blobs.stream(key, offset, length).await.unwrap();
    let chunks: Vec<Bytes> = chunks.try_collect().await.unwrap();
    chunks.concat()
}

async fn what_was_stored_is_read_back_by_range_stream_and_source(store: &Store) {
    let blobs = &store.blobs;
    let whole = bytes(5_000_001);
    let end = whole.len() as u64;
    keep(blobs, KEY, &whole).await;
    assert_eq!(blobs.length(KEY).await.unwrap(), end);
    for (offset, length) in [
        (0, 1),
        (0, 5_000_001),
        (4_999_999, 2),
        (1_234_567, 700_000),
        (77, 0),
    ] {
        let expected = &whole[offset..offset + length];
        let read = blobs.read(KEY, offset as u64, length).await.unwrap();
        assert!(read.concat() == expected, "{length} bytes at {offset}");
        let streamed = collect(blobs, KEY, offset as u64, length as u64).await;
        assert!(streamed == expected, "{length} bytes at {offset}");
    }
    assert_eq!(
        blobs.sums(KEY, 3, end - 3).await.unwrap(),
        ContentSums::of(&whole[3..])
    );
    let source = blobs.open_source(KEY, 10, end - 10).await.unwrap();
    tokio::task::spawn_blocking(move || {
        assert_eq!(source.len(), end - 10);
        let mut buffer = vec![0; 100_000];
        // Here, there, back, and then from front to back.
        for offset in [0, 4_000_000, 300_000, 0, 4_999_990] {
            let read = source.read_at(offset, &mut buffer).unwrap();
            let at = usize::try_from(offset).unwrap() + 10;
            assert!(
                read > 0 && buffer[..read] == whole[at..at + read],
                "{offset}"
            );
        }
        assert_eq!(source.read_at(end - 10, &mut buffer).unwrap(), 0);
        assert_eq!(source.read_at(u64::MAX, &mut buffer).unwrap(), 0);
        let mut at = 10;
        while at < whole.len() {
            let read = source.read_at(at as u64 - 10, &mut buffer).unwrap();
            assert!(read > 0 && buffer[..read] == whole[at..at + read], "{at}");
            at += read;
        }
    })
    .await
    .unwrap();
}

async fn a_spooled_blob_is_what_was_spooled(store: &Store) {
    let blobs = &store.blobs;
    // One piece, exactly one part, several parts.
    for (number, length) in [0, 300_000, 16 << 20, 40_000_001].into_iter().enumerate() {
        let whole = bytes(length);
        let key = format!("ab/1.2/1.3/{number}.0.dcm");
        let payload = spool(blobs, &whole).await;
        blobs.store(&key, payload).await.unwrap();
        blobs.sync_dirs([key.as_str()].into_iter()).await.unwrap();
        assert_eq!(blobs.length(&key).await.unwrap(), length as u64);
        let sums = blobs.sums(&key, 0, length as u64).await.unwrap();
        assert_eq!(
            sums.digest,
            *blake3::hash(&whole).as_bytes(),
            "{length} bytes"
        );
        assert_eq!(sums, ContentSums::of(&whole), "{length} bytes");
    }
    if let Some(s3) = &store.s3 {
        assert_eq!(s3.unfinished(), Vec::<String>::new());
    }
}

async fn a_stream_is_cut_into_chunks_of_whole_values(store: &Store) {
    // Whoever swaps bytes of a stream relies on it: no value has more than 8 bytes.
    keep(&store.blobs, KEY, &bytes(3_000_000)).await;
    let chunks = store.blobs.stream(KEY, 5, 2_500_000).await.unwrap();
    let lengths: Vec<usize> = chunks.map_ok(|c| c.len()).try_collect().await.unwrap();
    let (last, full) = lengths.split_last().unwrap();
    let whole = |length: &usize| *length <= CHUNK && length.is_multiple_of(8);
    assert!(full.iter().all(whole), "{lengths:?}");
    assert_eq!(full.iter().sum::<usize>() + last, 2_500_000);
}

async fn slow_readers_do_not_stop_others(store: &Store) {
    let whole = bytes(12 << 20);
    keep(&store.blobs, KEY, &whole).await;
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut chunks = store.blobs.stream(KEY, 0, 12 << 20).await.unwrap();
        let first = chunks.next().await.unwrap().unwrap();
        slow.push((first, chunks));
    }
    let read = collect(&store.blobs, KEY, 0, 12 << 20);
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    assert!(read.unwrap() == whole);
    let (first, rest) = slow.pop().unwrap();
    let rest: Vec<Bytes> = rest.try_collect().await.unwrap();
    assert!([first.to_vec(), rest.concat()].concat() == whole);
}

async fn what_is_not_there_is_missing(store: &Store) {
    let blobs = &store.blobs;
    keep(blobs, "ab/1.2.3/1.2.4/other.dcm", &bytes(1)).await;
    let errors = [
        blobs.read(KEY, 0, 1).await.err(),
        blobs.read(KEY, 0, 0).await.err(),
        blobs.stream(KEY, 0, 9_000_000).await.err(),
        blobs.stream(KEY, 0, 0).await.err(),
        blobs.open_source(KEY, 0, 1).await.err(),
        blobs.length(KEY).await.err(),
        blobs.sums(KEY, 0, 1).await.err(),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        assert!(
            matches!(&error, Some(BlobError::Missing { key }) if key == KEY),
            "{number}: {error:?}"
        );
    }
}

async fn what_ends_too_early_is_short(store: &Store) {
    let blobs = &store.blobs;
    keep(blobs, KEY, &bytes(5_000_000)).await;
    let short = |error: Option<BlobError>| matches!(error, Some(BlobError::Short { .. }));
    assert!(short(blobs.read(KEY, 4_999_999, 2).await.err()));
    assert!(short(blobs.read(KEY, 6_000_000, 2).await.err()));
    assert!(short(blobs.stream(KEY, 5_000_000, 1).await.err()));
    assert!(short(blobs.sums(KEY, 0, 5_000_001).await.err()));
    store.truncate(KEY, 3_000_000);
    let chunks = blobs.stream(KEY, 0, 5_000_000).await.unwrap();
    let read: Result<Vec<Bytes>, BlobError> = chunks.try_collect().await;
    assert!(short(read.err()));
}

async fn a_removed_blob_is_gone_and_may_be_removed_again(store: &Store) {
    let blobs = &store.blobs;
    let sibling = "ab/1.2.3/1.2.4/1.2.6.0000.dcm";
    for key in [KEY, sibling] {
        keep(blobs, key, &bytes(10)).await;
    }
    blobs.remove(KEY).await.unwrap();
    blobs.remove(KEY).await.unwrap();
    let gone = blobs.length(KEY).await.err();
    assert!(matches!(gone, Some(BlobError::Missing { .. })));
    assert_eq!(blobs.length(sibling).await.unwrap(), 10);
}

async fn a_discarded_blob_vanishes(store: &Store) {
    keep(&store.blobs, KEY, &bytes(10)).await;
    store.blobs.discard(KEY.to_owned());
    wait_until_async("the blob is gone", async || {
        store.blobs.length(KEY).await.is_err()
    })
    .await;
}

async fn every_blob_is_listed_once_by_its_key_and_age(store: &Store) {
    let blobs = &store.blobs;
    let mut expected: Vec<String> = (0..25)
        .map(|i| format!("{:02x}/1.{i}/2.{i}/3.{i}.00.dcm", i % 3))
        .collect();
    // Those that the archive makes, in a partition too, and behind others: a store must not write any character otherwise.
    let name = InstanceName {
        study: StudyUid::parse("1.2.3").unwrap(),
        series: SeriesUid::parse("1.2.3.4").unwrap(),
        instance: InstanceUid::parse("1.2.3.4.5").unwrap(),
    };
    let first = instance_key(&name, &blobs.serial(), &[7; 32]);
    let serial = serial_behind(&blobs.serial(), &first);
    let second = instance_key(&name, &serial, &[8; 32]);
    expected.push(format!("partitions/north/{second}"));
    expected.extend([first, second]);
    expected.sort();
    for key in &expected {
        keep(blobs, key, &bytes(3)).await;
    }
    let _spooled = spool(blobs, &bytes(10)).await;
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    for before in [None, Some(now + hour)] {
        let mut listed: Vec<String> = blobs.list(before).try_collect().await.unwrap();
        listed.sort();
        assert_eq!(listed, expected);
    }
    let old: Vec<String> = blobs.list(Some(now - hour)).try_collect().await.unwrap();
    assert_eq!(old, Vec::<String>::new());
}

async fn a_store_that_can_be_used_says_so(store: &Store) {
    store.blobs.probe().await.unwrap();
}

/// What only an object store can meet.
#[cfg(feature = "cloud")]
mod trouble {
    use super::*;

    fn fault(method: &'static str, at: &'static str, times: u32, effect: Effect) -> Fault {
        Fault {
            method,
            at,
            times,
            effect,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_passing_failure_is_not_noticed() {
        let store = Store::s3().await;
        let s3 = store.s3.as_ref().unwrap();
        let whole = bytes(20_000_000);
        s3.fail(fault("PUT", "partNumber=2", 2, Effect::Status(503)));
        s3.fail(fault("POST", "uploadId=", 1, Effect::Status(500)));
        let payload = spool(&store.blobs, &whole).await;
        store.blobs.store(KEY, payload).await.unwrap();
        s3.fail(fault("GET", KEY, 1, Effect::Status(500)));
        s3.fail(fault("GET", KEY, 3, Effect::Cut(100_000)));
        s3.fail(fault("HEAD", KEY, 1, Effect::Status(503)));
        assert!(collect(&store.blobs, KEY, 0, 20_000_000).await == whole);
        assert_eq!(store.blobs.length(KEY).await.unwrap(), 20_000_000);
        assert_eq!(s3.faults_left(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_upload_that_fails_leaves_nothing() {
        let store = Store::s3().await;
        let s3 = store.s3.as_ref().unwrap();
        s3.fail(fault("PUT", "partNumber=2", 1, Effect::Status(403)));
        let payload = spool(&store.blobs, &bytes(40_000_000)).await;
        let error = store.blobs.store(KEY, payload).await.err();
        assert!(
            matches!(error, Some(BlobError::Unavailable { .. })),
            "{error:?}"
        );
        let gone = store.blobs.length(KEY).await.err();
        assert!(matches!(gone, Some(BlobError::Missing { .. })));
        assert_eq!(s3.unfinished(), Vec::<String>::new());
        let spool = std::fs::read_dir(store.folder.path().join("spool")).unwrap();
        let folders = spool.flatten().filter(|e| e.path().is_dir());
        for folder in folders {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_store_is_told_from_one_that_is_away() {
        let store = Store::s3().await;
        let s3 = store.s3.as_ref().unwrap();
        let payload = || Payload::Memory(bytes(10));
        s3.fail(fault("PUT", KEY, 1000, Effect::Status(507)));
        let error = store.blobs.store(KEY, payload()).await.err();
        assert!(matches!(error, Some(BlobError::Full { .. })), "{error:?}");
        drop(store.s3);
        let errors = end_of("the store is given up", async {
            let stored = store.blobs.store(KEY, payload()).await.err();
            let read = store.blobs.read(KEY, 0, 1).await.err();
            assert!(store.blobs.probe().await.is_err());
            [stored, read]
        });
        for error in errors.await {
            assert!(
                matches!(error, Some(BlobError::Unavailable { .. })),
                "{error:?}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_start_says_what_is_wrong_with_the_settings() {
        let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
        let good = s3.storage("", folder.path());
        Blobs::connect(&good).await.unwrap();
        let message = async |storage| match Blobs::connect(&storage).await {
            Err(BlobError::Config { reason }) => reason,
            other => panic!("{other:?}"),
        };
        let mut no_bucket = good.clone();
        no_bucket.blob_url = Some(format!("s3://other?endpoint={}", s3.endpoint()));
        let reported = message(no_bucket).await;
        assert!(
            reported.contains("other") && reported.contains("does not exist"),
            "{reported}"
        );
        let mut stranger = good.clone();
        let wrong = folder.path().join("wrong");
        let text = "aws_access_key_id = nobody\naws_secret_access_key = hush\n";
        std::fs::write(&wrong, text).unwrap();
        stranger.s3_credentials_file = Some(wrong);
        let reported = message(stranger).await;
        assert!(
            reported.contains("credentials") && !reported.contains("hush"),
            "{reported}"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_start_does_not_wait_for_a_store_that_is_away() {
        let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
        let storage = s3.storage("", folder.path());
        drop(s3);
        let blobs = Blobs::connect(&storage).await.unwrap();
        assert!(blobs.probe().await.is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_prefixes_of_a_bucket_know_nothing_of_each_other() {
        let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
        let one = s3.storage("a", folder.path());
        let other = s3.storage("a/b", folder.path());
        let longer = s3.storage("ab", folder.path());
        let one = Blobs::connect(&one).await.unwrap();
        let longer = Blobs::connect(&longer).await.unwrap();
        keep(&one, KEY, &bytes(1)).await;
        keep(&longer, KEY, &bytes(2)).await;
        assert_eq!(one.length(KEY).await.unwrap(), 1);
        let listed: Vec<String> = one.list(None).try_collect().await.unwrap();
        assert_eq!(listed, [KEY]);
        let other = Blobs::connect(&other).await.unwrap();
        assert_eq!(other.list(None).count().await, 0);
    }
}
