//! Random structure is stored, and reading it by every route costs what was sent, times a number, and a constant: of memory
//! at its peak, and of work, counted as bytes and calls of the allocator. What is allocated is covered by what the memory
//! budget has reserved. No clock is asked.
//!
//! In a process of its own, for the allocator counts everything that happens in it.

#![expect(unsafe_code, reason = "an allocator that counts has to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use dicom_core::{Tag, VR};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stowage::archive::Archive;
use stowage::auth::{AuthConfig, Authenticator};
use stowage::blob::Blobs;
use stowage::config::{AuthMode, Config, MetricsAccess};
use stowage::dicom::testing::{DataSet, Lengths, Syntax};
use stowage::http::audit::AuditLog;
use stowage::http::layers::CorsConfig;
use stowage::http::links::{LinksConfig, ProxyHeaders, Scheme};
use stowage::http::ui::UiSettings;
use stowage::memory::{MemoryBudget, Purpose};
use tower::ServiceExt;

mod frames;
mod hostile;

#[path = "../it/support/dicom.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod dicom;

use dicom::{Name, noise};

/// The system's allocator, counting.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
    BYTES.fetch_add(bytes, Ordering::Relaxed);
    CALLS.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: everything is done by the allocator of the system; only numbers are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        grown(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One test at a time, for all count the same.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const MULTIPART: &str = "multipart/related; type=\"application/dicom\"; boundary=cost";

/// The body of a store of files.
fn body(files: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend(b"--cost\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend(file);
        body.extend(b"\r\n");
    }
    body.extend(b"--cost--\r\n");
    body
}

/// What a request cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    status: u16,
    /// Bytes of the answer.
    sent: usize,
    /// Most bytes that were allocated at a time, beyond those before.
    memory: usize,
    /// Most bytes that were reserved at a time.
    reserved: usize,
    /// Bytes that were allocated in all.
    bytes: usize,
    /// Allocations.
    calls: usize,
}

/// A limit that is linear: so many, and so many for each byte that was stored or sent, in sixteenths.
///
/// Each is about three times what was measured over all routes and seeds.
type Linear = (usize, usize);

/// Memory of an answer, in bytes; measured are 4 MiB and 1.1 for each byte.
const MEMORY: Linear = (8 << 20, 4 * 16);
/// Bytes of the budget that an answer reserves.
const RESERVED: Linear = (16 << 20, 8 * 16);
/// Bytes allocated for an answer in all; measured are 4 MiB and 3.1 for each byte.
const BYTES_ALLOCATED: Linear = (12 << 20, 10 * 16);
/// Allocations of an answer; measured are 10,000 and 0.04 for each byte.
const ALLOCATIONS: Linear = (30_000, 2);
/// Bytes that an answer may allocate beside what it has reserved: its futures, SQL, headers, small texts.
const UNCOUNTED: usize = 4 << 20;

