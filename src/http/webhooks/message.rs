//! What a receiver gets: a `CloudEvents` 1.0 body, signed as Standard Webhooks 1.0 says.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::archive::LoggedEvent;

/// Media type of a body (`CloudEvents` JSON format, structured mode).
pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json";
/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that is made here.
const SECRET: usize = 32;

/// An event as it is sent.
///
/// `base` is where clients see the service, without a slash at its end; without it there is no absolute URL.
pub(crate) fn cloud_event(event: &LoggedEvent, partition: &str, base: Option<&str>) -> Value {
    // It was written by this server.
    let mut data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let uid = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
    let subject = match (uid("workitemUid"), uid("studyInstanceUid")) {
        (Some(workitem), _) => format!("/workitems/{workitem}"),
        (None, Some(study)) => match (uid("seriesInstanceUid"), uid("sopInstanceUid")) {
            (Some(series), Some(instance)) => {
                format!("/studies/{study}/series/{series}/instances/{instance}")
            }
            _ => format!("/studies/{study}"),
        },
        (None, None) => "/".to_owned(),
    };
    if let Some(data) = data.as_object_mut() {
        data.insert("partition".to_owned(), partition.into());
        let is_gone = event.kind.ends_with(".deleted");
        if let Some(base) = base.filter(|_| !is_gone) {
            data.insert("retrieveUrl".to_owned(), format!("{base}{subject}").into());
        }
    }
    json!({
        "specversion": "1.0",
        "id": event.sequence.to_string(),
        "source": base.unwrap_or("/dicom-web"),
        "type": event.kind,
        "subject": subject,
        "time": event.time.format(&Rfc3339).unwrap_or_default(),
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// An event of an instance as the DICOM service sends it: a `CloudEvents` body with its names and its type `kind`.
///
/// `base` is where clients see the service; the subject has its host and no scheme, as theirs has.
pub(crate) fn service_event(
    event: &LoggedEvent,
    kind: &str,
    (partition, is_default): (&str, bool),
    base: &str,
) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let uid = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
    let (study, series, instance) = (
        uid("studyInstanceUid"),
        uid("seriesInstanceUid"),
        uid("sopInstanceUid"),
    );
    // Theirs is below their own root.
    let base = base.strip_suffix("/dicom-web").unwrap_or(base);
    let place = base.split_once("://").map_or(base, |(_, place)| place);
    let below = if is_default {
        String::new()
    } else {
        format!("/partitions/{partition}")
    };
    let subject = format!("{place}/v1{below}/studies/{study}/series/{series}/instances/{instance}");
    json!({
        "specversion": "1.0",
        "id": event_id(base, event.sequence),
        "source": base,
        "type": kind,
        "subject": subject,
        "time": event.time.format(&Rfc3339).unwrap_or_default(),
        "data": {
            "partitionName": partition,
            "imageStudyInstanceUid": study,
            "imageSeriesInstanceUid": series,
            "imageSopInstanceUid": instance,
            "serviceHostName": place.split(['/', ':']).next().unwrap_or_default(),
            "sequenceNumber": data.get("sequence").cloned().unwrap_or_default(),
        },
    })
}

/// The same UUID (RFC 9562, version 8) whenever an event is sent.
fn event_id(base: &str, sequence: i64) -> String {
    let hash = blake3::hash(format!("event {base} {sequence}").as_bytes());
    let hex = hash.to_hex();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!(
        "{}-{}-8{}-8{}-{}",
        part(0..8),
        part(8..12),
        part(12..15),
        part(15..18),
        part(18..30)
    )
}

/// A new secret.
pub(crate) fn new_secret() -> String {
    format!(
        "{PREFIX}{}",
        STANDARD.encode(rand::random::<[u8; SECRET]>())
    )
}

/// The bytes of a secret; none when it is not `whsec_` and 24 to 64 bytes of base64.
pub(crate) fn secret_bytes(secret: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

/// The value of `webhook-signature`.
pub(crate) fn signature(secret: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_the_dicom_service_has_its_names() {
        let event = LoggedEvent {
            sequence: 7,
            time: time::OffsetDateTime::UNIX_EPOCH,
            partition: crate::scope::Partition::DEFAULT,
            kind: "instance.created".to_owned(),
            study: Some("1.2".to_owned()),
            data: r#"{"studyInstanceUid":"1.2","seriesInstanceUid":"1.2.3","sopInstanceUid":"1.2.3.4","sequence":5}"#
                .to_owned(),
        };
        let kind = crate::archive::service_kind("instance.created").unwrap();
        let base = "https://pacs.example.org:8443/dicom/dicom-web";
        let sent = service_event(&event, kind, ("Microsoft.Default", true), base);
        assert_eq!(sent["type"], "Microsoft.HealthcareApis.DicomImageCreated");
        let place = "pacs.example.org:8443/dicom/v1";
        let path = "studies/1.2/series/1.2.3/instances/1.2.3.4";
        assert_eq!(sent["subject"], format!("{place}/{path}"));
        assert_eq!(sent["data"]["serviceHostName"], "pacs.example.org");
        assert_eq!(sent["data"]["sequenceNumber"], 5);
        assert_eq!(sent["id"].as_str().map(str::len), Some(36));
        assert_eq!(
            sent["id"],
            service_event(&event, kind, ("", true), base)["id"]
        );
        let north = service_event(&event, kind, ("north", false), base);
        assert_eq!(north["subject"], format!("{place}/partitions/north/{path}"));
        assert_eq!(north["data"]["partitionName"], "north");
    }

    /// Of the specification's own examples (standard-webhooks, Reference implementations).
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let secret = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let made = new_secret();
        assert_eq!(secret_bytes(&made).unwrap().len(), SECRET);
        for wrong in [
            "",
            "whsec_",
            "whsec_AAAA",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!!",
        ] {
            assert_eq!(secret_bytes(wrong), None, "{wrong}");
        }
    }
}
