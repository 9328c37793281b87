use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream;

use super::*;

const OPEN: BodyLimits = BodyLimits::NONE;

type ReadParts = Vec<(String, Vec<u8>)>;

/// Reads everything there is: the complete parts, and the error that ended it.
async fn read(mut parts: Parts) -> (ReadParts, Option<MultipartError>) {
    let mut found = Vec::new();
    loop {
        let mut part = match parts.next().await {
            Ok(Some(part)) => part,
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
        };
        let content_type = part.headers.content_type().unwrap_or("-").to_owned();
        let mut data = Vec::new();
        loop {
            match part.chunk().await {
                Ok(Some(bytes)) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(&bytes);
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        found.push((content_type, data));
    }
}

fn chunked(
    body: &[u8],
    size: usize,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static {
    let chunks: Vec<_> = body
        .chunks(size.max(1))
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    stream::iter(chunks)
}

/// The same result whatever the chunks are.
async fn read_all(body: &[u8], boundary: &str) -> ReadParts {
    let mut results = Vec::new();
    for size in [1, 2, 3, 7, 64, body.len()] {
        let (found, error) = read(Parts::new(chunked(body, size), boundary, OPEN)).await;
        assert!(error.is_none(), "chunks of {size}: {error:?}");
        results.push(found);
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    results.pop().unwrap()
}

async fn error_of(body: &[u8], limits: BodyLimits) -> (ReadParts, MultipartError) {
    let mut first = None;
    for size in [1, 5, body.len()] {
        let (found, error) = read(Parts::new(chunked(body, size), "B", limits)).await;
        let error = error.expect("an error");
        if let Some((seen, text)) = &first {
            assert_eq!(
                (seen, text),
                (&found, &error.to_string()),
                "chunks of {size}"
            );
        }
        first = Some((found.clone(), error.to_string()));
        if size == body.len() {
            return (found, error);
        }
    }
    unreachable!("the last size is the length")
}

fn dicom(data: &[u8]) -> (String, Vec<u8>) {
    ("application/dicom".to_owned(), data.to_vec())
}

#[tokio::test]
async fn what_curl_sends_is_read() {
    let body = b"--------------------------f3bd07d7013705e3\r\n\
        Content-Disposition: attachment; name=\"file1\"; filename=\"x.dcm\"\r\n\
        Content-Type: application/dicom\r\n\r\nDICM-data\r\n\
        --------------------------f3bd07d7013705e3\r\n\
        Content-Disposition: form-data; name=\"file2\"; filename=\"y;\\\"z\\\".dcm\"\r\n\
        Content-Type: application/dicom\r\n\r\n\r\n\r\n\
        --------------------------f3bd07d7013705e3--\r\n";
    let found = read_all(body, "------------------------f3bd07d7013705e3").await;
    assert_eq!(found, [dicom(b"DICM-data"), dicom(b"\r\n")]);
}

#[tokio::test]
async fn what_urllib3_sends_is_read() {
    let body =
        b"--5c0f4e\r\nContent-Disposition: form-data; name=\"file\"; filename=\"dicomfile\"\r\n\
        Content-Type: application/dicom\r\n\r\n\x00\xffDICM\r\n--5c0f4e--\r\n";
    assert_eq!(read_all(body, "5c0f4e").await, [dicom(b"\x00\xffDICM")]);
}

#[tokio::test]
async fn what_dicomweb_client_sends_is_read() {
    let boundary = "0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1";
    let body = format!(
        "\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\none\r\n--{boundary}\r\n\
         Content-Type: application/dicom\r\n\r\ntwo\r\n--{boundary}--"
    );
    assert_eq!(
        read_all(body.as_bytes(), boundary).await,
        [dicom(b"one"), dicom(b"two")]
    );
}

#[tokio::test]
async fn bare_line_feeds_are_read_when_the_first_delimiter_has_one() {
    let body = b"\n--B\ncontent-type: application/dicom\n\na\r\n--C\nb\n--B  \nContent-Type:x/y\n\n\n--B--\n";
    assert_eq!(
        read_all(body, "B").await,
        [dicom(b"a\r\n--C\nb"), ("x/y".to_owned(), Vec::new())]
    );
    // Under CR LF a bare LF in the data delimits nothing.
    let body = b"--B\r\nContent-Type: application/dicom\r\n\r\na\n--B\nb\r\n--B--";
    assert_eq!(read_all(body, "B").await, [dicom(b"a\n--B\nb")]);
}

#[tokio::test]
async fn preamble_epilogue_and_padding_are_passed_over() {
    let body = b"to be ignored\r\n--Bad\r\n --B\r\n--B \t\r\nContent-Type: application/dicom\r\n\r\n1\r\n--B\t\r\n\
        Content-Type: application/dicom\r\n\r\n2\r\n--B-- \r\nepilogue\r\n--B\r\nX: y\r\n\r\n3";
    assert_eq!(read_all(body, "B").await, [dicom(b"1"), dicom(b"2")]);
}

#[tokio::test]
async fn empty_parts_and_bodies_without_parts_are_no_error() {
    let body = b"--B\r\nContent-Type: application/dicom\r\n\r\n--B\r\nContent-Type: application/dicom\r\n\r\n\r\n--B--";
    assert_eq!(read_all(body, "B").await, [dicom(b""), dicom(b"")]);
    assert!(read_all(b"--B--\r\n", "B").await.is_empty());
    assert!(read_all(b"--B--", "B").await.is_empty());
    assert!(read_all(b"", "B").await.is_empty());
}

#[tokio::test]
async fn a_boundary_that_begins_a_line_of_data_does_not_cut_it() {
    let data = b"\r\n--BB\r\n--B-\r\n--B -\r\n--Bx--\r\r\n--B\r\r\n--B\n-\r\n--";
    let mut body = b"--B\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
    body.extend_from_slice(data);
    body.extend_from_slice(b"\r\n--B--");
    assert_eq!(read_all(&body, "B").await, [dicom(data)]);
}

#[tokio::test]
async fn part_headers_are_read_in_any_case_and_folded() {
    let body = b"--B\r\ncontent-TYPE:  application/octet-stream;\r\n\ttransfer-syntax=1.2\r\n\
        Content-Location: bulk/1\r\nContent-ID: <a@b>\r\nMIME-Version: 1.0\r\n\r\nx\r\n--B--";
    let mut parts = Parts::new(chunked(body, 9), "B", OPEN);
    let part = parts.next().await.unwrap().unwrap();
    let type_text = part.headers.content_type().unwrap();
    assert_eq!(type_text, "application/octet-stream;\ttransfer-syntax=1.2");
    assert_eq!(part.headers.content_location(), Some("bulk/1"));
    assert_eq!(part.headers.content_id(), Some("<a@b>"));
    assert_eq!(part.headers.all().len(), 4);
    assert_eq!(part.number, 1);
    drop(part);
    assert!(
        parts.next().await.unwrap().is_none(),
        "an unread part is skipped"
    );
}

#[tokio::test]
async fn a_part_without_headers_is_read_where_multer_would_lose_it() {
    let body = b"--B\r\nContent-Type: application/dicom\r\n\r\n1\r\n--B\r\n\r\nlost\r\n--B\r\n\
        Content-Type: application/dicom\r\n\r\n3\r\n--B--";
    for size in 1..body.len() {
        let mut parts = Parts::new(chunked(body, size), "B", OPEN);
        drop(parts.next().await.unwrap());
        let mut second = parts.next().await.unwrap().unwrap();
        assert_eq!((second.number, second.headers.all().len()), (2, 0));
        let mut data = Vec::new();
        while let Some(chunk) = second.chunk().await.unwrap() {
            data.extend_from_slice(&chunk);
        }
        assert_eq!(data, b"lost", "{size}");
        drop(second);
        let third = parts.next().await.unwrap().unwrap();
        assert_eq!(third.headers.content_type(), Some("application/dicom"));
    }

    let mut bare = multer::Multipart::new(chunked(body, body.len()), "B");
    let mut seen = Vec::new();
    while let Ok(Some(field)) = bare.next_field().await {
        seen.push(field.bytes().await.unwrap());
    }
    assert!(
        !seen.iter().any(|data| data.as_ref() == b"lost"),
        "multer has learned it: drop the guard's rule"
    );
}

#[tokio::test]
async fn a_truncated_body_gives_the_parts_before_the_cut() {
    let body = b"--B\r\nContent-Type: application/dicom\r\n\r\n1\r\n--B\r\nContent-Type: application/dicom\r\n\r\n22\r\n--B--";
    for end in 1..body.len() {
        let (found, error) = error_of(&body[..end], OPEN).await;
        let complete = end >= 48;
        assert_eq!(found.len(), usize::from(complete), "cut at {end}");
        match error {
            MultipartError::Truncated { part } => {
                assert_eq!(part, if complete { 2 } else { 1 }, "cut at {end}")
            }
            MultipartError::BoundaryNotFound => assert!(end < 3, "cut at {end}"),
            other => panic!("cut at {end}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_broken_connection_is_told_from_a_truncated_body() {
    let body = stream::iter([
        Ok(Bytes::from_static(
            b"--B\r\nContent-Type: a/b\r\n\r\n1\r\n--B\r\nContent-Type: a/b\r\n\r\n2",
        )),
        Err(BodyError::from("reset")),
    ]);
    let (found, error) = read(Parts::new(body, "B", OPEN)).await;
    assert_eq!(found.len(), 1);
    assert!(matches!(error, Some(MultipartError::Aborted(_))));
    // After the closing delimiter it no longer matters.
    let body = stream::iter([
        Ok(Bytes::from_static(
            b"--B\r\nContent-Type: a/b\r\n\r\n1\r\n--B--\r\n",
        )),
        Err(BodyError::from("reset")),
    ]);
    let (found, error) = read(Parts::new(body, "B", OPEN)).await;
    assert_eq!((found.len(), error.is_none()), (1, true));
}

#[tokio::test]
async fn after_an_error_nothing_more_is_read() {
    let mut parts = Parts::new(chunked(b"--B\r\nno header", 4), "B", OPEN);
    assert!(matches!(
        parts.next().await,
        Err(MultipartError::Truncated { part: 1 })
    ));
    assert!(matches!(parts.next().await, Err(MultipartError::GivenUp)));
}

#[tokio::test]
async fn sizes_and_counts_are_limited() {
    let body = b"--B\r\nContent-Type: application/dicom\r\n\r\n12345\r\n--B\r\nContent-Type: application/dicom\r\n\r\n678901\r\n--B--";
    let (found, error) = error_of(body, BodyLimits { part: 5, ..OPEN }).await;
    assert_eq!(found, [dicom(b"12345")]);
    assert!(matches!(
        error,
        MultipartError::PartTooLarge { part: 2, limit: 5 }
    ));
    let (found, error) = error_of(body, BodyLimits { parts: 1, ..OPEN }).await;
    assert_eq!(found, [dicom(b"12345")]);
    assert!(matches!(error, MultipartError::TooManyParts { limit: 1 }));
    let (_, error) = read(Parts::new(
        chunked(body, 8),
        "B",
        BodyLimits { body: 60, ..OPEN },
    ))
    .await;
    assert!(matches!(
        error,
        Some(MultipartError::BodyTooLarge { limit: 60 })
    ));

    let mut long = vec![b'x'; MAX_PREAMBLE];
    let (_, error) = error_of(&[&long[..], b"yy"].concat(), OPEN).await;
    assert!(matches!(error, MultipartError::BoundaryNotFound));
    long.extend_from_slice(b"xx\r\n--B\r\nContent-Type: a/b\r\n\r\n1\r\n--B--");
    let (_, error) = error_of(&long, OPEN).await;
    assert!(matches!(error, MultipartError::PreambleTooLong { .. }));
    let lines = "x: y\r\n".repeat(4000);
    let (_, error) = error_of(format!("--B\r\n{lines}").as_bytes(), OPEN).await;
    assert!(matches!(
        error,
        MultipartError::HeadersTooLong { part: 1, .. }
    ));
    let (_, error) = error_of(b"--B\r\nno colon here\r\n\r\nx\r\n--B--", OPEN).await;
    assert!(matches!(error, MultipartError::BadHeaders { part: 1, .. }));
}

/// An always-ready body of `count` chunks that counts what is pulled.
fn endless(
    count: usize,
    pulled: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    let chunk = Bytes::from(vec![0x0d; 64 * 1024]);
    let opening = Bytes::from_static(b"--B\r\nContent-Type: application/dicom\r\n\r\n");
    let chunks = stream::iter(0..count).map(move |_| {
        pulled.fetch_add(chunk.len(), Ordering::Relaxed);
        Ok(chunk.clone())
    });
    let closing = stream::iter([Ok(Bytes::from_static(b"\r\n--B--"))]);
    stream::iter([Ok(opening)]).chain(chunks).chain(closing)
}

#[tokio::test]
async fn an_always_ready_body_is_not_read_ahead() {
    let pulled = Arc::new(AtomicUsize::new(0));
    let mut parts = Parts::new(endless(4096, Arc::clone(&pulled)), "B", OPEN);
    let mut part = parts.next().await.unwrap().unwrap();
    let (mut handed, mut ahead) = (0, 0);
    while let Some(bytes) = part.chunk().await.unwrap() {
        ahead = ahead.max(pulled.load(Ordering::Relaxed) - handed);
        handed += bytes.len();
    }
    assert_eq!(handed, 256 * 1024 * 1024);
    assert!(ahead <= 2 * 64 * 1024, "{ahead} bytes were pulled ahead");
}

#[tokio::test]
async fn a_body_in_one_piece_is_handed_on_in_bursts() {
    let mut body = b"--B\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
    body.resize(body.len() + 8 * 1024 * 1024, b'\r');
    body.extend_from_slice(b"\r\n--B--");
    let mut parts = Parts::new(
        stream::iter([Ok::<_, BodyError>(Bytes::from(body))]),
        "B",
        OPEN,
    );
    let mut part = parts.next().await.unwrap().unwrap();
    let mut handed = 0;
    while let Some(bytes) = part.chunk().await.unwrap() {
        assert!(bytes.len() <= 2 * BURST);
        handed += bytes.len();
    }
    assert_eq!(handed, 8 * 1024 * 1024);
}

#[tokio::test]
async fn thousands_of_small_parts_pass() {
    let mut body = Vec::new();
    for number in 0..5000 {
        body.extend_from_slice(
            format!("--B\r\nContent-Type: application/dicom\r\n\r\n{number}\r\n").as_bytes(),
        );
    }
    body.extend_from_slice(b"--B--\r\n");
    let (found, error) = read(Parts::new(chunked(&body, 64 * 1024), "B", OPEN)).await;
    assert!(error.is_none());
    assert_eq!(found.len(), 5000);
    assert_eq!(found[4999], dicom(b"4999"));
}

#[tokio::test]
async fn a_body_that_pauses_wakes_the_reader() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, |mut receiver| async move {
        receiver
            .recv()
            .await
            .map(|bytes| (Ok::<_, BodyError>(bytes), receiver))
    });
    let reader = tokio::spawn(read(Parts::new(body, "B", OPEN)));
    for piece in [
        "--B",
        "\r\nContent-Type: a/b\r",
        "\n\r\nx",
        "\r\n-",
        "-B-",
        "-",
    ] {
        sender
            .send(Bytes::from_static(piece.as_bytes()))
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    drop(sender);
    let (found, error) = reader.await.unwrap();
    assert!(error.is_none());
    assert_eq!(found, [("a/b".to_owned(), b"x".to_vec())]);
}

proptest::proptest! {
    #[test]
    fn any_parts_survive_any_chunking(
        parts in proptest::collection::vec("[-B\r\nx ]{0,40}", 0..5),
        size in 1_usize..50,
    ) {
        // "\r\n--B", blanks and a line end, or "--", would be a delimiter.
        let clash = |text: &String| format!("\r\n{text}\r\n").contains("\r\n--B");
        proptest::prop_assume!(!parts.iter().any(clash));
        let mut body = Vec::new();
        for part in &parts {
            body.extend_from_slice(format!("--B\r\nContent-Type: a/b\r\n\r\n{part}\r\n").as_bytes());
        }
        body.extend_from_slice(b"--B--");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (found, error) = runtime.block_on(read(Parts::new(chunked(&body, size), "B", OPEN)));
        proptest::prop_assert!(error.is_none());
        let found: Vec<_> = found.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect();
        proptest::prop_assert_eq!(found, parts);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec!["--B", "\r\n", "\n", "--", "X: y", ":", " ", "\r", "\0", "data", "\u{e9}"]),
            0..40,
        ),
        size in 1_usize..9,
    ) {
        let body = pieces.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let parts = Parts::new(chunked(body.as_bytes(), size), "B", OPEN);
        let (_, error) = runtime.block_on(read(parts));
        proptest::prop_assert!(!matches!(error, Some(MultipartError::Unreadable { .. })), "{:?}", error);
    }
}
