//! Leases.

use std::time::Duration;

use super::on_each_back_end;
use crate::support::index::TestIndex;
use crate::support::server::wait_until_async;

on_each_back_end!(
    a_lease_has_one_holder_until_it_ends,
    a_lease_that_is_given_back_is_free,
    of_many_who_ask_at_once_one_gets_the_lease,
    a_change_waits_for_those_alone_who_have_a_lease_and_have_not_heard_of_it,
);

const LONG: Duration = Duration::from_secs(3600);

async fn a_lease_has_one_holder_until_it_ends(index: &TestIndex) {
    assert!(index.take_lease("sweep", "a", LONG).await.unwrap());
    assert!(!index.take_lease("sweep", "b", LONG).await.unwrap());
    assert!(index.take_lease("scrub", "b", LONG).await.unwrap());
    // Its holder may change how long.
    let short = Duration::from_millis(1);
    assert!(index.take_lease("sweep", "a", short).await.unwrap());
    wait_until_async("the lease has ended", async || {
        index.take_lease("sweep", "b", LONG).await.unwrap()
    })
    .await;
    assert!(!index.take_lease("sweep", "a", LONG).await.unwrap());
    assert!(index.take_lease("sweep", "b", Duration::MAX).await.unwrap());
    assert!(!index.take_lease("sweep", "a", LONG).await.unwrap());
}

async fn a_lease_that_is_given_back_is_free(index: &TestIndex) {
    assert!(index.take_lease("sweep", "a", LONG).await.unwrap());
    index.give_back_lease("sweep", "b").await.unwrap();
    assert!(!index.take_lease("sweep", "b", LONG).await.unwrap());
    index.give_back_lease("sweep", "a").await.unwrap();
    index.give_back_lease("sweep", "a").await.unwrap();
    assert!(index.take_lease("sweep", "b", LONG).await.unwrap());
}

async fn of_many_who_ask_at_once_one_gets_the_lease(index: &TestIndex) {
    let asked = (0..8).map(|i| {
        let index = index.index.clone();
        tokio::spawn(async move { index.take_lease("sweep", &i.to_string(), LONG).await })
    });
    let mut taken = 0;
    for answer in asked.collect::<Vec<_>>() {
        taken += usize::from(answer.await.unwrap().unwrap());
    }
    assert_eq!(taken, 1);
}

async fn a_change_waits_for_those_alone_who_have_a_lease_and_have_not_heard_of_it(
    index: &TestIndex,
) {
    let change = index.announce_change().await.unwrap();
    let behind = async |change| index.lease_is_behind(change, "a").await.unwrap();
    assert!(!behind(change).await);
    let Some(mut b) = index.listen("b").await.unwrap() else {
        // Nobody else can write to it.
        assert!(!index.is_shared());
        return;
    };
    assert!(!behind(change).await, "to listen is not to have a lease");
    let taken = b.renew(0).await.unwrap();
    assert_eq!((taken.newest, taken.is_new), (change, true));
    let next = index.announce_change().await.unwrap();
    assert!(next > change);
    assert!(behind(next).await);
    assert!(!index.lease_is_behind(next, "b").await.unwrap(), "its own");
    assert_eq!(b.changed().await.unwrap(), next);
    // To hear of a change is not to have said so, and to keep the lease is not to have heard of it.
    let kept = b.renew(change).await.unwrap();
    assert_eq!((kept.newest, kept.is_new), (next, false));
    assert!(behind(next).await);
    b.renew(next).await.unwrap();
    assert!(!behind(next).await);
    // Whoever does not answer loses the lease, and finds that out.
    let last = index.announce_change().await.unwrap();
    assert_eq!(index.revoke_leases_behind(last, "a").await.unwrap(), 1);
    assert!(!behind(last).await);
    let taken = b.renew(next).await.unwrap();
    assert_eq!((taken.newest, taken.is_new), (last, true));
    b.release().await.unwrap();
    let more = index.announce_change().await.unwrap();
    assert!(!behind(more).await);
}
