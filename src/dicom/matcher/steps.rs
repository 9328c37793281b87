//! Named attributes of one data set, found in one look through its text.

use dicom_core::Tag;

use super::padding::unpadded;
use crate::dicom::members::{self, JsonElement, Malformed};
use crate::dicom::query::PathStep;
use crate::dicom::tag;

/// Attributes that are looked for.
#[derive(Debug, Default)]
pub struct Steps {
    steps: Vec<PathStep>,
    /// Where the plain ones among them stand, ascending by tag.
    plain: Vec<(Tag, usize)>,
    /// Where those named by creator stand.
    owned: Vec<usize>,
    /// Behind this tag none of them can stand.
    last: Option<Tag>,
}

impl Steps {
    /// The place of an attribute in what [`Self::find`] gives; it is added when it is new.
    pub fn place(&mut self, step: &PathStep) -> usize {
        if let Some(at) = self.steps.iter().position(|known| known == step) {
            return at;
        }
        let at = self.steps.len();
        self.steps.push(step.clone());
        let last = if step.creator.is_some() {
            self.owned.push(at);
            Tag(step.tag.0, 0xFFFF)
        } else {
            let behind = self.plain.partition_point(|(tag, _)| *tag < step.tag);
            self.plain.insert(behind, (step.tag, at));
            step.tag
        };
        self.last = self.last.max(Some(last));
        at
    }

    /// The elements of a data set, whose tags ascend, by the places of the attributes.
    ///
    /// # Errors
    /// [`Malformed`] when the text is no DICOM JSON up to the last of them.
    pub fn find<'t>(&self, data_set: &'t str) -> Result<Vec<Option<JsonElement<'t>>>, Malformed> {
        let found = self.find_with_creators(data_set)?;
        Ok(found
            .into_iter()
            .map(|found| found.map(|found| found.element))
            .collect())
    }

    /// As [`Self::find`], with the tags they have and their creator elements.
    pub(super) fn find_with_creators<'t>(
        &self,
        data_set: &'t str,
    ) -> Result<Vec<Option<ElementPosition<'t>>>, Malformed> {
        let mut found: Vec<Option<ElementPosition<'t>>> = vec![None; self.steps.len()];
        // Blocks of creators that are asked for: the tag an attribute has there, and its place.
        let mut blocks: Vec<(Tag, usize, (Tag, JsonElement<'t>))> = Vec::new();
        for member in members::members(data_set) {
            let (tag, element) = member?;
            if Some(tag) > self.last {
                break;
            }
            let behind = self.plain.partition_point(|(known, _)| *known < tag);
            if let Some((_, at)) = self.plain.get(behind).filter(|(known, _)| *known == tag) {
                set(&mut found, *at, tag, element, None);
            }
            if !tag::is_private(tag) || self.owned.is_empty() {
                continue;
            }
            for (_, at, creator) in blocks.iter().filter(|(inside, ..)| *inside == tag) {
                set(&mut found, *at, tag, element, Some(*creator));
            }
            if tag::is_creator(tag) {
                let taken = |at: usize| blocks.iter().any(|(_, other, _)| *other == at);
                let new: Vec<_> = self
                    .owned
                    .iter()
                    .filter(|at| !taken(**at))
                    .filter_map(|at| {
                        let step = self.steps.get(*at)?;
                        let inside = Tag(tag.0, tag.1 << 8 | step.tag.1 & 0xFF);
                        (step.tag.0 == tag.0 && is_owner(element, step)).then_some((
                            inside,
                            *at,
                            (tag, element),
                        ))
                    })
                    .collect();
                blocks.extend(new);
            }
        }
        Ok(found)
    }
}

/// An element of a data set.
#[derive(Debug, Clone, Copy)]
pub(super) struct ElementPosition<'t> {
    /// Its tag.
    pub(super) tag: Tag,
    /// It itself.
    pub(super) element: JsonElement<'t>,
    /// The creator element that reserves its block, when it was named by creator.
    pub(super) creator: Option<(Tag, JsonElement<'t>)>,
}

/// The first of several elements with the same tag counts.
fn set<'t>(
    found: &mut [Option<ElementPosition<'t>>],
    at: usize,
    tag: Tag,
    element: JsonElement<'t>,
    creator: Option<(Tag, JsonElement<'t>)>,
) {
    if let Some(slot) = found.get_mut(at) {
        slot.get_or_insert(ElementPosition {
            tag,
            element,
            creator,
        });
    }
}

/// Whether a creator element names the creator of a step.
fn is_owner(element: JsonElement<'_>, step: &PathStep) -> bool {
    let name = element.values().find_map(members::string);
    let wanted = step.creator.as_deref().map(unpadded);
    name.is_some_and(|name| Some(unpadded(&name)) == wanted)
}
