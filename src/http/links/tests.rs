use http::{HeaderName, HeaderValue};

use super::*;

fn config() -> LinksConfig {
    LinksConfig {
        public_url: None,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        proxy_headers: "forwarded, x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-forwarded-port, x-forwarded-prefix"
            .parse()
            .unwrap(),
        listen_port: 8080,
        scheme: Scheme::Http,
    }
}

#[test]
fn a_header_that_the_proxy_does_not_write_is_not_believed() {
    let lies = [
        ("host", "pacs.example.org"),
        ("forwarded", "for=9.9.9.9;host=evil.example;proto=http"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
    ];
    let usual = LinksConfig {
        proxy_headers: ProxyHeaders::default(),
        ..config()
    };
    assert_eq!(
        base_of(&usual, "/x", &lies, "10.0.0.1"),
        "https://pacs.example.org"
    );
    let mut map = HeaderMap::new();
    for (name, value) in lies {
        map.append(name, HeaderValue::from_static(value));
    }
    let client = |config: &LinksConfig| client_address(config, &map, "10.0.0.1".parse().unwrap());
    assert_eq!(client(&usual).to_string(), "6.6.6.6");
    let standard = LinksConfig {
        proxy_headers: "forwarded".parse().unwrap(),
        ..config()
    };
    assert_eq!(client(&standard).to_string(), "9.9.9.9");
    let none = LinksConfig {
        proxy_headers: "".parse().unwrap(),
        ..config()
    };
    assert_eq!(client(&none).to_string(), "10.0.0.1");
}

fn base(headers: &[(&str, &str)], peer: &str) -> String {
    base_of(&config(), "/x", headers, peer)
}

fn base_of(config: &LinksConfig, uri: &str, headers: &[(&str, &str)], peer: &str) -> String {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let uri: Uri = uri.parse().unwrap();
    let links = Links::of_request(config, "/v2", &uri, &map, peer.parse().ok());
    links.base().strip_suffix("/v2").unwrap().to_owned()
}

#[test]
fn the_public_url_wins() {
    let public_url = Some("https://Pacs.example.org:443/dicom/".parse().unwrap());
    let config = LinksConfig {
        public_url,
        ..config()
    };
    let headers = [
        ("host", "evil"),
        ("x-forwarded-host", "worse"),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(
        base_of(&config, "/x", &headers, "10.1.1.1"),
        "https://pacs.example.org/dicom"
    );
}

#[test]
fn the_listening_port_is_appended_to_a_host_without_one() {
    assert_eq!(base(&[("host", "name")], "1.1.1.1"), "http://name:8080");
    assert_eq!(
        base(&[("host", "name:9000")], "1.1.1.1"),
        "http://name:9000"
    );
    assert_eq!(base(&[("host", "name:80")], "1.1.1.1"), "http://name");
    assert_eq!(base(&[("host", "[::1]")], "1.1.1.1"), "http://[::1]:8080");
    assert_eq!(base(&[("host", "[::1]:81")], "1.1.1.1"), "http://[::1]:81");
    let standard = LinksConfig {
        listen_port: 80,
        ..config()
    };
    assert_eq!(
        base_of(&standard, "/x", &[("host", "name")], "1.1.1.1"),
        "http://name"
    );
    let tls = LinksConfig {
        listen_port: 443,
        scheme: Scheme::Https,
        ..config()
    };
    assert_eq!(
        base_of(&tls, "/x", &[("host", "name")], "1.1.1.1"),
        "https://name"
    );
    assert_eq!(
        base_of(&config(), "http://u:p@h2:81/x", &[("host", "name")], ""),
        "http://h2:81"
    );
}

#[test]
fn hostile_hosts_are_not_repeated() {
    for bad in [
        "", " ", "a b", "a\"b", "a'b", "a/b", "a\\b", "a@b", "a<b>", "a:0", "a:99999", "a:1:2",
        "a:x", "[::1", "[x]", "[::1]x", "ä", "a,b", "a?b", "a#b", "%0d%0a",
    ] {
        assert_eq!(
            base(&[("host", bad)], "1.1.1.1"),
            "http://localhost:8080",
            "{bad}"
        );
        let forwarded = [
            ("host", "good"),
            ("x-forwarded-host", bad),
            ("x-forwarded-proto", "https"),
        ];
        let found = base(&forwarded, "10.1.1.1");
        assert!(
            found == "https://good" || found == "https://b",
            "{bad}: {found}"
        );
    }
    assert_eq!(
        base(&[("host", &"a".repeat(300))], "1.1.1.1"),
        "http://localhost:8080"
    );
}

#[test]
fn forwarded_headers_count_only_from_trusted_peers() {
    let headers = [
        ("host", "inner:8080"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "pacs.example.org"),
        ("x-forwarded-prefix", "/a/b/"),
        ("x-forwarded-port", "8443"),
    ];
    assert_eq!(
        base(&headers, "10.9.9.9"),
        "https://pacs.example.org:8443/a/b"
    );
    assert_eq!(
        base(&headers, "::ffff:10.9.9.9"),
        "https://pacs.example.org:8443/a/b"
    );
    assert_eq!(
        base(&headers, "fd00::5"),
        "https://pacs.example.org:8443/a/b"
    );
    assert_eq!(base(&headers, "11.9.9.9"), "http://inner:8080");
    assert_eq!(base(&headers, ""), "http://inner:8080");
    let forwarded = [
        ("host", "inner"),
        (
            "forwarded",
            "for=1.2.3.4;proto=https;host=\"pacs.example.org:8443\"",
        ),
    ];
    assert_eq!(
        base(&forwarded, "10.0.0.1"),
        "https://pacs.example.org:8443"
    );
    // A proxy that passes the Host on and only tells the scheme: our port is not appended.
    let scheme_only = [("host", "pacs.example.org"), ("x-forwarded-proto", "https")];
    assert_eq!(base(&scheme_only, "10.0.0.1"), "https://pacs.example.org");
}

#[test]
fn what_the_client_wrote_itself_is_not_believed() {
    let headers = [
        ("host", "inner"),
        ("x-forwarded-for", "6.6.6.6, 7.7.7.7"),
        ("x-forwarded-host", "evil.example, real.example"),
        ("x-forwarded-proto", "http, https"),
    ];
    assert_eq!(base(&headers, "10.0.0.1"), "https://real.example");
    let chain = [
        ("x-forwarded-for", "6.6.6.6, 7.7.7.7, 10.0.0.2"),
        (
            "x-forwarded-host",
            "evil.example, real.example, middle.example",
        ),
        ("x-forwarded-proto", "https"),
    ];
    assert_eq!(base(&chain, "10.0.0.1"), "https://real.example");
    let forwarded = [
        ("forwarded", "for=6.6.6.6;host=evil.example;proto=http"),
        (
            "forwarded",
            "for=7.7.7.7;host=real.example;proto=https, for=\"10.0.0.2:99\";host=middle.example",
        ),
    ];
    assert_eq!(base(&forwarded, "10.0.0.1"), "https://real.example");
}

#[test]
fn prefixes_are_checked() {
    for (prefix, expected) in [
        ("/ok", "/ok"),
        ("/", ""),
        ("no-slash", ""),
        ("//evil.example", ""),
        ("/a/../b", ""),
        ("/a\"b", ""),
        ("/a b", ""),
        ("/a?b", ""),
    ] {
        let headers = [
            ("x-forwarded-host", "h"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", prefix),
        ];
        assert_eq!(
            base(&headers, "10.0.0.1"),
            format!("https://h{expected}"),
            "{prefix}"
        );
    }
}

#[test]
fn public_urls_are_checked() {
    for good in ["http://a", "https://a:8443/x/y", "HTTPS://[fd00::1]:1/"] {
        assert!(good.parse::<PublicUrl>().is_ok(), "{good}");
    }
    for bad in [
        "a",
        "ftp://a",
        "http://",
        "http:///x",
        "http://a b",
        "http://a/x?y",
        "http://a/#x",
        "http://u@a",
    ] {
        assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
    }
}

#[test]
fn networks_hold_their_addresses() {
    let holds = |network: &str, address: &str| {
        network
            .parse::<Network>()
            .unwrap()
            .contains(address.parse().unwrap())
    };
    assert!(holds("10.0.0.0/8", "10.255.0.1"));
    assert!(!holds("10.0.0.0/8", "11.0.0.1"));
    assert!(holds("0.0.0.0/0", "1.2.3.4"));
    assert!(!holds("0.0.0.0/0", "2001:db8::1"));
    assert!(holds("::/0", "1.2.3.4"));
    assert!(holds("127.0.0.1", "127.0.0.1"));
    assert!(!holds("127.0.0.1", "127.0.0.2"));
    assert!(holds("192.168.1.77/24", "192.168.1.1"));
    assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
    for bad in [
        "",
        "10.0.0.0/33",
        "::/129",
        "10.0.0/8",
        "x",
        "1.1.1.1/",
        "1.1.1.1/-1",
    ] {
        assert!(bad.parse::<Network>().is_err(), "{bad}");
    }
}

#[test]
fn resources_have_their_urls() {
    let headers = [(HOST, HeaderValue::from_static("h:1"))]
        .into_iter()
        .collect();
    let links = Links::of_request(
        &config(),
        "/dicom-web/",
        &Uri::from_static("/"),
        &headers,
        None,
    );
    let name = InstanceName {
        study: StudyUid::parse("1.2").unwrap(),
        series: SeriesUid::parse("3.4").unwrap(),
        instance: InstanceUid::parse("5.6").unwrap(),
    };
    let instance = "http://h:1/dicom-web/studies/1.2/series/3.4/instances/5.6";
    assert_eq!(links.base(), "http://h:1/dicom-web");
    assert_eq!(
        links.target(&Target::Study(name.study.clone())),
        "http://h:1/dicom-web/studies/1.2"
    );
    assert_eq!(
        links.series(&name.study, &name.series),
        "http://h:1/dicom-web/studies/1.2/series/3.4"
    );
    assert_eq!(links.target(&Target::Instance(name.clone())), instance);
    assert_eq!(links.frame(&name, 3), format!("{instance}/frames/3"));
    assert_eq!(
        links.bulk_data(&name, "54000100/0/54001010"),
        format!("{instance}/bulkdata/54000100/0/54001010")
    );
    assert_eq!(
        links.bulk_data(&name, "/a b//?"),
        format!("{instance}/bulkdata/a%20b/%3F")
    );
    assert_eq!(
        links.operation("ab12"),
        "http://h:1/dicom-web/operations/ab12"
    );
    assert_eq!(
        links.query_tag("00101010"),
        "http://h:1/dicom-web/extendedquerytags/00101010"
    );
    assert_eq!(
        links.query_tag_errors("a/b"),
        "http://h:1/dicom-web/extendedquerytags/a%2Fb/errors"
    );
    assert_eq!(
        links.workitem(&name.instance),
        "http://h:1/dicom-web/workitems/5.6"
    );
}
