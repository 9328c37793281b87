//! Metadata at rest and on the way out: packed for the index, and with the answer's URLs put in.
//!
//! Invariant: unpacking never makes more bytes than its cap, and what it gives has its places in order and inside the text,
//! so that splicing cannot fail.

use super::instance::Metadata;
use super::json;

/// Why packed metadata cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The bytes are cut, or were made by something else.
    #[error("the packed metadata is damaged; rebuild it with `stowage reindex`")]
    Damaged,
    /// The text is longer than the cap.
    #[error("the packed metadata unpacks to {length} bytes, more than the {cap} allowed")]
    TooLong {
        /// Announced length in bytes.
        length: u64,
        /// The cap.
        cap: usize,
    },
}

/// First byte: the layout of what follows.
const VERSION: u8 = 1;
/// Levels above cost more at ingest than the few percent they save.
const LEVEL: i32 = 1;

/// Packs metadata for the index: a version byte, the length of the rest, then with zstd the places and the text.
#[must_use]
pub fn pack(metadata: &Metadata) -> Vec<u8> {
    let places = metadata.uri_at.len();
    let mut plain = Vec::with_capacity(
        metadata
            .text
            .len()
            .saturating_add(places.saturating_mul(4))
            .saturating_add(8),
    );
    plain.extend(metadata.available_syntax_at.to_le_bytes());
    plain.extend(u32::try_from(places).unwrap_or(u32::MAX).to_le_bytes());
    for at in &metadata.uri_at {
        plain.extend(at.to_le_bytes());
    }
    plain.extend(metadata.text.as_bytes());
    let mut out = vec![VERSION];
    out.extend((plain.len() as u64).to_le_bytes());
    // Compressing into memory has no way to fail; stored bytes without compression are still readable.
    match zstd::bulk::compress(&plain, LEVEL) {
        Ok(packed) => out.extend(packed),
        Err(_) => {
            out.clear();
            out.push(VERSION_PLAIN);
            out.extend((plain.len() as u64).to_le_bytes());
            out.extend(plain);
        }
    }
    out
}

/// As [`VERSION`], not compressed.
const VERSION_PLAIN: u8 = 2;

/// Bytes that [`unpack`] needs for what [`pack`] made; none when the bytes are damaged.
#[must_use]
pub fn unpacked_length(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = bytes.split_first()?;
    let (length, _) = rest.split_first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*length)).ok()
}

/// Unpacks what [`pack`] made.
///
/// # Errors
/// [`MetadataError`] when the bytes are damaged or hold more than `cap` bytes.
pub fn unpack(bytes: &[u8], cap: usize) -> Result<Metadata, MetadataError> {
    let (version, rest) = bytes.split_first().ok_or(MetadataError::Damaged)?;
    let (length, packed) = rest
        .split_first_chunk::<8>()
        .ok_or(MetadataError::Damaged)?;
    let length = u64::from_le_bytes(*length);
    let capacity = usize::try_from(length).ok().filter(|length| *length <= cap);
    let capacity = capacity.ok_or(MetadataError::TooLong { length, cap })?;
    let plain = match *version {
        VERSION => zstd::bulk::decompress(packed, capacity).map_err(|_| MetadataError::Damaged)?,
        VERSION_PLAIN => packed.to_vec(),
        _ => return Err(MetadataError::Damaged),
    };
    if plain.len() != capacity {
        return Err(MetadataError::Damaged);
    }
    parse(plain).ok_or(MetadataError::Damaged)
}

fn parse(plain: Vec<u8>) -> Option<Metadata> {
    let (available_syntax_at, rest) = plain.split_first_chunk::<4>()?;
    let available_syntax_at = u32::from_le_bytes(*available_syntax_at);
    let (places, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*places))
        .ok()?
        .checked_mul(4)?;
    let (places, text) = rest.split_at_checked(length)?;
    let uri_at: Vec<u32> = places
        .as_chunks()
        .0
        .iter()
        .map(|chunk| u32::from_le_bytes(*chunk))
        .collect();
    let skip = plain.len().checked_sub(text.len())?;
    let mut text = plain;
    text.drain(..skip);
    let text = String::from_utf8(text).ok()?;
    let inside = |at: u32| usize::try_from(at).is_ok_and(|at| text.is_char_boundary(at));
    let good =
        uri_at.is_sorted() && uri_at.iter().all(|at| inside(*at)) && inside(available_syntax_at);
    good.then_some(Metadata {
        text,
        uri_at,
        available_syntax_at,
    })
}

