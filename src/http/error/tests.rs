use http_body_util::BodyExt;

use super::*;

async fn read(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let content_type = response.headers()[CONTENT_TYPE]
        .to_str()
        .unwrap()
        .to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (
        status,
        content_type,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn a_problem_has_type_title_status_and_detail() {
    let error = HttpError::bad_request(
        ProblemType::InvalidUid,
        "The study UID '1..2' is not valid.\r\n\u{7}",
    );
    let (status, content_type, body) = read(error.respond(ErrorFormat::Problem, Some("id1"))).await;
    assert_eq!(
        (status, content_type.as_str()),
        (400, "application/problem+json")
    );
    insta::assert_snapshot!(body, @r#"{"type":"urn:stowage:error:invalid-uid","title":"A UID is not valid.","status":400,"detail":"The study UID '1..2' is not valid.   "}"#);
}

#[tokio::test]
async fn the_text_face_is_one_sentence() {
    let error = HttpError::invalid_query("limit", "It must be between 1 and 200.");
    let (status, content_type, body) = read(error.respond(ErrorFormat::Text, None)).await;
    assert_eq!(
        (status, content_type.as_str()),
        (400, "text/plain; charset=utf-8")
    );
    assert_eq!(
        body,
        "The query parameter 'limit' is invalid. It must be between 1 and 200."
    );
    let (_, _, body) = read(HttpError::forbidden("delete").respond(ErrorFormat::Text, None)).await;
    assert!(
        body.starts_with("Authorization failed. ") && body.contains("'delete'"),
        "{body}"
    );
}

#[tokio::test]
async fn a_406_lists_what_is_available() {
    let error = HttpError::not_acceptable(["image/jpeg", "image/png"]);
    let (status, _, body) = read(error.respond(ErrorFormat::Text, None)).await;
    assert_eq!(status, 406);
    assert!(
        body.ends_with("Available: image/jpeg, image/png."),
        "{body}"
    );
    let (_, _, body) = read(error.respond(ErrorFormat::Problem, None)).await;
    assert!(
        body.contains(r#""available":["image/jpeg","image/png"]"#),
        "{body}"
    );
}

#[derive(Debug, thiserror::Error)]
#[error("the row of {name} is gone")]
struct SecretCause {
    name: &'static str,
    #[source]
    source: std::io::Error,
}

#[tokio::test]
async fn a_server_error_reveals_only_the_request_id() {
    let cause = SecretCause {
        name: "blob-key",
        source: std::io::Error::other("disk /dev/sda1"),
    };
    let internal = HttpError::internal(&cause);
    assert_eq!(
        internal.cause(),
        Some("the row of blob-key is gone: disk /dev/sda1")
    );
    for error in [
        internal,
        HttpError::unavailable(7, &cause),
        HttpError::new(ProblemType::Internal, "blob-key"),
    ] {
        for api in [ErrorFormat::Problem, ErrorFormat::Text] {
            let (_, _, body) = read(error.respond(api, Some("req-1"))).await;
            assert!(body.contains("req-1"), "{body}");
            assert!(
                !body.contains("blob-key") && !body.contains("sda1"),
                "{body}"
            );
        }
    }
    let response = HttpError::unavailable(7, &cause).respond(ErrorFormat::Text, None);
    assert_eq!(response.headers()[RETRY_AFTER], "7");
    assert_eq!(
        HttpError::range_not_satisfiable(9)
            .respond(ErrorFormat::Text, None)
            .headers()[CONTENT_RANGE],
        "bytes */9"
    );
}

#[tokio::test]
async fn bare_answers_of_the_router_get_a_body_and_keep_their_headers() {
    let bare = |status: StatusCode| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        response
    };
    let dressed = dress(
        bare(StatusCode::METHOD_NOT_ALLOWED),
        ErrorFormat::Problem,
        None,
    );
    assert_eq!(dressed.headers()[ALLOW], "GET");
    assert!(read(dressed).await.2.contains("method-not-allowed"));
    let (status, content_type, body) =
        read(dress(bare(StatusCode::NOT_FOUND), ErrorFormat::Text, None)).await;
    assert_eq!(
        (status, content_type.as_str()),
        (404, "text/plain; charset=utf-8")
    );
    assert_eq!(body, "The resource does not exist.");
    let fine = dress(bare(StatusCode::NO_CONTENT), ErrorFormat::Text, None);
    assert!(!fine.headers().contains_key(CONTENT_TYPE));
    let own = dress(
        HttpError::conflict("It is there.").into_response(),
        ErrorFormat::Text,
        None,
    );
    assert_eq!(read(own).await.2, "It is there.");
    assert_eq!(
        ProblemType::of_status(StatusCode::IM_A_TEAPOT),
        ProblemType::InvalidRequest
    );
    assert_eq!(
        ProblemType::of_status(StatusCode::BAD_GATEWAY),
        ProblemType::Internal
    );
}

#[test]
fn every_slug_stands_in_the_page() {
    let page = include_str!("../../../docs/errors.md");
    let listed: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("- `"))
        .map(|line| line.split('`').next().unwrap_or_default())
        .collect();
    let known: Vec<_> = ProblemType::ALL
        .iter()
        .map(|problem_type| problem_type.as_str())
        .collect();
    assert_eq!(listed, known);
    for problem_type in ProblemType::ALL {
        let item = format!(
            "- `{}` ({}): ",
            problem_type.as_str(),
            problem_type.status().as_u16()
        );
        assert!(page.contains(&item), "{item}");
    }
}
