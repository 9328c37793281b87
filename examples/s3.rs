//! An S3 server over a folder, for trying a cluster out on one machine: `s3 FOLDER KEY SECRET ADDRESS_FILE`.
//!
//! Every folder below FOLDER is a bucket. It listens on a free port of the loopback address and writes `host:port` to
//! ADDRESS_FILE. Not for data that matters: nothing is synced to the disk.

use std::path::PathBuf;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, key, secret, address_file] = arguments.as_slice() else {
        anyhow::bail!("usage: s3 FOLDER KEY SECRET ADDRESS_FILE");
    };
    let files = s3s_fs::FileSystem::new(folder)
        .map_err(|error| anyhow::anyhow!("{folder} cannot be served: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
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
