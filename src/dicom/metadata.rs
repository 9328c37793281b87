//! Metadata at rest and on the way out: packed for the index, and with the answer's URLs put in.
//!
//! Invariant: unpacking never makes more bytes than its cap, and what it gives has its places in order and inside the text,
//! so that splicing cannot fail.

mod packed;

use dicom_dictionary_std::tags;

use super::instance::Metadata;
use super::json::skip::next_member;
use super::members::Malformed;
use super::merge::is_of_server;
use super::pieces::Pieces;
use super::{json, tag};

pub use packed::{MetadataError, pack, unpack, unpacked_bytes, unpacked_length};

/// Writes the JSON object with absolute bulk data URLs and, if any, the available transfer syntaxes (0008,3002), in pieces.
///
/// What [`is_of_server`] is left out.
#[derive(Debug)]
pub struct MetadataWriter {
    text: String,
    /// What happens at which place of the text, the next one last.
    events: Vec<(usize, MetadataEvent)>,
    uri_at: std::vec::IntoIter<u32>,
    /// URL of the instance with a slash, as part of a JSON string.
    url: String,
    /// The member with the available transfer syntaxes.
    available: String,
    /// Bytes of the text that were copied or left out.
    done: usize,
    /// The next place of `uri_at`.
    next_uri: Option<usize>,
    /// The byte written last.
    last: u8,
    finished: bool,
}

#[derive(Debug, Clone, Copy)]
enum MetadataEvent {
    /// Everything up to this place is left out.
    Skip(usize),
    /// The available transfer syntaxes are put in.
    Available,
}

