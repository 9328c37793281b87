use super::*;
use crate::dicom::render::image::Image;

fn annotated(known: Vec<Annotation>) -> DecodedPicture {
    let attributes = RenderAttributes {
        patient: vec![String::from("Doe Jane"), String::from("Δ é 山")],
        technique: vec![String::from("CT")],
        ..RenderAttributes::default()
    };
    let data = vec![60; 200 * 300];
    let request = Request {
        annotation: known,
        ..Request::default()
    };
    png_of(
        &samples(200, 300, SampleKind::U8, &data),
        &attributes,
        &request,
    )
}

fn changed_rows(picture: &DecodedPicture) -> Vec<usize> {
    let rows = picture.data.chunks(300).enumerate();
    rows.filter(|(_, row)| row.iter().any(|&level| level != 60))
        .map(|(y, _)| y)
        .collect()
}

#[test]
fn annotations_are_burned_in_only_when_asked() {
    assert!(changed_rows(&annotated(vec![])).is_empty());
    let patient = changed_rows(&annotated(vec![Annotation::Patient]));
    assert!(
        !patient.is_empty() && patient.iter().all(|&y| y < 30),
        "{patient:?}"
    );
    let technique = changed_rows(&annotated(vec![Annotation::Technique]));
    assert!(
        !technique.is_empty() && technique.iter().all(|&y| y > 180),
        "{technique:?}"
    );
    let both = annotated(vec![Annotation::Patient, Annotation::Technique]);
    assert_eq!(changed_rows(&both), [patient, technique].concat());
    assert!(both.data.contains(&255) && both.data.contains(&0));
}

#[test]
fn letters_have_the_shape_of_the_font() {
    let mut image = Image {
        width: 8,
        height: 8,
        channels: 1,
        data: vec![0; 64],
    };
    annotate::draw_letters(&mut image, "L", (0, 0), 1, 9);
    let rows: Vec<String> = image
        .data
        .chunks(8)
        .map(|row| {
            row.iter()
                .map(|&level| if level == 9 { '#' } else { '.' })
                .collect()
        })
        .collect();
    assert!(
        rows[0].starts_with("###") || rows[0].starts_with("####"),
        "{rows:?}"
    );
    assert!(
        rows[6].matches('#').count() > rows[2].matches('#').count(),
        "{rows:?}"
    );
}

#[test]
fn annotations_fit_tiny_and_color_pictures() {
    let attributes = RenderAttributes {
        patient: vec!["long line of text".repeat(9); 9],
        technique: vec!["long line of text".repeat(9); 9],
        ..RenderAttributes::default()
    };
    let annotation = vec![Annotation::Patient, Annotation::Technique];
    let request = Request {
        annotation,
        ..Request::default()
    };
    assert_eq!(
        png_of(&rgb(1, 1, &[1, 2, 3]), &attributes, &request).width,
        1
    );
    let data = vec![0; 3 * 640 * 20];
    let picture = png_of(&rgb(20, 640, &data), &attributes, &request);
    assert!(picture.data.as_chunks::<3>().0.contains(&[255; 3]));
}
