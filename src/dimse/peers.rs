//! Who may associate, and what each may do: the file `STOWAGE_DIMSE_PEERS`.
//!
//! Invariant: what is not granted is refused; a file with a fault stops the start, with the entry and what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::secure::PeerTls;
use crate::archive::Archive;
use crate::auth::Action;
use crate::scope::{Partition, PartitionName, Scope, Visible};

/// Stands for every AE title that has no entry of its own.
const ANY: &str = "*";
/// The setting that lets everybody in without a file.
const EVERYBODY: &str = "any";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Why there is no table of peers.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// Nobody is named.
    #[error(
        "STOWAGE_DIMSE_PEERS must name a JSON file of the peers that may associate, or be `any` to let everybody in"
    )]
    Missing,
    /// The file cannot be read.
    #[error("STOWAGE_DIMSE_PEERS: {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error(
        "STOWAGE_DIMSE_PEERS: {path} must be a JSON list such as [{{\"aeTitle\": \"CT1\", \"host\": \"10.0.0.5\", \"port\": 104}}]: {source}"
    )]
    Malformed {
        /// The file.
        path: String,
        /// Where.
        source: serde_json::Error,
    },
    /// One entry is wrong.
    #[error("STOWAGE_DIMSE_PEERS: the entry of {title:?}: {reason}")]
    Entry {
        /// Its AE title.
        title: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
}

/// Entry of the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PeerEntry {
    ae_title: String,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    rights: Option<BTreeSet<Right>>,
    #[serde(default)]
    patients: Option<Vec<String>>,
    #[serde(default)]
    studies: Option<Vec<String>>,
    #[serde(default)]
    partition: Option<String>,
    #[serde(default)]
    addresses: Option<Vec<String>>,
    #[serde(default)]
    certificate: Option<PathBuf>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    client_certificate: Option<PathBuf>,
    #[serde(default)]
    client_key: Option<PathBuf>,
}

/// What a peer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Right {
    /// C-FIND, C-MOVE, C-GET, storage commitment.
    Read,
    /// C-STORE.
    Write,
}

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPlace {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How it is called over TLS; none when it is called without.
    pub tls: Option<PeerTls>,
}

/// One application entity that may associate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its AE title; the one it called itself where everybody is let in.
    pub title: String,
    /// Where it listens, for C-MOVE and reports.
    pub place: Option<PeerPlace>,
    rights: BTreeSet<Right>,
    visible: Visible,
    /// The partition it works in, by name; none for the default one.
    named_partition: Option<PartitionName>,
    /// Its number, once it is known.
    partition: Option<Partition>,
    addresses: Option<Vec<PeerNetwork>>,
    /// The certificate it must show, as DER.
    certificate: Option<Vec<u8>>,
}

impl Peer {
    /// On what the peer may do something; none when it may not.
    #[must_use]
    pub fn scope(&self, action: Action) -> Option<Scope> {
        let right = match action {
            Action::Read => Right::Read,
            Action::Write => Right::Write,
            Action::Delete
            | Action::Restore
            | Action::ManageExtendedQueryTags
            | Action::Export
            | Action::ManageWebhooks
            | Action::Deidentify => return None,
        };
        self.rights.contains(&right).then(|| Scope {
            visible: self.visible.clone(),
            partition: self.partition(),
        })
    }

    /// The name of the partition it works in.
    #[must_use]
    pub fn partition_name(&self) -> PartitionName {
        self.named_partition.clone().unwrap_or_default()
    }

    /// The partition it works in.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition.unwrap_or(Partition::DEFAULT)
    }

    fn everybody() -> Self {
        Self {
            title: ANY.to_owned(),
            place: None,
            rights: [Right::Read, Right::Write].into(),
            visible: Visible::All,
            named_partition: None,
            partition: None,
            addresses: None,
            certificate: None,
        }
    }
}

/// A network of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PeerNetwork {
    base: IpAddr,
    bits: u8,
}

