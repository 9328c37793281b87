//! A server of `DICOMweb` that behaves as a test wants: it lies, drips, closes, or waits before it passes a request on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What came.
#[derive(Debug, Clone)]
pub(super) struct PeerRequest {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What goes back.
pub(super) enum Reply {
    /// An answer as it is on the wire.
    Raw(Vec<u8>),
    /// An answer, one byte at a time with a pause behind each.
    Drip(Vec<u8>),
    /// An answer, and then its last bytes for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// Nothing.
    Close,
}

pub(super) struct Peer {
    pub(super) url: String,
    pub(super) requests: Arc<Mutex<Vec<PeerRequest>>>,
    ended: Arc<AtomicBool>,
}

impl Peer {
    pub(super) fn start(handler: impl Fn(&PeerRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (seen, end) = (Arc::clone(&requests), Arc::clone(&ended));
        let handler = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, end, handler) =
                    (Arc::clone(&seen), Arc::clone(&end), Arc::clone(&handler));
                thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        seen.lock().unwrap().push(request.clone());
                        answer(stream, handler(&request), &end);
                    }
                });
            }
        });
        Self {
            url,
            requests,
            ended,
        }
    }

    /// One that always answers the same.
    pub(super) fn always(status: &str, content_type: &str, body: &str) -> Self {
        let answer = whole(status, content_type, body.as_bytes());
        Self::start(move |_| Reply::Raw(answer.clone()))
    }

    pub(super) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the one who accepts.
        drop(TcpStream::connect(self.url.trim_start_matches("http://")));
    }
}

/// An answer with its length.
pub(super) fn whole(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

/// What a server at an address answers to a request.
pub(super) fn forward(address: &str, request: &PeerRequest) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        if !["host", "connection"].contains(&name.to_ascii_lowercase().as_str()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("Host: {address}\r\nConnection: close\r\n\r\n"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn read(stream: &TcpStream) -> Option<PeerRequest> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(PeerRequest {
        method,
        target,
        headers,
        body,
    })
}

fn answer(mut stream: TcpStream, reply: Reply, ended: &AtomicBool) {
    // The client may have gone, and may go at any time.
    match reply {
        Reply::Raw(bytes) => drop(stream.write_all(&bytes)),
        Reply::Close => {}
        Reply::Drip(bytes) => {
            for byte in bytes {
                if ended.load(Ordering::Relaxed) || stream.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        Reply::Endless(bytes, more) => {
            drop(stream.write_all(&bytes));
            while !ended.load(Ordering::Relaxed) && stream.write_all(&more).is_ok() {}
        }
    }
}
