//! C-STORE.

use std::fs;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, SOP_CLASS, Syntax};

use super::peer::{EXPLICIT, IMPLICIT, Peer, store};
use super::{
    data_set, dcmtk, folder, gateway, gateway_with, instance_of, outcome, samples, stored, write,
};
use crate::support::dicom::Name;
use crate::support::server::wait_until;

fn sent(peer: &mut Peer, name: &Name, class: &str, data: &[u8]) -> u16 {
    peer.send(&store(1, class, &name.instance, data));
    peer.status()
}

#[test]
fn files_of_every_syntax_are_stored_from_dcmtk_and_once_each() {
    let (server, port) = gateway();
    let files = samples(&folder(&server));
    // The same again: nothing is lost, nothing is there twice.
    for _ in 0..2 {
        let mut send = dcmtk("dcmsend");
        send.args(["-aec", "STOWAGE", "--decompress-never", "127.0.0.1", &port]);
        let (well, printed) = outcome(send.args(&files));
        assert!(well, "{printed}");
    }
    for file in &files {
        let bytes = fs::read(file).expect("a sample");
        let there = stored(&server, &instance_of(file)).expect("it is stored");
        // dcmtk proposes both uncompressed ones in one context, of which the explicit one is taken.
        let wanted = match syntax(&bytes) {
            implicit if implicit == IMPLICIT => EXPLICIT.to_owned(),
            as_it_is => as_it_is,
        };
        assert_eq!(syntax(&there), wanted, "{}", file.display());
    }
    let instances = server.get("/dicom-web/instances").expect(200).json();
    assert_eq!(instances.as_array().map(Vec::len), Some(files.len()));
    server.fsck();
}

/// Transfer syntax of a file.
fn syntax(file: &[u8]) -> String {
    let tag = b"\x02\0\x10\0UI";
    let at = file.windows(6).position(|window| window == tag);
    let at = at.expect("meta information") + 8;
    let length = usize::from(file[at - 2]);
    let uid = String::from_utf8_lossy(&file[at..at + length]).into_owned();
    uid.trim_end_matches('\0').to_owned()
}

#[test]
fn a_peer_works_in_its_partition() {
    let entries = r#"[{"aeTitle": "NORTH", "partition": "north"}, {"aeTitle": "PLAIN"}]"#;
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), entries).expect("written");
    let peers = file.path().to_str().expect("a plain path");
    let settings = [("STOWAGE_DIMSE_PEERS", peers), ("STOWAGE_PARTITIONS", "on")];
    let (mut server, port) = gateway_with(&settings);
    // The same UIDs from two peers, with different bytes.
    let name = Name::new(1, 1, 1);
    for (title, patient) in [("NORTH", "N1"), ("PLAIN", "P1")] {
        let own = DataSet::new().text(Tag(0x0010, 0x0020), VR::LO, patient);
        let built = name.file(&name.data_set().set(own), Syntax::ExplicitLittle);
        let path = write(&server, "sent.dcm", &built.bytes);
        let mut send = dcmtk("dcmsend");
        send.args(["-aet", title, "-aec", "STOWAGE", "127.0.0.1", &port]);
        let (well, printed) = outcome(send.arg(&path));
        assert!(well, "{printed}");
    }
    for (root, patient) in [("/v2/partitions/north", "N1"), ("/dicom-web", "P1")] {
        let found = server.get(&format!("{root}/studies")).expect(200).json();
        assert_eq!(found.as_array().map(Vec::len), Some(1));
        assert_eq!(found[0]["00100020"]["Value"][0], patient);
    }
    for (title, patient) in [("NORTH", "N1"), ("PLAIN", "P1")] {
        let mut find = dcmtk("findscu");
        find.args(["-S", "-v", "-aet", title, "-aec", "STOWAGE"]);
        find.args(["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID"]);
        let (_, printed) = outcome(find.args(["127.0.0.1", &port]));
        assert!(printed.contains(&format!("[{patient}")), "{printed}");
        let other = if patient == "N1" { "[P1" } else { "[N1" };
        assert!(!printed.contains(other), "{printed}");
    }
    let rows = server.get("/v2/changefeed").expect(200).json();
    assert_eq!(rows[0]["partitionName"], "north");
    server.terminate();
    server.wait();
    server.set("STOWAGE_PARTITIONS", None);
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        drop(fs::remove_file(server.data().join(file)));
    }
    server.restart_to_die();
    assert!(!server.wait().success());
    assert!(
        server
            .log()
            .contains("partition needs STOWAGE_PARTITIONS=on"),
        "{}",
        server.log()
    );
}

#[test]
fn private_classes_and_implicit_data_sets_are_stored() {
    let (server, port) = gateway();
    let class = "1.3.12.2.1107.5.9.1";
    let name = Name::new(1, 1, 1);
    let data = name
        .data_set()
        .set(stowage::dicom::testing::DataSet::new().text(
            dicom_core::Tag(0x0008, 0x0016),
            dicom_core::VR::UI,
            class,
        ));
    let file = name.file(&data, Syntax::ImplicitLittle);
    let path = write(&server, "private.dcm", &file.bytes);
    let mut send = dcmtk("storescu");
    send.args(["-aec", "STOWAGE", "-xi", "127.0.0.1", &port]);
    // It knows no private class, so it proposes none; the bytes go by hand.
    drop(outcome(send.arg(&path)));
    let mut peer = Peer::associate(&port, &[class]);
    let explicit = name.file(&data, Syntax::ExplicitLittle);
    assert_eq!(sent(&mut peer, &name, class, data_set(&explicit.bytes)), 0);
    peer.release();
    let there = stored(&server, &name.instance).expect("it is stored");
    assert!(data_set(&there) == data_set(&explicit.bytes));
}

