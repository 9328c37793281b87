//! Every route × every kind of caller, with the status each must get.

use std::collections::BTreeSet;

use dicom_core::{Tag, VR};
use stowage::auth::Action;
use stowage::dicom::testing::Syntax;
use stowage::http::routes::{ROUTES, Route};

use crate::support::dicom::noise;
use crate::support::prelude::*;
use crate::support::signer::{
    AUDIENCE, ISSUER, Signer, claims, seconds_from_now, unsigned, with, with_secret,
};

/// A kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Not to be believed: 401 whatever is asked for.
    Stranger,
    /// Believed, and allowed these actions on everything.
    Known(&'static [Action]),
    /// Believed, and allowed everything on a study that is not the one asked for.
    Elsewhere,
}

/// What each route answers on `/dicom-web` to somebody who may do it, and to somebody for whom the study does not exist.
///
/// What would change something is asked for in a way that cannot: a body of no type, a target that nobody has.
#[rustfmt::skip]
const ANSWERS: &[(&str, &str, u16, u16)] = &[
    ("OPTIONS", "/", 200, 200),
    ("POST", "/studies", 415, 415),
    ("PUT", "/studies", 415, 415),
    ("GET", "/studies", 200, 200),
    ("GET", "/series", 200, 200),
    ("GET", "/instances", 200, 200),
    ("GET", "/studies/{study}/series", 200, 200),
    ("GET", "/studies/{study}/instances", 200, 200),
    ("GET", "/studies/{study}/series/{series}/instances", 200, 200),
    ("POST", "/studies/$bulkUpdate", 415, 415),
    ("POST", "/studies/$deidentify", 415, 415),
    ("POST", "/studies/{study}", 415, 415),
    ("PUT", "/studies/{study}", 415, 415),
    ("GET", "/studies/{study}", 200, 404),
    ("DELETE", "/studies/{study}", 404, 404),
    ("GET", "/studies/{study}/series/{series}", 200, 404),
    ("DELETE", "/studies/{study}/series/{series}", 404, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}", 200, 404),
    ("DELETE", "/studies/{study}/series/{series}/instances/{instance}", 404, 404),
    ("GET", "/studies/{study}/metadata", 200, 404),
    ("GET", "/studies/{study}/series/{series}/metadata", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/metadata", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*bulk}", 200, 404),
    ("GET", "/studies/{study}/rendered", 200, 404),
    ("GET", "/studies/{study}/series/{series}/rendered", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/rendered", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered", 200, 404),
    ("GET", "/studies/{study}/thumbnail", 200, 404),
    ("GET", "/studies/{study}/series/{series}/thumbnail", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/thumbnail", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail", 200, 404),
    ("GET", "/", 200, 200),
    ("GET", "/wado", 200, 200),
    ("GET", "/studies/{study}/bulkdata", 200, 404),
    ("GET", "/studies/{study}/series/{series}/bulkdata", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/bulkdata", 200, 404),
    ("GET", "/studies/{study}/pixeldata", 200, 404),
    ("GET", "/studies/{study}/series/{series}/pixeldata", 200, 404),
    ("GET", "/studies/{study}/series/{series}/instances/{instance}/pixeldata", 200, 404),
    ("GET", "/trash", 200, 200),
    ("POST", "/trash/{entry}/restore", 404, 404),
    ("POST", "/trash/studies/{study}/restore", 200, 404),
    ("GET", "/changefeed", 200, 200),
    ("GET", "/changefeed/latest", 200, 204),
    ("GET", "/statistics", 200, 403),
    // A type that there is not: a stream does not end.
    ("GET", "/events", 400, 400),
    ("POST", "/webhooks", 400, 400),
    ("GET", "/webhooks", 200, 200),
    ("GET", "/webhooks/{webhook}", 404, 404),
    ("DELETE", "/webhooks/{webhook}", 404, 404),
    ("POST", "/webhooks/{webhook}/test", 404, 404),
    ("POST", "/webhooks/{webhook}/redeliver", 404, 404),
    ("POST", "/extendedquerytags", 415, 415),
    ("GET", "/extendedquerytags", 200, 200),
    ("GET", "/extendedquerytags/{tag}", 404, 404),
    ("PATCH", "/extendedquerytags/{tag}", 415, 415),
    ("DELETE", "/extendedquerytags/{tag}", 404, 404),
    ("GET", "/extendedquerytags/{tag}/errors", 404, 404),
    ("GET", "/operations/{id}", 404, 404),
    ("GET", "/partitions", 400, 400),
    ("POST", "/color-palettes", 415, 415),
    ("GET", "/color-palettes", 200, 200),
    ("POST", "/color-palettes/{instance}", 415, 415),
    ("GET", "/color-palettes/{instance}", 404, 404),
    ("DELETE", "/color-palettes/{instance}", 404, 403),
    ("POST", "/defined-procedure-protocols", 415, 415),
    ("GET", "/defined-procedure-protocols", 200, 200),
    ("POST", "/defined-procedure-protocols/{instance}", 415, 415),
    ("GET", "/defined-procedure-protocols/{instance}", 404, 404),
    ("DELETE", "/defined-procedure-protocols/{instance}", 404, 403),
    ("POST", "/hanging-protocols", 415, 415),
    ("GET", "/hanging-protocols", 200, 200),
    ("POST", "/hanging-protocols/{instance}", 415, 415),
    ("GET", "/hanging-protocols/{instance}", 404, 404),
    ("DELETE", "/hanging-protocols/{instance}", 404, 403),
    ("POST", "/implant-templates", 415, 415),
    ("GET", "/implant-templates", 200, 200),
    ("POST", "/implant-templates/{instance}", 415, 415),
    ("GET", "/implant-templates/{instance}", 404, 404),
    ("DELETE", "/implant-templates/{instance}", 404, 403),
    ("POST", "/inventories", 415, 415),
    ("GET", "/inventories", 200, 200),
    ("POST", "/inventories/{instance}", 415, 415),
    ("GET", "/inventories/{instance}", 404, 404),
    ("DELETE", "/inventories/{instance}", 404, 403),
    ("POST", "/protocol-approvals", 415, 415),
    ("GET", "/protocol-approvals", 200, 200),
    ("POST", "/protocol-approvals/{instance}", 415, 415),
    ("GET", "/protocol-approvals/{instance}", 404, 404),
    ("DELETE", "/protocol-approvals/{instance}", 404, 403),
    // No destination is configured.
    ("POST", "/export", 404, 404),
    ("POST", "/commitment-requests/{transaction}", 415, 415),
    ("GET", "/commitment-requests/{transaction}", 404, 404),
    ("POST", "/workitems", 415, 415),
    ("GET", "/workitems", 200, 200),
    ("GET", "/workitems/{workitem}", 200, 404),
    ("POST", "/workitems/{workitem}", 415, 415),
    ("PUT", "/workitems/{workitem}/state", 415, 415),
    ("POST", "/workitems/{workitem}/cancelrequest", 404, 404),
    ("POST", "/workitems/{workitem}/subscribers/{aet}", 201, 404),
    ("DELETE", "/workitems/{workitem}/subscribers/{aet}", 404, 404),
    ("POST", "/workitems/{workitem}/subscribers/{aet}/suspend", 400, 400),
    ("GET", "/subscribers/{aet}", 400, 400),
    ("GET", "/modality-scheduled-procedure-steps", 200, 200),
];

/// UID of a workitem that is there.
const WORKITEM: &str = "1.2.3.700.50";

/// An image that is stored, so that there is something to be refused.
fn stored() -> (Name, stowage::dicom::testing::BuiltFile) {
    let name = Name::new(700, 1, 1);
    let pixels = noise("access", 16 * 16);
    let data_set = name
        .image(16, 16, 8, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, pixels);
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    (name, file)
}

/// The kinds of callers with their tokens.
fn callers(signer: &Signer) -> Vec<(&'static str, Option<String>, Who)> {
    use Action::{Deidentify, Delete, Read, Restore, Write};
    let good = |role: &str| Some(signer.token(&claims(role)));
    let bad = |name: &str, value: serde_json::Value| {
        Some(signer.token(&with(claims("admin"), name, value)))
    };
    let by_public_key = with_secret(signer.public.as_bytes(), &claims("admin"));
    let other = Signer::rsa().token(&claims("admin"));
    let scoped = with(claims("admin"), "dicom_studies", "1.2.3.701");
    vec![
        ("no token", None, Who::Stranger),
        (
            "expired",
            bad("exp", seconds_from_now(-60).into()),
            Who::Stranger,
        ),
        (
            "not yet valid",
            bad("nbf", seconds_from_now(600).into()),
            Who::Stranger,
        ),
        ("wrong audience", bad("aud", "others".into()), Who::Stranger),
        (
            "wrong issuer",
            bad("iss", "urn:other".into()),
            Who::Stranger,
        ),
        ("alg none", Some(unsigned(&claims("admin"))), Who::Stranger),
        (
            "HS256 by the public key",
            Some(by_public_key),
            Who::Stranger,
        ),
        ("another key", Some(other), Who::Stranger),
        ("wrong role", good("nobody"), Who::Known(&[])),
        ("reader", good("reader"), Who::Known(&[Read])),
        ("writer", good("writer"), Who::Known(&[Read, Write])),
        ("deleter", good("deleter"), Who::Known(&[Read, Delete])),
        ("restorer", good("restorer"), Who::Known(&[Read, Restore])),
        (
            "of de-identified data",
            good("deidentifiedReader"),
            Who::Known(&[Deidentify]),
        ),
        ("admin", good("admin"), Who::Known(&Action::ALL)),
        ("scoped", Some(signer.token(&scoped)), Who::Elsewhere),
    ]
}

/// A server that believes a signer, and holds the image.
fn server(signer: &Signer, name: &Name, file: &[u8]) -> TestApp {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), &signer.public).unwrap();
    let server = TestApp::with(&[
        ("STOWAGE_JWT_KEY_FILE", keys.path().to_str().unwrap()),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ]);
    let admin = signer.token(&claims("admin"));
    let stored = server
        .request("POST", "/dicom-web/studies")
        .header("Authorization", &format!("Bearer {admin}"))
        .header("Content-Type", "application/dicom")
        .body(file)
        .send();
    assert_eq!(stored.status, 200, "{name:?} {}", stored.text());
    let created = server
        .request("POST", &format!("/dicom-web/workitems?{WORKITEM}"))
        .header("Authorization", &format!("Bearer {admin}"))
        .header("Content-Type", "application/dicom+json")
        .body(crate::worklist::short())
        .send();
    assert_eq!(created.status, 201, "{}", created.text());
    server
}