impl PeerNetwork {
    /// Reads `10.0.0.0/8` or one address.
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/').unwrap_or((text, ""));
        let base: IpAddr = base.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = if bits.is_empty() {
            most
        } else {
            bits.parse().ok()?
        };
        (bits <= most).then_some(Self { base, bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        let differ = |a: u128, b: u128, width: u32| {
            let shift = width.saturating_sub(self.bits.into());
            shift < width && (a ^ b) >> shift != 0
        };
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => !differ(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => !differ(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// All peers.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    named: BTreeMap<String, Arc<Peer>>,
    /// What others may do who have no entry.
    others: Option<Peer>,
}

impl Peers {
    /// Reads the setting: the path of a file, or `any`.
    ///
    /// # Errors
    /// [`PeersError`] with what to change.
    pub fn open(setting: Option<&str>) -> Result<Self, PeersError> {
        match setting.map(str::trim) {
            None | Some("") => Err(PeersError::Missing),
            Some(EVERYBODY) => Ok(Self {
                others: Some(Peer::everybody()),
                ..Self::default()
            }),
            Some(path) => {
                let unreadable = |source| PeersError::Unreadable {
                    path: path.to_owned(),
                    source,
                };
                let file = Path::new(path);
                if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE {
                    let source = std::io::Error::other("it has more than 4 MiB");
                    return Err(unreadable(source));
                }
                let text = std::fs::read(file).map_err(unreadable)?;
                Self::read(&text, path)
            }
        }
    }

    /// As [`Self::open`], with the partitions that entries name, which are made when they are not there.
    ///
    /// # Errors
    /// [`PeersError`] with what to change, also when an entry names a partition and there are none.
    pub async fn with_partitions(
        setting: Option<&str>,
        archive: &Archive,
    ) -> Result<Self, PeersError> {
        let mut peers = Self::open(setting)?;
        let others = peers.others.iter_mut();
        for peer in peers.named.values_mut().map(Arc::make_mut).chain(others) {
            let Some(name) = peer.named_partition.as_ref().filter(|n| !n.is_default()) else {
                continue;
            };
            let wrong = |reason: String| PeersError::Entry {
                title: peer.title.clone(),
                reason,
            };
            if !archive.has_partitions() {
                let reason = "partition needs STOWAGE_PARTITIONS=on".to_owned();
                return Err(wrong(reason));
            }
            let partition = archive.make_partition(name).await;
            let cannot = |error| wrong(format!("the partition {name} cannot be used: {error}"));
            peer.partition = Some(partition.map_err(cannot)?);
        }
        Ok(peers)
    }

    fn read(text: &[u8], path: &str) -> Result<Self, PeersError> {
        let entries: Vec<PeerEntry> =
            serde_json::from_slice(text).map_err(|source| PeersError::Malformed {
                path: path.to_owned(),
                source,
            })?;
        let mut peers = Self::default();
        for entry in entries {
            let title = entry.ae_title.clone();
            let wrong = |reason: String| PeersError::Entry {
                title: title.clone(),
                reason,
            };
            let peer = peer(entry).map_err(wrong)?;
            let twice = || wrong("there is another entry with this AE title".to_owned());
            if peer.title == ANY {
                if peers.others.replace(peer).is_some() {
                    return Err(twice());
                }
            } else if peers
                .named
                .insert(peer.title.clone(), Arc::new(peer))
                .is_some()
            {
                return Err(twice());
            }
        }
        Ok(peers)
    }

    /// Who calls itself so, from this address, and has shown this certificate; none when it may not associate.
    #[must_use]
    pub fn admit(&self, title: &str, address: IpAddr, shown: Option<&[u8]>) -> Option<Arc<Peer>> {
        let peer = self.of_title(title)?;
        let fits = match &peer.addresses {
            None => true,
            Some(networks) => networks.iter().any(|network| network.holds(address)),
        };
        let proved = match &peer.certificate {
            None => true,
            wanted => wanted.as_deref() == shown,
        };
        (fits && proved).then_some(peer)
    }

    /// The peer with this AE title, if it has an entry.
    #[must_use]
    pub fn named(&self, title: &str) -> Option<&Arc<Peer>> {
        self.named.get(title)
    }

    /// What holds for an AE title, wherever it comes from; none when it may not associate.
    #[must_use]
    pub fn of_title(&self, title: &str) -> Option<Arc<Peer>> {
        let other = || {
            Some(Arc::new(Peer {
                title: title.to_owned(),
                ..self.others.clone()?
            }))
        };
        self.named.get(title).cloned().or_else(other)
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.others
            .as_ref()
            .is_some_and(|others| others.visible == Visible::All && others.addresses.is_none())
    }
}

fn peer(entry: PeerEntry) -> Result<Peer, String> {
    let title = entry.ae_title.trim_matches(' ');
    let plain = |c: char| matches!(c, ' '..='~') && c != '\\';
    if title.is_empty() || title.len() > 16 || !title.chars().all(plain) {
        return Err(
            "an AE title has 1 to 16 printable ASCII characters without a backslash".to_owned(),
        );
    }
    let own = match (entry.client_certificate, entry.client_key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("clientCertificate and clientKey belong together".to_owned()),
    };
    let tls = match (entry.tls, entry.ca) {
        (true, Some(roots)) => Some(PeerTls { roots, own }),
        (false, None) if own.is_none() => None,
        (true, None) => {
            let reason = "tls needs ca, a PEM file with the roots of the peer's certificate";
            return Err(reason.to_owned());
        }
        (false, _) => return Err("ca and clientCertificate need \"tls\": true".to_owned()),
    };
    if let Some(tls) = &tls {
        tls.config()?;
    }
    let place = match (entry.host, entry.port) {
        (Some(host), Some(port)) if port > 0 && !host.is_empty() => {
            Some(PeerPlace { host, port, tls })
        }
        (None, None) if tls.is_some() => return Err("tls needs host and port".to_owned()),
        (None, None) => None,
        _ => return Err("host and port belong together: give both or none".to_owned()),
    };
    if title == ANY && place.is_some() {
        return Err("the entry of all others has no host and no port".to_owned());
    }
    let visible = match (entry.patients, entry.studies) {
        (None, None) => Visible::All,
        (patients, studies) => Visible::Only {
            patients: patients.unwrap_or_default(),
            studies: studies.unwrap_or_default(),
        },
    };
    let partition = entry.partition.as_deref().map(PartitionName::parse);
    let named_partition = partition.transpose().map_err(|error| error.to_string())?;
    let networks = entry.addresses.map(|addresses| {
        let parsed = addresses.iter().map(|text| {
            PeerNetwork::parse(text)
                .ok_or_else(|| format!("{text:?} is no address and no network such as 10.0.0.0/8"))
        });
        parsed.collect::<Result<Vec<_>, _>>()
    });
    let certificate = entry.certificate.map(|path| {
        let read = CertificateDer::from_pem_file(&path).map(|der| der.to_vec());
        read.map_err(|_| format!("{} must hold a certificate in PEM form", path.display()))
    });
    Ok(Peer {
        title: title.to_owned(),
        place,
        rights: entry
            .rights
            .unwrap_or_else(|| [Right::Read, Right::Write].into()),
        visible,
        named_partition,
        partition: None,
        addresses: networks.transpose()?,
        certificate: certificate.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Peers, PeersError> {
        Peers::read(text.as_bytes(), "peers.json")
    }

    fn address() -> IpAddr {
        "10.1.2.3".parse().unwrap()
    }

    #[test]
    fn a_peer_has_the_rights_of_its_entry_and_others_none() {
        let peers = read(
            r#"[{"aeTitle": "CT1", "host": "10.0.0.5", "port": 104, "rights": ["write"]},
                {"aeTitle": "WS", "patients": ["7"], "addresses": ["10.0.0.0/8", "::1"]},
                {"aeTitle": "FAR", "addresses": ["192.0.2.1"]}]"#,
        )
        .unwrap();
        let ct = peers.admit("CT1", address(), None).unwrap();
        assert!(ct.scope(Action::Write).is_some() && ct.scope(Action::Read).is_none());
        assert_eq!(ct.place.as_ref().unwrap().port, 104);
        let station = peers.admit("WS", address(), None).unwrap();
        let visible = station.scope(Action::Read).unwrap().visible;
        assert!(visible.admits("1.2", Some("7")) && !visible.admits("1.2", Some("8")));
        assert!(peers.admit("FAR", address(), None).is_none());
        assert!(peers.admit("ct1", address(), None).is_none(), "case counts");
        assert!(!peers.is_open());
        let any = Peers::open(Some("any")).unwrap();
        assert_eq!(any.admit("X", address(), None).unwrap().title, "X");
        assert!(any.is_open());
        let others = read(r#"[{"aeTitle": "*", "rights": ["write"]}]"#).unwrap();
        let other = others.admit("X", address(), None).unwrap();
        assert!(other.scope(Action::Write).is_some() && other.scope(Action::Read).is_none());
    }

    #[test]
    fn a_fault_names_the_entry_and_what_to_write() {
        for (text, says) in [
            ("{}", "must be a JSON list"),
            (r#"[{"aeTitel": "X"}]"#, "aeTitel"),
            (r#"[{"aeTitle": "SEVENTEEN LETTERS"}]"#, "1 to 16"),
            (r#"[{"aeTitle": "X", "host": "h"}]"#, "belong together"),
            (r#"[{"aeTitle": "X", "rights": ["all"]}]"#, "all"),
            (r#"[{"aeTitle": "X", "partition": "a b"}]"#, "1 to 64"),
            (r#"[{"aeTitle": "X", "tls": true}]"#, "tls needs ca"),
            (
                r#"[{"aeTitle": "X", "tls": true, "ca": "/nowhere.pem"}]"#,
                "/nowhere.pem",
            ),
            (r#"[{"aeTitle": "X", "ca": "/nowhere.pem"}]"#, "need"),
            (
                r#"[{"aeTitle": "X", "addresses": ["10.0.0.0/33"]}]"#,
                "10.0.0.0/33",
            ),
            (r#"[{"aeTitle": "X"}, {"aeTitle": "X "}]"#, "another entry"),
            (
                r#"[{"aeTitle": "*", "host": "h", "port": 1}]"#,
                "all others",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(Peers::open(None).unwrap_err().to_string().contains("any"));
        let missing = Peers::open(Some("/nowhere/peers.json")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/peers.json"));
    }
}
