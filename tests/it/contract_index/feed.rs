//! The change feed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Connection;
use stowage::index::{Change, ChangeAction, ChangeState, FeedRange};
use stowage::scope::Scope;
use time::OffsetDateTime;

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::server::wait_until_async;

on_each_back_end!(
    an_empty_feed_is_empty,
    every_write_has_one_entry_in_order,
    the_state_is_that_of_now,
    ranges_and_windows_are_cut_exactly,
    metadata_comes_with_what_is_stored,
    a_reader_by_sequence_misses_nothing,
    a_reader_by_window_misses_nothing,
);

const ALL: FeedRange = FeedRange::Sequence {
    after: 0,
    through: i64::MAX,
};

async fn read(index: &TestIndex, range: &FeedRange) -> Vec<Change> {
    let changes = index.changes(&(&Scope::everything()).into(), range).await;
    changes.unwrap()
}

/// Waits until the clock has gone past the newest entry.
async fn moment_behind_the_feed(index: &TestIndex) {
    let scope = Scope::everything();
    let newest = index.latest_change(&(&scope).into()).await.unwrap();
    let newest = newest.expect("something was written").timestamp;
    wait_until_async("the next moment", async || {
        OffsetDateTime::now_utc() > newest
    })
    .await;
}

async fn an_empty_feed_is_empty(index: &TestIndex) {
    assert!(read(index, &ALL).await.is_empty());
    let latest = index.latest_change(&(&Scope::everything()).into()).await;
    assert!(latest.unwrap().is_none());
}

async fn every_write_has_one_entry_in_order(index: &TestIndex) {
    let before = OffsetDateTime::now_utc() - Duration::from_secs(2);
    store(
        index,
        &[
            Sample::new(1, 1, 1),
            Sample::new(2, 1, 1),
            Sample::new(1, 1, 2),
        ],
    )
    .await;
    index
        .delete(&Scope::everything(), &target(1, None, None))
        .await
        .unwrap();
    let changes = read(index, &ALL).await;
    let reported: Vec<_> = changes.iter().map(|c| (c.action, c.name.clone())).collect();
    assert_eq!(
        reported,
        [
            (ChangeAction::Create, name(1, 1, 1)),
            (ChangeAction::Create, name(2, 1, 1)),
            (ChangeAction::Create, name(1, 1, 2)),
            (ChangeAction::Delete, name(1, 1, 1)),
            (ChangeAction::Delete, name(1, 1, 2)),
        ]
    );
    assert!(
        changes
            .windows(2)
            .all(|w| w[0].sequence < w[1].sequence && w[0].timestamp <= w[1].timestamp)
    );
    assert!(
        changes[0].timestamp > before
            && changes[4].timestamp < OffsetDateTime::now_utc() + Duration::from_secs(2)
    );
    let latest = index
        .latest_change(&(&Scope::everything()).into())
        .await
        .unwrap();
    assert_eq!(latest.unwrap().sequence, changes[4].sequence);
}

async fn the_state_is_that_of_now(index: &TestIndex) {
    let scope = Scope::everything();
    let states = async || {
        read(index, &ALL)
            .await
            .iter()
            .map(|c| c.state)
            .collect::<Vec<_>>()
    };
    store(index, &[Sample::new(1, 1, 1)]).await;
    assert_eq!(states().await, [ChangeState::Current]);
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    assert_eq!(states().await, [ChangeState::Deleted, ChangeState::Deleted]);
    store(index, &[Sample::new(1, 1, 1)]).await;
    assert_eq!(
        states().await,
        [
            ChangeState::Replaced,
            ChangeState::Replaced,
            ChangeState::Current
        ]
    );
    store(index, &[Sample::new(1, 1, 2)]).await;
    index
        .delete(&scope, &target(1, Some(1), Some(1)))
        .await
        .unwrap();
    let expected = [
        ChangeState::Deleted,
        ChangeState::Deleted,
        ChangeState::Deleted,
        ChangeState::Current,
        ChangeState::Deleted,
    ];
    assert_eq!(states().await, expected);
}

async fn ranges_and_windows_are_cut_exactly(index: &TestIndex) {
    for i in 0..6 {
        store(index, &[Sample::new(i, 1, 1)]).await;
        // The next entry has another time.
        moment_behind_the_feed(index).await;
    }
    let all = read(index, &ALL).await;
    let range = FeedRange::Sequence {
        after: all[1].sequence,
        through: all[3].sequence,
    };
    let found: Vec<i64> = read(index, &range)
        .await
        .iter()
        .map(|c| c.sequence)
        .collect();
    assert_eq!(found, [all[2].sequence, all[3].sequence]);
    let window = |from, to, skip, limit| FeedRange::Window {
        from,
        to,
        skip,
        limit,
    };
    let times: Vec<_> = all.iter().map(|c| Some(c.timestamp)).collect();
    for (range, expected) in [
        (window(None, None, 0, 100), 0..6),
        (window(times[2], None, 0, 100), 2..6),
        (window(None, times[2], 0, 100), 0..2),
        (window(times[1], times[4], 0, 100), 1..4),
        (window(times[1], times[4], 1, 1), 2..3),
        (window(None, None, 5, 100), 5..6),
        (window(None, None, 6, 100), 6..6),
        (window(None, None, u64::MAX, 100), 6..6),
        (window(times[5], times[5], 0, 100), 6..6),
        (
            window(
                Some(OffsetDateTime::UNIX_EPOCH),
                Some(OffsetDateTime::now_utc()),
                0,
                2,
            ),
            0..2,
        ),
    ] {
        let found: Vec<i64> = read(index, &range)
            .await
            .iter()
            .map(|c| c.sequence)
            .collect();
        let expected: Vec<i64> = all[expected].iter().map(|c| c.sequence).collect();
        assert_eq!(found, expected, "{range:?}");
    }
}

