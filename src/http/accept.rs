//! What the client wants back: the Accept header and the `accept` query parameter as a ranked list of wishes.
//!
//! Nothing a client writes is an error: items that cannot be read are skipped, sizes are capped.
//! Invariant: the list holds no wish with q=0; what such an item refuses is left out of the wildcards instead.

use http::HeaderMap;
use http::header::ACCEPT;

use super::parameters::{ParameterItem, parse_item, split_list};

/// Most bytes of all Accept headers that are looked at.
const MAX_TEXT: usize = 16 * 1024;
/// Most items that are looked at.
const MAX_ITEMS: usize = 100;
/// The `q` of an item that states none.
const FULL_QUALITY: u16 = 1000;

/// One acceptable form of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptItem {
    /// Multipart or a bare body, and of which media types.
    pub kind: AcceptKind,
    /// The `transfer-syntax` parameter; the first when it is given twice (PS3.18 §8.7.3.5.2).
    pub transfer_syntax: Option<RequestedTransferSyntax>,
    /// The `charset` parameter, in lower case.
    pub charset: Option<String>,
    /// Quality in thousandths, 1 to 1000.
    pub q: u16,
}

/// How the answer is wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptKind {
    /// `multipart/related` with parts of this type; `*/*` when no `type` is given.
    Multipart {
        /// Media type of the parts.
        inner: MediaRange,
    },
    /// A body of this type; `*/*` leaves the choice, wrapping included, to the server.
    Single(MediaRange),
}

/// The transfer syntax wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedTransferSyntax {
    /// `*`: as stored.
    Any,
    /// One transfer syntax; text of digits and dots, at most 64 characters.
    Uid(String),
}

/// A media type in which either half may be a wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRange {
    /// First half in lower case, `*` for any.
    pub type_name: String,
    /// Second half in lower case, `*` for any.
    pub subtype: String,
    /// Parameters other than those a [`AcceptItem`] names; names in lower case.
    pub params: Vec<(String, String)>,
    /// Types refused with `q=0` although the wildcard covers them.
    pub except: Vec<(String, String)>,
}

impl MediaRange {
    /// A range without parameters.
    #[must_use]
    pub fn new(type_name: &str, subtype: &str) -> Self {
        Self {
            type_name: type_name.to_owned(),
            subtype: subtype.to_owned(),
            params: Vec::new(),
            except: Vec::new(),
        }
    }

    /// Reads `type/subtype`, `type/*`, `type/` (meaning `type/*`), `*/*` and the bare `*`.
    ///
    /// In a query value a `+` may have been decoded to a space; it is put back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::new("*", "*"));
        }
        let (type_name, subtype) = text.split_once('/')?;
        let type_name = type_name.trim().to_ascii_lowercase();
        let mut subtype = subtype.trim().replace(' ', "+").to_ascii_lowercase();
        if subtype.is_empty() {
            "*".clone_into(&mut subtype);
        }
        let sound = is_token(&type_name) && is_token(&subtype);
        let backwards = type_name == "*" && subtype != "*";
        (sound && !backwards).then(|| Self::new(&type_name, &subtype))
    }

    /// Whether a concrete type (lower case) falls into the range.
    #[must_use]
    pub fn covers(&self, type_name: &str, subtype: &str) -> bool {
        let refused = |(t, s): &(String, String)| t == type_name && (s == subtype || s == "*");
        (self.type_name == "*" || self.type_name == type_name)
            && (self.subtype == "*" || self.subtype == subtype)
            && !self.except.iter().any(refused)
    }

    /// Whether a concrete media type such as `image/jpeg` falls into the range.
    #[must_use]
    pub fn covers_type(&self, media_type: &str) -> bool {
        media_type
            .split_once('/')
            .is_some_and(|(type_name, subtype)| self.covers(type_name, subtype))
    }

    /// Whether both halves are wildcards.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        self.type_name == "*"
    }

    /// Whether either half is a wildcard.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.type_name == "*" || self.subtype == "*"
    }

    /// 0 for `*/*`, 1 for `type/*`, 2 for one type.
    fn specificity(&self) -> u8 {
        u8::from(self.type_name != "*") + u8::from(self.subtype != "*")
    }
}

impl std::fmt::Display for MediaRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.type_name, self.subtype)
    }
}

impl AcceptItem {
    /// The wish of a client that says nothing: anything.
    #[must_use]
    pub fn anything() -> Self {
        Self {
            kind: AcceptKind::Single(MediaRange::new("*", "*")),
            transfer_syntax: None,
            charset: None,
            q: FULL_QUALITY,
        }
    }

    /// The range of a bare body, when one is wanted.
    #[must_use]
    pub fn single(&self) -> Option<&MediaRange> {
        match &self.kind {
            AcceptKind::Single(range) => Some(range),
            AcceptKind::Multipart { .. } => None,
        }
    }

    /// The range of the parts, when a multipart body is wanted.
    #[must_use]
    pub fn multipart(&self) -> Option<&MediaRange> {
        match &self.kind {
            AcceptKind::Multipart { inner } => Some(inner),
            AcceptKind::Single(_) => None,
        }
    }

    /// The range, whatever the wrapping.
    #[must_use]
    pub fn range(&self) -> &MediaRange {
        match &self.kind {
            AcceptKind::Single(range) | AcceptKind::Multipart { inner: range } => range,
        }
    }

    fn range_mut(&mut self) -> &mut MediaRange {
        match &mut self.kind {
            AcceptKind::Single(range) | AcceptKind::Multipart { inner: range } => range,
        }
    }
}

