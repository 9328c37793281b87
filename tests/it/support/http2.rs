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
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

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
        // `:method: GET` and `:scheme: http` from the static table of HPACK, the rest as literals that are not indexed.
        let mut block = vec![0x82, 0x86];
        for (name, value) in [(&[4][..], target), (&[1], "localhost"), (&[15, 4], accept)] {
            block.extend(name);
            let length = u8::try_from(value.len()).expect("a short value");
            assert!(length < 127, "a length of one byte");
            block.push(length);
            block.extend(value.bytes());
        }
        // END_STREAM and END_HEADERS.
        self.frame(HEADERS, 5, stream, &block);
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

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
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
}
