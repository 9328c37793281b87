use http::HeaderValue;

use super::*;
use crate::config::{AccessConfig, Secret, TokenArgs};
use crate::scope::{PartitionName, Scope, Visible};

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(
            AUTHORIZATION,
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

#[test]
fn the_bearer_token_is_found_in_any_spelling() {
    for value in [
        "Bearer abc.def",
        "bearer abc.def",
        "BEARER   abc.def ",
        " Bearer abc.def",
    ] {
        assert_eq!(bearer(&headers(&[value])), Ok("abc.def"), "{value}");
    }
    for (values, expected) in [
        (&[][..], TokenError::Missing),
        (&["Basic abc"], TokenError::OtherScheme),
        (&["abc"], TokenError::OtherScheme),
        (&[""], TokenError::OtherScheme),
        (&["Bearer a", "Bearer b"], TokenError::Malformed),
        (&["Bearer ä"], TokenError::Malformed),
    ] {
        assert_eq!(bearer(&headers(values)), Err(expected), "{values:?}");
    }
    assert_eq!(bearer(&headers(&["Bearer"])), Ok(""));
}

#[tokio::test]
async fn with_access_control_off_the_header_is_ignored() {
    let open = Authenticator::new(&AuthConfig::default(), AuthMode::Off).unwrap();
    assert!(!open.is_on());
    for values in [&[][..], &["Bearer None"], &["Basic x", "y"]] {
        let caller = open.admit(&headers(values)).await.unwrap();
        for action in Action::ALL {
            assert_eq!(caller.scope(action), Some(Scope::everything()));
        }
        assert!(!caller.is_limited());
    }
}

#[tokio::test]
async fn with_access_control_on_a_token_is_needed() {
    let config = AuthConfig {
        secret: Some(Secret::from("0123456789abcdef0123456789abcdef")),
        roles: RoleTable::default().with_json(
            r#"{"roles": [{"name": "ward", "dataActions": ["read"], "scopes": ["/patients/P"]}]}"#,
        ).unwrap(),
        ..AuthConfig::default()
    };
    let arguments = TokenArgs {
        subject: "s".to_owned(),
        roles: vec!["ward".to_owned()],
        seconds: 60,
        ..TokenArgs::default()
    };
    let token = token::make_token(&config, &arguments).unwrap();
    assert!(
        !format!("{config:?}").contains("0123"),
        "the secret is redacted"
    );
    let gate = Authenticator::new(&config, AuthMode::Jwt).unwrap();
    assert!(
        !format!("{gate:?}").contains("0123"),
        "the secret is redacted"
    );
    for values in [&[][..], &["Bearer None"], &["Bearer "], &["Basic x"]] {
        let refusal = gate.admit(&headers(values)).await.unwrap_err();
        assert!(
            matches!(refusal, AuthRefusal::Unauthenticated { challenge, .. } if challenge.starts_with("Bearer realm="))
        );
    }
    let caller = gate
        .admit(&headers(&[&format!("Bearer {token}")]))
        .await
        .unwrap();
    assert_eq!(caller.scope(Action::Write), None);
    let scope = caller.scope(Action::Read).unwrap();
    let only = Visible::Only {
        patients: vec!["P".to_owned()],
        studies: Vec::new(),
    };
    assert_eq!(
        scope.clone(),
        Scope {
            visible: only,
            ..Scope::everything()
        }
    );
    let of_query = gate.admit_query_token(&token).await.unwrap();
    assert_eq!(of_query.scope(Action::Read), Some(scope));
}

fn access(extra: &[&str]) -> AccessConfig {
    use clap::Parser as _;
    let arguments = [
        "stowage",
        "--jwt-secret",
        "0123456789abcdef0123456789abcdef",
    ];
    let arguments = arguments.iter().chain(extra);
    crate::config::Cli::try_parse_from(arguments)
        .unwrap()
        .config
        .access
}

#[test]
fn settings_name_the_roles_file_the_default_role_and_the_claims() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roles.json");
    let path = file.to_str().unwrap();
    let text = r#"{"roles": [{"name": "ward", "dataActions": ["read"]}]}"#;
    std::fs::write(&file, text).unwrap();
    let config = AuthConfig::of_settings(&access(&[
        "--jwt-roles-file",
        path,
        "--jwt-default-role",
        "ward",
        "--jwt-patients-claim",
        "who",
        "--jwt-studies-claim",
        "what",
    ]));
    let roles = config.unwrap().roles;
    assert!(roles.knows("ward") && !roles.knows("globalAdmin"));
    let claims = serde_json::json!({ "who": "P", "what": ["1.2"] });
    let caller = Caller::of_claims(claims.as_object().unwrap(), &roles);
    assert_eq!(
        caller.scope(Action::Read).unwrap().visible,
        Visible::Only {
            patients: vec!["P".to_owned()],
            studies: vec!["1.2".to_owned()]
        }
    );
    for (arguments, says) in [
        (&["--jwt-default-role", "ward"][..], "there is no role ward"),
        (&["--jwt-roles-file", "/does/not/exist"], "cannot be read"),
        (&["--jwt-secret-file", path], "cannot be used"),
    ] {
        let error = AuthConfig::of_settings(&access(arguments)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    std::fs::write(&file, "{").unwrap();
    let broken = AuthConfig::of_settings(&access(&["--jwt-roles-file", path]));
    assert!(matches!(broken, Err(AuthConfigError::Roles { .. })));
}

#[test]
fn a_read_only_claim_leaves_reading_whatever_the_roles_allow() {
    let may = |claims: serde_json::Value| {
        let caller = Caller::of_claims(claims.as_object().unwrap(), &RoleTable::default());
        Action::ALL.map(|action| caller.may(action))
    };
    let reads = |action| matches!(action, Action::Read | Action::Deidentify);
    let only_read = Action::ALL.map(reads);
    for value in [
        serde_json::json!(true),
        1.into(),
        "false".into(),
        serde_json::Value::Null,
    ] {
        let claims = serde_json::json!({ "roles": ["admin"], "dicom_read_only": value });
        assert_eq!(may(claims), only_read, "{value}");
    }
    let claims = serde_json::json!({ "roles": ["admin"], "dicom_read_only": false });
    assert_eq!(may(claims), Action::ALL.map(|_| true));
}

#[tokio::test]
async fn a_link_reads_one_study_and_nothing_else() {
    let config = AuthConfig {
        secret: Some(Secret::from("0123456789abcdef0123456789abcdef")),
        token_in_query: QueryToken::On,
        ..AuthConfig::default()
    };
    let arguments = TokenArgs {
        roles: vec!["admin".to_owned()],
        studies: vec!["1.2.3".to_owned()],
        link: Some(String::new()),
        seconds: 60,
        ..TokenArgs::default()
    };
    let template = "{server}/studies/{study}?access_token={token}";
    let make = |arguments: &TokenArgs| token::make_link(&config, arguments, template, "https://h");
    let link = make(&arguments).unwrap();
    let token = link
        .strip_prefix("https://h/studies/1.2.3?access_token=")
        .unwrap();
    let gate = Authenticator::new(&config, AuthMode::Jwt).unwrap();
    let caller = gate
        .admit(&headers(&[&format!("Bearer {token}")]))
        .await
        .unwrap();
    assert!(caller.may(Action::Read) && caller.is_limited());
    assert!(!caller.may(Action::Write) && !caller.may(Action::Delete));
    let broken = |arguments| make(&arguments).unwrap_err().to_string();
    let two = vec!["1.2".to_owned(), "1.3".to_owned()];
    let is = |text: &str| text.contains("for one study");
    assert!(is(&broken(TokenArgs {
        studies: Vec::new(),
        ..arguments.clone()
    })));
    assert!(is(&broken(TokenArgs {
        studies: two,
        ..arguments.clone()
    })));
    let patients = vec!["P".to_owned()];
    assert!(is(&broken(TokenArgs {
        patients,
        ..arguments.clone()
    })));
    let studies = vec!["x".to_owned()];
    let not_uid = broken(TokenArgs {
        studies,
        ..arguments.clone()
    });
    assert!(not_uid.contains("not a Study Instance UID"));
    let off = AuthConfig {
        token_in_query: QueryToken::Off,
        ..config
    };
    let refused = token::make_link(&off, &arguments, template, "https://h").unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("STOWAGE_ACCESS_TOKEN_IN_QUERY")
    );
}

#[tokio::test]
async fn an_api_key_may_be_limited_to_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let north = PartitionName::parse("north").unwrap();
    let limits = api_keys::KeyLimits {
        roles: vec!["writer".to_owned()],
        partitions: vec![north.clone()],
        ..api_keys::KeyLimits::default()
    };
    let key = api_keys::add_key(&path, &["writer"], "ct-1", &limits).unwrap();
    let config = AuthConfig {
        api_keys: Some(path),
        ..AuthConfig::default()
    };
    let gate = Authenticator::new(&config, AuthMode::Jwt).unwrap();
    let header = format!("Bearer {key}");
    let caller = gate.admit(&headers(&[&header])).await.unwrap();
    let grant = caller.grant(Action::Write).unwrap();
    assert_eq!(grant.visible_in(&north), Some(Visible::All));
    assert_eq!(grant.visible_in(&PartitionName::default()), None);
    assert!(caller.is_limited());
}

