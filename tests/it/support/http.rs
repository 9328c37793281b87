//! A small HTTP/1.1 client: over a socket, where what a test writes is what the server reads, byte for byte, or in the process.
//!
//! Invariant: every wait is bounded; a server that does not answer fails the test and never hangs it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::in_process::AppClient;

/// How long the server may be silent; generous, for loaded machines.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

/// How requests reach a server.
#[derive(Clone)]
pub(crate) enum Transport {
    /// Through a socket of this `host:port`.
    Socket(String),
    /// By a call in this process.
    InProcess(AppClient),
}

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Request {
    transport: Transport,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    /// A request through a socket, without headers but `Host` and `Connection: close`.
    pub(crate) fn new(address: &str, method: &str, target: &str) -> Self {
        Self::to(&Transport::Socket(address.to_owned()), method, target)
    }

    /// As [`Self::new`], to whatever is there.
    pub(crate) fn to(transport: &Transport, method: &str, target: &str) -> Self {
        Self {
            transport: transport.clone(),
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the `Accept` header.
    pub(crate) fn accept(self, value: &str) -> Self {
        self.header("Accept", value)
    }

    /// Sets the body; its length is sent.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Whether it has a header.
    pub(super) fn has(&self, name: &str) -> bool {
        find(&self.headers, name).is_some()
    }

    /// Head of the request up to and including the empty line.
    pub(crate) fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.has("host") {
            let host = match &self.transport {
                Transport::Socket(address) => address.as_str(),
                Transport::InProcess(app) => app.host(),
            };
            head.push_str(&format!("Host: {host}\r\n"));
        }
        if !self.has("connection") {
            head.push_str("Connection: close\r\n");
        }
        if let Some(body) = self
            .body
            .as_ref()
            .filter(|_| !self.has("content-length") && !self.has("transfer-encoding"))
        {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        head
    }

    /// Sends it and reads the whole answer.
    pub(crate) fn send(&self) -> Response {
        self.try_send()
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target))
    }

    /// Sends it and reads the whole answer; an error when the connection breaks.
    pub(crate) fn try_send(&self) -> io::Result<Response> {
        self.open()?.finish()
    }

    /// Sends it and reads the head of the answer; the body is read by the caller.
    pub(crate) fn open(&self) -> io::Result<Answer> {
        let address = match &self.transport {
            Transport::Socket(address) => address,
            Transport::InProcess(app) => return app.answer(self),
        };
        let mut stream = connect(address)?;
        stream.write_all(self.head().as_bytes())?;
        if let Some(body) = &self.body
            && let Err(error) = stream.write_all(body)
        {
            // A server that refuses early closes before it has read everything; its answer counts.
            return Answer::read(stream, self.method == "HEAD").map_err(|_| error);
        }
        Answer::read(stream, self.method == "HEAD")
    }
}

/// Connects with bounded waits.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends bytes as they are and reads what comes back as one answer.
pub(crate) fn send_raw(address: &str, bytes: &[u8]) -> io::Result<Response> {
    let mut stream = connect(address)?;
    // The server may close before it has read all of it.
    let written = stream.write_all(bytes);
    match Answer::read(stream, false) {
        Ok(answer) => answer.finish(),
        Err(error) => Err(written.err().unwrap_or(error)),
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(super) body: Box<dyn Read + Send>,
}

/// A body that comes through a socket.
struct Framed {
    reader: BufReader<TcpStream>,
    framing: Framing,
}

enum Framing {
    /// Bytes left.
    Length(u64),
    /// Bytes left of this chunk; none before its size line.
    Chunks(Option<u64>),
    /// Until the connection ends.
    Close,
}

impl Answer {
    /// Reads the head of an answer; interim ones are skipped.
    pub(crate) fn read(stream: TcpStream, head_only: bool) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(256 * 1024, stream);
        loop {
            let (status, headers) = read_head(&mut reader)?;
            if (100..200).contains(&status) {
                continue;
            }
            let find = |name: &str| find(&headers, name);
            let framing = if head_only || status == 204 || status == 304 {
                Framing::Length(0)
            } else if find("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
                Framing::Chunks(None)
            } else if let Some(length) = find("content-length").and_then(|v| v.parse().ok()) {
                Framing::Length(length)
            } else {
                Framing::Close
            };
            return Ok(Self {
                status,
                headers,
                body: Box::new(Framed { reader, framing }),
            });
        }
    }

    /// Reads the body.
    pub(crate) fn finish(mut self) -> io::Result<Response> {
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(Response {
            status: self.status,
            headers: self.headers,
            body,
        })
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

impl Read for Framed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let most = |left: u64| {
            usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len())
        };
        match &mut self.framing {
            Framing::Close => self.reader.read(buffer),
            Framing::Length(0) => Ok(0),
            Framing::Length(left) => {
                let room = most(*left);
                let read = self.reader.read(&mut buffer[..room])?;
                if read == 0 && room > 0 {
                    return Err(cut());
                }
                *left -= read as u64;
                Ok(read)
            }
            Framing::Chunks(chunk) => {
                let left = match chunk {
                    Some(left) => left,
                    None => {
                        let line = read_line(&mut self.reader)?;
                        let size = line.split(';').next().unwrap_or_default().trim();
                        let size = u64::from_str_radix(size, 16).map_err(|_| cut())?;
                        if size == 0 {
                            while !read_line(&mut self.reader)?.is_empty() {}
                            self.framing = Framing::Length(0);
                            return Ok(0);
                        }
                        chunk.insert(size)
                    }
                };
                let room = most(*left);
                let read = self.reader.read(&mut buffer[..room])?;
                if read == 0 && room > 0 {
                    return Err(cut());
                }
                *left -= read as u64;
                if *left == 0 {
                    *chunk = None;
                    read_line(&mut self.reader)?;
                }
                Ok(read)
            }
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let line = read_line(reader)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("no header line: {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(1 << 20).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(io::Error::other)
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.as_str())
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// All values of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, v)| v.as_str()).collect()
    }

    /// The `Content-Type`.
    pub(crate) fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.text()))
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{:?}\n{}",
            self.headers,
            String::from_utf8_lossy(&self.body[..self.body.len().min(2000)])
        );
        self
    }

    /// The parts of a multipart body.
    #[track_caller]
    pub(crate) fn parts(&self) -> Vec<Part> {
        super::multipart::parts(self.content_type(), &self.body)
    }
}

/// A part of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Part {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The `Content-Type`.
    pub(crate) fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }
}
