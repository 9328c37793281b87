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
