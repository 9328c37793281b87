//! One request to a peer, and its answers with their data sets.

use super::association::MAX_QUERY;
use super::command::{DimseCommand, element};
use super::outgoing::{Offered, Outgoing};
use super::wire::{PeerGone, WireEvent, unexpected};

/// Sends a request and hears the first answer, with its data set.
pub(super) async fn ask(
    outgoing: &mut Outgoing,
    context: &Offered,
    request: &DimseCommand,
    data: &[u8],
) -> Result<(DimseCommand, Vec<u8>), PeerGone> {
    outgoing.writer.command(context.id, request).await?;
    if request.has_data() {
        outgoing.writer.data(context.id, data).await?;
        outgoing.writer.end_data(context.id);
    }
    outgoing.writer.flush().await?;
    hear(outgoing, request.message()).await
}

/// Hears an answer, with its data set.
pub(super) async fn hear(
    outgoing: &mut Outgoing,
    message: u16,
) -> Result<(DimseCommand, Vec<u8>), PeerGone> {
    let WireEvent::Command { context, command } = outgoing.reader.next().await? else {
        return Err(unexpected("something else came than an answer"));
    };
    if command.get(element::RESPONDED) != Some(message) {
        return Err(unexpected("an answer came to another request"));
    }
    let mut data = Vec::new();
    if command.has_data() {
        loop {
            let (bytes, last) = outgoing.reader.data(context).await?;
            if data.len().saturating_add(bytes.len()) > MAX_QUERY {
                return Err(unexpected("an answer is too long"));
            }
            data.extend_from_slice(&bytes);
            if last {
                break;
            }
        }
    }
    Ok((command, data))
}
