//! Servers inside the test process.

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread of its own, and a listener on a free port with its URL.
pub(crate) fn listen() -> (Runtime, TcpListener, String) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (runtime, listener, url)
}
