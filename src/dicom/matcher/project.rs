//! Copying of included attributes from stored DICOM JSON.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use dicom_core::Tag;

use super::steps::{ElementPosition, Steps};
use crate::dicom::members::{JsonElement, Malformed};
use crate::dicom::query::{PathStep, TagPath};
use crate::dicom::tag;

/// Attributes to copy, prepared for many data sets.
#[derive(Debug, Default)]
pub struct Projection {
    steps: Steps,
    /// For each step whether it is copied as a whole, and what of its items is copied.
    parts: Vec<(bool, Self)>,
}

/// What is copied of an attribute.
enum ProjectedPart<'t, 'p> {
    Whole(JsonElement<'t>),
    /// A sequence, its items reduced.
    Reduced(JsonElement<'t>, &'p Projection),
}

impl Projection {
    /// Prepares the paths.
    ///
    /// A dotted path copies its sequence with every item, reduced to the attributes asked for. A private attribute brings its
    /// creator element along.
    #[must_use]
    pub fn new(paths: &[TagPath]) -> Self {
        let mut root = Self::default();
        for path in paths {
            root.add(&path.0);
        }
        root
    }

    fn add(&mut self, path: &[PathStep]) {
        let Some((step, inner)) = path.split_first() else {
            return;
        };
        let at = self.steps.place(step);
        if at == self.parts.len() {
            self.parts.push((false, Self::default()));
        }
        if let Some((whole, part)) = self.parts.get_mut(at) {
            *whole |= inner.is_empty();
            part.add(inner);
        }
    }

    /// Whether nothing is to be copied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Copies the included attributes of a data set into `out`; what is there already is kept.
    ///
    /// Elements are copied as they are: a `BulkDataURI` is not completed. What is copied is never longer than the data set.
    ///
    /// # Errors
    /// [`Malformed`] when the text is no DICOM JSON.
    pub fn copy(&self, data_set: &str, out: &mut BTreeMap<Tag, String>) -> Result<(), Malformed> {
        for (tag, part) in self.parts_of(data_set)? {
            if let Entry::Vacant(free) = out.entry(tag) {
                let mut text = String::new();
                part.write(&mut text)?;
                free.insert(text);
            }
        }
        Ok(())
    }

    /// What is copied of a data set.
    fn parts_of<'t, 'p>(
        &'p self,
        data_set: &'t str,
    ) -> Result<BTreeMap<Tag, ProjectedPart<'t, 'p>>, Malformed> {
        let found = self.steps.find_with_creators(data_set)?;
        let mut parts = BTreeMap::new();
        for (found, (whole, inner)) in found.into_iter().zip(&self.parts) {
            let Some(ElementPosition {
                tag,
                element,
                creator,
            }) = found
            else {
                continue;
            };
            let part = if *whole {
                ProjectedPart::Whole(element)
            } else if element.vr() == "SQ" {
                ProjectedPart::Reduced(element, inner)
            } else {
                continue;
            };
            if let Some((tag, element)) = creator {
                parts.entry(tag).or_insert(ProjectedPart::Whole(element));
            }
            parts.entry(tag).or_insert(part);
        }
        Ok(parts)
    }

    fn write_item(&self, item: &str, out: &mut String) -> Result<(), Malformed> {
        out.push('{');
        for (at, (tag, part)) in self.parts_of(item)?.into_iter().enumerate() {
            out.push_str(if at > 0 { ",\"" } else { "\"" });
            out.push_str(&tag::hex(tag));
            out.push_str("\":");
            part.write(out)?;
        }
        out.push('}');
        Ok(())
    }
}

impl ProjectedPart<'_, '_> {
    /// Calls itself once for each step of a path.
    fn write(&self, out: &mut String) -> Result<(), Malformed> {
        match self {
            Self::Whole(element) => out.push_str(element.json()),
            Self::Reduced(sequence, inner) => {
                out.push_str("{\"vr\":\"SQ\"");
                let mut separator = ",\"Value\":[";
                for item in sequence.items() {
                    out.push_str(separator);
                    separator = ",";
                    inner.write_item(item, out)?;
                }
                out.push_str(if separator == "," { "]}" } else { "}" });
            }
        }
        Ok(())
    }
}
