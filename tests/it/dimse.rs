//! The DIMSE gateway against real peers (dcmtk, pynetdicom) and against peers that do not keep the protocol.

mod associate;
mod client;
mod commitment;
mod crash;
mod find;
mod hostile;
mod peer;
mod peers;
mod property;
mod retrieve;
mod store;
mod worklist;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::python;
use crate::support::server::Server;

/// A server whose gateway lets everybody in, and the port of the gateway.
fn gateway() -> (Server, String) {
    gateway_with(&[("STOWAGE_DIMSE_PEERS", "any")])
}

/// A server with a gateway and further settings.
fn gateway_with(settings: &[(&str, &str)]) -> (Server, String) {
    let mut all = vec![
        ("STOWAGE_DIMSE_LISTEN", "127.0.0.1:0"),
        ("STOWAGE_DIMSE_ADDRESS_FILE", "dimse"),
    ];
    all.extend(settings);
    let server = Server::with(&all);
    let port = port(&server);
    (server, port)
}

/// Port of the gateway.
fn port(server: &Server) -> String {
    let file = folder(server).join("dimse");
    let address = fs::read_to_string(file).expect("the gateway has written its address");
    let (_, port) = address.trim().rsplit_once(':').expect("an address");
    port.to_owned()
}

/// The folder a server runs in.
fn folder(server: &Server) -> PathBuf {
    let data = server.data();
    data.parent().expect("a folder").to_owned()
}

/// A tool of dcmtk; `tests/run` installs them.
fn dcmtk(tool: &str) -> Command {
    let mut command = Command::new(tool);
    command.stdin(Stdio::null());
    command
}

/// What a command printed, and whether it said that all is well.
fn outcome(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

/// The data set of a file, behind its meta group.
fn data_set(file: &[u8]) -> &[u8] {
    let length = file[140..].first_chunk().expect("a group length");
    let length = u32::from_le_bytes(*length) as usize;
    &file[144 + length..]
}

/// Writes a file into the folder of a server.
fn write(server: &Server, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder(server).join(name);
    fs::write(&path, bytes).expect("the file can be written");
    path
}

/// Stored bytes of the only instance with a SOP Instance UID.
fn stored(server: &Server, instance: &str) -> Option<Vec<u8>> {
    let found = server.get(&format!("/dicom-web/instances?SOPInstanceUID={instance}"));
    let found = found.expect(200).json();
    let url = found.get(0)?["00081190"]["Value"][0].as_str()?.to_owned();
    let target = url.strip_prefix(server.url()).expect("a URL of the server");
    let answer = server.get_as(target, "application/dicom; transfer-syntax=*");
    Some(answer.expect(200).body)
}

/// The SOP Instance UID of a file, as dcmtk sees it.
fn instance_of(path: &Path) -> String {
    let (_, printed) = outcome(dcmtk("dcmdump").args(["-s", "+P", "0008,0018"]).arg(path));
    let (_, rest) = printed.split_once('[').expect("a UID");
    rest.split(']').next().expect("a UID").to_owned()
}

/// The samples of pydicom that C-STORE takes, each under a SOP Instance UID of its own: it has one picture under one UID in
/// several transfer syntaxes, and a plan whose meta information names another instance than its data set.
fn samples(folder: &Path) -> Vec<PathBuf> {
    let all = python::samples();
    let name = |path: &PathBuf| path.file_name().expect("a name").to_owned();
    let taken = all.iter().filter(|path| name(path) != "rtplan.dcm");
    let own = taken.zip(10..).map(|(path, number)| {
        let mut bytes = fs::read(path).expect("a sample");
        let uid = instance_of(path);
        let kept = &uid[..uid.len() - 2];
        if name(path).to_string_lossy().starts_with("MR_small") {
            let own = format!("{kept}{number}");
            for at in 0..bytes.len() - uid.len() {
                if bytes[at..].starts_with(uid.as_bytes()) {
                    bytes[at..at + own.len()].copy_from_slice(own.as_bytes());
                }
            }
        }
        let copy = folder.join(name(path));
        fs::write(&copy, bytes).expect("the file can be written");
        copy
    });
    own.collect()
}