impl MetadataWriter {
    /// `instance_url` is the URL of the instance, without a slash at its end.
    ///
    /// # Errors
    /// [`Malformed`] when the text is no DICOM JSON as far as it was looked at.
    pub fn new(
        metadata: Metadata,
        instance_url: &str,
        available: &[&str],
    ) -> Result<Self, Malformed> {
        let mut quoted = String::new();
        json::push_quoted(&mut quoted, instance_url);
        let url = quoted
            .trim_start_matches('"')
            .strip_suffix('"')
            .unwrap_or_default();
        let url = format!("{url}/");
        let mut events = left_out(&metadata.text)?;
        let at = usize::try_from(metadata.available_syntax_at).unwrap_or(usize::MAX);
        if !available.is_empty() {
            events.push((at, MetadataEvent::Available));
            events.sort_by_key(|(at, _)| *at);
        }
        events.reverse();
        let mut uri_at = metadata.uri_at.into_iter();
        Ok(Self {
            text: metadata.text,
            events,
            next_uri: next(&mut uri_at),
            uri_at,
            url,
            available: available_syntaxes(available),
            done: 0,
            last: 0,
            finished: false,
        })
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// Copies the text up to a place, until `out` is `enough` bytes long; whether that place was reached.
    fn copy_to(&mut self, to: usize, out: &mut Vec<u8>, enough: usize) -> bool {
        let room = enough.saturating_sub(out.len());
        let end = self.done.saturating_add(room).min(to);
        let bytes = self.text.as_bytes().get(self.done..end).unwrap_or_default();
        out.extend_from_slice(bytes);
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.done = self.done.max(end);
        self.done >= to
    }

    fn event(&mut self, event: MetadataEvent, out: &mut Vec<u8>) {
        match event {
            MetadataEvent::Skip(to) => {
                self.done = self.done.max(to);
                while self.next_uri.is_some_and(|at| at < self.done) {
                    self.next_uri = next(&mut self.uri_at);
                }
            }
            MetadataEvent::Available => {
                let is_last = self.text.as_bytes().get(self.done) == Some(&b'}');
                let member = std::mem::take(&mut self.available);
                if is_last && self.last != b'{' {
                    self.put(b",", out);
                }
                self.put(member.as_bytes(), out);
                if !is_last {
                    self.put(b",", out);
                }
            }
        }
    }
}

impl Pieces for MetadataWriter {
    fn next(&mut self, least: usize) -> Result<Option<Vec<u8>>, Malformed> {
        if self.finished {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(least.min(self.text.len().saturating_add(1024)));
        while out.len() < least {
            let event = self.events.last().map(|(at, _)| *at);
            let uri = self.next_uri;
            let to = event
                .into_iter()
                .chain(uri)
                .min()
                .unwrap_or(self.text.len());
            if !self.copy_to(to, &mut out, least) {
                break;
            }
            if event == Some(to) {
                if let Some((_, event)) = self.events.pop() {
                    self.event(event, &mut out);
                }
            } else if uri == Some(to) {
                self.next_uri = next(&mut self.uri_at);
                let url = std::mem::take(&mut self.url);
                self.put(url.as_bytes(), &mut out);
                self.url = url;
            } else {
                self.finished = true;
                break;
            }
        }
        Ok(Some(out))
    }
}

/// The whole object, for tests.
#[cfg(test)]
pub(crate) fn written(metadata: &Metadata, instance_url: &str, available: &[&str]) -> Vec<u8> {
    let mut writer = MetadataWriter::new(metadata.clone(), instance_url, available).unwrap();
    writer.next(usize::MAX).unwrap().unwrap()
}

fn next(places: &mut std::vec::IntoIter<u32>) -> Option<usize> {
    places
        .next()
        .map(|at| usize::try_from(at).unwrap_or(usize::MAX))
}

/// The places of members that are left out, each with one comma beside it.
fn left_out(text: &str) -> Result<Vec<(usize, MetadataEvent)>, Malformed> {
    let mut places = Vec::new();
    let mut at = text.find('{').map_or(text.len(), |at| at.saturating_add(1));
    let mut kept = false;
    // Behind the last tag that can be left out nothing needs to be looked at: tags ascend.
    while let Some((name, value)) = next_member(text, at) {
        let tag = text.get(name.clone()).and_then(tag::from_hex);
        let tag = tag.ok_or(Malformed {
            left: text.len().saturating_sub(name.start),
        })?;
        if tag > tags::RETRIEVE_URL {
            break;
        }
        if is_of_server(tag) {
            let start = if kept {
                at
            } else {
                name.start.saturating_sub(1)
            };
            let comma = usize::from(!kept && text.as_bytes().get(value.end) == Some(&b','));
            places.push((start, MetadataEvent::Skip(value.end.saturating_add(comma))));
        } else {
            kept = true;
        }
        at = value.end;
    }
    Ok(places)
}

/// `"00083002":{…}`
fn available_syntaxes(uids: &[&str]) -> String {
    let mut text = String::from("\"00083002\":{\"vr\":\"UI\",\"Value\":[");
    for (index, uid) in uids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        json::push_quoted(&mut text, uid);
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let text = r#"{"00080018":{"vr":"UI","Value":["1.2"]},"00100010":{"vr":"PN","Value":[{"Alphabetic":"Ä"}]},"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}"#;
        Metadata {
            text: text.to_owned(),
            uri_at: vec![u32::try_from(text.find("bulkdata").unwrap()).unwrap()],
            available_syntax_at: u32::try_from(text.find("\"00100010").unwrap()).unwrap(),
        }
    }

