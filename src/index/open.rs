//! Opening the index by the scheme of its URL.

use std::path::Path;
use std::sync::Arc;

use super::error::IndexError;
use super::model::Result;
use super::options::IndexOptions;
use super::traits::Index;
use super::{postgres, sqlite};

/// Opens the index behind `sqlite://path` or `postgres://…` and brings its schema up to date.
///
/// # Errors
/// [`IndexError::Absent`] when there is no schema and none is to be made, [`IndexError::Open`] when the URL is not understood, the database cannot be reached or a migration fails.
pub async fn open(url: &str, options: &IndexOptions) -> Result<Arc<dyn Index>> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "sqlite" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            Ok(Arc::new(sqlite::open(Path::new(path), options).await?))
        }
        "postgres" | "postgresql" => Ok(Arc::new(postgres::open(url, options).await?)),
        _ => Err(IndexError::Open {
            reason: "its URL must begin with sqlite:// or postgres://".to_owned(),
        }),
    }
}