/// The path of a route on this instance; what deletes names one that nobody has.
fn path(route: &Route, name: &Name) -> String {
    let absent = Name::new(799, 9, 9);
    let name = if route.method == "DELETE" {
        &absent
    } else {
        name
    };
    route
        .path
        .replace("{study}", &name.study)
        .replace("{series}", &name.series)
        .replace("{instance}", &name.instance)
        .replace("{frames}", "1")
        .replace("{*bulk}", "7FE00010")
        .replace("{tag}", "00101010")
        .replace("{entry}", "700700")
        .replace("{aet}", "WATCHER")
        .replace("{transaction}", "1.2.3.700.60")
        .replace("{webhook}", "0123456789abcdef")
        .replace("/events", "/events?types=x")
        .replace("{id}", "0123456789abcdef0123456789abcdef")
        .replace(
            "{workitem}",
            if route.path.ends_with("/cancelrequest") || route.method == "DELETE" {
                "1.2.3.700.59"
            } else {
                WORKITEM
            },
        )
}

#[test]
fn no_route_is_missing_from_the_table() {
    let routes: BTreeSet<_> = ROUTES.iter().map(|r| (r.method, r.path)).collect();
    let table: BTreeSet<_> = ANSWERS.iter().map(|(m, p, ..)| (*m, *p)).collect();
    assert_eq!(routes, table);
    assert_eq!(ROUTES.len(), ANSWERS.len());
}

