//! What browsers keep: every representation has its own validator, 304 and ranges go by it, and a setting says how long.

use std::collections::BTreeSet;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::Syntax;

use crate::support::dicom::noise;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with_secret};

const MULTIPART: &str = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
const OCTETS: &str = "application/octet-stream; transfer-syntax=*";

fn stored(server: &Deployment, study: u32) -> Name {
    let name = Name::new(study, 1, 1);
    let image = name
        .image(16, 16, 8, 2)
        .bytes(Tag(0x0042, 0x0011), VR::OB, noise("document", 3000))
        .bytes(Tag(0x7FE0, 0x0010), VR::OB, noise("pixels", 512));
    let file = name.file(&image, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    name
}

/// Target below the root, media type, whether its bytes stay as they are.
fn resources(name: &Name) -> Vec<(String, &'static str, bool)> {
    let (study, series, instance) = (name.study_path(), name.series_path(), name.path());
    let mut all = Vec::new();
    for accept in [
        "application/dicom; transfer-syntax=*",
        "application/dicom",
        "application/zip",
    ] {
        all.push((instance.clone(), accept, true));
    }
    let files = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    all.push((instance.clone(), files, true));
    for whole in [&study, &series] {
        all.push((whole.clone(), files, false));
        all.push((whole.clone(), "application/zip", false));
        all.push((
            whole.clone(),
            "multipart/related; type=\"application/octet-stream\"",
            false,
        ));
        all.push((
            format!("{whole}/bulkdata"),
            "multipart/related; type=\"*/*\"",
            false,
        ));
        all.push((
            format!("{whole}/pixeldata"),
            "multipart/related; type=\"*/*\"",
            false,
        ));
    }
    for path in ["frames/1", "frames/2"] {
        for accept in [
            MULTIPART,
            OCTETS,
            "image/jls",
            "multipart/related; type=\"image/jls\"",
        ] {
            all.push((format!("{instance}/{path}"), accept, true));
        }
    }
    all.push((format!("{instance}/frames/1,2"), MULTIPART, true));
    for path in ["bulkdata/00420011", "bulkdata/7FE00010"] {
        for accept in [MULTIPART, OCTETS] {
            all.push((format!("{instance}/{path}"), accept, true));
        }
    }
    for path in ["metadata", "rendered", "thumbnail"] {
        all.push((format!("{instance}/{path}"), "*/*", false));
    }
    let wado = format!("/wado?requestType=WADO&objectUID={}", name.instance);
    all.push((format!("{wado}&contentType=application/dicom"), "*/*", true));
    all.push((format!("{wado}&contentType=image/png"), "*/*", false));
    all
}

fn again(server: &Deployment, target: &str, accept: &str, condition: (&str, &str)) -> Response {
    server
        .request("GET", target)
        .accept(accept)
        .header(condition.0, condition.1)
        .send()
}

fn varies(answer: &Response) -> BTreeSet<String> {
    let all = answer.headers("vary");
    assert_eq!(all.len(), 1, "one complete Vary");
    all[0].split(", ").map(str::to_ascii_lowercase).collect()
}

#[test]
fn every_representation_has_a_validator_of_its_own_and_304_goes_by_it() {
    on_each_index(|server| {
        let name = stored(server, 5800);
        let mut seen = BTreeSet::new();
        for (path, accept, _) in resources(&name) {
            for root in ["/dicom-web", "/v2"] {
                let target = format!("{root}{path}");
                let answer = server.get_as(&target, accept).expect(200);
                assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
                let tag = answer.header("etag").expect("an ETag").to_owned();
                let parts = ["multipart/", "application/zip"];
                // A body that can be asked for in ranges is the same each time.
                let weak = answer.header("accept-ranges").is_none()
                    && parts
                        .iter()
                        .any(|kind| answer.content_type().starts_with(kind));
                if accept == MULTIPART && path.ends_with("frames/1") {
                    assert!(!weak, "{target}");
                }
                assert_eq!(tag.starts_with("W/"), weak, "{target} {accept}: {tag}");
                if root == "/dicom-web" {
                    assert!(
                        seen.insert((path.clone(), tag.clone())),
                        "{path} {accept}: {tag}"
                    );
                }
                let same = again(server, &target, accept, ("If-None-Match", &tag)).expect(304);
                assert!(same.body.is_empty());
                assert_eq!(same.header("etag"), Some(tag.as_str()), "{target} {accept}");
                assert_eq!(same.header("cache-control"), Some("private, no-cache"));
                assert_eq!(
                    varies(&same).contains("accept"),
                    varies(&answer).contains("accept")
                );
                again(server, &target, accept, ("If-None-Match", "\"1-0\"")).expect(200);
            }
        }
        // What is gone is gone, and what comes in its place is another thing.
        let frame = format!("/dicom-web{}/frames/1", name.path());
        let tag = server
            .get_as(&frame, OCTETS)
            .header("etag")
            .map(str::to_owned);
        let tag = tag.expect("an ETag");
        let study = format!("/dicom-web{}", name.study_path());
        server.request("DELETE", &study).send().expect(204);
        again(server, &frame, OCTETS, ("If-None-Match", &tag)).expect(404);
        stored(server, 5800);
        again(server, &frame, OCTETS, ("If-None-Match", &tag)).expect(200);
    });
}

#[test]
fn a_range_goes_by_the_validator_it_names() {
    let server = TestApp::start(None);
    let name = stored(&server, 5801);
    for (path, accept, _) in resources(&name) {
        let target = format!("/dicom-web{path}");
        let whole = server.get_as(&target, accept).expect(200);
        if whole.header("accept-ranges").is_none() {
            continue;
        }
        let tag = whole.header("etag").expect("an ETag");
        let part = |condition: &str| {
            let request = server.request("GET", &target).accept(accept);
            let request = request.header("Range", "bytes=10-19");
            request.header("If-Range", condition).send()
        };
        let some = part(tag).expect(206);
        assert!(some.body == whole.body[10..20], "{target}");
        assert_eq!(some.header("etag"), Some(tag));
        for other in [
            "\"1-0\"",
            &format!("W/{tag}"),
            "Sun, 29 Nov 2026 00:00:00 GMT",
        ] {
            assert!(
                part(other).expect(200).body == whole.body,
                "{target} {other}"
            );
        }
    }
}

#[test]
fn ranges_of_a_multipart_frame_put_together_are_the_whole_answer() {
    let mut server = Server::start(None);
    let name = stored(&server, 5805);
    let frame = format!("/dicom-web{}/frames/2", name.path());
    let rpcl = "multipart/related; type=\"image/jphc\"; transfer-syntax=1.2.840.10008.1.2.4.202";
    let files = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    for (target, accept) in [
        (&frame, MULTIPART),
        (&frame, rpcl),
        (&frame, "multipart/related; type=\"image/jls\""),
        (&format!("/dicom-web{}", name.path()), files),
    ] {
        // The URL of the part names the host, which keeps its name and port wherever the server listens.
        let ask = |server: &Server, host: &str, headers: &[(&str, &str)]| {
            let request = server.request("GET", target).accept(accept);
            let request = request.header("Host", host);
            let with = |request: Request, (name, value): &(&str, &str)| request.header(name, value);
            headers.iter().fold(request, with).send()
        };
        let whole = ask(&server, "localhost:104", &[]).expect(200);
        let tag = whole.header("etag").expect("an ETag").to_owned();
        assert!(tag.starts_with('"'), "{target} {accept}: {tag}");
        let length = whole.body.len();
        assert_eq!(whole.header("content-length"), Some(&*length.to_string()));
        assert_eq!(whole.header("accept-ranges"), Some("bytes"));
        let part = |server: &Server, range: &str| {
            let headers = [("Range", range), ("If-Range", &tag)];
            ask(server, "localhost:104", &headers)
        };
        let mut joined = Vec::new();
        // The first one ends within the header of the part, the last one begins within the closing delimiter.
        let cuts = [0, 70, 300, length - 80, length - 9, length];
        for (number, cut) in cuts.windows(2).enumerate() {
            if number == 2 {
                // Another process gives the same bytes.
                server.restart();
            }
            let range = format!("bytes={}-{}", cut[0], cut[1] - 1);
            let some = part(&server, &range).expect(206);
            let told = format!("bytes {}-{}/{length}", cut[0], cut[1] - 1);
            assert_eq!(some.header("content-range"), Some(&*told), "{target}");
            assert_eq!(some.content_type(), whole.content_type());
            assert_eq!(some.header("etag"), Some(tag.as_str()));
            joined.extend_from_slice(&some.body);
        }
        assert!(joined == whole.body, "{target} {accept}");
        let rest = part(&server, &format!("bytes={}-", length - 20)).expect(206);
        assert!(whole.body.ends_with(&rest.body) && rest.body.len() == 20);
        part(&server, &format!("bytes={length}-")).expect(416);
        let elsewhere = ask(&server, "localhost:105", &[]).expect(200);
        assert_ne!(elsewhere.header("etag"), Some(tag.as_str()), "{target}");
    }
}

#[test]
fn a_viewer_that_asks_for_htj2k_by_parameter_gets_ranges_of_it() {
    let server = TestApp::start(None);
    let name = stored(&server, 5806);
    // As OHIF does: the header stays, the parameter wins.
    let syntax = "image%2Fjphc%3B%20transfer-syntax%3D1.2.840.10008.1.2.4.202";
    let target = format!("/dicom-web{}/frames/1?accept={syntax}", name.path());
    let whole = server.get_as(&target, MULTIPART).expect(200);
    let media = "image/jphc; transfer-syntax=1.2.840.10008.1.2.4.202";
    assert_eq!(whole.content_type(), media);
    // The lengths of the resolutions are in front: one byte for the tile, four for the length.
    let tlm = whole.body.windows(2).position(|pair| pair == [0xff, 0x55]);
    let lengths = &whole.body[tlm.expect("TLM") + 6..];
    let (first, _) = lengths[1..].split_first_chunk::<4>().expect("a length");
    let start = whole.body.windows(2).position(|pair| pair == [0xff, 0x90]);
    let end = start.expect("SOT") + u32::from_be_bytes(*first) as usize;
    let request = server.request("GET", &target).accept(MULTIPART);
    let range = format!("bytes=0-{}", end - 1);
    let thumbnail = request.header("Range", &range).send().expect(206);
    assert!(thumbnail.body == whole.body[..end]);
    // Behind the first resolution the next tile-part begins.
    assert_eq!(whole.body[end..end + 4], [0xff, 0x90, 0, 10]);
}

#[test]
fn a_setting_says_how_long_pixels_are_used_without_a_question() {
    let server = TestApp::with(&[("STOWAGE_CLIENT_CACHE", "10m")]);
    let name = stored(&server, 5802);
    for (path, accept, lasting) in resources(&name) {
        let answer = server
            .get_as(&format!("/dicom-web{path}"), accept)
            .expect(200);
        let wanted = if lasting {
            "private, max-age=600"
        } else {
            "private, no-cache"
        };
        assert_eq!(
            answer.header("cache-control"),
            Some(wanted),
            "{path} {accept}"
        );
        assert!(!varies(&answer).contains("authorization"));
    }
    let missing = server.get(&format!("/dicom-web{}/frames/9", name.path()));
    assert_eq!(
        missing.expect(404).header("cache-control"),
        Some("no-store")
    );
    let server = TestApp::with(&[("STOWAGE_CLIENT_CACHE", "off")]);
    let name = stored(&server, 5802);
    for (path, accept, _) in resources(&name) {
        let answer = server
            .get_as(&format!("/dicom-web{path}"), accept)
            .expect(200);
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "{path} {accept}"
        );
        assert_eq!(answer.header("etag"), None);
    }
}

