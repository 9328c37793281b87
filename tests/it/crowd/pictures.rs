//! Pictures for a crowd: small ones pass large ones, and who does not read his keeps nobody from theirs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use crate::support::dicom::{Name, noise};
use crate::support::server::{Server, wait_until};

/// Pictures that the crowd asks for.
const CROWD: usize = 6;

/// An image of so many rows and columns.
fn image(name: &Name, rows: u16, columns: u16) -> BuiltFile {
    let pixels = usize::from(rows) * usize::from(columns);
    let pixels = noise(&name.instance, 1 << 12).repeat(pixels.div_ceil(1 << 12));
    let data_set = name.image(rows, columns, 8, 1).set(DataSet::new().bytes(
        Tag(0x7FE0, 0x0010),
        VR::OB,
        &pixels[..usize::from(rows) * usize::from(columns)],
    ));
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// A server with one large and some small images.
fn filled(settings: &[(&str, &str)]) -> (Server, Name, Vec<Name>) {
    let server = Server::with(settings);
    let large = Name::new(770, 1, 1);
    let small: Vec<Name> = (1..=4).map(|number| Name::new(771, 1, number)).collect();
    let mut files = vec![image(&large, 2200, 2000)];
    files.extend(small.iter().map(|name| image(name, 16, 16)));
    server.store("/dicom-web", &files).expect(200);
    (server, large, small)
}

/// A gauge of the server.
fn gauge(server: &Server, sample: &str) -> u64 {
    let text = server.get("/metrics").expect(200).text();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {sample} in\n{text}"))
}

#[test]
fn small_pictures_pass_a_crowd_of_large_ones() {
    let (server, large, small) = filled(&[("STOWAGE_FRAME_CACHE_BYTES", "0")]);
    let done = AtomicUsize::new(0);
    let done_then = thread::scope(|scope| {
        for number in 0..CROWD {
            let (server, large, done) = (&server, &large, &done);
            scope.spawn(move || {
                // Each its own, so that none is made for all.
                let window = format!("viewport=200,200&window={},256,linear", 100 + number);
                let target = format!("/dicom-web{}/rendered?{window}", large.path());
                let answer = server.get_as(&target, "image/png");
                assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        wait_until("the crowd is at work", || {
            gauge(&server, "stowage_lane_busy{lane=\"codec\"}") > 0
        });
        for name in &small {
            let target = format!("/dicom-web{}/rendered", name.path());
            server.get_as(&target, "image/png").expect(200);
        }
        done.load(Ordering::SeqCst)
    });
    assert_eq!(done.load(Ordering::SeqCst), CROWD);
    assert!(
        done_then < CROWD - 2,
        "{done_then} of {CROWD} came before the small ones"
    );
}

#[test]
fn who_does_not_read_his_picture_keeps_nobody_from_theirs() {
    let (server, large, small) = filled(&[("STOWAGE_SLOW_SECONDS", "600")]);
    let target = format!("/dicom-web{}/rendered", large.path());
    let held: Vec<_> = (0..30)
        .map(|_| {
            let request = server.request("GET", &target).accept("image/png");
            request.open().expect("an answer begins")
        })
        .collect();
    let lane = || gauge(&server, "stowage_lane_busy{lane=\"codec\"}");
    wait_until("nothing is made any more", || lane() == 0);
    for name in &small {
        let target = format!("/dicom-web{}/rendered", name.path());
        server.get_as(&target, "image/png").expect(200);
    }
    // Another large one: no place is held, and there is memory.
    server
        .get_as(
            &format!("{target}?viewport=200,200&window=90,256,linear"),
            "image/jpeg",
        )
        .expect(200);
    drop(held);
}