#[test]
fn every_route_answers_every_caller_as_it_must() {
    let signer = Signer::rsa();
    let (name, file) = stored();
    let server = server(&signer, &name, &file.bytes);
    let callers = callers(&signer);
    let mut wrong = Vec::new();
    let mut asked = 0;
    for root in ["/dicom-web", "/v1", "/v2"] {
        for route in ROUTES {
            let (.., allowed, elsewhere) = *ANSWERS
                .iter()
                .find(|(m, p, ..)| (*m, *p) == (route.method, route.path))
                .unwrap();
            for (who, token, kind) in &callers {
                let expected = match kind {
                    Who::Stranger => 401,
                    Who::Known(actions)
                        if !route.actions.iter().all(|one| actions.contains(one)) =>
                    {
                        403
                    }
                    Who::Known(_) => allowed,
                    // The service's own API says that nothing was found in another way.
                    Who::Elsewhere if finds_nothing(root, route) => 204,
                    Who::Elsewhere => elsewhere,
                };
                let target = format!("{root}{}", path(route, &name));
                let ask = |target: &str| {
                    let request = server.request(route.method, target).accept("*/*");
                    let request = match token {
                        Some(token) => request.header("Authorization", &format!("Bearer {token}")),
                        None => request,
                    };
                    asked_of(&request.send())
                };
                asked += 1;
                let (status, challenged) = ask(&target);
                if (status, challenged) != (expected, expected == 401) {
                    wrong.push(format!(
                        "{who}: {} {target}: {status} instead of {expected}",
                        route.method
                    ));
                }
                // Whoever is refused is refused before anything of the request is understood.
                if matches!(expected, 401 | 403) {
                    let nonsense = target
                        .replace(&name.study, "x")
                        .replace("1.2.3.799", "x")
                        .replace(WORKITEM, "x");
                    let (status, _) = ask(&format!("{nonsense}?limit=x"));
                    if status != expected {
                        wrong.push(format!("{who}: {nonsense}: {status} instead of {expected}"));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(asked, 3 * ROUTES.len() * callers.len());
}

/// The status, and whether there was a challenge with it.
fn asked_of(answer: &crate::support::http::Response) -> (u16, bool) {
    (answer.status, answer.header("www-authenticate").is_some())
}

/// Whether a search of the service's own API answers 204 when nothing matches.
fn finds_nothing(root: &str, route: &Route) -> bool {
    let last = route.path.rsplit('/').next().unwrap_or_default();
    root != "/dicom-web"
        && route.method == "GET"
        && matches!(last, "studies" | "series" | "instances" | "workitems")
}

#[test]
fn refusals_name_no_reason_that_helps_to_guess() {
    let signer = Signer::rsa();
    let (name, file) = stored();
    let server = server(&signer, &name, &file.bytes);
    let limited = with(claims("reader"), "dicom_studies", "1.2.3.701");
    let token = signer.token(&limited);
    let ask = |path: &str| {
        let request = server.request("GET", path).accept("*/*");
        request
            .header("Authorization", &format!("Bearer {token}"))
            .send()
    };
    let absent = Name::new(799, 1, 1);
    for root in ["/dicom-web", "/v2"] {
        for tail in [
            "",
            "/metadata",
            "/rendered",
            "/thumbnail",
            "/frames/1",
            "/bulkdata/7FE00010",
        ] {
            let hidden = ask(&format!("{root}{}{tail}", name.path())).expect(404);
            let none = ask(&format!("{root}{}{tail}", absent.path())).expect(404);
            let plain = |text: String, name: &Name| {
                let text = text.replace(&name.instance, "I").replace(&name.series, "S");
                text.replace(&name.study, "T")
            };
            let id = |text: String, answer: &crate::support::http::Response| {
                text.replace(answer.header("x-request-id").unwrap_or("-"), "R")
            };
            assert_eq!(
                id(plain(hidden.text(), &name), &hidden),
                id(plain(none.text(), &absent), &none),
            );
        }
    }
}
