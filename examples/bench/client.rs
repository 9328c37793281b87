//! An HTTP/1.1 client that costs little: one connection, kept open; bodies are counted, or kept when asked.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where a service is: address, and the path before `/studies`.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) prefix: String,
}

impl Base {
    /// Takes `http://host:port/prefix` apart.
    pub(crate) fn parse(name: &str, url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?.trim_end_matches('/');
        let (address, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        Some(Self {
            name: name.to_owned(),
            address: address.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// The head of a GET.
    pub(crate) fn get(&self, path: &str, headers: &str) -> String {
        format!(
            "GET {}{path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            self.prefix, self.address
        )
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// Status and length of an answer's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) length: u64,
}

impl Connection {
    pub(crate) fn open(base: &Base) -> Result<Self> {
        let stream = TcpStream::connect(&base.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self {
            stream,
            buffer: vec![0; 256 * 1024],
            start: 0,
            end: 0,
        })
    }

    /// Sends a request without a body and reads the answer.
    pub(crate) fn get(&mut self, head: &str, keep: Option<&mut Vec<u8>>) -> Result<Answer> {
        self.stream.write_all(head.as_bytes())?;
        self.answer(keep)
    }

    /// Sends a request with a body in pieces and reads the answer.
    pub(crate) fn post<'b>(
        &mut self,
        head: &str,
        body: impl IntoIterator<Item = &'b [u8]>,
        keep: Option<&mut Vec<u8>>,
    ) -> Result<Answer> {
        self.stream.write_all(head.as_bytes())?;
        for piece in body {
            self.stream.write_all(piece)?;
        }
        self.answer(keep)
    }

    fn answer(&mut self, mut keep: Option<&mut Vec<u8>>) -> Result<Answer> {
        let head = self.head()?;
        let status = head.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let mut length = 0;
        if field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = self.line()?;
                let digits = line.split(';').next().unwrap_or("").trim();
                let size = u64::from_str_radix(digits, 16)
                    .map_err(|_| Error::new(ErrorKind::InvalidData, "a chunk without a size"))?;
                self.take(size, keep.as_deref_mut())?;
                length += size;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(size) = field("content-length").and_then(|value| value.parse().ok()) {
            length = size;
            self.take(size, keep)?;
        } else if status != 204 && status != 304 {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "an answer without a length",
            ));
        }
        Ok(Answer { status, length })
    }

    fn fill(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }

    fn until(&mut self, mark: &[u8]) -> Result<String> {
        loop {
            let held = &self.buffer[self.start..self.end];
            if let Some(at) = held.windows(mark.len()).position(|w| w == mark) {
                let text = String::from_utf8_lossy(&held[..at]).into_owned();
                self.start += at + mark.len();
                return Ok(text);
            }
            self.fill()?;
        }
    }

    fn head(&mut self) -> Result<String> {
        self.until(b"\r\n\r\n")
    }

    fn line(&mut self) -> Result<String> {
        self.until(b"\r\n")
    }

    fn take(&mut self, mut left: u64, mut keep: Option<&mut Vec<u8>>) -> Result<()> {
        while left > 0 {
            if self.start == self.end {
                self.fill()?;
            }
            let held = self.end - self.start;
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(held);
            if let Some(kept) = keep.as_deref_mut() {
                kept.extend_from_slice(&self.buffer[self.start..self.start + step]);
            }
            self.start += step;
            left -= step as u64;
        }
        Ok(())
    }
}

/// Asks once and keeps the body.
pub(crate) fn fetch(base: &Base, path: &str, headers: &str) -> Result<(Answer, Vec<u8>)> {
    let mut body = Vec::new();
    let answer = Connection::open(base)?.get(&base.get(path, headers), Some(&mut body))?;
    Ok((answer, body))
}

/// What a load did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

/// Asks for `paths` in turn over `clients` connections for `time`; every answer must be 200.
pub(crate) fn load(
    base: &Base,
    paths: &[String],
    headers: &str,
    clients: usize,
    time: Duration,
) -> Result<Load> {
    let heads: Vec<String> = paths.iter().map(|path| base.get(path, headers)).collect();
    let (next, requests, bytes) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let ready = Barrier::new(clients + 1);
    let mut seconds = 0.0;
    std::thread::scope(|scope| {
        let client = || -> Result<()> {
            let connection = Connection::open(base);
            ready.wait();
            let mut connection = connection?;
            let end = Instant::now() + time;
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed) % heads.len();
                let answer = connection.get(&heads[turn], None)?;
                if answer.status != 200 {
                    let what = format!("status {} for {}", answer.status, paths[turn]);
                    return Err(Error::other(what));
                }
                requests.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(answer.length, Ordering::Relaxed);
                if Instant::now() >= end {
                    return Ok(());
                }
            }
        };
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        ready.wait();
        let start = Instant::now();
        let mut done = Ok(());
        for thread in running {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(Error::other("a client panicked")));
            done = done.and(ended);
        }
        seconds = start.elapsed().as_secs_f64();
        done
    })?;
    Ok(Load {
        requests: requests.into_inner(),
        bytes: bytes.into_inner(),
        seconds,
    })
}
