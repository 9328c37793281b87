//! Command sets (PS3.7 §6.3): group 0000 in Implicit VR Little Endian, read and written.
//!
//! Invariant: only what was read within the limit of a command set is looked at; what is wrong is an error, never a panic.

use std::collections::BTreeMap;

use super::pdu::{MalformedPdu, text};

/// Longest command set, in bytes.
pub(super) const MAX_COMMAND: usize = 64 << 10;
/// Most elements of one.
const MAX_ELEMENTS: usize = 64;
/// Longest Error Comment (0000,0902).
const MAX_COMMENT: usize = 64;
/// (0000,0800) when there is no data set.
const NO_DATA: u16 = 0x0101;

/// Elements of group 0000.
pub(super) mod element {
    /// Affected SOP Class UID.
    pub(in crate::dimse) const AFFECTED_CLASS: u16 = 0x0002;
    /// Requested SOP Class UID.
    pub(in crate::dimse) const REQUESTED_CLASS: u16 = 0x0003;
    /// Command Field.
    pub(in crate::dimse) const FIELD: u16 = 0x0100;
    /// Message ID.
    pub(in crate::dimse) const MESSAGE: u16 = 0x0110;
    /// Message ID Being Responded To.
    pub(in crate::dimse) const RESPONDED: u16 = 0x0120;
    /// Move Destination.
    pub(in crate::dimse) const DESTINATION: u16 = 0x0600;
    /// Priority.
    pub(in crate::dimse) const PRIORITY: u16 = 0x0700;
    /// Command Data Set Type.
    pub(in crate::dimse) const DATA: u16 = 0x0800;
    /// Status.
    pub(in crate::dimse) const STATUS: u16 = 0x0900;
    /// Error Comment.
    pub(in crate::dimse) const COMMENT: u16 = 0x0902;
    /// Affected SOP Instance UID.
    pub(in crate::dimse) const AFFECTED_INSTANCE: u16 = 0x1000;
    /// Requested SOP Instance UID.
    pub(in crate::dimse) const REQUESTED_INSTANCE: u16 = 0x1001;
    /// Event Type ID.
    pub(in crate::dimse) const EVENT: u16 = 0x1002;
    /// Action Type ID.
    pub(in crate::dimse) const ACTION: u16 = 0x1008;
    /// Number of Remaining Sub-operations.
    pub(in crate::dimse) const REMAINING: u16 = 0x1020;
    /// Number of Completed Sub-operations.
    pub(in crate::dimse) const COMPLETED: u16 = 0x1021;
    /// Number of Failed Sub-operations.
    pub(in crate::dimse) const FAILED: u16 = 0x1022;
    /// Number of Warning Sub-operations.
    pub(in crate::dimse) const WARNED: u16 = 0x1023;
    /// Move Originator Application Entity Title.
    pub(in crate::dimse) const ORIGINATOR: u16 = 0x1030;
    /// Move Originator Message ID.
    pub(in crate::dimse) const ORIGINATOR_MESSAGE: u16 = 0x1031;
}

/// Values of Command Field (0000,0100); the answer to a request has bit 15 set.
pub(super) mod field {
    /// C-STORE-RQ.
    pub(in crate::dimse) const STORE: u16 = 0x0001;
    /// C-GET-RQ.
    pub(in crate::dimse) const GET: u16 = 0x0010;
    /// C-FIND-RQ.
    pub(in crate::dimse) const FIND: u16 = 0x0020;
    /// C-MOVE-RQ.
    pub(in crate::dimse) const MOVE: u16 = 0x0021;
    /// C-ECHO-RQ.
    pub(in crate::dimse) const ECHO: u16 = 0x0030;
    /// N-EVENT-REPORT-RQ.
    pub(in crate::dimse) const EVENT_REPORT: u16 = 0x0100;
    /// N-ACTION-RQ.
    pub(in crate::dimse) const ACTION: u16 = 0x0130;
    /// C-CANCEL-RQ.
    pub(in crate::dimse) const CANCEL: u16 = 0x0FFF;
    /// Bit of an answer.
    pub(in crate::dimse) const RESPONSE: u16 = 0x8000;
}

