//! The bulk data parts of a request, by their Content-Location.

use std::collections::HashMap;

use super::content::BulkPart;

/// The bulk data parts of a request by their Content-Location.
#[derive(Debug, Default)]
pub struct BulkParts {
    parts: Vec<BulkPart>,
    by_location: HashMap<String, Vec<usize>>,
}

impl BulkParts {
    /// Takes the parts in the order they came; several with one location are the frames of one attribute.
    #[must_use]
    pub fn new(parts: Vec<BulkPart>) -> Self {
        let mut by_location: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, part) in parts.iter().enumerate() {
            let location = path_of(&part.location).to_owned();
            by_location.entry(location).or_default().push(number);
        }
        Self { parts, by_location }
    }

    /// The part that came alone and without a Content-Location.
    pub(super) fn lone(&self) -> Option<&BulkPart> {
        match self.parts.as_slice() {
            [part] if part.location.is_empty() => Some(part),
            _ => None,
        }
    }

    /// The part with this number.
    #[must_use]
    pub fn part(&self, number: usize) -> Option<&BulkPart> {
        self.parts.get(number)
    }

    pub(super) fn find(&self, uri: &str) -> &[usize] {
        self.by_location
            .get(path_of(uri))
            .map_or(&[], Vec::as_slice)
    }
}

/// A URI without scheme and host: clients write one side relative and the other absolute.
fn path_of(uri: &str) -> &str {
    let path = match uri.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => uri,
    };
    path.trim_start_matches("./").trim_start_matches('/')
}
