//! A client of HTTP/2 that says what it wants frame by frame (RFC 9113), for what well-behaved ones cannot do.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::http::connect;
use super::server::Server;

/// Kinds of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// A frame as far as tests look at it.
pub(crate) struct Seen {
    pub(crate) kind: u8,
    /// Whether it ends its stream.
    pub(crate) last: bool,
}

/// A connection on which the server may send `window` bytes of each answer.
pub(crate) struct Http2 {
    stream: TcpStream,
    /// Bytes of DATA frames by stream.
    received: HashMap<u32, usize>,
}

impl Http2 {
    pub(crate) fn connect(server: &Server, window: u32) -> Self {
        let mut connection = Self {
            stream: connect(server.address()).expect("the server listens"),
            received: HashMap::new(),
        };
        connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        // SETTINGS_INITIAL_WINDOW_SIZE.
        let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
        connection.frame(SETTINGS, 0, 0, &setting);
        // What all streams together may send.
        connection.more(0, 1 << 30);
        connection
    }

    /// Asks for something on a stream with an odd number.
    pub(crate) fn get(&mut self, stream: u32, target: &str, accept: &str) {
        self.ask(stream, "GET", target, &[("accept", accept)], true);
    }

    /// Sends the head of a request; `ends` when it has no body.
    pub(crate) fn ask(
        &mut self,
        stream: u32,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", method),
            (":scheme", "http"),
            (":path", target),
            (":authority", "localhost"),
        ]
        .iter()
        .chain(headers)
        {
            literal(&mut block, name, value);
        }
        // END_HEADERS, and END_STREAM.
        self.frame(HEADERS, if ends { 5 } else { 4 }, stream, &block);
    }

    /// Lets the server send more of a stream; stream 0 is all of them.
    pub(crate) fn more(&mut self, stream: u32, bytes: u32) {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// Reads frames until one of this kind for this stream comes.
    pub(crate) fn wait_for(&mut self, kind: u8, stream: u32) {
        while self.next(stream).kind != kind {}
    }

    /// Bytes of an answer that came so far.
    pub(crate) fn received(&self, stream: u32) -> usize {
        self.received.get(&stream).copied().unwrap_or_default()
    }

    /// The next frame for a stream.
    pub(crate) fn next(&mut self, stream: u32) -> Seen {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).expect("another frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).expect("a whole frame");
            let (kind, last) = (head[3], head[4] & 1 == 1);
            if kind == SETTINGS && !last {
                self.frame(SETTINGS, 1, 0, &[]);
            }
            let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if kind == DATA {
                *self.received.entry(number).or_default() += length;
            }
            if number == stream {
                return Seen { kind, last };
            }
        }
    }

    /// Sends a frame as it is.
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short frame");
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.write(&frame);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// How long a write may wait for a server that reads no more.
    pub(crate) fn write_for(&mut self, time: std::time::Duration) {
        self.stream.set_write_timeout(Some(time)).expect("a socket");
    }

    /// Sends bytes, whatever they are; false when the server has closed.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads until the server closes, or `most` bytes; the kinds of frames that came.
    pub(crate) fn until_closed(&mut self, most: usize) -> Vec<u8> {
        let mut kinds = Vec::new();
        let mut read = 0;
        let mut head = [0; 9];
        while read < most && self.stream.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if self.stream.read_exact(&mut payload).is_err() {
                break;
            }
            read += 9 + length;
            kinds.push(head[3]);
            if head[3] == PING && head[4] == 0 {
                let mut answer = vec![0, 0, 8, PING, 1, 0, 0, 0, 0];
                answer.extend(payload);
                self.try_write(&answer);
            }
        }
        kinds
    }
}

/// A header as a literal that is not indexed, without Huffman (RFC 7541 §6.2.2).
pub(crate) fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        length(block, text.len());
        block.extend(text.bytes());
    }
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).expect("seven bits"));
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
}
