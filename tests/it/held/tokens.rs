//! Tokens that are almost good: each is refused under every root, and none tells why beyond what the standard allows.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::signer::{
    AUDIENCE, ISSUER, SECRET, Signer, claims, seconds_from_now, with, with_secret,
};

/// A token of these parts, its signature by the secret over them as they stand.
fn signed(header: &str, body: &str) -> String {
    let head = URL_SAFE_NO_PAD.encode(header);
    let body = URL_SAFE_NO_PAD.encode(body);
    let message = format!("{head}.{body}");
    format!("{message}.{}", hmac(&message))
}

fn hmac(message: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()))
}

/// Claims of an administrator with one of them replaced, or taken out.
fn claim(name: &str, value: Option<Value>) -> String {
    let mut claims = claims("admin");
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
    with_secret(SECRET.as_bytes(), &claims)
}

fn tokens() -> Vec<(String, String)> {
    let good = with_secret(SECRET.as_bytes(), &claims("admin"));
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let text = claims("admin").to_string();
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| all.push((what.to_owned(), token));
    for alg in [
        "none", "None", "NONE", "nOnE", "", "hs256", "HS1", "RS256", "ES256", "PS256", "EdDSA",
        "HS256 ", "dir", "A128KW", "null",
    ] {
        add(
            &format!("alg {alg:?}"),
            signed(&json!({"alg": alg, "typ": "JWT"}).to_string(), &text),
        );
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        add(
            &format!("alg {alg:?}, no signature"),
            format!("{header}.{body}."),
        );
    }
    for (what, header) in [
        ("no alg", "{}".to_owned()),
        ("alg as a list", r#"{"alg":["HS256"]}"#.to_owned()),
        ("alg as a number", r#"{"alg":256}"#.to_owned()),
        ("a header that is a list", r#"["HS256"]"#.to_owned()),
        ("a header that is no JSON", "{alg:HS256}".to_owned()),
        ("a header without an end", r#"{"alg":"HS256""#.to_owned()),
        ("a header nested deeply", "[".repeat(5000)),
    ] {
        add(what, signed(&header, &text));
    }
    for (what, body) in [
        ("no claims", String::new()),
        ("claims that are a list", "[]".to_owned()),
        ("claims that are a text", "\"admin\"".to_owned()),
        ("claims that are no JSON", "{sub:1}".to_owned()),
        ("claims nested deeply", "{\"a\":".repeat(5000)),
        ("claims with bytes behind", format!("{text} x")),
    ] {
        add(what, signed(r#"{"alg":"HS256"}"#, &body));
    }
    let past = json!(seconds_from_now(-600));
    let future = json!(seconds_from_now(600));
    for (name, value) in [
        ("exp", None),
        ("exp", Some(past.clone())),
        ("exp", Some(json!(0))),
        ("exp", Some(json!(-1))),
        ("exp", Some(json!("tomorrow"))),
        ("exp", Some(json!([seconds_from_now(600)]))),
        ("exp", Some(json!({}))),
        ("exp", Some(Value::Null)),
        ("exp", Some(json!(false))),
        ("nbf", Some(future)),
        ("nbf", Some(json!(u64::MAX))),
        ("iss", None),
        ("iss", Some(json!("urn:other"))),
        ("iss", Some(json!(""))),
        ("iss", Some(json!(format!("{ISSUER}/")))),
        ("iss", Some(json!(ISSUER.to_uppercase()))),
        ("iss", Some(json!(7))),
        ("aud", None),
        ("aud", Some(json!("others"))),
        ("aud", Some(json!([]))),
        ("aud", Some(json!(["others"]))),
        ("aud", Some(json!(AUDIENCE.to_uppercase()))),
        ("aud", Some(json!({"stowage": true}))),
        ("aud", Some(json!("*"))),
    ] {
        add(&format!("{name} {value:?}"), claim(name, value));
    }
    // The signature, and what it covers.
    let other = with(claims("admin"), "sub", "somebody else").to_string();
    let swapped = URL_SAFE_NO_PAD.encode(other);
    add(
        "claims of another token",
        format!("{head}.{swapped}.{signature}"),
    );
    add("no signature", format!("{head}.{body}."));
    add("two parts", format!("{head}.{body}"));
    add("four parts", format!("{good}.{signature}"));
    add(
        "five parts",
        format!("{head}.{body}.{signature}.{body}.{head}"),
    );
    add(
        "half a signature",
        format!("{head}.{body}.{}", &signature[..20]),
    );
    add("a longer signature", format!("{good}AAAA"));
    add(
        "a signature of dots",
        format!("{head}.{body}.{}", ".".repeat(43)),
    );
    for at in [0, 7, 21, 41] {
        let mut changed = signature.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        add("a changed signature", format!("{head}.{body}.{changed}"));
    }
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    add(
        "a signature in hex",
        format!(
            "{head}.{body}.{}",
            raw.iter().map(|b| format!("{b:02x}")).collect::<String>()
        ),
    );
    let padded = URL_SAFE.encode(&raw);
    let plain = STANDARD.encode([raw.as_slice(), b"x"].concat());
    add(
        "a signature of other letters",
        format!("{head}.{body}.{plain}"),
    );
    assert_ne!(padded, signature);
    for secret in ["", "secret", "stowage", &SECRET[1..], "0123456789abcdef"] {
        let token = with_secret(secret.as_bytes(), &claims("admin"));
        add(&format!("the secret {secret:?}"), token);
    }
    // Keys that the token brings itself.
    let own = Signer::rsa();
    let jwk = own.jwk("k");
    for extra in [
        json!({"jwk": jwk}),
        json!({"jku": "http://127.0.0.1:1/keys"}),
        json!({"x5u": "http://127.0.0.1:1/keys"}),
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": "' OR 1=1 --"}),
        json!({"kid": "|/bin/true"}),
    ] {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        for (name, value) in extra.as_object().unwrap() {
            header[name] = value.clone();
        }
        let token = own.token(&claims("admin"));
        let rest = token.split_once('.').unwrap().1;
        let head = URL_SAFE_NO_PAD.encode(header.to_string());
        add(
            &format!("a key of its own: {extra:.30}"),
            format!("{head}.{rest}"),
        );
    }
    all
}

#[test]
fn tokens_that_are_almost_good_are_refused_under_every_root() {
    let server = Server::with(&[
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ("STOWAGE_ACCESS_TOKEN_IN_QUERY", "on"),
    ]);
    let ask = |root: &str, authorization: &str| {
        let request = server.request("GET", &format!("{root}/studies"));
        request.header("Authorization", authorization).send()
    };
    let good = with_secret(SECRET.as_bytes(), &claims("admin"));
    assert!(matches!(
        ask("/v2", &format!("Bearer {good}")).status,
        200 | 204
    ));
    let tokens = tokens();
    assert!(tokens.len() > 85, "{}", tokens.len());
    for (number, (what, token)) in tokens.iter().enumerate() {
        let root = ["/dicom-web", "/v1", "/v2"][number % 3];
        let refused = ask(root, &format!("Bearer {token}"));
        assert_eq!(refused.status, 401, "{what}: {}", refused.text());
        assert!(refused.header("www-authenticate").is_some(), "{what}");
        assert!(!refused.text().contains(token.as_str()), "{what}");
        if token.len() < 4000 && token.bytes().all(|b| b.is_ascii_graphic()) {
            let target = format!("{root}/studies?access_token={token}");
            assert_eq!(server.get(&target).status, 401, "{what} in the query");
        }
    }
    for scheme in [
        format!("Basic {good}"),
        format!("Bearer{good}"),
        format!("Token {good}"),
        format!("Bearer {good} {good}"),
        format!("Bearer {good}, Bearer {good}"),
        format!("Bearer \"{good}\""),
        good.clone(),
        "Bearer".to_owned(),
        String::new(),
    ] {
        for root in ["/dicom-web", "/v1", "/v2"] {
            assert_eq!(ask(root, &scheme).status, 401, "{scheme:.30}");
        }
    }
    assert!(!server.log().contains(&good), "a token in the log");
}
