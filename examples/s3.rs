//! An S3 server over a folder, for trying a cluster out on one machine: `s3 FOLDER KEY SECRET ADDRESS_FILE`.
//!
//! Every folder below FOLDER is a bucket. It listens on a free port of the loopback address and writes `host:port` to
//! `ADDRESS_FILE`. Not for data that matters: nothing is synced to the disk, and names of objects are forgotten at its end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteObjectInput, DeleteObjectOutput, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput,
    UploadPartInput, UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};
use tokio::net::TcpListener;

/// The folder under short names: `s3s-fs` makes one file name of a whole key, and three long UIDs are too long for that.
struct ShortNames {
    files: s3s_fs::FileSystem,
    /// From the short name to the key.
    keys: Mutex<HashMap<String, String>>,
}

impl ShortNames {
    /// The prefix stays, so that it can be listed; the rest becomes a digest.
    fn short(&self, key: &mut String) {
        let digest = blake3::hash(key.as_bytes()).to_hex();
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        let short = format!("{prefix}/{}", &digest[..32]);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(short.clone(), std::mem::replace(key, short));
    }
}

/// The requests that an object store of Stowage sends.
#[async_trait]
impl S3 for ShortNames {
    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.short(&mut request.input.key);
        self.files.put_object(request).await
    }

    async fn get_object(
        &self,
        mut request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.short(&mut request.input.key);
        self.files.get_object(request).await
    }

    async fn head_object(
        &self,
        mut request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.short(&mut request.input.key);
        self.files.head_object(request).await
    }

    async fn delete_object(
        &self,
        mut request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.short(&mut request.input.key);
        self.files.delete_object(request).await
    }

    async fn create_multipart_upload(
        &self,
        mut request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.short(&mut request.input.key);
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.short(&mut request.input.key);
        self.files.upload_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.short(&mut request.input.key);
        self.files.complete_multipart_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        mut request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.short(&mut request.input.key);
        self.files.abort_multipart_upload(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let mut response = self.files.list_objects_v2(request).await?;
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for object in response.output.contents.iter_mut().flatten() {
            if let Some(key) = object.key.as_ref().and_then(|short| keys.get(short)) {
                object.key = Some(key.clone());
            }
        }
        drop(keys);
        Ok(response)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, key, secret, address_file] = arguments.as_slice() else {
        anyhow::bail!("usage: s3 FOLDER KEY SECRET ADDRESS_FILE");
    };
    let files = s3s_fs::FileSystem::new(folder)
        .map_err(|error| anyhow::anyhow!("{folder} cannot be served: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(ShortNames {
        files,
        keys: Mutex::default(),
    });
    builder.set_auth(SimpleAuth::from_single(key.as_str(), secret.as_str()));
    let service = builder.build();
    let router = Router::new().fallback(move |request: Request| {
        let service = service.clone();
        async move {
            let answered = service.call(request.map(s3s::Body::http_body_unsync)).await;
            match answered {
                Ok(response) => response.map(Body::new),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Written beside and renamed, so that nobody reads half a line.
    let file = PathBuf::from(address_file);
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&beside, &file))
        .context("the address cannot be written")?;
    axum::serve(listener, router).await?;
    Ok(())
}
