//! The sending side: data is gathered to units the peer takes, one write for each.

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{CHUNK, LEAST_PDU, MAX_PDU, PeerGone, WireWriter};
use crate::dimse::command::DimseCommand;
use crate::dimse::pdu::{self, MalformedPdu};

impl WireWriter {
    /// How much the peer takes in one unit; 0 is any.
    ///
    /// # Errors
    /// When it takes next to nothing.
    pub(in crate::dimse) fn set_max(&mut self, max: u32) -> Result<(), MalformedPdu> {
        let max = if max == 0 { MAX_PDU } else { max.min(MAX_PDU) };
        if max < LEAST_PDU {
            return Err(MalformedPdu("the peer takes no units of a useful length"));
        }
        // Fragments of messages have even lengths (PS3.8 §E.2).
        self.room = usize::try_from((max - 6) & !1).unwrap_or(0);
        Ok(())
    }

    /// Sends units of establishment, release or abort at once.
    pub(in crate::dimse) async fn unit(&mut self, bytes: &[u8]) -> Result<(), PeerGone> {
        self.out.extend_from_slice(bytes);
        self.flush().await
    }

    /// Adds a command set to what is sent next.
    pub(in crate::dimse) async fn command(
        &mut self,
        context: u8,
        command: &DimseCommand,
    ) -> Result<(), PeerGone> {
        self.put(context, true, &command.write()).await?;
        self.end(context, true);
        Ok(())
    }

    /// Adds bytes of a data set.
    pub(in crate::dimse) async fn data(
        &mut self,
        context: u8,
        bytes: &[u8],
    ) -> Result<(), PeerGone> {
        self.put(context, false, bytes).await
    }

    /// Ends the data set.
    pub(in crate::dimse) fn end_data(&mut self, context: u8) {
        self.end(context, false);
    }

    async fn put(&mut self, context: u8, command: bool, mut bytes: &[u8]) -> Result<(), PeerGone> {
        while !bytes.is_empty() {
            if self.unit.is_empty() {
                self.unit.resize(12, 0);
            }
            let left = (self.room + 12).saturating_sub(self.unit.len());
            if left == 0 {
                self.close(context, command, false);
                if self.out.len() >= CHUNK {
                    self.flush().await?;
                }
                continue;
            }
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.unit.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn end(&mut self, context: u8, command: bool) {
        if self.unit.is_empty() {
            self.unit.resize(12, 0);
        }
        if self.unit.len() % 2 == 1 {
            // Only a deflated data set can be odd; its padding is a zero (PS3.5 §A.5).
            self.unit.push(0);
        }
        self.close(context, command, true);
    }

    /// Writes the headers of the unit under way.
    fn close(&mut self, context: u8, command: bool, last: bool) {
        let body = u32::try_from(self.unit.len().saturating_sub(6)).unwrap_or(0);
        let [a, b, c, d] = body.to_be_bytes();
        let [e, f, g, h] = body.saturating_sub(4).to_be_bytes();
        let flags = u8::from(command) | if last { 2 } else { 0 };
        let head = [pdu::P_DATA, 0, a, b, c, d, e, f, g, h, context, flags];
        if let Some(place) = self.unit.first_chunk_mut::<12>() {
            *place = head;
        }
        self.out.append(&mut self.unit);
    }

    /// Sends what was gathered.
    pub(in crate::dimse) async fn flush(&mut self) -> Result<(), PeerGone> {
        let mut at = 0;
        while let Some(rest) = self.out.get(at..).filter(|rest| !rest.is_empty()) {
            let written = timeout(self.idle, self.stream.write(rest)).await;
            let written = written.map_err(|_| PeerGone::Silent)??;
            if written == 0 {
                return Err(PeerGone::Closed);
            }
            at += written;
            self.sent += written as u64;
        }
        self.out.clear();
        let flushed = timeout(self.idle, self.stream.flush()).await;
        flushed.map_err(|_| PeerGone::Silent)??;
        Ok(())
    }

    /// Forgets what was gathered and not sent.
    pub(in crate::dimse) fn forget(&mut self) {
        self.unit.clear();
        self.out.clear();
    }

    /// Says that nothing more is sent.
    pub(in crate::dimse) async fn shutdown(&mut self) {
        drop(timeout(self.idle, self.stream.shutdown()).await);
    }
}
