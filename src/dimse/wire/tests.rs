//! Units, however they arrive.

use super::*;
use tokio::io::AsyncWriteExt;

async fn read_all(bytes: Vec<u8>, piece: usize) -> Result<Vec<(u8, bool, Vec<u8>)>, PeerGone> {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        for piece in bytes.chunks(piece) {
            near.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let (mut reader, _writer) = split(Box::new(far), Duration::from_secs(30));
    let mut messages = Vec::new();
    let mut whole = Vec::new();
    loop {
        match reader.next().await {
            Ok(WireEvent::Command { context, command }) => {
                messages.push((context, true, command.write()));
            }
            Ok(WireEvent::Data {
                context,
                last,
                bytes,
            }) => {
                whole.extend_from_slice(&bytes);
                if last {
                    messages.push((context, false, std::mem::take(&mut whole)));
                }
            }
            Ok(_) | Err(PeerGone::Closed) => return Ok(messages),
            Err(error) => return Err(error),
        }
    }
}

async fn written(max: u32, data: &[u8]) -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (_reader, mut writer) = split(Box::new(near), Duration::from_secs(30));
    writer.set_max(max).unwrap();
    let command = DimseCommand::request(super::super::command::field::STORE, 1).with_data();
    writer.command(5, &command).await.unwrap();
    writer.data(5, data).await.unwrap();
    writer.end_data(5);
    writer.flush().await.unwrap();
    writer.shutdown().await;
    drop((_reader, writer));
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn data_arrives_whole_however_it_was_cut() {
    let data: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for max in [64, 1000, 0] {
        let bytes = written(max, &data).await;
        for piece in [1, 7, 97, 100_000] {
            let messages = read_all(bytes.clone(), piece).await.unwrap();
            assert_eq!(messages.len(), 2);
            assert!(messages[0].1 && !messages[1].1);
            assert_eq!(messages[1].2, data);
        }
    }
}

#[tokio::test]
async fn fragments_have_even_lengths_and_what_is_odd_is_padded_at_its_end() {
    for max in [64, 65, 1001] {
        let bytes = written(max, &[7; 4303]).await;
        let mut rest = bytes.as_slice();
        while let Some((head, body)) = rest.split_first_chunk::<6>() {
            let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
            assert!(
                length.is_multiple_of(2) && length <= max as usize,
                "{length}"
            );
            rest = &body[length..];
        }
        let messages = read_all(bytes, 97).await.unwrap();
        let data = &messages[1].2;
        assert_eq!((data.len(), data.last()), (4304, Some(&0)));
    }
}

#[tokio::test]
async fn a_unit_that_is_cut_off_is_a_closed_connection_and_wrong_lengths_are_told() {
    let bytes = written(0, b"abcd").await;
    for end in 0..bytes.len() {
        assert!(read_all(bytes[..end].to_vec(), 13).await.is_ok());
    }
    // A data value of one byte, one beyond its unit, a unit of 4 GiB, an unknown unit.
    for wrong in [
        &[4, 0, 0, 0, 0, 5, 0, 0, 0, 1, 1, 3][..],
        &[4, 0, 0, 0, 0, 8, 0, 0, 0, 5, 1, 3],
        &[4, 0, 255, 255, 255, 255, 0, 0, 0, 5, 1, 3],
        &[9, 0, 0, 0, 0, 0],
        &[5, 0, 0, 0, 0, 3, 0, 0, 0],
    ] {
        let read = read_all(wrong.to_vec(), 3).await;
        assert!(matches!(read, Err(PeerGone::Protocol { .. })), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_refused() {
    let (near, _far) = tokio::io::duplex(64);
    let (_reader, mut writer) = split(Box::new(near), Duration::from_secs(30));
    assert!(writer.set_max(7).is_err());
}
