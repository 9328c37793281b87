//! A peer made of bytes, which can do what no tool does.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Verification SOP Class.
pub(super) const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Implicit VR Little Endian.
pub(super) const IMPLICIT: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub(super) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// A connection to the gateway.
pub(super) struct Peer(pub(super) TcpStream);

impl Peer {
    pub(super) fn connect(port: &str) -> Self {
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the gateway listens");
        let time_limit = Some(Duration::from_secs(60));
        stream.set_read_timeout(time_limit).expect("a time-out");
        Self(stream)
    }

    /// Associates with one context for each class.
    pub(super) fn associate(port: &str, classes: &[&str]) -> Self {
        let mut peer = Self::connect(port);
        peer.send(&request("STOWAGE", "RAW", classes));
        let (kind, _) = peer.unit().expect("an answer");
        assert_eq!(kind, 2, "the association is accepted");
        peer
    }

    /// Sends as much as the gateway takes.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        // It may have closed already, which the test sees when it reads.
        drop(self.0.write_all(bytes));
    }

    /// The next unit; none when the connection is closed.
    pub(super) fn unit(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 6];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came"),
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body).expect("a whole unit");
        Some((head[0], body))
    }

    /// Status of the next answer.
    pub(super) fn status(&mut self) -> u16 {
        let (kind, body) = self.unit().expect("an answer");
        assert_eq!(kind, 4, "{body:?}");
        let command = &body[6..];
        let tag = [0, 0, 0, 9, 2, 0, 0, 0];
        let at = command.windows(8).position(|w| w == tag).expect("a status");
        u16::from_le_bytes([command[at + 8], command[at + 9]])
    }

    /// Releases, and waits for the answer.
    pub(super) fn release(mut self) {
        self.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(self.unit().expect("an answer").0, 6);
    }
}

fn item(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short item");
    [&[kind, 0][..], &length.to_be_bytes(), bytes].concat()
}

/// A unit with its header.
pub(super) fn unit(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short unit");
    [&[kind, 0][..], &length.to_be_bytes(), body].concat()
}

/// A request for an association, with contexts 1, 3, 5… in Explicit and Implicit VR Little Endian.
pub(super) fn request(called: &str, calling: &str, classes: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(format!("{called:<16}{calling:<16}").bytes());
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (number, class) in classes.iter().enumerate() {
        let id = u8::try_from(number * 2 + 1).expect("few contexts");
        let mut context = vec![id, 0, 0, 0];
        context.extend(item(0x30, class.as_bytes()));
        context.extend(item(0x40, IMPLICIT.as_bytes()));
        context.extend(item(0x40, EXPLICIT.as_bytes()));
        body.extend(item(0x20, &context));
    }
    let user = [item(0x51, &16384_u32.to_be_bytes()), item(0x52, b"1.2.3")].concat();
    body.extend(item(0x50, &user));
    unit(1, &body)
}

fn element(out: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = u32::try_from(value.len()).expect("a short value");
    out.extend([0, 0]);
    out.extend(number.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(value);
}

fn even(uid: &str) -> Vec<u8> {
    let mut bytes = uid.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// A command set of a field about a class and an instance, in one unit.
pub(super) fn command(context: u8, field: u16, class: &str, instance: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, 0x0002, &even(class));
    element(&mut out, 0x0100, &field.to_le_bytes());
    element(&mut out, 0x0110, &7_u16.to_le_bytes());
    let data: u16 = if instance.is_some() { 1 } else { 0x0101 };
    element(&mut out, 0x0800, &data.to_le_bytes());
    if let Some(instance) = instance {
        element(&mut out, 0x1000, &even(instance));
    }
    pdata(context, 3, &out)
}

/// One data value in one unit; flags 1 for commands, 2 for the last one.
pub(super) fn pdata(context: u8, flags: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len() + 2).expect("a short value");
    let mut body = length.to_be_bytes().to_vec();
    body.extend([context, flags]);
    body.extend(bytes);
    unit(4, &body)
}

/// A C-STORE of a data set, in units of some length.
pub(super) fn store(context: u8, class: &str, instance: &str, data: &[u8]) -> Vec<u8> {
    let mut out = command(context, 1, class, Some(instance));
    for piece in data.chunks(1000) {
        out.extend(pdata(context, 0, piece));
    }
    // The last value may be empty.
    out.extend(pdata(context, 2, &[]));
    out
}

/// A C-CANCEL of the request that [`command`] makes.
pub(super) fn cancel(context: u8) -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, 0x0100, &0x0FFF_u16.to_le_bytes());
    element(&mut out, 0x0120, &7_u16.to_le_bytes());
    element(&mut out, 0x0800, &0x0101_u16.to_le_bytes());
    pdata(context, 3, &out)
}
