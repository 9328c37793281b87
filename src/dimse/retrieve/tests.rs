//! What is named, and what is answered.

use super::*;

#[test]
fn a_path_names_what_it_ends_in() {
    let level = |path| target(path).map(|t| (t.series().is_some(), t.instance().is_some()));
    assert_eq!(level("studies/1.2"), Some((false, false)));
    assert_eq!(level("studies/1.2/series/1.3"), Some((true, false)));
    assert_eq!(
        level("studies/1.2/series/1.3/instances/1.4"),
        Some((true, true))
    );
    assert_eq!(level("studies"), None);
    assert_eq!(level("studies/x"), None);
}

#[test]
fn a_status_says_whether_all_some_or_none_was_sent() {
    let status = |completed, warned, failed| {
        let progress = Progress {
            completed,
            warned,
            failed,
            ..Progress::default()
        };
        progress.status()
    };
    assert_eq!(status(0, 0, 0), 0);
    assert_eq!(status(5, 0, 0), 0);
    assert_eq!(status(5, 0, 1), 0xB000);
    assert_eq!(status(5, 1, 0), 0xB000);
    assert_eq!(status(0, 0, 3), 0xA702);
}
