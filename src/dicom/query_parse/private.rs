//! Private attributes by their creator: a creator element given as parameter names the block (PS3.18 §8.3.4.3, PS3.5 §7.8.1).

use dicom_core::Tag;

use super::super::query::TagPath;
use super::super::tag;
use super::draft::Named;

/// A private creator with a value that can be a name.
pub(super) fn names_a_block(named: &Named<'_>) -> bool {
    let creator = named
        .path
        .0
        .last()
        .is_some_and(|step| tag::is_creator(step.tag));
    let name = named.value.trim_matches([' ', '\0']);
    creator
        && !name.is_empty()
        && !name.contains(['*', '?', '\\'])
        && !name.contains(char::is_control)
}

/// Whether a step of the path lies in the block that the creator element reserves.
pub(super) fn uses(path: &TagPath, creator: &TagPath) -> bool {
    (0..path.0.len()).any(|at| reserves(path, at, creator))
}

fn reserves(path: &TagPath, at: usize, creator: &TagPath) -> bool {
    let Some((last, before)) = creator.0.split_last() else {
        return false;
    };
    let block = path.0.get(at).and_then(|step| tag::creator_of(step.tag));
    let same_place = path.0.get(..at).is_some_and(|steps| {
        steps.len() == before.len() && steps.iter().zip(before).all(|(a, b)| a.tag == b.tag)
    });
    block == Some(last.tag) && same_place
}

/// Replaces full private tags by creator and element where the creator was given.
pub(super) fn name_creators(path: &mut TagPath, creators: &[(TagPath, &str)]) {
    // Found before any step is changed: the creators are given with full tags.
    let found: Vec<Option<String>> = (0..path.0.len())
        .map(|at| {
            let creator = creators
                .iter()
                .find(|(creator, _)| reserves(path, at, creator));
            creator.map(|(_, name)| name.trim_matches([' ', '\0']).to_owned())
        })
        .collect();
    for (step, creator) in path.0.iter_mut().zip(found) {
        if creator.is_some() {
            step.tag = Tag(step.tag.0, step.tag.1 & 0xFF);
            step.creator = creator;
        }
    }
}
