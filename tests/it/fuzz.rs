//! Fuzzing on stable Rust: mutations of a corpus, guided by the kinds of outcomes they lead to.
//!
//! Each target of `fuzz/targets.rs` runs for `STOWAGE_TEST_FUZZ_SECONDS` (1 by default); an input that fails is written to
//! the temporary folder and its path printed. `STOWAGE_TEST_FUZZ_WRITE=1` writes the seeds made here to `fuzz/corpus`.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dicom_core::{Tag, VR};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use stowage::dicom::codec::{self, DecodedFrame, EncodeOptions};
use stowage::dicom::testing::{Lengths, Syntax};

use crate::support::dicom::Name;
use crate::support::multipart;
use targets::{TARGETS, Target};

/// Longest input.
const LONGEST: usize = 64 * 1024;
/// Most inputs kept because they led somewhere new.
const KEPT: usize = 2000;
/// How long is waited for the end of a run; generous, for unoptimised builds on loaded machines.
const PATIENCE: Duration = Duration::from_secs(60);
/// Numbers that lengths and counts go wrong at.
const ODD: [u32; 10] = [
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
    0x0001_0000,
];
/// Texts that parsers of headers and queries know.
const WORDS: [&str; 16] = [
    ";q=0.5",
    "*/*",
    "\r\n",
    "--b",
    "--b--\r\n",
    "\"",
    "&",
    "=",
    "%",
    "\\",
    "limit=",
    "-1",
    "PatientName=",
    "includefield=",
    "multipart/related",
    "boundary=",
];

fn seconds() -> u64 {
    std::env::var("STOWAGE_TEST_FUZZ_SECONDS").map_or(1, |text| {
        text.parse().expect("STOWAGE_TEST_FUZZ_SECONDS is a number")
    })
}

fn corpus_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// The checked-in inputs of a target, in order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(corpus_folder(target)).into_iter().flatten();
    let mut paths: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

thread_local! {
    /// Whether this thread runs a target now.
    static RUNS: Cell<bool> = const { Cell::new(false) };
    /// Where in this crate a panic was, also one that a wrapper has caught.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics of targets: those of decoders behind their wrappers are allowed, those of this crate never are.
fn watch_panics() {
    let before = take_hook();
    set_hook(Box::new(move |info| {
        if !RUNS.get() {
            return before(info);
        }
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if !place.contains(".cargo/registry") && !place.starts_with("/rustc/") {
            PANIC.set(Some(place));
        }
    }));
}

/// Runs that were begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// The run under way: its target and its input.
static UNDER_WAY: Mutex<(&str, Vec<u8>)> = Mutex::new(("", Vec::new()));

#[test]
fn mutated_input_panics_nowhere() {
    watch_panics();
    let (running, ended) = mpsc::channel::<()>();
    let all = thread::spawn(move || {
        fuzz_all();
        drop(running);
    });
    // A run that does not end is found here, and its input kept.
    let mut begun = 0;
    while ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
        let now = BEGUN.load(Ordering::Relaxed);
        if now == begun {
            let under_way = UNDER_WAY.lock().expect("nobody panics with it");
            let file = kept(under_way.0, &under_way.1);
            panic!("{} does not end on {}", under_way.0, file.display());
        }
        begun = now;
    }
    if let Err(panic) = all.join() {
        std::panic::resume_unwind(panic);
    }
}

fn fuzz_all() {
    let seed: u64 = rand::random();
    let mut runs = 0;
    for (number, target) in (0..).zip(TARGETS) {
        let (ran, kept) = fuzz(target, seed.wrapping_add(number));
        println!("{}: {ran} runs, {kept} inputs kept", target.0);
        runs += ran;
    }
    println!("seed {seed}: {runs} runs without a panic");
}

/// Writes an input that failed to the temporary folder.
fn kept(name: &str, input: &[u8]) -> PathBuf {
    let file = std::env::temp_dir().join(format!("stowage-fuzz-{name}"));
    fs::write(&file, input).unwrap();
    file
}

