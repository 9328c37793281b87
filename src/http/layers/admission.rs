//! How many requests there may be at the same time, and how they are shared among those who ask.
//!
//! Invariants: a request takes room only behind the check of its token, and room is taken for its subject and its
//! connection, so that neither can have all of it; a request counts until the last byte of its answer is sent, unless all of
//! the answer is in memory: then it counts as memory alone.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::archive::ArchiveError;
use crate::auth::Caller;
use crate::http::error::{HttpError, ProblemType};
use crate::http::links::{LinksConfig, client_address};
use crate::http::serve::ConnectionInfo;
use crate::memory::{MemoryBudget, Purpose, Reservation, holding};
use crate::shares::{Share, ShareHolder, Shares};

/// Part of the memory budget that answers in memory may take without room for a request.
const WAITING: usize = 8;

/// Room for requests.
#[derive(Debug, Clone)]
pub struct Admission {
    room: Shares,
    /// Bytes of answers that wait for their clients without room.
    waiting: Shares,
    budget: MemoryBudget,
    links: LinksConfig,
}

impl Admission {
    /// Room for this many requests, at least for one; `links` says which proxies are believed about who asks.
    #[must_use]
    pub fn new(requests: usize, budget: MemoryBudget, links: LinksConfig) -> Self {
        Self {
            room: Shares::new(requests as u64),
            waiting: Shares::new((budget.bytes() / WAITING) as u64),
            budget,
            links,
        }
    }

    fn subject(&self, request: &Request) -> ShareHolder {
        let caller = request.extensions().get::<Arc<Caller>>();
        let named = caller.and_then(|caller| {
            let subject = caller.subject.as_deref()?;
            Some(ShareHolder::of_token(caller.issuer.as_deref(), subject))
        });
        named.unwrap_or_else(|| address(&self.links, request))
    }

    /// Room for one request; whoever lets others wait for long makes way.
    async fn take(
        &self,
        subject: &ShareHolder,
        connection_info: Option<&ConnectionInfo>,
    ) -> Option<Share> {
        let connection = connection_info.map(ConnectionInfo::connection);
        let make_way = |lack| {
            connection_info.is_some_and(|connection_info| connection_info.make_way(lack, subject))
        };
        self.room.take(subject, connection, &make_way).await.ok()
    }

    /// Counts an answer of so many bytes as memory; none when it must keep its room.
    fn hold(&self, subject: &ShareHolder, bytes: usize) -> Option<(Share, Reservation)> {
        let share = self.waiting.try_take(subject, None, bytes as u64).ok()?;
        let reserved = self.budget.try_reserve(Purpose::Answers, bytes).ok()?;
        Some((share, reserved))
    }
}

/// Who asks without a token: whoever is at the other end, or behind a proxy that is believed.
pub(super) fn address(links: &LinksConfig, request: &Request) -> ShareHolder {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or_else(
        || ShareHolder::named("nobody"),
        |peer| ShareHolder::of_address(client_address(links, request.headers(), peer.0.ip())),
    )
}

/// Lets a request in while there is room for its subject, else answers 503 with `Retry-After`.
pub async fn admit(
    State(admission): State<Admission>,
    mut request: Request,
    next: Next,
) -> Response {
    let subject = admission.subject(&request);
    let connection_info = request.extensions().get::<ConnectionInfo>().cloned();
    if let Some(connection_info) = &connection_info {
        connection_info.is_known_as(&subject);
    }
    let Some(place) = admission.take(&subject, connection_info.as_ref()).await else {
        let busy = ArchiveError::Busy {
            what: "other requests",
        };
        return HttpError::from(busy).into_response();
    };
    request.extensions_mut().insert(subject.clone());
    let response = next.run(request).await;
    if connection_info.is_some_and(|connection_info| connection_info.was_too_slow()) {
        let reported = "the body came too slowly: send at least as many bytes a second as STOWAGE_LEAST_BYTES_PER_SECOND says";
        return HttpError::new(ProblemType::RequestTimeout, reported).into_response();
    }
    let (parts, body) = response.into_parts();
    let body = admission.buffered(body, &subject, place).await;
    Response::from_parts(parts, body)
}

impl Admission {
    /// The body with what it counts as: nothing, memory, or room for a request.
    async fn buffered(&self, mut body: Body, subject: &ShareHolder, place: Share) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let length = body.size_hint().exact();
        let first = match length {
            // What is in memory comes whole at the first question; who answers piece by piece is asked no further.
            Some(_) => {
                std::future::poll_fn(|cx| {
                    Poll::Ready(match Pin::new(&mut body).poll_frame(cx) {
                        Poll::Ready(first) => Some(first),
                        Poll::Pending => None,
                    })
                })
                .await
            }
            None => None,
        };
        let first = match first {
            Some(None) => return Body::empty(),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Some(Ok(data)),
                Err(_) => return Body::empty(),
            },
            Some(Some(Err(error))) => Some(Err(error)),
            None => None,
        };
        if let Some(Ok(data)) = &first
            && length == Some(data.len() as u64)
            && let Some(held) = self.hold(subject, data.len())
        {
            // The body may hold what was reserved when it was made.
            return Body::from(holding(data.clone(), (body, held)));
        }
        Body::new(AdmittedBody {
            first,
            body,
            _place: place,
        })
    }
}

/// A body that keeps its request's room until it is gone.
struct AdmittedBody {
    /// What it was asked for already.
    first: Option<Result<Bytes, axum::Error>>,
    body: Body,
    _place: Share,
}

impl http_body::Body for AdmittedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first.map(Frame::data))),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let first = match &self.first {
            Some(Ok(data)) => data.len() as u64,
            _ => 0,
        };
        let mut all = SizeHint::new();
        all.set_lower(hint.lower().saturating_add(first));
        if let Some(upper) = hint.upper() {
            all.set_upper(upper.saturating_add(first));
        }
        all
    }
}