#[test]
fn what_cannot_be_stored_is_answered_with_a_status_and_the_association_goes_on() {
    let (server, port) = gateway();
    let name = Name::new(1, 1, 1);
    let file = name.small();
    let data = data_set(&file.bytes);
    let other = Name::new(1, 1, 2);
    let mut peer = Peer::associate(&port, &[SOP_CLASS]);
    // Another instance than the command names, another class than the context, no data set, nonsense.
    assert_eq!(sent(&mut peer, &other, SOP_CLASS, data), 0xA900);
    assert_eq!(
        sent(&mut peer, &name, "1.2.840.10008.5.1.4.1.1.4", data),
        0x0115
    );
    assert_eq!(
        sent(&mut peer, &name, SOP_CLASS, b"nonsense, but not short"),
        0xC000
    );
    peer.send(&super::peer::command(1, 1, SOP_CLASS, None));
    assert_eq!(peer.status(), 0x0115);
    // No such operation in this context; its data set is read over.
    peer.send(&super::peer::command(1, 0x20, SOP_CLASS, None));
    assert_eq!(peer.status(), 0x0211);
    assert!(stored(&server, &name.instance).is_none());
    assert_eq!(sent(&mut peer, &name, SOP_CLASS, data), 0);
    assert_eq!(
        sent(&mut peer, &name, SOP_CLASS, data),
        0,
        "the same bytes again"
    );
    let changed = name.with_bulk(40);
    assert_eq!(
        sent(&mut peer, &name, SOP_CLASS, data_set(&changed.bytes)),
        0x0111
    );
    peer.release();
    assert!(data_set(&stored(&server, &name.instance).expect("stored")) == data);
}

#[test]
fn a_policy_lets_c_store_replace_what_has_other_bytes() {
    let (server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", "any"),
        ("STOWAGE_EXISTING", "replace"),
    ]);
    let name = Name::new(1, 1, 1);
    let (first, second) = (name.small(), name.with_bulk(40));
    let mut peer = Peer::associate(&port, &[SOP_CLASS]);
    for file in [&first, &second, &second] {
        let data = data_set(&file.bytes);
        assert_eq!(sent(&mut peer, &name, SOP_CLASS, data), 0);
        assert!(data_set(&stored(&server, &name.instance).expect("stored")) == data);
    }
    peer.release();
    let feed = server.get("/v2/changefeed").expect(200).json();
    let entries = feed.as_array().expect("entries").iter();
    let actions: Vec<_> = entries.map(|entry| entry["action"].as_str()).collect();
    assert_eq!(
        actions,
        [Some("Create"), Some("Update")],
        "not for the same bytes"
    );
    server.fsck();
}

#[test]
fn a_peer_stores_only_for_its_patients_and_the_audit_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let peers = folder.path().join("peers.json");
    let audit = folder.path().join("audit");
    fs::write(&peers, r#"[{"aeTitle": "RAW", "studies": ["1.2.3.1"]}]"#).expect("written");
    let (server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text")),
        ("STOWAGE_AUDIT", audit.to_str().expect("a text")),
    ]);
    let mut peer = Peer::associate(&port, &[SOP_CLASS]);
    let (mine, other) = (Name::new(1, 1, 1), Name::new(2, 1, 1));
    let (mine_file, other_file) = (mine.small(), other.small());
    assert_eq!(
        sent(&mut peer, &other, SOP_CLASS, data_set(&other_file.bytes)),
        0x0124
    );
    assert_eq!(
        sent(&mut peer, &mine, SOP_CLASS, data_set(&mine_file.bytes)),
        0
    );
    peer.release();
    assert!(stored(&server, &other.instance).is_none());
    wait_until("the store is audited", || {
        let events = fs::read_to_string(&audit).unwrap_or_default();
        let mut lines = events.lines();
        lines.any(|line| {
            line.contains("110104")
                && line.contains("\"RAW\"")
                && line.contains("urn:oid:1.2.3.1\"")
        })
    });
}

#[test]
fn a_large_instance_is_never_in_memory() {
    let (server, port) = gateway();
    let name = Name::new(1, 1, 1);
    let file = name.with_bulk(160 << 20);
    let mut peer = Peer::associate(&port, &[SOP_CLASS]);
    // Whoever has stored once has what every store needs.
    let small = Name::new(1, 1, 2);
    let bytes = small.small().bytes;
    assert_eq!(sent(&mut peer, &small, SOP_CLASS, data_set(&bytes)), 0);
    server.reset_peak();
    let before = server.memory("VmHWM");
    assert_eq!(sent(&mut peer, &name, SOP_CLASS, data_set(&file.bytes)), 0);
    peer.release();
    let growth = server.memory("VmHWM").saturating_sub(before);
    assert!(growth < 64 << 10, "{growth} KiB");
    let there = stored(&server, &name.instance).expect("it is stored");
    assert!(data_set(&there) == data_set(&file.bytes));
}