#[tokio::test]
async fn an_api_key_stands_for_its_name_and_for_what_it_is_limited_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let limits = api_keys::KeyLimits {
        roles: vec!["writer".to_owned()],
        patients: vec!["P-1".to_owned()],
        ..api_keys::KeyLimits::default()
    };
    let key = api_keys::add_key(&path, &["writer"], "ct-1", &limits).unwrap();
    let config = AuthConfig {
        api_keys: Some(path),
        ..AuthConfig::default()
    };
    let gate = Authenticator::new(&config, AuthMode::Jwt).unwrap();
    assert_eq!(gate.api_keys(), Some(1));
    let caller = gate
        .admit(&headers(&[&format!("Bearer {key}")]))
        .await
        .unwrap();
    assert_eq!(caller.subject.as_deref(), Some("ct-1"));
    assert_eq!(caller.issuer.as_deref(), Some(KEY_ISSUER));
    assert!(caller.may(Action::Write) && !caller.may(Action::Delete));
    let only = Visible::Only {
        patients: vec!["P-1".to_owned()],
        studies: Vec::new(),
    };
    assert_eq!(caller.scope(Action::Write).unwrap().visible, only);
    for (value, reason) in [
        (
            format!("Bearer {}", &key[..key.len() - 1]),
            TokenError::UnknownApiKey,
        ),
        ("Bearer nonsense".to_owned(), TokenError::UnknownApiKey),
        ("Bearer ".to_owned(), TokenError::Missing),
    ] {
        let refusal = gate.admit(&headers(&[&value])).await.unwrap_err();
        let AuthRefusal::Unauthenticated { reason: found, .. } = refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(found, reason, "{value}");
    }
    let refusal = gate.admit_query_token(&key).await.unwrap_err();
    let challenge = format!("{refusal:?}");
    assert!(challenge.contains("never in a URL"), "{challenge}");
}
