//! Requests for storage commitment.

use std::time::Duration;

use stowage::index::{CommitmentRow, NewCommitment};
use stowage::scope::Partition;

use super::on_each_back_end;
use crate::support::index::TestIndex;
use crate::support::server::wait_until_async;

on_each_back_end!(
    a_request_is_due_when_nobody_holds_it,
    of_many_who_claim_a_request_one_gets_it,
    one_peer_has_no_more_requests_than_it_may,
);

const LONG: Duration = Duration::from_secs(3600);
const PARTITION: Partition = Partition::DEFAULT;

fn new(id: &str, peer: &str) -> NewCommitment {
    NewCommitment {
        id: id.to_owned(),
        peer: peer.to_owned(),
        request: r#"{"transaction":"1.2"}"#.to_owned(),
    }
}

/// The request that becomes due.
async fn due(index: &TestIndex) -> CommitmentRow {
    let mut rows = Vec::new();
    wait_until_async("a request is due", async || {
        rows = index.due_commitments(10).await.unwrap();
        !rows.is_empty()
    })
    .await;
    rows.swap_remove(0)
}

async fn a_request_is_due_when_nobody_holds_it(index: &TestIndex) {
    let request = new("a", "CT1");
    let added = index.add_commitment(PARTITION, &request, 10, LONG);
    assert!(added.await.unwrap());
    assert_eq!(index.due_commitments(10).await.unwrap(), []);
    index.hold_commitment("a", Duration::ZERO, 3).await.unwrap();
    let row = due(index).await;
    assert_eq!((&*row.id, &*row.peer, row.attempts), ("a", "CT1", 3));
    let request = index.commitment_request("a").await.unwrap();
    assert_eq!(request.unwrap().len(), row.weight);
    index.finish_commitment("a").await.unwrap();
    assert_eq!(index.commitment_request("a").await.unwrap(), None);
    assert!(!index.claim_commitment(&row, LONG).await.unwrap());
}

async fn of_many_who_claim_a_request_one_gets_it(index: &TestIndex) {
    let request = new("a", "CT1");
    let added = index.add_commitment(PARTITION, &request, 10, Duration::ZERO);
    assert!(added.await.unwrap());
    let row = due(index).await;
    let asked = (0..8).map(|_| {
        let (index, row) = (index.index.clone(), row.clone());
        tokio::spawn(async move { index.claim_commitment(&row, LONG).await })
    });
    let mut claimed = 0;
    for answer in asked.collect::<Vec<_>>() {
        claimed += usize::from(answer.await.unwrap().unwrap());
    }
    assert_eq!(claimed, 1);
    assert_eq!(index.due_commitments(10).await.unwrap(), []);
}

async fn one_peer_has_no_more_requests_than_it_may(index: &TestIndex) {
    for (id, peer, taken) in [
        ("a", "CT1", true),
        ("b", "CT1", true),
        ("c", "CT1", false),
        ("d", "CT2", true),
    ] {
        let request = new(id, peer);
        let added = index.add_commitment(PARTITION, &request, 2, LONG);
        assert_eq!(added.await.unwrap(), taken, "{id}");
    }
}