/// What the client accepts, best first (PS3.18 §8.7.8): all of the query parameter, then all of the header.
///
/// `query` holds the decoded values of `accept`, none when the parameter is absent. Neither parameter nor header gives
/// [`AcceptItem::anything`]; an empty list means that nothing the client listed can be read or everything was refused.
#[must_use]
pub fn accept_items(query: &[&str], headers: &HeaderMap) -> Vec<AcceptItem> {
    let header: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let stated = |text: &&str| !text.trim().is_empty();
    let query: Vec<&str> = query.iter().copied().filter(stated).collect();
    let header: Vec<&str> = header.iter().map(AsRef::as_ref).filter(stated).collect();
    if query.is_empty() && header.is_empty() {
        return vec![AcceptItem::anything()];
    }
    let mut all = rank(&query.join(","));
    all.extend(rank(&header.join(",")));
    all
}

/// The readable wishes of one Accept value, best first: by q, then the more specific, then in order.
#[must_use]
pub fn rank(text: &str) -> Vec<AcceptItem> {
    let (mut accepted, refused): (Vec<AcceptItem>, Vec<AcceptItem>) = split_list(capped(text))
        .take(MAX_ITEMS)
        .filter_map(|item| read_accept_item(&parse_item(item)))
        .partition(|preference| preference.q > 0);
    for preference in &mut accepted {
        let same_wrapping = |no: &&AcceptItem| {
            no.single().is_some() == preference.single().is_some()
                && no.transfer_syntax.is_none()
                && no.range().specificity() > preference.range().specificity()
        };
        let except = refused.iter().filter(same_wrapping);
        let except = except
            .map(|no| (no.range().type_name.clone(), no.range().subtype.clone()))
            .collect();
        preference.range_mut().except = except;
    }
    // The sort is stable, so equals stay in the order of the text.
    accepted.sort_by_key(|preference| {
        let wrapped = matches!(&preference.kind, AcceptKind::Multipart { .. });
        let specificity = preference.range().specificity().max(u8::from(wrapped));
        std::cmp::Reverse((preference.q, specificity))
    });
    accepted
}

/// Whether DICOM JSON can be sent: `application/json` covers `application/dicom+json` by its suffix.
#[must_use]
pub fn covers_json(preferences: &[AcceptItem]) -> bool {
    preferences
        .iter()
        .filter_map(AcceptItem::single)
        .any(|range| {
            range.covers("application", "dicom+json")
                || (range.type_name == "application" && range.subtype == "json")
        })
}

/// The text cut to the cap; the last item may be lost, which is skipped like any unreadable one.
fn capped(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn read_accept_item(item: &ParameterItem) -> Option<AcceptItem> {
    let outer = MediaRange::parse(&item.head)?;
    let quality = item.first("q").map_or(FULL_QUALITY, read_quality);
    let mut transfer_syntax = item.first("transfer-syntax").map(str::to_owned);
    let mut charset = item.first("charset").map(str::to_owned);
    let multipart =
        outer.type_name == "multipart" && matches!(outer.subtype.as_str(), "related" | "*");
    let kind = if multipart {
        let inner = parse_item(item.first("type").unwrap_or("*/*"));
        // `type="application/dicom; transfer-syntax=*"`: what belongs outside is found inside the quotes.
        transfer_syntax =
            transfer_syntax.or_else(|| inner.first("transfer-syntax").map(str::to_owned));
        charset = charset.or_else(|| inner.first("charset").map(str::to_owned));
        let mut range = MediaRange::parse(&inner.head)?;
        range.params = other_parameters(item)
            .chain(other_parameters(&inner))
            .collect();
        AcceptKind::Multipart { inner: range }
    } else {
        let mut range = outer;
        range.params = other_parameters(item).collect();
        AcceptKind::Single(range)
    };
    let transfer_syntax = match transfer_syntax {
        Some(text) => Some(read_transfer_syntax(&text)?),
        None => None,
    };
    Some(AcceptItem {
        kind,
        transfer_syntax,
        charset: charset.map(|name| name.to_ascii_lowercase()),
        q: quality,
    })
}

fn other_parameters(item: &ParameterItem) -> impl Iterator<Item = (String, String)> {
    const NAMED: [&str; 5] = ["q", "type", "transfer-syntax", "charset", "boundary"];
    let others = item
        .parameters
        .iter()
        .filter(|(name, _)| !NAMED.contains(&name.as_str()));
    others.cloned()
}

/// An unreadable transfer syntax makes the item unreadable: answering in another one would be wrong.
fn read_transfer_syntax(text: &str) -> Option<RequestedTransferSyntax> {
    let text = text.trim().trim_matches('"');
    if text == "*" {
        return Some(RequestedTransferSyntax::Any);
    }
    let uid = crate::dicom::uid::check_uid(text).ok()?;
    Some(RequestedTransferSyntax::Uid(uid.to_owned()))
}

/// Thousandths; more digits are cut, below zero is 0, above one and unreadable is 1.
fn read_quality(text: &str) -> u16 {
    let text = text.trim();
    if text.starts_with('-') {
        return 0;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let readable = digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0;
    if !readable || whole.bytes().any(|byte| byte != b'0') {
        return FULL_QUALITY;
    }
    let mut thousandths = 0;
    for position in 0..3 {
        let digit = fraction
            .as_bytes()
            .get(position)
            .map_or(0, |byte| byte - b'0');
        thousandths = thousandths * 10 + u16::from(digit);
    }
    thousandths
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 127 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
