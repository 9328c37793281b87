//! WADO beside nginx with the same answers as files.

use std::fs;
use std::io::{Error, Result};
use std::time::Duration;

use crate::client::{Base, Connection, fetch, load};
use crate::corpus::{self, Uids};
use crate::servers::{self, Nginx, Server};
use crate::storing::{Large, Request};
use crate::table::{self, Actor, Done, Task};
use crate::{Arguments, Outcome};

const FILES: &str = "Accept: multipart/related; type=\"application/dicom\"; transfer-syntax=*\r\n";
const FRAMES: &str =
    "Accept: multipart/related; type=\"application/octet-stream\"; transfer-syntax=*\r\n";
const JPEG: &str = "Accept: multipart/related; type=\"image/jpeg\"; transfer-syntax=*\r\n";
const JSON: &str = "Accept: application/dicom+json\r\n";
const GZIP: &str = "Accept: application/dicom+json\r\nAccept-Encoding: gzip\r\n";

/// Numbers of the studies that are stored here.
const CT: u64 = 1;
const LARGE: u64 = 2;
const ENCAPSULATED: u64 = 3;

pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    let groups = ["retrieve", "frames", "metadata"];
    if !groups.iter().any(|group| arguments.wants(group)) {
        return Ok(());
    }
    let data = arguments.work.join("read");
    let folder = arguments.work.join("nginx");
    let _ = fs::remove_dir_all(&data);
    let _ = fs::remove_dir_all(&folder);
    let server = servers::stowage(&arguments.binary, &data)?;
    fs::create_dir_all(&folder)?;
    let nginx = servers::nginx(&arguments.nginx, &fs::canonicalize(&folder)?)?;
    let slices = arguments.scaled(500);
    let bases = arguments.bases(&server.base)?;
    for base in &bases {
        fill(base, u64::from(slices))?;
        if arguments.wants("frames") {
            let mut large = Large::new(arguments.scaled(2048));
            large.stamp(&Uids::new(LARGE, 1, 1));
            large.send(base)?;
            let mut request = Request::new(vec![corpus::encapsulated(200)]);
            request.stamp(ENCAPSULATED, 1, 1);
            request.send(base, &mut Connection::open(base)?)?;
        }
    }
    let idle = server.reset_peak()?;
    let reader = Reader {
        arguments,
        server: &server,
        bases,
        nginx,
    };
    if arguments.wants("retrieve") {
        reader.studies()?;
    }
    if arguments.wants("frames") {
        reader.frames(slices)?;
    }
    if arguments.wants("metadata") {
        reader.metadata()?;
    }
    table::note(&format!(
        "| WADO above: memory before {idle:.0}, peak {:.0} |",
        server.peak()?
    ))?;
    drop(reader);
    drop(server);
    fs::remove_dir_all(&data)?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Stores the CT series.
fn fill(base: &Base, slices: u64) -> Result<()> {
    let mut connection = Connection::open(base)?;
    for first in (0..slices).step_by(100) {
        let numbers = first..(first + 100).min(slices);
        let mut request = Request::new(numbers.map(corpus::ct).collect());
        request.stamp(CT, 1, first);
        request.send(base, &mut connection)?;
    }
    Ok(())
}

struct Reader<'a> {
    arguments: &'a Arguments,
    server: &'a Server,
    bases: Vec<Base>,
    nginx: Nginx,
}

/// What a reading measurement counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Megabytes,
    Requests,
}

