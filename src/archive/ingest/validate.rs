//! The second stage of a store: a complete part is parsed once, checked against the rules of its face, and packed for the
//! index.

use std::sync::Arc;

use super::checks::check;
use super::complete::{CompletePart, Load};
use super::options::StoreOptions;
use super::outcome::{Outcome, SopNames, failed, refused, unreadable};
use super::parse_memory::{ParseMemory, RetryReason};
use super::reason;
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::rules::{self, Rules, comment};
use crate::archive::spool::{NoSpace, is_no_space};
use crate::dicom::instance::Instance;
use crate::dicom::issue::ValidationIssue;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::parse_memory::GrantMemory;
use crate::dicom::source::Source;
use crate::index::{BlobPlace, NewInstance, PackedInstance, TagRow, invalid_values};
use crate::memory::Reservation;

/// What an instance takes until it has its rows, in copies of what is packed: its own, the statement's, the driver's.
pub(super) const COPIES: usize = 3;
/// A part that will be stored, if it can be written.
pub(super) struct ValidatedPart {
    pub(super) new: NewInstance,
    pub(super) findings: Vec<ValidationIssue>,
    pub(super) sop_class: String,
    pub(super) warning: Option<u16>,
    /// Memory of what is packed.
    pub(super) held: Reservation,
}

/// How a parse ended.
pub(super) enum ParseOutcome {
    Fit(Box<(ValidatedPart, Load)>),
    Failed(Box<Refusal>),
    /// It needs more memory than it may take now.
    Again(Box<CompletePart>, RetryReason, Box<SopNames>),
}

/// Why a part is not stored, and what is wrong with the server, if it is that.
pub(super) struct Refusal {
    pub(super) outcome: Outcome,
    pub(super) error: Option<ArchiveError>,
}

impl From<Outcome> for Box<Refusal> {
    fn from(outcome: Outcome) -> Self {
        Self::new(Refusal {
            outcome,
            error: None,
        })
    }
}

impl Archive {
    /// How files are parsed at the door of a face.
    pub(in crate::archive) fn parse_options(&self, rules: Rules) -> ParseOptions<'_> {
        ParseOptions {
            inflate_to: Some(&*self.inflate_to),
            ..rules::parse_options(rules, &self.limits)
        }
    }

    /// Parses and checks one part and packs its rows; runs in the lane.
    pub(super) fn validate(
        &self,
        (options, tagged): (&StoreOptions, &[TagRow]),
        whole: Box<CompletePart>,
        share: ParseMemory,
    ) -> ParseOutcome {
        let found = self.parsed_instance((options, tagged), whole.source(), &share.grants());
        if let Some(again) = share.refused() {
            let names = match found {
                Err(refusal) => refusal.outcome.names(),
                Ok(_) => SopNames::default(),
            };
            return ParseOutcome::Again(whole, again, Box::new(names));
        }
        let (instance, packed, warning) = match found {
            Ok(found) => found,
            Err(refusal) => return ParseOutcome::Failed(refusal),
        };
        let place = BlobPlace {
            key: self.new_key(
                options.partition,
                (&instance.name, &whole.sums.digest),
                options.made_of.as_deref(),
            ),
            offset: 0,
            length: whole.source().len(),
            blocks: Some(whole.sums.blocks.clone()),
        };
        let mut held = share.into_held();
        held.must_cover(packed.bytes());
        held.shrink_to(packed.bytes().saturating_mul(COPIES));
        let digest = whole.sums.digest;
        let fit = ValidatedPart {
            new: NewInstance {
                partition: options.partition,
                visible: options.visible.clone(),
                packed: Arc::new(packed),
                place,
                digest,
                replaces: options.replace.clone(),
                condition: None,
                expires: options.expires,
                restores: false,
            },
            findings: instance.findings,
            sop_class: instance.sop_class,
            warning,
            held,
        };
        ParseOutcome::Fit(Box::new((fit, whole.into_load())))
    }

    /// The instance of a file, with its rows and the warning it is stored with.
    fn parsed_instance(
        &self,
        (options, tagged): (&StoreOptions, &[TagRow]),
        source: &dyn Source,
        room: GrantMemory<'_>,
    ) -> Result<(Instance, PackedInstance, Option<u16>), Box<Refusal>> {
        if source.is_empty() {
            let outcome = unreadable(
                options.rules,
                "the part is empty: it must hold a DICOM file",
            );
            return Err(outcome.into());
        }
        let parse_options = ParseOptions {
            room: Some(room),
            ..self.parse_options(options.rules)
        };
        let mut instance = parse(source, &parse_options).map_err(|error| {
            Box::new(Refusal {
                outcome: refused(options.rules, &error),
                error: is_no_space(&error).then(|| NoSpace.into()),
            })
        })?;
        if let Some(outcome) = check(options, &instance) {
            return Err(outcome.into());
        }
        let mut judgement = rules::validate(options.rules, &instance);
        if options.rules == Rules::V1 {
            let invalid = invalid_values(&instance.metadata.text, tagged);
            judgement
                .refusals
                .extend(invalid.iter().map(|(tag, reason)| comment(*tag, reason)));
        }
        if !judgement.refusals.is_empty() {
            let outcome = failed(&instance, reason::INVALID, judgement.refusals);
            return Err(outcome.into());
        }
        instance.findings.extend(
            judgement
                .warnings
                .into_iter()
                .map(|(tag, comment)| ValidationIssue { tag, comment }),
        );
        let warning = rules::warning(options.rules, &instance);
        let packed = PackedInstance::new(&instance, tagged, Some(room)).map_err(|error| {
            drop(error);
            let comments = vec!["there is no memory for it".to_owned()];
            Box::<Refusal>::from(failed(&instance, reason::OUT_OF_RESOURCES, comments))
        })?;
        // What is left of it is small; the text is no longer needed.
        instance.metadata = crate::dicom::instance::Metadata::default();
        Ok((instance, packed, warning))
    }
}