/// Values of Status (0000,0900).
pub(super) mod status {
    /// It is done.
    pub(in crate::dimse) const SUCCESS: u16 = 0x0000;
    /// More answers follow.
    pub(in crate::dimse) const PENDING: u16 = 0xFF00;
    /// More answers follow; an optional key was not understood.
    pub(in crate::dimse) const PENDING_WARNING: u16 = 0xFF01;
    /// It was cancelled.
    pub(in crate::dimse) const CANCELLED: u16 = 0xFE00;
    /// Some sub-operations failed.
    pub(in crate::dimse) const SUB_OPERATIONS: u16 = 0xB000;
    /// There are no resources.
    pub(in crate::dimse) const OUT_OF_RESOURCES: u16 = 0xA700;
    /// Sub-operations cannot be performed.
    pub(in crate::dimse) const NO_SUB_OPERATIONS: u16 = 0xA702;
    /// The destination of a move is unknown.
    pub(in crate::dimse) const UNKNOWN_DESTINATION: u16 = 0xA801;
    /// The data set or identifier does not match the SOP class.
    pub(in crate::dimse) const MISMATCH: u16 = 0xA900;
    /// It cannot be understood or processed.
    pub(in crate::dimse) const UNABLE: u16 = 0xC000;
    /// Processing failed.
    pub(in crate::dimse) const PROCESSING: u16 = 0x0110;
    /// No such action.
    pub(in crate::dimse) const NO_SUCH_ACTION: u16 = 0x0123;
    /// Not allowed.
    pub(in crate::dimse) const NOT_AUTHORIZED: u16 = 0x0124;
    /// No such operation in this context.
    pub(in crate::dimse) const UNRECOGNIZED: u16 = 0x0211;
    /// A value of the command is wrong.
    pub(in crate::dimse) const INVALID_ARGUMENT: u16 = 0x0115;
}

/// A command set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DimseCommand(BTreeMap<u16, Vec<u8>>);

impl DimseCommand {
    /// Reads one.
    ///
    /// # Errors
    /// [`MalformedPdu`] when lengths do not fit, or an element of another group is in it.
    pub(super) fn read(mut bytes: &[u8]) -> Result<Self, MalformedPdu> {
        let mut elements = BTreeMap::new();
        while !bytes.is_empty() {
            let short = MalformedPdu("a command set ends within an element");
            let (head, rest) = bytes.split_first_chunk::<8>().ok_or(short)?;
            let [g0, g1, e0, e1, a, b, c, d] = *head;
            if [g0, g1] != [0, 0] {
                return Err(MalformedPdu(
                    "a command set has an element of another group",
                ));
            }
            let length = u32::from_le_bytes([a, b, c, d]);
            let length = usize::try_from(length).map_err(|_| short)?;
            let (value, rest) = rest.split_at_checked(length).ok_or(short)?;
            if elements.len() == MAX_ELEMENTS {
                return Err(MalformedPdu("a command set has too many elements"));
            }
            elements.insert(u16::from_le_bytes([e0, e1]), value.to_vec());
            bytes = rest;
        }
        Ok(Self(elements))
    }

    /// A request with a message ID.
    pub(super) fn request(field: u16, message: u16) -> Self {
        Self::default()
            .number(element::FIELD, field)
            .number(element::MESSAGE, message)
            .number(element::DATA, NO_DATA)
    }

    /// The answer to a request, which names what the request named.
    pub(super) fn response(request: &Self, status: u16) -> Self {
        let mut answer = Self::default()
            .number(element::FIELD, request.field() | field::RESPONSE)
            .number(element::RESPONDED, request.message())
            .number(element::DATA, NO_DATA)
            .number(element::STATUS, status);
        for (from, to) in [
            (element::AFFECTED_CLASS, element::AFFECTED_CLASS),
            (element::REQUESTED_CLASS, element::AFFECTED_CLASS),
            (element::AFFECTED_INSTANCE, element::AFFECTED_INSTANCE),
            (element::REQUESTED_INSTANCE, element::AFFECTED_INSTANCE),
            (element::ACTION, element::ACTION),
            (element::EVENT, element::EVENT),
        ] {
            if let Some(value) = request.0.get(&from) {
                answer.0.insert(to, value.clone());
            }
        }
        answer
    }