async fn metadata_comes_with_what_is_stored(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &[Sample::new(1, 1, 1), Sample::new(2, 1, 1)]).await;
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    let changes = index.changes(&(&scope).into(), &ALL).await.unwrap();
    let stored: Vec<Option<i64>> = changes.iter().map(|c| c.stored).collect();
    assert!(
        matches!(stored.as_slice(), [None, Some(_), None]),
        "{stored:?}"
    );
    let watermarks: Vec<i64> = stored.into_iter().flatten().collect();
    let packed = index
        .packed_metadata(&(&scope).into(), &watermarks)
        .await
        .unwrap();
    assert_eq!(packed.len(), 1);
}

/// Writers at work until they are done: each stores and deletes studies of its own, in batches of uneven size.
async fn write(index: &TestIndex, writers: u32, rounds: u32) {
    let work = (0..writers).map(|writer| async move {
        for round in 0..rounds {
            let size = 1 + (writer * 7 + round * 13) % 40;
            let study = writer * 1000 + round;
            let samples: Vec<Sample> = (0..size).map(|i| Sample::new(study, 1, i)).collect();
            store(index, &samples).await;
            if round % 3 == 0 {
                index
                    .delete(&Scope::everything(), &target(study, None, None))
                    .await
                    .unwrap();
            }
        }
    });
    futures_util::future::join_all(work).await;
}

async fn a_reader_by_sequence_misses_nothing(index: &TestIndex) {
    let done = AtomicBool::new(false);
    let reader = async {
        let mut seen = Vec::new();
        let mut last = 0;
        loop {
            let finished = done.load(Ordering::SeqCst);
            // Asked first: only what was there before an empty answer proves that the answer is a gap in the numbers.
            let latest = index
                .latest_change(&(&Scope::everything()).into())
                .await
                .unwrap();
            let newest = latest.map_or(0, |c| c.sequence);
            let changes = read(
                index,
                &FeedRange::Sequence {
                    after: last,
                    through: last + 50,
                },
            )
            .await;
            match changes.last() {
                Some(change) => last = change.sequence,
                None if newest > last + 50 => last += 50,
                None if finished && newest <= last => break,
                None => tokio::task::yield_now().await,
            }
            seen.extend(changes);
        }
        seen
    };
    let writing = async {
        write(index, 5, 12).await;
        done.store(true, Ordering::SeqCst);
    };
    let (seen, ()) = tokio::join!(reader, writing);
    check_complete(index, &seen).await;
}

async fn a_reader_by_window_misses_nothing(index: &TestIndex) {
    let done = AtomicBool::new(false);
    let reader = async {
        let mut seen: Vec<Change> = Vec::new();
        let mut from = OffsetDateTime::UNIX_EPOCH;
        loop {
            let finished = done.load(Ordering::SeqCst);
            let to = OffsetDateTime::now_utc();
            let mut skip = 0;
            loop {
                let range = FeedRange::Window {
                    from: Some(from),
                    to: Some(to),
                    skip,
                    limit: 37,
                };
                let changes = read(index, &range).await;
                skip += changes.len() as u64;
                let last_page = changes.len() < 37;
                seen.extend(changes);
                if last_page {
                    break;
                }
            }
            from = to;
            if finished {
                break;
            }
        }
        seen
    };
    let writing = async {
        write(index, 5, 12).await;
        // The clock of the last entry may be a moment ahead of the reader's.
        moment_behind_the_feed(index).await;
        done.store(true, Ordering::SeqCst);
    };
    let (seen, ()) = tokio::join!(reader, writing);
    check_complete(index, &seen).await;
}

/// Transactions that dawdle between taking their place in the feed and their commit: what Postgres allows to happen at any
/// time, and `SQLite` never.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_miss_nothing_while_postgres_is_slow_to_commit() {
    let Some(index) = slow_to_commit().await else {
        return;
    };
    a_reader_by_sequence_misses_nothing(&index).await;
    let Some(index) = slow_to_commit().await else {
        return;
    };
    a_reader_by_window_misses_nothing(&index).await;
}

async fn slow_to_commit() -> Option<TestIndex> {
    let index = crate::support::index::postgres().await?;
    let mut connection = sqlx::PgConnection::connect(&index.url).await.unwrap();
    for statement in [
        "create function dawdle() returns trigger language plpgsql as \
         $$ begin if random() < 0.04 then perform pg_sleep(random() * 0.2); end if; return null; end $$",
        "create constraint trigger dawdle after insert on change deferrable initially deferred \
         for each row execute function dawdle()",
    ] {
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    Some(index)
}

/// What a reader saw is the whole feed, each entry once, in order.
async fn check_complete(index: &TestIndex, seen: &[Change]) {
    let all: Vec<i64> = read(index, &ALL).await.iter().map(|c| c.sequence).collect();
    let sequences: Vec<i64> = seen.iter().map(|c| c.sequence).collect();
    assert!(
        sequences == all,
        "{} of {} entries, or out of order",
        sequences.len(),
        all.len()
    );
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert!(seen.windows(2).all(|w| w[0].timestamp <= w[1].timestamp));
    assert!(all.len() > 1000);
}
