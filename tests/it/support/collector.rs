//! A collector of traces: takes OTLP over HTTP and reads the spans out of the bytes, without the code that wrote them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::runtime::Runtime;

use super::loopback::listen;

/// What the collector does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes it.
    Takes,
    /// Answers 400, which nobody is to try again.
    Refuses,
    /// Never answers.
    Silent,
}

#[derive(Debug)]
struct Desk {
    mood: Mutex<Mood>,
    bodies: Mutex<Vec<Vec<u8>>>,
    refused: Mutex<u32>,
}

/// A running collector; it ends with the value.
pub(crate) struct Collector {
    url: String,
    desk: Arc<Desk>,
    _runtime: Runtime,
}

/// A span as it was sent; ids in hexadecimal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) nanoseconds: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) failed: bool,
}

impl Collector {
    /// Starts one in this mood.
    pub(crate) fn start(mood: Mood) -> Self {
        let (runtime, listener, url) = listen();
        let desk = Arc::new(Desk {
            mood: Mutex::new(mood),
            bodies: Mutex::default(),
            refused: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(desk.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            desk,
            _runtime: runtime,
        }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Changes its mood.
    pub(crate) fn be(&self, mood: Mood) {
        *self.desk.mood.lock().unwrap() = mood;
    }

    /// How often it refused.
    pub(crate) fn refused(&self) -> u32 {
        *self.desk.refused.lock().unwrap()
    }

    /// Every byte it took, one body after the other.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.desk.bodies.lock().unwrap().concat()
    }

    /// The spans it took.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let bodies = self.desk.bodies.lock().unwrap();
        bodies.iter().flat_map(|body| spans(body)).collect()
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mood = *desk.mood.lock().unwrap();
    match mood {
        Mood::Takes => {
            desk.bodies.lock().unwrap().push(body.to_vec());
            StatusCode::OK
        }
        Mood::Refuses => {
            *desk.refused.lock().unwrap() += 1;
            StatusCode::BAD_REQUEST
        }
        Mood::Silent => std::future::pending().await,
    }
}

/// The spans of an `ExportTraceServiceRequest` (opentelemetry-proto, `trace.proto`).
fn spans(request: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for of_resource in all(request, 1) {
        let resource = all(of_resource, 1).next().map(|r| attributes(r, 1));
        for span in all(of_resource, 2).flat_map(|scope| all(scope, 2)) {
            let bytes = |field| all(span, field).next().unwrap_or_default();
            let text = |field| String::from_utf8(bytes(field).to_vec()).unwrap();
            let hex = |field| {
                let digits = bytes(field).iter().map(|byte| format!("{byte:02x}"));
                digits.collect::<String>()
            };
            found.push(Span {
                trace: hex(1),
                id: hex(2),
                parent: hex(4),
                state: text(3),
                name: text(5),
                kind: number(span, 6),
                nanoseconds: number(span, 8) - number(span, 7),
                attributes: attributes(span, 9),
                resource: resource.clone().unwrap_or_default(),
                failed: number(bytes(15), 3) == 2,
            });
        }
    }
    found
}

/// `KeyValue` pairs; numbers as text.
fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let pairs = all(message, field).map(|pair| {
        let name = all(pair, 1).next().unwrap();
        let value = all(pair, 2).next().unwrap();
        let text = match all(value, 1).next() {
            Some(text) => String::from_utf8(text.to_vec()).unwrap(),
            None => number(value, 3).to_string(),
        };
        (String::from_utf8(name.to_vec()).unwrap(), text)
    });
    pairs.collect()
}

/// A field of a protobuf message.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The texts, bytes and messages of a field.
fn all(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    let found = fields(message).into_iter();
    found.filter_map(move |(number, value)| match value {
        Value::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    })
}

/// The number in a field, zero when it is not there.
fn number(message: &[u8], field: u64) -> u64 {
    let found = fields(message).into_iter();
    let mut numbers = found.filter_map(|(number, value)| match value {
        Value::Number(value) if number == field => Some(value),
        _ => None,
    });
    numbers.next().unwrap_or_default()
}

fn fields(mut message: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let fixed = |message: &mut &[u8], length: usize| {
            let (taken, rest) = message.split_at(length);
            *message = rest;
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(taken);
            Value::Number(u64::from_le_bytes(bytes))
        };
        let value = match key & 7 {
            0 => Value::Number(varint(&mut message)),
            1 => fixed(&mut message, 8),
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                let (taken, rest) = message.split_at(length);
                message = rest;
                Value::Bytes(taken)
            }
            5 => fixed(&mut message, 4),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().expect("a varint ends");
        *message = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