impl Reader<'_> {
    /// Gives nginx what the server answers to each path.
    fn prebuilt(&self, name: &str, paths: &[String], headers: &str) -> Result<Vec<String>> {
        let own = &self.bases[0];
        paths
            .iter()
            .enumerate()
            .map(|(at, path)| {
                let (answer, body) = fetch(own, path, headers)?;
                if answer.status != 200 {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    return Err(Error::other(format!("{path}: {} {text}", answer.status)));
                }
                self.nginx.serve(&format!("{name}-{at}"), &body)
            })
            .collect()
    }

    fn beside(
        &self,
        what: &str,
        (unit, goal): (Unit, f64),
        clients: usize,
        (paths, headers): (&[String], &str),
        prebuilt: &[String],
    ) -> Result<()> {
        let time = Duration::from_millis(self.arguments.millis);
        let run = move |base: &Base, paths: &[String], headers: &str| {
            let done = load(base, paths, headers, clients, time)?;
            let work = match unit {
                Unit::Megabytes => done.bytes as f64 / 1e6,
                Unit::Requests => done.requests as f64,
            };
            Ok(Done {
                work,
                seconds: done.seconds,
            })
        };
        let mut actors: Vec<Actor<'_>> = Vec::new();
        for base in &self.bases {
            actors.push(Actor {
                name: base.name.clone(),
                cpu: self.server.cpu_of(base),
                run: Box::new(move |_| run(base, paths, headers)),
            });
        }
        let nginx = &self.nginx.server;
        actors.push(Actor {
            name: "nginx".to_owned(),
            cpu: nginx.cpu_of(&nginx.base),
            run: Box::new(move |_| run(&nginx.base, prebuilt, "")),
        });
        let unit = match unit {
            Unit::Megabytes => "MB/s",
            Unit::Requests => "requests/s",
        };
        let rounds = self.arguments.rounds;
        let task = Task {
            what,
            unit,
            goal,
            rounds,
        };
        table::measure(task, &mut actors)
    }

    fn studies(&self) -> Result<()> {
        let paths = [format!("/studies/{}", Uids::new(CT, 1, 0).study)];
        let prebuilt = self.prebuilt("study", &paths, FILES)?;
        for clients in [1, 8] {
            let what = format!("Retrieve study, {clients} clients");
            let goal = (Unit::Megabytes, 0.7);
            self.beside(&what, goal, clients, (&paths, FILES), &prebuilt)?;
        }
        Ok(())
    }

    fn frames(&self, slices: u32) -> Result<()> {
        let single: Vec<String> = (0..u64::from(slices))
            .map(|n| format!("{}/frames/1", Uids::new(CT, 1, n).path()))
            .collect();
        let prebuilt = self.prebuilt("frame", &single, FRAMES)?;
        for clients in [8, 32] {
            let what = format!("Frame of a CT slice, {clients} in flight");
            let goal = (Unit::Requests, 0.6);
            self.beside(&what, goal, clients, (&single, FRAMES), &prebuilt)?;
        }
        // An odd step visits the frames of the large object in no order.
        let frames = self.arguments.scaled(2048);
        let of_large = |n: u32| {
            let number = n.wrapping_mul(797) % frames + 1;
            format!("{}/frames/{number}", Uids::new(LARGE, 1, 1).path())
        };
        let large: Vec<String> = (0..frames.min(500)).map(of_large).collect();
        self.against_single(&large, &single)?;
        let of_jpeg = |n| format!("{}/frames/{n}", Uids::new(ENCAPSULATED, 1, 1).path());
        let jpeg: Vec<String> = (1..=200).map(of_jpeg).collect();
        let prebuilt = self.prebuilt("jpeg", &jpeg, JPEG)?;
        let goal = (Unit::Requests, 0.6);
        self.beside(
            "Frame of 200 JPEG frames, 8 in flight",
            goal,
            8,
            (&jpeg, JPEG),
            &prebuilt,
        )
    }

    /// A frame of the large object beside a frame of a slice: the same server is its own limit.
    fn against_single(&self, large: &[String], single: &[String]) -> Result<()> {
        let time = Duration::from_millis(self.arguments.millis);
        for base in &self.bases {
            let actor = |name: &str, paths| Actor {
                name: name.to_owned(),
                cpu: self.server.cpu_of(base),
                run: Box::new(move |_| {
                    let done = load(base, paths, FRAMES, 8, time)?;
                    Ok(Done {
                        work: done.requests as f64,
                        seconds: done.seconds,
                    })
                }),
            };
            let mut actors = [actor(&base.name, large), actor("single-frame", single)];
            let task = Task {
                what: "Frame at random of the large object",
                unit: "requests/s",
                goal: 0.9,
                rounds: self.arguments.rounds,
            };
            table::measure(task, &mut actors)?;
        }
        Ok(())
    }

    fn metadata(&self) -> Result<()> {
        let uids = Uids::new(CT, 1, 0);
        let paths = [format!(
            "/studies/{}/series/{}/metadata",
            uids.study, uids.series
        )];
        for (name, headers) in [("JSON", JSON), ("gzip", GZIP)] {
            let prebuilt = self.prebuilt(&format!("metadata-{name}"), &paths, headers)?;
            for clients in [1, 4] {
                let what = format!("Series metadata, {name}, {clients} clients");
                let goal = (Unit::Requests, 0.5);
                self.beside(&what, goal, clients, (&paths, headers), &prebuilt)?;
            }
        }
        Ok(())
    }
}
