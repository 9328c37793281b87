//! Delete: gone for every reader at once, the bytes a little later.

use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

/// Three instances in two series of one study, and one elsewhere.
fn names(study: u32) -> [Name; 4] {
    [
        Name::new(study, 1, 1),
        Name::new(study, 1, 2),
        Name::new(study, 2, 1),
        Name::new(study + 50, 1, 1),
    ]
}

fn store(server: &Deployment, names: &[Name]) {
    let files: Vec<_> = names.iter().map(Name::small).collect();
    server.store("/dicom-web", &files).expect(200);
}

#[test]
fn what_is_deleted_is_gone_for_every_reader_at_once() {
    on_each_index(|server| {
        for (number, root) in (700..).zip(ROOTS) {
            let names = names(number);
            store(server, &names);
            for (path, left) in [
                (names[0].path(), &names[1..]),
                (names[0].series_path(), &names[2..]),
                (names[0].study_path(), &names[3..]),
            ] {
                let target = format!("{root}{path}");
                let answer = server
                    .request("DELETE", &target)
                    .accept("image/png")
                    .header("Content-Type", "nonsense")
                    .send()
                    .expect(204);
                assert!(answer.body.is_empty());
                // Again: there is nothing any more.
                server.request("DELETE", &target).send().expect(404);
                for read in ["", "/metadata"] {
                    server.get(&format!("{root}{path}{read}")).expect(404);
                }
                for name in &names {
                    let there = left.contains(name);
                    assert_eq!(server.stored(name).is_some(), there, "{}", name.path());
                    let frame = format!("{root}{}/frames/1", name.path());
                    server.get(&frame).expect(404);
                    let found = server.get(&format!(
                        "/dicom-web/instances?SOPInstanceUID={}",
                        name.instance
                    ));
                    let found = found.json().as_array().map(Vec::len);
                    assert_eq!(found, Some(usize::from(there)));
                }
            }
            // Empty series and studies vanish too.
            let series = server.get(&format!("/dicom-web{}/series", names[0].study_path()));
            assert_eq!(series.text(), "[]");
            let found = server.get(&format!(
                "/dicom-web/studies?StudyInstanceUID={}",
                names[0].study
            ));
            assert_eq!(found.text(), "[]");
            let delete = format!("{root}{}", names[3].path());
            server.request("DELETE", &delete).send().expect(204);
        }
        server.fsck();
    });
}

#[test]
fn what_is_not_there_is_404_and_what_is_no_uid_400() {
    on_each_index(|server| {
        let names = names(710);
        store(server, &names);
        for root in ROOTS {
            let status = |path: String| {
                let target = format!("{root}{path}");
                server.request("DELETE", &target).send().status
            };
            assert_eq!(status("/studies/1.2.99".to_owned()), 404);
            assert_eq!(status(format!("{}/series/1.2", names[0].study_path())), 404);
            let elsewhere = format!("{}/series/{}", names[3].study_path(), names[0].series);
            assert_eq!(status(elsewhere), 404);
            let elsewhere = format!("{}/instances/{}", names[2].series_path(), names[0].instance);
            assert_eq!(status(elsewhere), 404);
            assert_eq!(status("/studies/abc".to_owned()), 400);
            assert_eq!(status(format!("{}/series/1.", names[0].study_path())), 400);
            assert_eq!(
                status(format!("{}/instances/..", names[0].series_path())),
                400
            );
            assert_eq!(status("/studies".to_owned()), 405);
        }
        for name in &names {
            assert!(server.stored(name).is_some());
        }
    });
}

#[test]
fn the_sweeper_removes_the_bytes_of_what_was_deleted() {
    let at_once = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    on_each_index_with(&at_once, |server| {
        let names = names(720);
        store(server, &names);
        assert_eq!(server.blob_files().len(), 4);
        let target = format!("/v2{}", names[0].study_path());
        server.request("DELETE", &target).send().expect(204);
        wait_until("the bytes are removed", || server.blob_files().len() == 1);
        assert!(server.stored(&names[3]).is_some());
        // Stored again: the old bytes go, the new ones stay.
        store(server, &names[..1]);
        server.request("DELETE", &target).send().expect(204);
        store(server, &names[..1]);
        wait_until("the bytes are removed", || server.blob_files().len() == 2);
        assert_eq!(server.stored(&names[0]), Some(names[0].small().bytes));
        server.fsck();
    });
}

#[test]
fn the_bytes_stay_until_the_grace_period_is_over() {
    let server = TestApp::with(&[("STOWAGE_TRASH_HOURS", "1"), ("STOWAGE_SWEEP_SECONDS", "1")]);
    let names = names(730);
    store(&server, &names);
    let target = format!("/v2{}", names[0].study_path());
    server.request("DELETE", &target).send().expect(204);
    let runs = || {
        let text = server.get("/metrics").expect(200).text();
        let mut lines = text.lines();
        let runs = lines.find_map(|line| line.strip_prefix("stowage_sweeper_runs_total "));
        runs.and_then(|runs| runs.parse::<u64>().ok())
            .expect("a number")
    };
    // The next run may have begun before; it has ended when another begins.
    let before = runs();
    wait_until("the sweeper ran", || runs() >= before + 2);
    assert_eq!(server.blob_files().len(), 4);
    server.fsck();
}

#[test]
fn a_download_that_runs_goes_on_when_its_study_is_deleted() {
    let at_once = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    let server = TestApp::with(&at_once);
    let name = Name::new(740, 1, 1);
    let file = name.with_bulk(40 << 20);
    server.store("/v2", [&file]).expect(200);
    let answer = server
        .request("GET", &format!("/v2{}", name.path()))
        .accept("application/dicom; transfer-syntax=*")
        .open()
        .expect("an answer");
    assert_eq!(answer.status, 200);
    let target = format!("/v2{}", name.path());
    server.request("DELETE", &target).send().expect(204);
    wait_until("the bytes are removed", || server.blob_files().is_empty());
    let body = answer.finish().expect("a whole answer").body;
    assert!(body == file.bytes, "other bytes");
}
