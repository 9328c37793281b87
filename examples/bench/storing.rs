//! STOW beside write and fsync of the same files, grouped the same way.

use std::cell::RefCell;
use std::fs;
use std::io::{Error, Result};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Base, Connection};
use crate::corpus::{self, File, Uids};
use crate::servers::{self, Server};
use crate::stages::Stages;
use crate::table::{self, Actor, Done, Task};
use crate::{Arguments, Outcome, limits};

const BOUNDARY: &str = "bench-boundary-b3e1f0";
const PART: &str = "--bench-boundary-b3e1f0\r\nContent-Type: application/dicom\r\n\r\n";

/// A request body of many files whose UIDs can be changed.
pub(crate) struct Request {
    bytes: Vec<u8>,
    parts: Vec<(usize, File)>,
    lengths: Vec<usize>,
}

impl Request {
    pub(crate) fn new(files: Vec<File>) -> Self {
        let mut request = Self {
            bytes: Vec::new(),
            parts: Vec::new(),
            lengths: Vec::new(),
        };
        for mut file in files {
            if !request.bytes.is_empty() {
                request.bytes.extend(b"\r\n");
            }
            request.bytes.extend(PART.as_bytes());
            request.lengths.push(file.bytes.len());
            let at = request.bytes.len();
            request.bytes.append(&mut file.bytes);
            request.parts.push((at, file));
        }
        request
            .bytes
            .extend(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        request
    }

    /// Makes all files new instances, the first one with the number `first`.
    pub(crate) fn stamp(&mut self, study: u64, series: u64, first: u64) {
        for (number, (at, file)) in self.parts.iter().enumerate() {
            let uids = Uids::new(study, series, first + number as u64);
            file.stamp(&mut self.bytes[*at..], &uids);
        }
    }

    /// The files.
    fn files(&self) -> Vec<&[u8]> {
        let parts = self.parts.iter().zip(&self.lengths);
        parts
            .map(|((at, _), length)| &self.bytes[*at..at + length])
            .collect()
    }

    fn payload(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(crate) fn send(&self, base: &Base, connection: &mut Connection) -> Result<()> {
        send(
            base,
            connection,
            self.bytes.len() as u64,
            [self.bytes.as_slice()],
        )
    }
}

/// Sends a store request; it must be answered 200.
fn send<'b>(
    base: &Base,
    connection: &mut Connection,
    length: u64,
    body: impl IntoIterator<Item = &'b [u8]>,
) -> Result<()> {
    let head = format!(
        "POST {}/studies HTTP/1.1\r\nHost: {}\r\nAccept: application/dicom+json\r\n\
         Content-Type: multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n",
        base.prefix, base.address
    );
    let mut report = Vec::new();
    let answer = connection.post(&head, body, Some(&mut report))?;
    if answer.status == 200 {
        return Ok(());
    }
    let report = String::from_utf8_lossy(&report);
    let report: String = report.chars().take(300).collect();
    Err(Error::other(format!(
        "store answered {}: {report}",
        answer.status
    )))
}

/// Studies are numbered through all rounds, so that every instance is new.
static STUDY: AtomicU64 = AtomicU64::new(1000);

pub(crate) fn next_study() -> u64 {
    STUDY.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    if !arguments.wants("store") && !arguments.wants("large") {
        return Ok(());
    }
    let data = arguments.work.join("store");
    let _ = fs::remove_dir_all(&data);
    let server = servers::stowage(&arguments.binary, &data)?;
    let idle = server.reset_peak()?;
    if arguments.wants("store") {
        let ct = Group {
            what: "CT",
            count: 100,
            file: corpus::ct,
            limit: ("write+fsync", limits::write_groups),
            goal: 0.6,
        };
        let mr = Group {
            what: "MR",
            file: corpus::mr,
            ..ct
        };
        let tiny = Group {
            what: "tiny",
            count: 500,
            file: corpus::tiny,
            ..ct
        };
        let packed = Group {
            limit: ("append+fdatasync", limits::write_packed),
            goal: 0.5,
            ..tiny
        };
        for group in [ct, mr, tiny, packed] {
            group.measure(arguments, &server)?;
        }
        singles(
            arguments,
            &server,
            "STOW CT, 1 per request, 4 clients",
            &corpus::ct(0),
        )?;
        singles(
            arguments,
            &server,
            "STOW tiny, 1 per request, 4 clients",
            &corpus::tiny(0),
        )?;
        table::note(&format!(
            "| STOW above: memory idle {idle:.0}, peak {:.0} |",
            server.peak()?
        ))?;
    }
    if arguments.wants("large") {
        large(arguments, &server, 128)?;
        large(arguments, &server, 2048)?;
    }
    drop(server);
    fs::remove_dir_all(&data)?;
    Ok(())
}

/// What writes the files of several requests at once, and its name; returns seconds.
type Limit = (&'static str, fn(&Path, &[Vec<&[u8]>]) -> Result<f64>);

/// Files stored many in a request, from four clients.
#[derive(Clone, Copy)]
struct Group {
    what: &'static str,
    /// In each request, at scale 1.
    count: u32,
    file: fn(u64) -> File,
    limit: Limit,
    goal: f64,
}

impl Group {
    fn measure(self, arguments: &Arguments, server: &Server) -> Outcome<()> {
        let Self {
            what,
            count,
            file,
            limit: (name, write),
            goal,
        } = self;
        let what = format!("{what}, {count} per request, 4 clients");
        let count = arguments.scaled(count);
        let requests: Vec<Mutex<Request>> = (0..4)
            .map(|_| Mutex::new(Request::new((0..u64::from(count)).map(file).collect())))
            .collect();
        let payload: usize = requests.iter().map(|r| locked(r).payload()).sum();
        let megabytes = payload as f64 / 1e6;
        let folder = arguments.work.join("written");
        let mut actors: Vec<Actor<'_>> = Vec::new();
        let requests = &requests;
        for base in arguments.bases(&server.base)? {
            let store = move |_| {
                for request in requests {
                    locked(request).stamp(next_study(), 1, 0);
                }
                let start = Instant::now();
                std::thread::scope(|scope| {
                    let base = &base;
                    let send = |request: &Mutex<Request>| {
                        locked(request).send(base, &mut Connection::open(base)?)
                    };
                    let running: Vec<_> = requests
                        .iter()
                        .map(|request| scope.spawn(move || send(request)))
                        .collect();
                    join(running)
                })?;
                Ok(Done {
                    work: megabytes,
                    seconds: start.elapsed().as_secs_f64(),
                })
            };
            actors.push(actor(&base_name(arguments, actors.len()), store));
        }
        let written = move |_| {
            let held: Vec<_> = requests.iter().map(locked).collect();
            let groups: Vec<Vec<&[u8]>> = held.iter().map(|request| request.files()).collect();
            Ok(Done {
                work: megabytes,
                seconds: write(&folder, &groups)?,
            })
        };
        actors.push(actor(name, written));
        let what = if arguments.scale < 1.0 {
            format!("STOW {what} (here {count})")
        } else {
            format!("STOW {what}")
        };
        let task = Task {
            what: &what,
            unit: "MB/s",
            goal,
            rounds: arguments.rounds,
        };
        let stages = Stages::begin(&server.base)?;
        table::measure(task, &mut actors)?;
        stages.print()?;
        Ok(())
    }
}

fn base_name(arguments: &Arguments, at: usize) -> String {
    match (at, arguments.peer.len()) {
        (0, _) => "stowage".to_owned(),
        (at, _) => format!("peer {at}"),
    }
}

fn singles(arguments: &Arguments, server: &Server, what: &str, file: &File) -> Outcome<()> {
    let time = Duration::from_millis(arguments.millis);
    let folder = arguments.work.join("written");
    let sample = file.bytes.clone();
    let mut actors: Vec<Actor<'_>> = Vec::new();
    for base in arguments.bases(&server.base)? {
        let file = file.clone();
        let store = move |_| {
            clients(
                time,
                |client, number, state: &mut Option<(Request, Connection, u64)>| {
                    let (request, connection, study) = match state {
                        Some(state) => state,
                        None => state.insert((
                            Request::new(vec![file.clone()]),
                            Connection::open(&base)?,
                            next_study(),
                        )),
                    };
                    request.stamp(*study, client, number);
                    request.send(&base, connection)
                },
            )
        };
        actors.push(actor(&base_name(arguments, actors.len()), store));
    }
    let write = move |_| {
        fs::create_dir_all(&folder)?;
        let rate = clients(
            time,
            |client, number, state: &mut Option<std::path::PathBuf>| {
                let own = match state {
                    Some(own) => own,
                    None => {
                        let own = folder.join(client.to_string());
                        fs::create_dir(&own)?;
                        state.insert(own)
                    }
                };
                limits::write_file(&own.join(number.to_string()), [sample.as_slice()])?;
                limits::sync_folder(own)
            },
        );
        fs::remove_dir_all(&folder)?;
        rate
    };
    actors.push(actor("write+fsync", write));
    let task = Task {
        what,
        unit: "instances/s",
        goal: 0.5,
        rounds: arguments.rounds,
    };
    let stages = Stages::begin(&server.base)?;
    table::measure(task, &mut actors)?;
    stages.print()?;
    Ok(())
}

/// The disk is the limit here, so processor time tells nothing.
fn actor<'a>(name: &str, run: impl FnMut(usize) -> Result<Done> + 'a) -> Actor<'a> {
    Actor {
        name: name.to_owned(),
        cpu: None,
        run: Box::new(run),
    }
}

