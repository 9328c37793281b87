//! A line to Postgres that can go dead in the middle of a call: no byte passes, and neither end hears of it.
//!
//! Invariant: a connection that went dead stays so; new ones work unless all of them are dead.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What makes a connection go dead.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// Bytes from the client.
    pub(crate) at: &'static str,
    /// Bytes that the connection must have sent before, since it last sent those: what other tasks send is let through.
    pub(crate) behind: Option<String>,
    /// Whether they still reach the database.
    pub(crate) delivered: bool,
    /// How many connections.
    pub(crate) times: u32,
}

#[derive(Default)]
struct Shared {
    cut: Mutex<Option<Cut>>,
    /// Nothing passes on any connection that was made before it is false again.
    silent: AtomicBool,
    dead: AtomicU32,
}

/// The line.
pub(crate) struct Line {
    url: String,
    shared: Arc<Shared>,
}

impl Line {
    /// A line to the database of a URL that names the folder of its socket.
    pub(crate) fn to(url: &str) -> Self {
        let (base, folder) = url.split_once("?host=").expect("a folder in the URL");
        let socket = format!("{}/.s.PGSQL.5432", folder.replace("%2F", "/"));
        let database = base.rsplit('/').next().expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is known");
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, socket) = (state.clone(), socket.clone());
                thread::spawn(move || {
                    // One that comes while nothing passes is dead from the start.
                    let dead = Arc::new(AtomicBool::new(state.silent.load(Ordering::SeqCst)));
                    if let Ok(server) = UnixStream::connect(socket) {
                        connect(client, server, &state, &dead);
                    }
                });
            }
        });
        Self {
            url: format!("postgres://postgres@{address}/{database}"),
            shared,
        }
    }

    /// URL of the database through the line.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Lets connections to come go dead.
    pub(crate) fn cut(&self, cut: Cut) {
        *self.shared.cut.lock().expect("nobody panics") = Some(cut);
    }

    /// Lets all connections go dead, and new ones be so, or lets new ones work.
    pub(crate) fn silence(&self, yes: bool) {
        self.shared.silent.store(yes, Ordering::SeqCst);
    }

    /// How many connections a [`Cut`] has let go dead.
    pub(crate) fn dead(&self) -> u32 {
        self.shared.dead.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Whether these bytes of a client are what a connection goes dead at; then whether they are delivered. `seen` is
    /// whether the connection sent what must come before.
    fn cuts(&self, bytes: &[u8], seen: &mut bool) -> Option<bool> {
        let has = |text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
        let mut cut = self.cut.lock().expect("nobody panics");
        let armed = cut.as_mut().filter(|cut| cut.times > 0)?;
        *seen |= armed.behind.as_deref().is_none_or(has);
        if !has(armed.at) || !std::mem::take(seen) {
            return None;
        }
        armed.times -= 1;
        self.dead.fetch_add(1, Ordering::SeqCst);
        Some(armed.delivered)
    }
}

fn connect(client: TcpStream, server: UnixStream, shared: &Arc<Shared>, dead: &Arc<AtomicBool>) {
    let (mut from_server, mut to_client) = (
        server.try_clone().expect("it can be shared"),
        client.try_clone().expect("it can be shared"),
    );
    let (state, gone) = (shared.clone(), dead.clone());
    let back = thread::spawn(move || {
        let mut room = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut room) {
            if state.silent.load(Ordering::SeqCst) {
                gone.store(true, Ordering::SeqCst);
            }
            // What the database says after it went dead is read and lost, its goodbye too.
            if !gone.load(Ordering::SeqCst) && to_client.write_all(&room[..count]).is_err() {
                break;
            }
        }
        if !gone.load(Ordering::SeqCst) {
            let _ = to_client.shutdown(Shutdown::Both);
        }
    });
    let (mut from_client, mut to_server) = (client, server);
    let mut room = vec![0; 1 << 16];
    let mut seen = false;
    while let Ok(count @ 1..) = from_client.read(&mut room) {
        let bytes = &room[..count];
        if shared.silent.load(Ordering::SeqCst) {
            dead.store(true, Ordering::SeqCst);
        }
        if dead.load(Ordering::SeqCst) {
            continue;
        }
        match shared.cuts(bytes, &mut seen) {
            None => {
                if to_server.write_all(bytes).is_err() {
                    break;
                }
            }
            Some(delivered) => {
                dead.store(true, Ordering::SeqCst);
                if delivered && to_server.write_all(bytes).is_err() {
                    break;
                }
            }
        }
    }
    // The end of a dead connection does not reach the database either.
    if !dead.load(Ordering::SeqCst) {
        let _ = to_server.shutdown(Shutdown::Both);
    }
    let _ = back.join();
}