/// Writes the JSON object with absolute bulk data URLs and, if any, the available transfer syntaxes (0008,3002).
///
/// `instance_url` is the URL of the instance, without a slash at its end.
pub fn write_with_base(
    metadata: &Metadata,
    instance_url: &str,
    available: &[&str],
    out: &mut Vec<u8>,
) {
    let mut quoted = String::new();
    json::push_quoted(&mut quoted, instance_url);
    let url = quoted
        .trim_start_matches('"')
        .strip_suffix('"')
        .unwrap_or_default()
        .as_bytes();
    let text = metadata.text.as_bytes();
    let growth = metadata
        .uri_at
        .len()
        .saturating_mul(url.len().saturating_add(1));
    out.reserve(
        text.len()
            .saturating_add(growth)
            .saturating_add(available.len().saturating_mul(40)),
    );
    let mut done = 0;
    let copy_to = |out: &mut Vec<u8>, done: &mut usize, to: u32| {
        let to = usize::try_from(to).unwrap_or(usize::MAX).min(text.len());
        out.extend_from_slice(text.get(*done..to).unwrap_or_default());
        *done = to.max(*done);
    };
    let before = metadata
        .uri_at
        .partition_point(|at| *at < metadata.available_syntax_at);
    let (first, second) = metadata
        .uri_at
        .split_at_checked(before)
        .unwrap_or((&metadata.uri_at, &[]));
    for (index, places) in [first, second].into_iter().enumerate() {
        if index == 1 && !available.is_empty() {
            copy_to(out, &mut done, metadata.available_syntax_at);
            available_syntaxes(
                available,
                text.get(done),
                text.get(done.wrapping_sub(1)),
                out,
            );
        }
        for at in places {
            copy_to(out, &mut done, *at);
            out.extend_from_slice(url);
            out.push(b'/');
        }
    }
    copy_to(out, &mut done, u32::MAX);
}

/// `"00083002":{…}` with the comma its place needs.
fn available_syntaxes(uids: &[&str], next: Option<&u8>, before: Option<&u8>, out: &mut Vec<u8>) {
    let last = next == Some(&b'}');
    if last && before != Some(&b'{') {
        out.push(b',');
    }
    let mut text = String::from("\"00083002\":{\"vr\":\"UI\",\"Value\":[");
    for (index, uid) in uids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        json::push_quoted(&mut text, uid);
    }
    text.push_str("]}");
    out.extend_from_slice(text.as_bytes());
    if !last {
        out.push(b',');
    }
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
        let packed = pack(&sample());
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
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let bomb = Metadata {
            text: " ".repeat(50 << 20),
            uri_at: vec![],
            available_syntax_at: 0,
        };
        let packed = pack(&bomb);
        assert!(packed.len() < 10_000);
        assert!(matches!(
            unpack(&packed, 1 << 20),
            Err(MetadataError::TooLong { .. })
        ));
        let mut lying = packed;
        lying[1..9].copy_from_slice(&1000_u64.to_le_bytes());
        assert_eq!(unpack(&lying, 1 << 20), Err(MetadataError::Damaged));
    }

    #[test]
    fn urls_and_available_syntaxes_are_put_in_place() {
        let mut out = Vec::new();
        write_with_base(
            &sample(),
            "http://h/studies/1",
            &["1.2.840.10008.1.2.1"],
            &mut out,
        );
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
        let mut plain = Vec::new();
        write_with_base(&sample(), "x\"y", &[], &mut plain);
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
            let mut out = Vec::new();
            write_with_base(&metadata, "u", &["1.2"], &mut out);
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value["00083002"]["Value"][0], "1.2");
        }
    }
}