/// Four clients that each repeat `step` for `time`.
fn clients<S>(
    time: Duration,
    step: impl Fn(u64, u64, &mut Option<S>) -> Result<()> + Sync,
) -> Result<Done> {
    let done = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let (step, done) = (&step, &done);
        let running: Vec<_> = (0..4)
            .map(|client| {
                scope.spawn(move || {
                    let (mut state, mut number) = (None, 0);
                    while start.elapsed() < time {
                        step(client, number, &mut state)?;
                        number += 1;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        join(running)
    })?;
    Ok(Done {
        work: done.into_inner() as f64,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn join(running: Vec<std::thread::ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
    let mut all = Ok(());
    for thread in running {
        let ended = thread
            .join()
            .unwrap_or_else(|_| Err(Error::other("a client panicked")));
        all = all.and(ended);
    }
    all
}

fn locked(request: &Mutex<Request>) -> std::sync::MutexGuard<'_, Request> {
    request
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The pieces of a body whose pixels are one block again and again.
pub(crate) struct Large {
    head: Vec<u8>,
    file: File,
    block: Vec<u8>,
    pixels: u64,
}

impl Large {
    pub(crate) fn new(frames: u32) -> Self {
        let (file, pixels) = corpus::multi_frame(frames);
        Self {
            head: file.bytes.clone(),
            block: corpus::noise(1 << 19, 11),
            file,
            pixels,
        }
    }

    pub(crate) fn stamp(&mut self, uids: &Uids) {
        self.file.stamp(&mut self.head, uids);
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let blocks = usize::try_from(self.pixels >> 19).unwrap_or(0);
        std::iter::once(self.head.as_slice())
            .chain(std::iter::repeat_n(self.block.as_slice(), blocks))
    }

    fn length(&self) -> u64 {
        self.head.len() as u64 + self.pixels
    }

    pub(crate) fn send(&self, base: &Base) -> Result<()> {
        let end = format!("\r\n--{BOUNDARY}--\r\n");
        let length = PART.len() as u64 + self.length() + end.len() as u64;
        let body = std::iter::once(PART.as_bytes())
            .chain(self.pieces())
            .chain(std::iter::once(end.as_bytes()));
        send(base, &mut Connection::open(base)?, length, body)
    }
}

fn large(arguments: &Arguments, server: &Server, frames: u32) -> Outcome<()> {
    let object = RefCell::new(Large::new(arguments.scaled(frames)));
    let object = &object;
    let megabytes = object.borrow().length() as f64 / 1e6;
    let peak = RefCell::new(0.0_f64);
    let peak = &peak;
    let mut actors: Vec<Actor<'_>> = Vec::new();
    for base in arguments.bases(&server.base)? {
        let own = base.name == server.base.name;
        let store = move |_| {
            object.borrow_mut().stamp(&Uids::new(next_study(), 1, 1));
            let before = if own { server.reset_peak()? } else { 0.0 };
            let start = Instant::now();
            object.borrow().send(&base)?;
            let seconds = start.elapsed().as_secs_f64();
            if own {
                let above = server.peak()? - before;
                let most = peak.borrow().max(above);
                *peak.borrow_mut() = most;
            }
            Ok(Done {
                work: megabytes,
                seconds,
            })
        };
        actors.push(actor(&base_name(arguments, actors.len()), store));
    }
    let folder = arguments.work.join("written");
    let write = move |_| {
        fs::create_dir_all(&folder)?;
        let path = folder.join("large");
        let start = Instant::now();
        limits::write_file(&path, object.borrow().pieces())?;
        limits::sync_folder(&folder)?;
        let seconds = start.elapsed().as_secs_f64();
        fs::remove_file(&path)?;
        Ok(Done {
            work: megabytes,
            seconds,
        })
    };
    actors.push(actor("write+fsync", write));
    let what = format!("STOW one object of {megabytes:.0} MB");
    let task = Task {
        what: &what,
        unit: "MB/s",
        goal: 0.6,
        rounds: arguments.rounds.min(3),
    };
    let stages = Stages::begin(&server.base)?;
    table::measure(task, &mut actors)?;
    stages.print()?;
    drop(actors);
    table::note(&format!(
        "| {what}: peak memory above idle {:.0} (goal < 100) |",
        peak.borrow()
    ))?;
    Ok(())
}