/// Asks and reads the answer piece by piece, keeping none of it.
async fn ask((router, budget): &(Router, MemoryBudget), request: Request<Body>) -> Cost {
    let _before = budget.take_peak();
    let (live, bytes) = (LIVE.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    let calls = CALLS.load(Ordering::Relaxed);
    PEAK.store(live, Ordering::Relaxed);
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let mut pieces = answer.into_body().into_data_stream();
    let mut sent = 0;
    while let Some(piece) = pieces.next().await {
        sent += piece.expect("an answer does not break off").len();
    }
    drop(pieces);
    Cost {
        status,
        sent,
        reserved: budget.take_peak(),
        memory: PEAK.load(Ordering::Relaxed).saturating_sub(live),
        bytes: BYTES.load(Ordering::Relaxed) - bytes,
        calls: CALLS.load(Ordering::Relaxed) - calls,
    }
}

/// Structure of one kind, or of all mixed.
fn structure(random: &mut StdRng, kind: u32) -> DataSet {
    match kind {
        // Many: items with nothing in them.
        0 => {
            let items = vec![DataSet::new(); random.random_range(1000..30_000)];
            DataSet::new().items(Tag(0x0008, 0x1140), lengths(random), items)
        }
        // Deep, with something at each depth.
        1 => {
            let mut inner = DataSet::new().text(Tag(0x0008, 0x1155), VR::UI, "1.2.3");
            for _ in 0..random.random_range(20..38) {
                let own = DataSet::new().text(Tag(0x0008, 0x0104), VR::LO, "between");
                inner = own.items(Tag(0x0008, 0x1140), lengths(random), vec![inner]);
            }
            inner
        }
        // Wide: attributes without values.
        2 => {
            let mut data_set = DataSet::new();
            for number in 0..random.random_range(1000..20_000_u16) {
                data_set = data_set.bytes(Tag(0x0009, 0x1000 + number), VR::LO, []);
            }
            data_set
        }
        // Values, many in one attribute.
        3 => {
            let values = vec!["1"; random.random_range(1000..30_000)].join("\\");
            DataSet::new().text(Tag(0x0018, 0x1271), VR::UT, &values)
        }
        // The same creator, again and again.
        4 => {
            let mut data_set = DataSet::new();
            for block in 0x10..0xFF_u16 {
                data_set = data_set.text(Tag(0x0009, block), VR::LO, "ONE AND THE SAME");
            }
            for block in 0x10..0xFF_u16 {
                data_set = data_set.text(Tag(0x0009, block << 8), VR::LO, "VALUE");
            }
            data_set
        }
        // Tables, told to be larger than they are and larger than they need be.
        5 => {
            let entries = random.random_range(2..60_000_u16);
            let table = DataSet::new()
                .us(Tag(0x0028, 0x3002), &[entries, 0, 16])
                .bytes(
                    Tag(0x0028, 0x3006),
                    VR::OW,
                    vec![1; usize::from(entries) * 2],
                );
            let few = DataSet::new().us(Tag(0x0028, 0x3002), &[0, 0, 16]).bytes(
                Tag(0x0028, 0x3006),
                VR::OW,
                vec![1; 8],
            );
            let tables = match random.random_range(0..3) {
                0 => vec![table],
                1 => vec![few],
                _ => vec![table; 8],
            };
            DataSet::new().items(Tag(0x0028, 0x3010), lengths(random), tables)
        }
        // Names with all their components, in items.
        6 => {
            let name = DataSet::new().text(Tag(0x0040, 0xA123), VR::PN, "A^B^C^D^E=F^G=H^I");
            let items = vec![name; random.random_range(100..3000)];
            DataSet::new().items(Tag(0x0040, 0xA730), lengths(random), items)
        }
        _ => {
            let mut all = DataSet::new();
            for kind in 0..=6 {
                let tag = Tag(
                    0x0011,
                    0x1000 + u16::try_from(kind).expect("a small number"),
                );
                let inner = vec![structure(random, kind)];
                all = all.items(tag, lengths(random), inner);
            }
            all
        }
    }
}

fn lengths(random: &mut StdRng) -> Lengths {
    match random.random() {
        true => Lengths::Defined,
        false => Lengths::Undefined,
    }
}

/// Every way to read an instance, with the `Accept` it needs.
fn routes(name: &Name) -> Vec<(String, &'static str)> {
    const JSON: &str = "application/dicom+json";
    const XML: &str = "multipart/related; type=\"application/dicom+xml\"";
    const OCTETS: &str = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    const DICOM: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    let web = |path: &str| format!("/dicom-web{path}");
    let (series, path) = (name.series_path(), name.path());
    vec![
        (web(&format!("{series}/instances?includefield=all")), JSON),
        (web(&format!("{series}/instances?includefield=all")), XML),
        (
            web(&format!("{series}/instances?00081140.00081155=1.2.9")),
            JSON,
        ),
        (web(&format!("{series}/instances?PatientComments=x")), JSON),
        (web("/studies?includefield=all"), JSON),
        (web(&format!("{series}/metadata")), JSON),
        (web(&format!("{series}/metadata")), XML),
        (web(&format!("{path}/frames/1")), OCTETS),
        (web(&format!("{path}/rendered")), "image/jpeg"),
        (web(&format!("{path}/rendered")), "image/png"),
        (web(&format!("{path}/thumbnail")), "image/jpeg"),
        (web(&format!("{path}/bulkdata")), OCTETS),
        (web(&format!("{path}/pixeldata")), OCTETS),
        (web(&path), DICOM),
        (web(&name.study_path()), DICOM),
        (web(&name.study_path()), "application/zip"),
        (
            "/v2/changefeed?limit=200&includemetadata=true".to_owned(),
            "application/json",
        ),
    ]
}

async fn router(folder: &std::path::Path) -> (Router, MemoryBudget) {
    let mut config = Config::default();
    config.storage.data_dir = folder.to_owned();
    config.limits.memory_bytes = Some(256 << 20);
    // What is kept for others is none of the cost of an answer.
    config.limits.frame_cache_bytes = 0;
    config.limits.metadata_cache_bytes = 0;
    let blobs = Blobs::connect(&config.storage).await;
    let blobs = blobs.expect("a folder can be used");
    let url = format!("sqlite://{}", folder.join("index.sqlite").display());
    let options = stowage::index::IndexOptions::default();
    let index = stowage::index::open(&url, &options).await;
    let index = index.expect("an index can be made");
    let archive = Archive::new(index, blobs, config.limits.clone());
    let budget = archive.budget().clone();
    let gate = Authenticator::new(&AuthConfig::default(), AuthMode::Off);
    let gate = gate.expect("no settings are none that are wrong");
    let links = LinksConfig {
        public_url: None,
        trusted_proxies: Vec::new(),
        proxy_headers: ProxyHeaders::default(),
        listen_port: 80,
        scheme: Scheme::Http,
    };
    let router = stowage::http::router(
        archive,
        links,
        CorsConfig::default(),
        &gate,
        &AuditLog::default(),
        MetricsAccess::Open,
        &UiSettings {
            config: config.ui.clone(),
            signed_in: false,
            api_keys: false,
            issuer: None,
        },
    );
    (router, budget)
}

/// What was reserved for answers is given back, but for an instance that is kept open for those who ask next, which has
/// `kept` bytes at most. What was left behind in a task may take a moment.
async fn expect_given_back(budget: &MemoryBudget, kept: usize) {
    let held = || {
        let of_answers = |purpose: &Purpose| *purpose != Purpose::Caches;
        let purposes = Purpose::ALL.into_iter().filter(of_answers);
        purposes
            .map(|purpose| budget.reserved(purpose))
            .sum::<usize>()
    };
    for _ in 0..100_000 {
        if held() <= kept {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} bytes are reserved for nobody", held());
}

fn request(method: &str, target: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(target)
        .header("Host", "localhost")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_costs_what_was_sent_whatever_was_stored() {
    let _alone = ALONE.lock().await;
    let mut broken = Vec::new();
    for seed in 0..16_u32 {
        // A fresh archive each: the feed and searches without a limit read all there is.
        let folder = tempfile::tempdir().unwrap();
        let router = router(folder.path()).await;
        let mut random = StdRng::seed_from_u64(u64::from(seed));
        let name = Name::new(seed + 1, 1, 1);
        let (mut files, mut stored) = (Vec::new(), 0);
        for instance in 1..=2 {
            let name = Name::new(seed + 1, 1, instance);
            let sides = (
                random.random_range(1..64_u16),
                random.random_range(1..64_u16),
            );
            let frames = [1, 1, 3, 2000][random.random_range(0..4)];
            let length = usize::from(sides.0) * usize::from(sides.1) * frames as usize;
            let data_set = name
                .image(sides.0, sides.1, 8, frames)
                .set(structure(&mut random, seed % 8))
                .set(DataSet::new().bytes(
                    Tag(0x7FE0, 0x0010),
                    VR::OB,
                    noise(&name.instance, length.next_multiple_of(2)),
                ));
            let syntaxes = [
                Syntax::ExplicitLittle,
                Syntax::ImplicitLittle,
                Syntax::Deflated,
            ];
            let syntax = syntaxes[random.random_range(0..syntaxes.len())];
            // A deflated file is what it inflates to.
            stored += name.file(&data_set, Syntax::ExplicitLittle).bytes.len();
            files.push(name.file(&data_set, syntax).bytes);
        }
        let body = body(&files);
        drop(files);
        let store = request("POST", "/dicom-web/studies")
            .header("Content-Type", MULTIPART)
            .body(Body::from(body));
        let cost = ask(&router, store.unwrap()).await;
        let mut check = |what: &str, cost: Cost, good: &[u16]| {
            let linear = |(least, times): Linear| least + times * (stored + cost.sent) / 16;
            let fits = cost.memory <= linear(MEMORY)
                && cost.reserved <= linear(RESERVED)
                && cost.memory <= cost.reserved + UNCOUNTED
                && cost.bytes <= linear(BYTES_ALLOCATED)
                && cost.calls <= linear(ALLOCATIONS)
                && good.contains(&cost.status);
            println!("{seed:2} {stored:9} {cost:?} {what}");
            if !fits {
                broken.push(format!("seed {seed}, {stored} bytes: {what}: {cost:?}"));
            }
        };
        check("store", cost, &[200, 202]);
        for (target, accept) in routes(&name) {
            let asked = request("GET", &target).header("Accept", accept);
            let cost = ask(&router, asked.body(Body::empty()).unwrap()).await;
            check(&format!("{target} {accept}"), cost, &[200, 204, 206]);
        }
        expect_given_back(&router.1, stored).await;
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Structure that is four times as much costs about four times as much, by every route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_quadratic() {
    let _alone = ALONE.lock().await;
    let costs = |times: usize| async move {
        let folder = tempfile::tempdir().unwrap();
        let router = router(folder.path()).await;
        let name = Name::new(1, 1, 1);
        let inner = DataSet::new().text(Tag(0x0008, 0x1155), VR::UI, "1.2.3");
        let mut own = DataSet::new().items(
            Tag(0x0008, 0x1140),
            Lengths::Defined,
            vec![inner; 1000 * times],
        );
        for number in 0..u16::try_from(1000 * times).unwrap() {
            own = own.text(Tag(0x0009, 0x1000 + number), VR::LO, "value");
        }
        let data_set = name.image(16, 16, 8, 1).set(own).set(DataSet::new().bytes(
            Tag(0x7FE0, 0x0010),
            VR::OB,
            noise("pixels", 256),
        ));
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        let body = body(&[file.bytes]);
        let store = request("POST", "/dicom-web/studies")
            .header("Content-Type", MULTIPART)
            .body(Body::from(body));
        let mut all = vec![("store".to_owned(), ask(&router, store.unwrap()).await)];
        for (target, accept) in routes(&name) {
            let asked = request("GET", &target).header("Accept", accept);
            let asked = asked.body(Body::empty()).unwrap();
            all.push((format!("{target} {accept}"), ask(&router, asked).await));
        }
        all
    };
    // The first one pays for what is made once in a process.
    costs(1).await;
    let (small, large) = (costs(2).await, costs(8).await);
    let base = (512 << 10, 2000);
    for ((what, small), (_, large)) in small.into_iter().zip(large) {
        println!("{what}: {small:?} {large:?}");
        assert!(
            large.bytes <= 6 * small.bytes + base.0,
            "{what}: {small:?} {large:?}"
        );
        assert!(
            large.calls <= 6 * small.calls + base.1,
            "{what}: {small:?} {large:?}"
        );
    }
}