/// Runs one target for its time; returns runs and inputs kept.
fn fuzz(target: &Target, seed: u64) -> (u64, usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut inputs = corpus(target.0);
    assert!(!inputs.is_empty(), "no corpus for {}", target.0);
    let mut kinds = HashSet::new();
    for input in &inputs {
        kinds.insert(run(target, input));
    }
    let own = inputs.len();
    let (begun, length) = (Instant::now(), Duration::from_secs(seconds()));
    let mut runs = own as u64;
    while begun.elapsed() < length {
        for _ in 0..32 {
            let input = mutated(&inputs, &mut rng);
            runs += 1;
            if kinds.insert(run(target, &input)) && inputs.len() < own + KEPT {
                inputs.push(input);
            }
        }
    }
    (runs, inputs.len() - own)
}

/// One run; a panic fails the test and keeps the input.
fn run((name, target): &Target, input: &[u8]) -> u64 {
    {
        let mut under_way = UNDER_WAY.lock().expect("nobody panics with it");
        under_way.0 = name;
        under_way.1.clear();
        under_way.1.extend(input);
    }
    BEGUN.fetch_add(1, Ordering::Relaxed);
    RUNS.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    RUNS.set(false);
    let panicked = PANIC.take();
    match outcome {
        Ok(kind) if panicked.is_none() => kind,
        _ => {
            let file = kept(name, input);
            panic!("{name} failed at {panicked:?} on {}", file.display());
        }
    }
}

/// A copy of some input with a few changes.
fn mutated(inputs: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut input = inputs.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=6) {
        change(&mut input, inputs, rng);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    let rest = input.len() - at;
    let some = rng.random_range(0..=rest.min(64));
    match rng.random_range(0..9) {
        0 if rest > 0 => input[at] ^= 1 << rng.random_range(0..8),
        1 if rest > 0 => input[at] = rng.random(),
        2 => {
            input.drain(at..at + some);
        }
        3 => {
            let copy = input[at..at + some].to_vec();
            let to = rng.random_range(0..=input.len());
            input.splice(to..to, copy);
        }
        4 => {
            let odd = ODD[rng.random_range(0..ODD.len())];
            let width = [1, 2, 4][rng.random_range(0..3)].min(rest);
            let bytes = match rng.random() {
                true => odd.to_le_bytes(),
                false => {
                    let mut bytes = odd.to_be_bytes();
                    bytes.rotate_left(4 - width);
                    bytes
                }
            };
            input[at..at + width].copy_from_slice(&bytes[..width]);
        }
        5 => input.truncate(at),
        6 => {
            let other = inputs.choose(rng).map_or(&[][..], Vec::as_slice);
            let from = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => {
            let word = WORDS[rng.random_range(0..WORDS.len())];
            input.splice(at..at, word.bytes());
        }
        _ => {
            let noise: Vec<u8> = (0..some).map(|_| rng.random()).collect();
            input.splice(at..at + some, noise);
        }
    }
}

#[test]
fn the_corpus_is_what_the_seeds_are() {
    let write = std::env::var_os("STOWAGE_TEST_FUZZ_WRITE").is_some();
    for (target, _) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "no seeds for {target}");
        let folder = corpus_folder(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            let file = folder.join(&name);
            if write {
                fs::write(&file, &bytes).unwrap();
            }
            assert!(file.is_file(), "{} is missing", file.display());
        }
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let texts = |texts: &[&str]| {
        let named = (0..).zip(texts);
        named
            .map(|(i, text)| (format!("{i}"), text.as_bytes().to_vec()))
            .collect()
    };
    match target {
        "walk" => files(),
        "multipart" => bodies(),
        "accept" => texts(&[
            "application/dicom+json",
            "multipart/related; type=\"application/dicom\"; transfer-syntax=*, */*;q=0.1",
            "multipart/related; type=application/octet-stream; boundary=\"a b\"; q=0.9",
            "image/jpeg, image/png;q=0.4, text/html;charset=utf-8",
        ]),
        "query" => texts(&[
            "PatientName=DOE*&StudyDate=20200101-20211231&limit=10&offset=5",
            "00100010=^Jane&includefield=all&fuzzymatching=true",
            "StudyInstanceUID=1.2,1.3\\1.4&ModalitiesInStudy=CT&includefield=00081030,PatientID",
            "00400275.00400009=1&StudyTime=10-12&00101010=007Y",
        ]),
        "tags" => texts(&[
            r#"[{"Path":"00080080","VR":"LO","Level":"Instance"}]"#,
            r#"[{"path":"12051003","vr":"FD","level":"series","privateCreator":"ACME"},{"path":"ManufacturerModelName","level":"Study"}]"#,
        ]),
        _ => codestreams(target),
    }
}

