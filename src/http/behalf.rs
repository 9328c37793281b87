//! On whose behalf work is done, so that what takes long can be shared out fairly: a token's subject, else an address.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::archive::queue::{now_on_behalf_of, on_behalf_of};
use crate::auth::Caller;

/// Nobody outside can choose a subject or address that shares the number of another one.
static NUMBERS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Runs a request, and makes its answer, on behalf of its caller.
pub(super) async fn run(caller: Arc<Caller>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = address.map(|address| address.0.ip());
    let number = match &caller.subject {
        Some(subject) => NUMBERS.hash_one((&caller.issuer, subject)),
        None => NUMBERS.hash_one(address),
    };
    let response = on_behalf_of(number, next.run(request)).await;
    response.map(|body| Body::new(OnBehalf { body, number }))
}

/// A body that is made while it is sent.
struct OnBehalf {
    body: Body,
    number: u64,
}

impl HttpBody for OnBehalf {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let number = self.number;
        now_on_behalf_of(number, || Pin::new(&mut self.body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
