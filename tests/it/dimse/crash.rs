//! What is acknowledged survives a kill, slow peers are given up, and large objects pass through.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stowage::dicom::testing::SOP_CLASS;

use super::hostile::{associations, is_well};
use super::peer::{Peer, command, pdata, request, store};
use super::{data_set, gateway, gateway_with, stored};
use crate::support::dicom::Name;
use crate::support::server::wait_until;

/// Whether the next answer says that the instance is stored; none when the connection is gone.
fn acknowledged(peer: &mut Peer) -> Option<bool> {
    let mut head = [0; 6];
    peer.0.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    let mut body = vec![0; length as usize];
    peer.0.read_exact(&mut body).ok()?;
    let tag = [0, 0, 0, 9, 2, 0, 0, 0];
    let at = body.windows(8).position(|window| window == tag)?;
    Some(head[0] == 4 && body.get(at + 8..at + 10) == Some(&[0, 0]))
}

#[test]
fn what_four_associations_were_told_is_there_after_a_kill() {
    let (mut server, port) = gateway();
    let safe = Mutex::new(Vec::new());
    let killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for sender in 1..=4 {
            let (safe, port, killed) = (&safe, &port, &killed);
            scope.spawn(move || {
                let mut peer = Peer::associate(port, &[SOP_CLASS]);
                for number in 1.. {
                    let name = Name::new(sender, 1, number);
                    let file = name.with_bulk(20_000);
                    peer.send(&store(1, SOP_CLASS, &name.instance, data_set(&file.bytes)));
                    match acknowledged(&mut peer) {
                        Some(true) => safe.lock().expect("a list").push((name, file)),
                        Some(false) => panic!("{name:?} was refused"),
                        None => {
                            assert!(killed.load(Ordering::SeqCst), "the server broke off");
                            return;
                        }
                    }
                }
            });
        }
        wait_until("some are stored", || {
            safe.lock().expect("a list").len() >= 60
        });
        killed.store(true, Ordering::SeqCst);
        server.kill();
    });
    server.wait();
    server.restart();
    let safe = safe.into_inner().expect("a list");
    for (name, file) in &safe {
        let there = stored(&server, &name.instance).expect("what was acknowledged");
        assert!(data_set(&there) == data_set(&file.bytes), "{name:?}");
    }
    server.fsck();
}

#[test]
fn who_sends_or_takes_too_slowly_is_given_up_and_others_go_on() {
    let (server, port) = gateway();
    let name = Name::new(1, 1, 1);
    server
        .store("/dicom-web", &[name.with_bulk(20 << 20)])
        .expect(200);
    // One that asks for an instance in its own association, and reads nothing of it.
    let get = "1.2.840.10008.5.1.4.1.2.2.3";
    let mut lazy = Peer::connect(&port);
    lazy.send(&request_with_role("STOWAGE", "RAW", &[get, SOP_CLASS]));
    assert_eq!(lazy.unit().expect("an answer").0, 2);
    let mut keys = Vec::new();
    for (tag, value) in [
        ([8, 0, 0x52, 0], "STUDY "),
        ([0x20, 0, 0x0D, 0], &*name.study),
    ] {
        let mut value = value.as_bytes().to_vec();
        value.resize(value.len().next_multiple_of(2), 0);
        keys.extend(tag);
        keys.extend(if tag[0] == 8 { b"CS" } else { b"UI" });
        keys.extend(u16::try_from(value.len()).expect("short").to_le_bytes());
        keys.extend(value);
    }
    lazy.send(&command(1, 0x10, get, Some("1.2.3")));
    lazy.send(&pdata(1, 2, &keys));
    // One that sends a byte now and then, of a unit that is long.
    let slow = Name::new(2, 1, 1);
    let file = slow.with_bulk(20_000);
    let mut whole = command(1, 1, SOP_CLASS, Some(&slow.instance));
    whole.extend(pdata(1, 0, &data_set(&file.bytes)[..15_000]));
    let mut dripping = Peer::associate(&port, &[SOP_CLASS]);
    let mut writer = dripping.0.try_clone().expect("a second handle");
    let drip = std::thread::spawn(move || {
        let mut bytes = whole.chunks(1);
        wait_until("it is given up", || {
            let byte = bytes.next().expect("many bytes");
            writer.write_all(byte).is_err()
        });
    });
    is_well(&port);
    assert_eq!(dripping.unit().expect("an abort").0, 7);
    drop(dripping.0.shutdown(Shutdown::Both));
    drip.join().expect("it ends");
    wait_until("both are given up", || associations(&server) == 0);
    assert!(stored(&server, &slow.instance).is_none());
    is_well(&port);
    drop(lazy);
}

/// As [`request`], with the role of SCP for the storage class.
fn request_with_role(called: &str, calling: &str, classes: &[&str]) -> Vec<u8> {
    let mut bytes = request(called, calling, classes);
    let class = SOP_CLASS.as_bytes();
    let length = u16::try_from(class.len()).expect("short");
    let mut role = vec![0x54, 0];
    role.extend((length + 4).to_be_bytes());
    role.extend(length.to_be_bytes());
    role.extend(class);
    role.extend([0, 1]);
    // The user information is the last item: itself and the whole unit become longer.
    let user = bytes.windows(8).rposition(|w| w[0] == 0x50 && w[4] == 0x51);
    let user = user.expect("user information");
    let grow = |field: &mut [u8]| {
        let old = field
            .iter()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let new = (old + role.len()).to_be_bytes();
        let width = field.len();
        field.copy_from_slice(&new[8 - width..]);
    };
    grow(&mut bytes[user + 2..user + 4]);
    grow(&mut bytes[2..6]);
    bytes.extend(role);
    bytes
}

#[test]
fn an_object_of_any_size_passes_through_little_memory() {
    const SIZE: usize = 192 << 20;
    let (server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", "any"),
        ("STOWAGE_MEMORY_BYTES", "134217728"),
    ]);
    is_well(&port);
    let name = Name::new(1, 1, 1);
    let file = name.small();
    let mut peer = Peer::associate(&port, &[SOP_CLASS]);
    server.reset_peak();
    let before = server.memory("VmHWM");
    peer.send(&command(1, 1, SOP_CLASS, Some(&name.instance)));
    peer.send(&pdata(1, 0, data_set(&file.bytes)));
    let mut pixels = vec![0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0];
    pixels.extend(u32::try_from(SIZE).expect("it fits").to_le_bytes());
    peer.send(&pdata(1, 0, &pixels));
    let piece = pdata(1, 0, &vec![7; 64 << 10]);
    for _ in 0..SIZE / (64 << 10) {
        peer.send(&piece);
    }
    peer.send(&pdata(1, 2, &[]));
    peer.0
        .set_read_timeout(Some(Duration::from_secs(300)))
        .expect("a time-out");
    assert_eq!(peer.status(), 0);
    peer.release();
    let growth = server.memory("VmHWM").saturating_sub(before);
    // The promise for 4 GiB; what would hold this object takes three times that.
    assert!(growth < 64 << 10, "{growth} KiB");
}
