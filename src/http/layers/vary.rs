//! One complete `Vary` for each answer, whatever part of the server has something to say about it.

use axum::extract::Request;
use axum::http::header::VARY;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// Gathers all `Vary` fields in one, each name once (RFC 9110 §12.5.5).
pub async fn one_vary(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    gather(response.headers_mut());
    response
}

fn gather(headers: &mut HeaderMap) {
    let mut names: Vec<String> = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().unwrap_or_default().split(',') {
            let name = name.trim().to_ascii_lowercase();
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if let Ok(value) = HeaderValue::try_from(names.join(", "))
        && !names.is_empty()
    {
        headers.insert(VARY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_once_and_in_one_field() {
        let mut headers = HeaderMap::new();
        gather(&mut headers);
        assert!(headers.is_empty());
        for value in [
            "accept",
            "Accept-Encoding, origin",
            "ACCEPT,accept-encoding",
        ] {
            headers.append(VARY, HeaderValue::from_static(value));
        }
        gather(&mut headers);
        let all: Vec<_> = headers.get_all(VARY).iter().collect();
        assert_eq!(all, ["accept, accept-encoding, origin"]);
    }
}
