//! From a bucket's URL and the environment to a client of its provider.
//!
//! Invariant: no request of a client outlives [`REQUEST`], and none is begun anew past the configured time; whoever waits
//! for an object store that is gone is told so.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::super::location::{BucketUrl, Provider};
use crate::blob::error::{BlobError, Result};
use crate::config::StorageConfig;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one request may take, body included; none carries more than a part of an upload.
const REQUEST: Duration = Duration::from_secs(30);
/// How often a request is begun anew at most.
const RETRIES: usize = 12;
/// Longest file of credentials in bytes.
const CREDENTIALS: u64 = 64 * 1024;

/// Makes the client; nothing is asked of the provider yet.
pub(super) fn client(bucket: &BucketUrl, storage: &StorageConfig) -> Result<Arc<dyn ObjectStore>> {
    let retry = retry(Duration::from_secs(storage.blob_retry_seconds));
    let made: object_store::Result<Arc<dyn ObjectStore>> = match bucket.provider {
        Provider::S3 => {
            let mut builder = AmazonS3Builder::from_env()
                .with_retry(retry)
                .with_bucket_name(&bucket.name);
            if let Some(endpoint) = &bucket.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = &bucket.region {
                builder = builder.with_region(region);
            }
            if let Some(file) = &storage.s3_credentials_file {
                let (id, secret) = credentials(file)?;
                builder = builder
                    .with_access_key_id(id)
                    .with_secret_access_key(secret);
            }
            let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
            let builder = builder.with_client_options(options(endpoint));
            builder.build().map(|store| Arc::new(store) as _)
        }
        Provider::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_retry(retry)
                .with_container_name(&bucket.name);
            if let Some(endpoint) = &bucket.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
            let builder = builder.with_client_options(options(endpoint));
            builder.build().map(|store| Arc::new(store) as _)
        }
        Provider::Google => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_retry(retry)
                .with_bucket_name(&bucket.name);
            if let Some(endpoint) = &bucket.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
            let builder = builder.with_client_options(options(endpoint));
            builder.build().map(|store| Arc::new(store) as _)
        }
    };
    made.map_err(|error| {
        BlobError::config(format!(
            "STOWAGE_BLOB_URL: the bucket {} cannot be used: {error}",
            bucket.name
        ))
    })
}

/// An endpoint of the URL or of the environment that begins with `http://` is wanted so.
fn options(endpoint: Option<String>) -> ClientOptions {
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new()
        .with_connect_timeout(CONNECT)
        .with_timeout(REQUEST)
        .with_allow_http(plain)
}

/// Exponential pauses with jitter.
fn retry(retry_timeout: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(4),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout,
    }
}

/// Reads key and secret from a file in the form Amazon's own tools write; of several sections the first one counts.
fn credentials(file: &Path) -> Result<(String, String)> {
    let wrong = |reason: &str| {
        BlobError::config(format!(
            "STOWAGE_S3_CREDENTIALS_FILE: {} {reason}",
            file.display()
        ))
    };
    let mut text = String::new();
    let read = File::open(file).and_then(|f| f.take(CREDENTIALS).read_to_string(&mut text));
    read.map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let value = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        let pair = pairs.find(|(key, _)| key.trim() == name);
        pair.map(|(_, value)| value.trim().to_owned())
    };
    value("aws_access_key_id")
        .zip(value("aws_secret_access_key"))
        .ok_or_else(|| {
            wrong("must have the lines aws_access_key_id = … and aws_secret_access_key = …")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_amazons_tools_write_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        let text = "[default]\naws_access_key_id = one\naws_secret_access_key=two=2\n[other]\naws_access_key_id = three\n";
        std::fs::write(&file, text).unwrap();
        let (id, secret) = credentials(&file).unwrap();
        assert_eq!((id.as_str(), secret.as_str()), ("one", "two=2"));
        std::fs::write(&file, "aws_secret_access_key = hush").unwrap();
        let error = credentials(&file).unwrap_err().to_string();
        assert!(error.contains("aws_access_key_id") && !error.contains("hush"));
    }
}