    /// With a number of 16 bits.
    pub(super) fn number(mut self, element: u16, value: u16) -> Self {
        self.0.insert(element, value.to_le_bytes().to_vec());
        self
    }

    /// With a UID.
    pub(super) fn uid(self, element: u16, value: &str) -> Self {
        self.padded(element, value, 0)
    }

    /// With a text.
    pub(super) fn text(self, element: u16, value: &str) -> Self {
        self.padded(element, value, b' ')
    }

    fn padded(mut self, element: u16, value: &str, padding: u8) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(padding);
        }
        self.0.insert(element, bytes);
        self
    }

    /// With an Error Comment, cut to what it may have.
    pub(super) fn comment(self, comment: &str) -> Self {
        if comment.is_empty() {
            return self;
        }
        let plain = comment.chars().map(|c| match c {
            ' '..='~' if c != '\\' => c,
            _ => '?',
        });
        let short: String = plain.take(MAX_COMMENT).collect();
        self.text(element::COMMENT, &short)
    }

    /// A data set follows.
    pub(super) fn with_data(self) -> Self {
        self.number(element::DATA, 0x0001)
    }

    /// The bytes, group length first.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (element, value) in self.0.iter().filter(|(element, _)| **element != 0) {
            put(&mut out, *element, value);
        }
        let length = u32::try_from(out.len()).unwrap_or(0);
        let mut whole = Vec::with_capacity(out.len() + 12);
        put(&mut whole, 0, &length.to_le_bytes());
        whole.extend(out);
        whole
    }

    /// A number, if it is there and has 16 bits.
    pub(super) fn get(&self, element: u16) -> Option<u16> {
        let value = self.0.get(&element)?;
        Some(u16::from_le_bytes(*value.first_chunk()?))
    }

    /// A text or UID without padding; empty when it is not there.
    pub(super) fn get_text(&self, element: u16) -> String {
        self.0
            .get(&element)
            .map_or_else(String::new, |value| text(value))
    }

    /// Command Field; 0 is none.
    pub(super) fn field(&self) -> u16 {
        self.get(element::FIELD).unwrap_or(0)
    }

    /// Message ID.
    pub(super) fn message(&self) -> u16 {
        self.get(element::MESSAGE).unwrap_or(0)
    }

    /// Status; one that is missing is a failure.
    pub(super) fn status(&self) -> u16 {
        self.get(element::STATUS).unwrap_or(status::PROCESSING)
    }

    /// Whether a data set follows.
    pub(super) fn has_data(&self) -> bool {
        self.get(element::DATA).is_some_and(|kind| kind != NO_DATA)
    }
}

fn put(out: &mut Vec<u8>, element: u16, value: &[u8]) {
    let length = u32::try_from(value.len()).unwrap_or(0);
    out.extend([0, 0]);
    out.extend(element.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back_behind_its_length() {
        let command = DimseCommand::request(field::STORE, 7)
            .uid(element::AFFECTED_CLASS, "1.2.3")
            .text(element::ORIGINATOR, "CT1")
            .with_data();
        let written = command.write();
        let length = u32::from_le_bytes(*written[8..].first_chunk().unwrap());
        assert_eq!(length as usize, written.len() - 12);
        let read = DimseCommand::read(&written).unwrap();
        assert_eq!((read.field(), read.message()), (field::STORE, 7));
        assert_eq!(read.get_text(element::AFFECTED_CLASS), "1.2.3");
        assert!(read.has_data());
        let answer = DimseCommand::response(&read, status::SUCCESS).comment("näme\\x");
        assert_eq!(answer.field(), 0x8001);
        assert_eq!(answer.get(element::RESPONDED), Some(7));
        assert_eq!(answer.get_text(element::COMMENT), "n?me?x");
        assert!(!answer.has_data());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_a_command(bytes: Vec<u8>) {
            let _ = DimseCommand::read(&bytes);
        }
    }
}
