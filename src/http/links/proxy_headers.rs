//! Which headers of a trusted proxy are believed.

use std::str::FromStr;

/// Headers in which a proxy can say who asked it for what.
const HEADERS: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
];

/// Which headers the proxies write; what stands in others is the client's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeaders([bool; HEADERS.len()]);

/// The text is not a list of headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a header that proxies write; those are {list}", list = HEADERS.join(", "))]
pub struct ProxyHeadersError(String);

impl Default for ProxyHeaders {
    /// `X-Forwarded-*`, which most proxies write; `Forwarded` they pass on as it came.
    fn default() -> Self {
        Self(HEADERS.map(|name| name != "forwarded"))
    }
}

impl FromStr for ProxyHeaders {
    type Err = ProxyHeadersError;

    fn from_str(text: &str) -> Result<Self, ProxyHeadersError> {
        let mut believed = Self([false; HEADERS.len()]);
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let at = HEADERS
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name));
            match at.and_then(|at| believed.0.get_mut(at)) {
                Some(believed) => *believed = true,
                None => return Err(ProxyHeadersError(name.to_owned())),
            }
        }
        Ok(believed)
    }
}

impl ProxyHeaders {
    pub(super) fn believes(self, name: &str) -> bool {
        let mut known = HEADERS.iter().zip(self.0);
        known.any(|(known, believed)| believed && *known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_named_and_others_are_none() {
        let some: ProxyHeaders = "X-Forwarded-For, x-forwarded-proto".parse().unwrap();
        assert!(some.believes("x-forwarded-for") && some.believes("x-forwarded-proto"));
        assert!(!some.believes("x-forwarded-host") && !some.believes("forwarded"));
        assert!(!ProxyHeaders::default().believes("forwarded"));
        assert!(ProxyHeaders::default().believes("x-forwarded-prefix"));
        let error = "X-Real-IP".parse::<ProxyHeaders>().unwrap_err();
        assert!(error.to_string().contains("x-forwarded-for"), "{error}");
    }
}
