//! stand-in
use super::query::*;
pub fn matches(_c: &Condition, _o: &serde_json::Value) -> bool {
    true
}
pub fn project(
    _o: &serde_json::Map<String, serde_json::Value>,
    _p: &[&TagPath],
    _out: &mut serde_json::Map<String, serde_json::Value>,
) {
}
