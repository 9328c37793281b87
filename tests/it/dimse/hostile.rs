//! Peers that break off, lie about lengths, dawdle, or come in crowds.

use std::io::Write;

use stowage::dicom::testing::SOP_CLASS;

use super::peer::{Peer, VERIFICATION, command, pdata, request, store, unit};
use super::{data_set, gateway, gateway_with, stored};
use crate::support::dicom::Name;
use crate::support::server::{Server, wait_until};

pub(super) fn associations(server: &Server) -> u64 {
    let metrics = server.get("/metrics").expect(200).text();
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix("stowage_dimse_associations "));
    line.and_then(|count| count.parse().ok()).expect("a gauge")
}

pub(super) fn is_well(port: &str) {
    let mut peer = Peer::associate(port, &[VERIFICATION]);
    peer.send(&command(1, 0x30, VERIFICATION, None));
    assert_eq!(peer.status(), 0);
    peer.release();
}

#[test]
fn an_association_that_breaks_off_anywhere_leaves_nothing() {
    let (server, port) = gateway();
    let name = Name::new(1, 1, 1);
    let file = name.with_bulk(6000);
    let mut whole = request("STOWAGE", "RAW", &[SOP_CLASS]);
    whole.extend(store(1, SOP_CLASS, &name.instance, data_set(&file.bytes)));
    for cut in (0..whole.len()).step_by(97) {
        let mut peer = Peer::connect(&port);
        peer.send(&whole[..cut]);
    }
    wait_until("all have ended", || associations(&server) == 0);
    assert!(stored(&server, &name.instance).is_none());
    assert_eq!(server.blob_files(), Vec::<std::path::PathBuf>::new());
    let mut peer = Peer::connect(&port);
    peer.send(&whole);
    assert_eq!(peer.unit().expect("an answer").0, 2);
    assert_eq!(peer.status(), 0);
    peer.release();
    assert!(stored(&server, &name.instance).is_some());
}

#[test]
fn what_is_no_protocol_is_aborted_or_closed_and_others_go_on() {
    let (server, port) = gateway();
    let greeting = request("STOWAGE", "RAW", &[VERIFICATION, SOP_CLASS]);
    let mut huge = greeting.clone();
    huge[2..6].copy_from_slice(&[255; 4]);
    let mut wrong = greeting.clone();
    wrong[76] = 255;
    let first: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("zeros", vec![0; 100]),
        ("a huge request", huge),
        ("an item beyond its unit", wrong),
        ("data first", command(1, 0x30, VERIFICATION, None)),
        ("a release first", unit(5, &[0; 4])),
        ("an empty request", unit(1, &[])),
    ];
    for (what, bytes) in first {
        let mut peer = Peer::connect(&port);
        peer.send(&bytes);
        let answer = peer.unit();
        assert!(answer.is_none_or(|(kind, _)| kind == 7), "{what}");
    }
    let later: Vec<(&str, Vec<u8>)> = vec![
        ("a second request", greeting),
        ("an unknown unit", unit(99, &[0; 4])),
        ("a huge unit", vec![4, 0, 255, 255, 255, 255]),
        ("a value beyond its unit", unit(4, &[0, 0, 1, 0, 1, 3])),
        ("a value of no length", unit(4, &[0, 0, 0, 0, 1, 3])),
        (
            "a context nobody accepted",
            command(99, 0x30, VERIFICATION, None),
        ),
        ("a data set without a command", pdata(3, 2, b"x")),
        (
            "a command that is none",
            pdata(1, 3, b"\x08\0\x05\0\x02\0\0\0xx"),
        ),
        (
            "a command of lies",
            pdata(1, 3, &[0, 0, 0, 1, 255, 255, 255, 255]),
        ),
        (
            "an answer to nothing",
            command(1, 0x8030, VERIFICATION, None),
        ),
        ("a release of nothing", unit(6, &[0; 4])),
        ("a release of a wrong length", unit(5, &[0; 8])),
    ];
    for (what, bytes) in later {
        let mut peer = Peer::associate(&port, &[VERIFICATION, SOP_CLASS]);
        peer.send(&bytes);
        let (kind, body) = peer.unit().unwrap_or_else(|| panic!("{what}: no abort"));
        assert_eq!((kind, body[2]), (7, 2), "{what}");
    }
    // A command set that never ends.
    let mut peer = Peer::associate(&port, &[VERIFICATION]);
    let endless = pdata(1, 1, &[0; 10_000]);
    for _ in 0..20 {
        peer.send(&endless);
    }
    assert!(peer.unit().is_none_or(|(kind, _)| kind == 7));
    is_well(&port);
    assert!(!server.log().contains("panicked"));
}

#[test]
fn crowds_and_silent_peers_are_bounded_and_others_go_on() {
    let (server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", "any"),
        ("STOWAGE_DIMSE_IDLE_SECONDS", "2"),
        ("STOWAGE_DIMSE_ASSOCIATIONS", "300"),
    ]);
    is_well(&port);
    let before = server.memory("VmRSS");
    let name = Name::new(1, 1, 1);
    let file = name.with_bulk(6000);
    let mut begun = request("STOWAGE", "RAW", &[SOP_CLASS]);
    begun.extend(store(1, SOP_CLASS, &name.instance, data_set(&file.bytes)));
    begun.truncate(5000);
    let mut crowd = Vec::new();
    for number in 0..200 {
        let mut peer = Peer::connect(&port);
        // Some say nothing, some break off within a data set, some are garbage.
        peer.send(match number % 3 {
            0 => &[],
            1 => &begun,
            _ => b"\x01\0\0\0\xff\xff garbage",
        });
        crowd.push(peer);
        if number % 50 == 0 {
            is_well(&port);
        }
    }
    wait_until("silent associations are aborted", || {
        associations(&server) == 0
    });
    let growth = server.memory("VmRSS").saturating_sub(before);
    assert!(growth < 96 << 10, "{growth} KiB");
    for peer in &mut crowd {
        // Nobody of them is waited for.
        drop(peer.0.write_all(&[0; 10]));
    }
    drop(crowd);
    wait_until("there is room", || {
        let mut peer = Peer::connect(&port);
        peer.send(&request("STOWAGE", "RAW", &[VERIFICATION]));
        peer.unit().is_some_and(|(kind, _)| kind == 2)
    });
    assert!(stored(&server, &name.instance).is_none());
}
