//! stand-in
use super::instance::Metadata;
#[derive(Debug)]
pub struct Bad;
pub fn pack(m: &Metadata) -> Vec<u8> {
    zstd::bulk::compress(&serde_json::to_vec(m).unwrap_or_default(), 1).unwrap_or_default()
}
pub fn unpack(b: &[u8]) -> Result<Metadata, Bad> {
    let v = zstd::bulk::decompress(b, 256 << 20).map_err(|_| Bad)?;
    serde_json::from_slice(&v).map_err(|_| Bad)
}
pub fn write_with_base(m: &Metadata, url: &str, _a: &[&str], out: &mut Vec<u8>) {
    let t = m.text.as_bytes();
    let mut at = 0usize;
    for u in &m.uri_at {
        let u = *u as usize;
        out.extend_from_slice(&t[at..u]);
        out.extend_from_slice(url.as_bytes());
        out.push(b'/');
        at = u;
    }
    out.extend_from_slice(&t[at..]);
}
