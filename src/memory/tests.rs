use super::*;

fn budget(bytes: usize) -> MemoryBudget {
    MemoryBudget::with_wait(bytes, Duration::from_millis(50))
}

#[test]
fn what_is_dropped_is_there_again() {
    let budget = budget(8 << 20);
    let held = budget.try_reserve(Purpose::Parts, 7 << 20).unwrap();
    assert_eq!(budget.reserved(Purpose::Parts), 7 << 20);
    let more = budget.try_reserve(Purpose::Rows, SMALL + 1);
    assert_eq!(more.unwrap_err(), NoMemory::Busy);
    drop(held);
    assert_eq!(budget.reserved(Purpose::Parts), 0);
    budget.try_reserve(Purpose::Rows, 7 << 20).unwrap();
}

#[test]
fn what_can_never_fit_is_said_to_be_too_large() {
    let budget = budget(8 << 20);
    let error = budget.try_reserve(Purpose::Parts, 9 << 20).unwrap_err();
    assert!(matches!(error, NoMemory::TooLarge { .. }));
    let mut held = budget.try_reserve(Purpose::Parts, 1 << 20).unwrap();
    let error = held.try_grow_to(9 << 20).unwrap_err();
    assert!(matches!(error, NoMemory::TooLarge { .. }));
    assert_eq!(held.bytes(), 1 << 20);
}

#[test]
fn it_is_said_when_requests_begin_and_cease_to_use_much() {
    let budget = budget(64 << 20);
    let caches = budget.try_reserve(Purpose::Caches, 16 << 20).unwrap();
    let much = || budget.0.much.load(Ordering::Relaxed);
    assert!(!much(), "caches are no requests");
    let held = budget.try_reserve(Purpose::Rows, 3 << 20).unwrap();
    assert!(!much());
    let more = budget.try_reserve(Purpose::Rows, 2 << 20).unwrap();
    assert!(much());
    drop(more);
    assert_eq!(budget.take_peak(), 5 << 20);
    assert_eq!(budget.take_peak(), 3 << 20);
    assert!(much(), "it ends at half of where it begins");
    drop(held);
    assert!(!much());
    drop(caches);
}

#[tokio::test]
async fn small_reservations_pass_large_ones_that_wait() {
    let budget = budget(8 << 20);
    let held = budget.reserve(Purpose::Parts, 7 << 20).await.unwrap();
    let large = tokio::spawn({
        let budget = budget.clone();
        async move { budget.reserve(Purpose::Parts, 6 << 20).await }
    });
    while budget.0.lock().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    let small = budget.reserve(Purpose::Rows, 1 << 10).await.unwrap();
    drop(held);
    assert_eq!(large.await.unwrap().unwrap().bytes(), 6 << 20);
    drop(small);
}

#[tokio::test]
async fn waiting_ends_and_leaves_nothing_behind() {
    let budget = budget(8 << 20);
    let held = budget.reserve(Purpose::Parts, 7 << 20).await.unwrap();
    let refused = budget.reserve(Purpose::Parts, 7 << 20).await;
    assert_eq!(refused.unwrap_err(), NoMemory::Busy);
    drop(held);
    assert!(budget.0.lock().waiting.is_empty());
    assert_eq!(budget.0.lock().free, 8 << 20);
    assert_eq!(budget.refused(), 1);
}

#[tokio::test]
async fn who_no_longer_waits_is_in_nobodys_way() {
    let budget = budget(8 << 20);
    let _held = budget.reserve(Purpose::Parts, 4 << 20).await.unwrap();
    let large = tokio::spawn({
        let budget = budget.clone();
        async move { budget.reserve(Purpose::Parts, 6 << 20).await }
    });
    while budget.0.lock().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    large.abort();
    assert!(large.await.unwrap_err().is_cancelled());
    assert!(budget.0.lock().waiting.is_empty());
    budget.try_reserve(Purpose::Parts, 2 << 20).unwrap();
}

#[test]
fn what_caches_hold_is_never_free() {
    let budget = budget(8 << 20);
    let _caches = budget.try_reserve(Purpose::Caches, 3 << 20).unwrap();
    let error = budget.try_reserve(Purpose::Parts, 5 << 20).unwrap_err();
    assert!(matches!(error, NoMemory::TooLarge { .. }), "{error:?}");
    budget.try_reserve(Purpose::Parts, 4 << 20).unwrap();
}

#[tokio::test]
async fn parts_of_a_reservation_change_hands() {
    let budget = budget(8 << 20);
    let mut all = budget.reserve(Purpose::Parts, 4 << 20).await.unwrap();
    let part = all.split(3 << 20);
    assert_eq!((all.bytes(), part.bytes()), (1 << 20, 3 << 20));
    let mut rows = budget.nothing(Purpose::Rows);
    rows.merge(part);
    assert_eq!(budget.reserved(Purpose::Parts), 1 << 20);
    assert_eq!(budget.reserved(Purpose::Rows), 3 << 20);
    rows.shrink_to(10);
    all.grow_to(6 << 20).await.unwrap();
    drop((all, rows));
    assert_eq!(budget.0.lock().free, 8 << 20);
}
