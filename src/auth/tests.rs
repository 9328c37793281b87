use http::HeaderValue;

use super::*;

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
    let gate = Gate::new(AuthConfig::Off).unwrap();
    assert!(!gate.is_on());
    for values in [&[][..], &["Bearer None"], &["Basic x", "y"]] {
        let caller = gate.admit(&headers(values)).await.unwrap();
        for action in DataAction::ALL {
            assert_eq!(caller.scope(action), Some(Scope::everything()));
        }
        assert!(!caller.is_limited());
    }
}

#[tokio::test]
async fn with_access_control_on_a_token_is_needed() {
    let secret = "0123456789abcdef0123456789abcdef".to_owned();
    let config = JwtConfig {
        secret: Some(secret.into()),
        ..JwtConfig::default()
    };
    let request = token::TokenRequest {
        roles: vec!["reader".to_owned()],
        patients: vec!["P".to_owned()],
        lifetime: std::time::Duration::from_secs(60),
        ..token::TokenRequest::default()
    };
    let token = token::make(&config, &request).unwrap();
    assert!(
        !format!("{config:?}").contains("0123"),
        "the secret is redacted"
    );
    let gate = Gate::new(AuthConfig::Jwt(Box::new(config))).unwrap();
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
    assert_eq!(caller.scope(DataAction::Write), None);
    let scope = caller.scope(DataAction::Read).unwrap();
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
