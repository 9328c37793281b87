//! How many requests there may be at the same time, whatever they ask for.
//!
//! Invariant: a request counts until the last byte of its answer is sent, for until then it holds memory and files.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::archive::ArchiveError;
use crate::http::error::HttpError;

/// Room for requests.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Semaphore>);

impl Admission {
    /// Room for this many, at least for one.
    #[must_use]
    pub fn new(requests: usize) -> Self {
        let room = requests.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(room)))
    }
}

/// Lets a request in while there is room, else answers 503 with `Retry-After`.
pub async fn admit(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    let Ok(permit) = admission.0.try_acquire_owned() else {
        let busy = ArchiveError::Busy {
            what: "other requests",
        };
        return HttpError::from(busy).into_response();
    };
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(Admitted {
            body,
            _permit: permit,
        })
    })
}

/// A body that keeps its request's room until it is gone.
struct Admitted {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Admitted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