    #[test]
    fn packed_metadata_comes_back_the_same() {
        let packed = pack(&sample(), None).unwrap();
        assert_eq!(unpack(&packed, 4096).unwrap(), sample());
        assert!(matches!(
            unpack(&packed, 10),
            Err(MetadataError::TooLong { .. })
        ));
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut], 4096).is_err(), "{cut}");
        }
    }

    #[test]
    fn packed_metadata_says_how_large_it_is() {
        let packed = pack(&sample(), None).unwrap();
        let bytes = unpacked_bytes(&packed).unwrap();
        assert!(bytes >= sample().text.len() && bytes < sample().text.len() + 5000);
        assert_eq!(unpacked_bytes(&packed[..8]), Err(MetadataError::Damaged));
        assert_eq!(unpacked_bytes(&[]), Err(MetadataError::Damaged));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let bomb = Metadata {
            text: " ".repeat(50 << 20),
            uri_at: vec![],
            available_syntax_at: 0,
        };
        let packed = pack(&bomb, None).unwrap();
        assert!(packed.len() < 10_000);
        assert!(matches!(
            unpack(&packed, 1 << 20),
            Err(MetadataError::TooLong { .. })
        ));
        let mut lying = packed;
        lying[1..9].copy_from_slice(&1000_u64.to_le_bytes());
        assert_eq!(unpack(&lying, 1 << 20), Err(MetadataError::Damaged));
    }

    /// What is written, which does not depend on how it is cut.
    fn cut_anyhow(metadata: &Metadata, url: &str, available: &[&str]) -> Vec<u8> {
        let cut = |least: usize| {
            let mut writer = MetadataWriter::new(metadata.clone(), url, available).unwrap();
            let pieces = std::iter::from_fn(|| writer.next(least).unwrap());
            pieces.flatten().collect::<Vec<u8>>()
        };
        let whole = written(metadata, url, available);
        for least in [1, 2, 50] {
            assert_eq!(cut(least), whole, "{least}");
        }
        whole
    }

    #[test]
    fn urls_and_available_syntaxes_are_put_in_place() {
        let out = cut_anyhow(&sample(), "http://h/studies/1", &["1.2.840.10008.1.2.1"]);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value["7FE00010"]["BulkDataURI"],
            "http://h/studies/1/bulkdata/7FE00010"
        );
        assert_eq!(value["00083002"]["Value"][0], "1.2.840.10008.1.2.1");
        let keys: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["00080018", "00083002", "00100010", "7FE00010"]);
        let plain = cut_anyhow(&sample(), "x\"y", &[]);
        let value: serde_json::Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(value["7FE00010"]["BulkDataURI"], "x\"y/bulkdata/7FE00010");
        assert_eq!(value.get("00083002"), None);
    }

    #[test]
    fn available_syntaxes_may_be_the_last_or_the_only_key() {
        for (text, at) in [("{}", 1), (r#"{"00080018":{"vr":"UI"}}"#, 23)] {
            let metadata = Metadata {
                text: text.to_owned(),
                uri_at: vec![],
                available_syntax_at: at,
            };
            let out = cut_anyhow(&metadata, "u", &["1.2"]);
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value["00083002"]["Value"][0], "1.2");
        }
    }
    #[test]
    fn what_is_the_servers_to_tell_is_left_out() {
        let of_server = |tag: &str| format!(r#""{tag}":{{"vr":"UR","Value":["x"]}}"#);
        let member = |tag: &str| format!(r#""{tag}":{{"vr":"LO"}}"#);
        let [title, availability, url] = ["00080054", "00080056", "00081190"].map(of_server);
        let [before, between, behind] = ["00080005", "00080060", "00100010"].map(member);
        for members in [
            vec![&url],
            vec![&title, &availability, &url],
            vec![&before, &title, &availability, &url],
            vec![&title, &between, &url],
            vec![&title, &url, &behind],
            vec![&before, &title, &availability, &between, &url, &behind],
            vec![&before, &behind],
            vec![],
        ] {
            let list: Vec<&str> = members.iter().map(|member| member.as_str()).collect();
            let text = format!("{{{}}}", list.join(","));
            let kept: Vec<&str> = members
                .iter()
                .filter(|member| !member.contains("UR"))
                .map(|member| member.as_str())
                .collect();
            let at = text.find(&behind).unwrap_or(text.len() - 1);
            let metadata = Metadata {
                text: text.clone(),
                uri_at: vec![],
                available_syntax_at: u32::try_from(at).unwrap(),
            };
            let out = String::from_utf8(cut_anyhow(&metadata, "u", &[])).unwrap();
            assert_eq!(out, format!("{{{}}}", kept.join(",")));
            let out = cut_anyhow(&metadata, "u", &["1.2"]);
            let value: serde_json::Value = serde_json::from_slice(&out).expect(&text);
            assert_eq!(value.as_object().unwrap().len(), kept.len() + 1, "{text}");
        }
    }
}
