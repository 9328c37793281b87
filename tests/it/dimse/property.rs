//! Random data sets and random searches: the gateway and the web say the same.

use std::path::Path;
use std::process::Command;

use super::gateway;
use crate::support::python;
use crate::support::server::run;

#[test]
fn what_is_stored_comes_back_the_same_and_is_found_the_same_as_over_http() {
    let (server, port) = gateway();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pynetdicom_property.py");
    // Another one with each run finds more in the long run; the failure says which it was.
    let seed = std::process::id().to_string();
    let mut client = Command::new(python::interpreter());
    client
        .arg(script)
        .args([&port, server.url(), &seed, "80", "120"]);
    let printed = run(&mut client);
    assert!(printed.contains("well"), "seed {seed}: {printed}");
}
