use super::*;

#[test]
fn window_is_three_parts() {
    assert_eq!(
        parse_window("40,400,linear"),
        Ok((40.0, 400.0, WindowFunction::Linear))
    );
    assert_eq!(
        parse_window("40.5, 1e3"),
        Ok((40.5, 1000.0, WindowFunction::Linear))
    );
    assert_eq!(
        parse_window("-1,0.5,linear-exact"),
        Ok((-1.0, 0.5, WindowFunction::LinearExact))
    );
    assert_eq!(
        parse_window("0,1,SIGMOID"),
        Ok((0.0, 1.0, WindowFunction::Sigmoid))
    );
    for wrong in [
        "",
        "40",
        "40,0",
        "40,-1",
        "40,0.5,linear",
        "nan,1",
        "1,inf",
        "1,2,cubic",
        "1,2,linear,3",
        ",2",
    ] {
        let error = parse_window(wrong).unwrap_err();
        assert_eq!(error.name, "window", "{wrong}");
        assert!(error.to_string().contains("linear-exact"));
    }
}

#[test]
fn viewport_has_defaults_and_flips() {
    let full = parse_viewport("512,256.5").unwrap();
    assert_eq!(
        (full.width, full.height, full.region),
        (Some(512.0), Some(256.5), Region::Full)
    );
    let region = parse_viewport("100,100,,20,-30,").unwrap().region;
    let expected = Region::Pixels {
        x: 0.0,
        y: 20.0,
        width: Some(30.0),
        height: None,
        flip_horizontal: true,
        flip_vertical: false,
    };
    assert_eq!(region, expected);
    assert_eq!(parse_viewport("10,10,,,,").unwrap().region, Region::Full);
    for wrong in [
        "",
        "10",
        "0,10",
        "-5,10",
        "10,a",
        "1,2,3,4,5,6,7",
        "1,2,3",
        "1,2,3,4,5",
        "10,10,-1",
        "10,10,0,0,0,1",
        "inf,1",
    ] {
        assert_eq!(
            parse_viewport(wrong).unwrap_err().name,
            "viewport",
            "{wrong}"
        );
    }
}

#[test]
fn thumbnail_viewport_is_two_sizes() {
    assert_eq!(parse_thumbnail_viewport("256,128"), Ok((256, 128)));
    assert_eq!(
        parse_thumbnail_viewport("0.2,1000000"),
        Ok((1, MAX_VIEWPORT + 1))
    );
    for wrong in [
        "",
        "10",
        "10,",
        "0,1",
        "1,2,3",
        "1,2,3,4,5,6",
        "a,b",
        "-1,1",
    ] {
        assert!(parse_thumbnail_viewport(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn quality_is_one_to_a_hundred() {
    assert_eq!((parse_quality("1"), parse_quality("100")), (Ok(1), Ok(100)));
    for wrong in ["0", "101", "-1", "1.5", "", "high", "256"] {
        assert_eq!(parse_quality(wrong).unwrap_err().name, "quality", "{wrong}");
    }
}

#[test]
fn icc_profile_has_six_keywords() {
    for (value, expected) in [
        ("no", IccRequest::No),
        ("yes", IccRequest::Yes),
        ("srgb", IccRequest::Srgb),
        ("adobergb", IccRequest::AdobeRgb),
        ("rommrgb", IccRequest::RommRgb),
        ("displayp3", IccRequest::DisplayP3),
    ] {
        assert_eq!(parse_icc_profile(value), Ok(expected));
    }
    assert!(
        parse_icc_profile("cmyk")
            .unwrap_err()
            .to_string()
            .contains("displayp3")
    );
}

#[test]
fn annotation_counts_what_it_does_not_know() {
    let parsed = parse_annotation("technique, patient,patient,logo").unwrap();
    assert_eq!(parsed.known, [Annotation::Technique, Annotation::Patient]);
    assert_eq!(parsed.unknown, 1);
    assert_eq!(parse_annotation("logo").unwrap().known, []);
    assert_eq!(parse_annotation(" , ").unwrap_err().name, "annotation");
}

#[test]
fn region_is_a_rectangle_inside_the_image() {
    assert!(parse_region("0,0,1,1").is_ok());
    for wrong in [
        "",
        "0,0,1",
        "0,0,1,1,1",
        "0.5,0,0.5,1",
        "0,0,1.1,1",
        "0,,1,1",
        "a,0,1,1",
    ] {
        assert_eq!(parse_region(wrong).unwrap_err().name, "region", "{wrong}");
    }
}
