//! Crowds at the door: while some take all they can get, others are answered, and memory and files stay bounded.

mod connections;
mod pictures;
mod rooms;

use crate::support::http::Request;
use crate::support::server::Server;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

/// How much memory a crowd may cost beyond what there was, in KiB.
const FLAT: u64 = 96 * 1024;

/// A server with access control and these settings beside.
fn closed(settings: &[(&str, &str)]) -> Server {
    let mut all = vec![
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ];
    all.extend(settings);
    Server::with(&all)
}

/// The value of `Authorization` of somebody.
fn bearer(subject: &str, role: &str) -> String {
    let claims = with(claims(role), "sub", subject);
    format!("Bearer {}", with_secret(SECRET.as_bytes(), &claims))
}

fn by(server: &Server, bearer: &str, method: &str, target: &str) -> Request {
    let request = server.request(method, target).accept("*/*");
    request.header("Authorization", bearer)
}