#[test]
fn what_is_kept_for_one_token_serves_no_other() {
    let server = TestApp::with(&[
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ("STOWAGE_CLIENT_CACHE", "10m"),
    ]);
    let token = with_secret(SECRET.as_bytes(), &claims("admin"));
    let bearer = format!("Bearer {token}");
    let name = Name::new(5803, 1, 1);
    let answer = server
        .request("POST", "/dicom-web/studies")
        .header("Authorization", &bearer)
        .header("Content-Type", "application/dicom")
        .body(name.small().bytes)
        .send();
    answer.expect(200);
    let target = format!("/dicom-web{}", name.path());
    let get = |bearer: Option<&str>| {
        let request = server.request("GET", &target).accept("application/dicom");
        match bearer {
            Some(bearer) => request.header("Authorization", bearer).send(),
            None => request.send(),
        }
    };
    let answer = get(Some(&bearer)).expect(200);
    assert_eq!(answer.header("cache-control"), Some("private, max-age=600"));
    assert!(varies(&answer).contains("authorization"));
    let tag = answer.header("etag").expect("an ETag").to_owned();
    let request = server.request("GET", &target).accept("application/dicom");
    // Who may not have it learns nothing from a validator.
    let refused = request.header("If-None-Match", &tag).send().expect(401);
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    get(None).expect(401);
}

#[test]
fn what_is_compressed_on_its_way_has_a_weak_validator() {
    let server = TestApp::start(None);
    let name = Name::new(5804, 1, 1);
    let text = "word ".repeat(1000);
    let data_set = name.data_set().text(Tag(0x0010, 0x4000), VR::LT, &text);
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    for path in ["/metadata", "/rendered"] {
        let target = format!("/dicom-web{}{path}", name.path());
        // Made anew, and as it is remembered.
        for _ in 0..2 {
            let plain = server.get_as(&target, "application/dicom+json, text/html");
            let plain = plain.expect(200);
            let tag = plain.header("etag").expect("an ETag");
            assert!(tag.starts_with('"'), "{target}: {tag}");
            let request = server.request("GET", &target);
            let request = request.accept("application/dicom+json, text/html");
            let packed = request.header("Accept-Encoding", "gzip").send().expect(200);
            assert_eq!(packed.header("content-encoding"), Some("gzip"));
            let weak = format!("W/{tag}");
            assert_eq!(packed.header("etag"), Some(weak.as_str()), "{target}");
        }
    }
}
