use http::HeaderValue;

use super::*;
use crate::config::TokenArgs;

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
            matches!(refusal, Refusal::Unauthenticated { challenge, .. } if challenge.starts_with("Bearer realm="))
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
        scope,
        Scope {
            visible: only,
            ..Scope::everything()
        }
    );
    assert_eq!(gate.admit_token(&token).await.unwrap(), caller);
}