/// Small files in all encodings.
fn files() -> Vec<(String, Vec<u8>)> {
    let name = Name::new(1, 1, 1);
    let image = name
        .image(8, 8, 8, 2)
        .items(
            Tag(0x0008, 0x1140),
            Lengths::Undefined,
            vec![name.data_set(), name.data_set()],
        )
        .text(Tag(0x0010, 0x0010), VR::PN, "Doe^Jane=ドウ^ジェーン");
    let native = image
        .clone()
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, vec![7; 128]);
    let fragments = image.fragments(&[0, 18], &[&[1; 10], &[2; 12]]);
    let file = |data_set, syntax| name.file(data_set, syntax).bytes;
    vec![
        ("implicit".to_owned(), file(&native, Syntax::ImplicitLittle)),
        ("explicit".to_owned(), file(&native, Syntax::ExplicitLittle)),
        ("big".to_owned(), file(&native, Syntax::ExplicitBig)),
        ("deflated".to_owned(), file(&native, Syntax::Deflated)),
        (
            "fragments".to_owned(),
            file(&fragments, Syntax::Other("1.2.840.10008.1.2.4.50")),
        ),
    ]
}

/// Bodies with the boundary `b`, behind the size of their chunks.
fn bodies() -> Vec<(String, Vec<u8>)> {
    let parts = [b"first".as_slice(), b"", b"a longer third part\r\n--not"];
    let body = multipart::body_with("b", parts);
    let behind = |size: u8, body: &[u8]| [&[size], body].concat();
    let lenient = b"preamble\n--b\nContent-Type: application/dicom\nX: a\n b\n\nxyz\n--b--\n";
    vec![
        ("strict".to_owned(), behind(255, &body)),
        ("trickling".to_owned(), behind(1, &body)),
        ("lenient".to_owned(), behind(7, lenient)),
    ]
}

/// Frames as the encoder of a syntax writes them, behind the choice of their shape.
fn codestreams(target: &str) -> Vec<(String, Vec<u8>)> {
    let syntaxes: &[&str] = match target {
        "rle" => &["1.2.840.10008.1.2.5"],
        "jpeg" => &["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"],
        "jpeg_lossless" => &["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57"],
        "jpeg_ls" => &["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"],
        // The seeds of HTJ2K are older than its encoder; in front of the blocks its frame is that of JPEG 2000.
        "jpeg_2000" | "htj2k" => &["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"],
        "jpeg_xl" => &["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112"],
        _ => &["1.2.840.10008.1.2.8.1"],
    };
    let mut found = Vec::new();
    if target == "jpeg_2000" {
        // Found here: the image ends before its tiles begin.
        let mut empty = vec![0, 0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        for field in [0_u32, 9, 5, 0, 8, 9, 5, 0] {
            empty.extend(field.to_be_bytes());
        }
        empty.extend([0, 1, 7, 1, 1]);
        found.push(("empty".to_owned(), empty));
    }
    for syntax in syntaxes {
        for choice in 0..8 {
            let shape = targets::shape(choice);
            let bytes = u32::from(shape.bits_allocated) / 8;
            let length = shape.rows * shape.columns * u32::from(shape.samples) * bytes;
            let data = (0..length)
                .map(|i| u8::try_from(i * 7 % 16).unwrap())
                .collect();
            let frame = DecodedFrame { shape, data };
            if let Ok(encoded) = codec::encode(syntax, &frame, &EncodeOptions::default()) {
                let name = format!("{}-{choice}", syntax.rsplit('.').next().unwrap_or(""));
                found.push((name, [&[choice], encoded.bytes.as_slice()].concat()));
            }
        }
    }
    found
}
