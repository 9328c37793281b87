//! Where blobs are kept, as `STOWAGE_BLOB_URL` says it, and where files are exported to.
//!
//! `file:///folder`, `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`, the latter three with
//! `?endpoint=…` for servers that speak the same language elsewhere, S3 also with `region=…`. Invariant: no secret is
//! read from a URL; credentials come from the environment variables each provider's own tools know, or from the file that
//! `credentials=…` names.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::error::{BlobError, Result};

/// A place for blobs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket or container.
    Bucket(BucketUrl),
}

/// Whose protocol a bucket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provider {
    /// S3 and what is compatible with it.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

/// A bucket or container and what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BucketUrl {
    /// Protocol.
    pub(super) provider: Provider,
    /// Name of the bucket or container.
    pub(super) name: String,
    /// What all keys begin with, without slashes at its ends; may be empty.
    pub(super) prefix: String,
    /// Base URL of the server when it is not the provider's own.
    pub(super) endpoint: Option<String>,
    /// Region, for S3.
    pub(super) region: Option<String>,
    /// File of the credentials, instead of the environment.
    pub(super) credentials: Option<PathBuf>,
    /// The setting that the URL stands in, for messages.
    pub(super) setting: &'static str,
}

/// Reads the URL of a setting; `s3_endpoint` counts when the URL of an S3 bucket names none.
pub(super) fn parse(
    setting: &'static str,
    url: &str,
    s3_endpoint: Option<&str>,
) -> Result<Location> {
    let wrong = |reason: &str| BlobError::config(format!("{setting}: {reason}"));
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(wrong(
            "it must begin with file://, s3://, az:// or gs://, for example s3://bucket/prefix",
        ));
    };
    let provider = match scheme {
        "file" => {
            let path = decoded(rest).filter(|path| path.starts_with('/'));
            let path =
                path.ok_or_else(|| wrong("file:// needs an absolute path: file:///folder"))?;
            return Ok(Location::Folder(PathBuf::from(path)));
        }
        "s3" => Provider::S3,
        "az" => Provider::Azure,
        "gs" => Provider::Google,
        _ => return Err(wrong("its scheme must be file, s3, az or gs")),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() || name.contains(['@', ':']) {
        return Err(wrong(
            "behind :// stands the name of a bucket or container, and nothing else before the next slash; credentials come from the environment",
        ));
    }
    let prefix = decoded(prefix.trim_matches('/')).ok_or_else(|| wrong("its path is not UTF-8"))?;
    let mut bucket = BucketUrl {
        provider,
        name: name.to_owned(),
        prefix,
        endpoint: s3_endpoint
            .filter(|_| provider == Provider::S3)
            .map(str::to_owned),
        region: None,
        credentials: None,
        setting,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).filter(|v| !v.is_empty());
        let value = value.ok_or_else(|| wrong(&format!("the option {option} has no value")))?;
        match (option, provider) {
            ("endpoint", _) => bucket.endpoint = Some(value),
            ("region", Provider::S3) => bucket.region = Some(value),
            ("credentials", _) if value.starts_with('/') => {
                bucket.credentials = Some(PathBuf::from(value));
            }
            ("credentials", _) => {
                return Err(wrong(
                    "credentials= names a file by its absolute path; secrets do not stand in URLs",
                ));
            }
            // The option only, never its value: it may be a secret in the wrong place.
            _ => {
                return Err(wrong(&format!(
                    "the option {option} is not known here; there are endpoint, credentials (the path of a file) and, for S3, region; secrets come from such a file or the environment"
                )));
            }
        }
    }
    let speaks_http = |e: &String| e.starts_with("http://") || e.starts_with("https://");
    if bucket.endpoint.as_ref().is_some_and(|e| !speaks_http(e)) {
        return Err(wrong(
            "an endpoint (also STOWAGE_S3_ENDPOINT) begins with https:// or http://",
        ));
    }
    Ok(Location::Bucket(bucket))
}

fn decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: &str = "STOWAGE_BLOB_URL";

    #[test]
    fn a_folder_is_named_by_an_absolute_path() {
        assert_eq!(
            parse(SETTING, "file:///srv/blobs%20here", None).unwrap(),
            Location::Folder(PathBuf::from("/srv/blobs here"))
        );
        assert!(parse(SETTING, "file://blobs", None).is_err());
        assert!(parse(SETTING, "blobs", None).is_err());
    }

    #[test]
    fn a_bucket_has_a_prefix_and_may_have_an_endpoint() {
        let Location::Bucket(bucket) = parse(
            SETTING,
            "s3://pacs/a/b/?endpoint=http%3A%2F%2F127.0.0.1:9000&region=eu-central-1&credentials=/run/s3",
            Some("https://unused.example"),
        )
        .unwrap() else {
            panic!("a bucket was named");
        };
        assert_eq!(
            bucket,
            BucketUrl {
                provider: Provider::S3,
                name: "pacs".to_owned(),
                prefix: "a/b".to_owned(),
                endpoint: Some("http://127.0.0.1:9000".to_owned()),
                region: Some("eu-central-1".to_owned()),
                credentials: Some(PathBuf::from("/run/s3")),
                setting: SETTING,
            }
        );
    }

    #[test]
    fn the_endpoint_of_the_environment_counts_for_s3_alone() {
        for (url, endpoint) in [
            ("s3://pacs", Some("http://minio:9000")),
            ("az://pacs", None),
            ("gs://pacs", None),
        ] {
            let Location::Bucket(bucket) = parse(SETTING, url, Some("http://minio:9000")).unwrap()
            else {
                panic!("a bucket was named");
            };
            assert_eq!(bucket.endpoint.as_deref(), endpoint, "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_told_without_its_secrets() {
        for url in [
            "s3://",
            "s3:///prefix",
            "s3://key:hush@pacs",
            "s3://pacs?secret_access_key=hush",
            "s3://pacs?endpoint=hush",
            "gs://pacs?region=hush",
            "gs://pacs?credentials=hush",
            "ftp://hush",
            "s3://pacs?region",
        ] {
            let error = parse(SETTING, url, None).unwrap_err().to_string();
            assert!(error.starts_with("STOWAGE_BLOB_URL: "), "{url}: {error}");
            assert!(!error.contains("hush"), "{url}: {error}");
        }
    }
}
