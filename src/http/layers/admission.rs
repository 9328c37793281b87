//! How many requests there may be at the same time, whatever they ask for.
//!
//! Invariant: a request counts until the last byte of its answer is sent, for until then it holds memory and files.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Version;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::heeded::Heeded;
use crate::archive::ArchiveError;
use crate::http::error::HttpError;

/// Room for requests.
#[derive(Debug, Clone)]
pub struct Admission {
    room: Arc<Semaphore>,
    idle: Duration,
}

impl Admission {
    /// Room for this many, at least for one; a client may take nothing of an answer for `idle`.
    #[must_use]
    pub fn new(requests: usize, idle: Duration) -> Self {
        let room = requests.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(room)),
            idle,
        }
    }
}

/// Lets a request in while there is room, else answers 503 with `Retry-After`.
pub async fn admit(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    let Ok(permit) = admission.room.try_acquire_owned() else {
        let busy = ArchiveError::Busy {
            what: "other requests",
        };
        return HttpError::from(busy).into_response();
    };
    // Of a stream among others the socket does not show that it stands still.
    let among_others = request.version() == Version::HTTP_2;
    let response = next.run(request).await;
    response.map(|body| {
        let admitted = Body::new(Admitted {
            body,
            _permit: permit,
        });
        if among_others && !admitted.is_end_stream() {
            Body::new(Heeded::new(admitted, admission.idle))
        } else {
            admitted
        }
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
