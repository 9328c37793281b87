//! From a bucket's URL, and the environment or a file of credentials, to a client of its provider.
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
            let mut builder = s3(bucket, storage)?
                .with_retry(retry)
                .with_bucket_name(&bucket.name);
            if let Some(endpoint) = &bucket.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = &bucket.region {
                builder = builder.with_region(region);
            }
            let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
            let builder = builder.with_client_options(options(endpoint));
            builder.build().map(|store| Arc::new(store) as _)
        }
        Provider::Azure => {
            let builder = azure(bucket)?.with_retry(retry);
            let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
            let builder = builder.with_client_options(options(endpoint));
            builder.build().map(|store| Arc::new(store) as _)
        }
        Provider::Google => {
            let mut builder = match &bucket.credentials {
                Some(file) => GoogleCloudStorageBuilder::new()
                    .with_service_account_path(file.display().to_string()),
                None => GoogleCloudStorageBuilder::from_env(),
            };
            builder = builder.with_retry(retry).with_bucket_name(&bucket.name);
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
            "{}: the bucket {} cannot be used: {error}",
            bucket.setting, bucket.name
        ))
    })
}

/// A client of S3 with its credentials: of those of a file of its own nothing comes from the environment.
fn s3(bucket: &BucketUrl, storage: &StorageConfig) -> Result<AmazonS3Builder> {
    let own = bucket.credentials.as_ref();
    let own = own.map(|file| (bucket.setting, file, AmazonS3Builder::new()));
    let shared = storage.s3_credentials_file.as_ref();
    let shared = shared.map(|file| {
        let builder = AmazonS3Builder::from_env();
        ("STOWAGE_S3_CREDENTIALS_FILE", file, builder)
    });
    let Some((setting, file, builder)) = own.or(shared) else {
        return Ok(AmazonS3Builder::from_env());
    };
    let lines = CredentialsFile::read(setting, file)?;
    let id = lines.value("aws_access_key_id");
    let Some((id, secret)) = id.zip(lines.value("aws_secret_access_key")) else {
        return Err(lines.lacks("aws_access_key_id = … and aws_secret_access_key = …"));
    };
    Ok(builder
        .with_access_key_id(id)
        .with_secret_access_key(secret))
}

/// A client of Azure with its container and credentials.
fn azure(bucket: &BucketUrl) -> Result<MicrosoftAzureBuilder> {
    let mut builder = match &bucket.credentials {
        None => MicrosoftAzureBuilder::from_env(),
        Some(file) => azure_of_file(bucket.setting, file)?,
    };
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    Ok(builder.with_container_name(&bucket.name))
}

fn azure_of_file(setting: &'static str, file: &Path) -> Result<MicrosoftAzureBuilder> {
    let lines = CredentialsFile::read(setting, file)?;
    let builder = MicrosoftAzureBuilder::new();
    let account = lines.value("azure_storage_account_name");
    let key = lines.value("azure_storage_account_key");
    let token = lines.value("azure_storage_sas_token");
    match (account, key, token) {
        (Some(account), Some(key), _) => Ok(builder.with_account(account).with_access_key(key)),
        (Some(account), None, Some(token)) => Ok(builder
            .with_account(account)
            .with_config(AzureConfigKey::SasKey, token)),
        _ => Err(lines.lacks(
            "azure_storage_account_name = … and azure_storage_account_key = … or azure_storage_sas_token = …",
        )),
    }
}

/// URI of an Azure container, as its users know it; none when the account is not known.
pub(in crate::blob) fn container_uri(bucket: &BucketUrl) -> Result<Option<String>> {
    let builder = azure(bucket)?;
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let endpoint = endpoint.or_else(|| {
        let account = builder.get_config_value(&AzureConfigKey::AccountName)?;
        Some(format!("https://{account}.blob.core.windows.net"))
    });
    Ok(endpoint.map(|endpoint| format!("{}/{}", endpoint.trim_end_matches('/'), bucket.name)))
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

/// A file of credentials in the form Amazon's own tools write; of several sections the first one counts.
struct CredentialsFile<'a> {
    setting: &'static str,
    file: &'a Path,
    text: String,
}

impl<'a> CredentialsFile<'a> {
    fn read(setting: &'static str, file: &'a Path) -> Result<Self> {
        let mut text = String::new();
        let read = File::open(file).and_then(|f| f.take(CREDENTIALS).read_to_string(&mut text));
        let lines = Self {
            setting,
            file,
            text,
        };
        match read {
            Ok(_) => Ok(lines),
            Err(error) => Err(lines.wrong(&format!("cannot be read: {error}"))),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        let mut pairs = self.text.lines().filter_map(|line| line.split_once('='));
        let pair = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        pair.map(|(_, value)| value.trim().to_owned())
    }

    fn lacks(&self, lines: &str) -> BlobError {
        self.wrong(&format!("must have the lines {lines}"))
    }

    fn wrong(&self, reason: &str) -> BlobError {
        let file = self.file.display();
        BlobError::config(format!("{}: {file} {reason}", self.setting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::location::{self, Location};
    use crate::config::Config;

    fn written(folder: &tempfile::TempDir, text: &str) -> std::path::PathBuf {
        let file = folder.path().join("credentials");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn bucket(url: &str) -> BucketUrl {
        match location::parse("X", url, None).unwrap() {
            Location::Bucket(bucket) => bucket,
            Location::Folder(_) => panic!("a bucket was named"),
        }
    }

    #[test]
    fn credentials_are_read_as_amazons_tools_write_them() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[default]\naws_access_key_id = one\naws_secret_access_key=two=2\n[other]\naws_access_key_id = three\n";
        let file = written(&folder, text);
        let lines = CredentialsFile::read("X", &file).unwrap();
        let value = |name: &str| lines.value(name).unwrap();
        assert_eq!(value("aws_access_key_id"), "one");
        assert_eq!(value("aws_secret_access_key"), "two=2");
        let storage = StorageConfig {
            s3_credentials_file: Some(written(&folder, "aws_secret_access_key = hush")),
            ..Config::default().storage
        };
        let error = s3(&bucket("s3://pacs"), &storage).unwrap_err().to_string();
        assert!(error.starts_with("STOWAGE_S3_CREDENTIALS_FILE"), "{error}");
        assert!(error.contains("aws_access_key_id") && !error.contains("hush"));
    }

    #[test]
    fn a_container_is_known_by_its_account_or_its_endpoint() {
        let folder = tempfile::tempdir().unwrap();
        let text = "azure_storage_account_name = acme\nazure_storage_sas_token = sv=1&sig=hush\n";
        let file = written(&folder, text);
        for (query, uri) in [
            ("", "https://acme.blob.core.windows.net/box"),
            (
                "&endpoint=http://127.0.0.1:10000/acme",
                "http://127.0.0.1:10000/acme/box",
            ),
        ] {
            let bucket = bucket(&format!(
                "az://box/in?credentials={}{query}",
                file.display()
            ));
            assert_eq!(container_uri(&bucket).unwrap().as_deref(), Some(uri));
            assert!(client(&bucket, &Config::default().storage).is_ok());
        }
    }
}
