use dicom_core::{Tag, VR};
use serde_json::{Value, json};

use super::*;
use crate::dicom::build::{self, Built, DataSet, Lengths, Syntax};

const SYNTAXES: [Syntax; 4] = [
    Syntax::ImplicitLittle,
    Syntax::ExplicitLittle,
    Syntax::ExplicitBig,
    Syntax::Deflated,
];

fn walked(built: &Built) -> Instance {
    walk(&built.bytes, &WalkOptions::default()).unwrap()
}

fn parsed(instance: &Instance) -> Value {
    serde_json::from_str(&instance.metadata.text).unwrap()
}

#[test]
fn every_syntax_gives_the_same_identifiers_and_metadata() {
    let item = DataSet::new()
        .text(Tag(0x0040, 0x0007), VR::LO, "Step")
        .text(Tag(0x0040, 0x0009), VR::SH, "SPS1");
    let data = DataSet::image(4, 4, 16, 2)
        .set(DataSet::new().items(
            Tag(0x0040, 0x0275),
            Lengths::Undefined,
            vec![item.clone(), DataSet::new(), item],
        ))
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, vec![7; 64]);
    for syntax in SYNTAXES {
        let built = data.file(syntax);
        let instance = walked(&built);
        assert_eq!(instance.name.study.as_str(), build::STUDY);
        assert_eq!(instance.name.series.as_str(), build::SERIES);
        assert_eq!(instance.name.instance.as_str(), build::INSTANCE);
        assert_eq!(instance.sop_class, build::SOP_CLASS);
        assert_eq!(instance.layout.transfer_syntax, syntax.uid());
        assert_eq!(instance.layout.dataset_offset, built.dataset_offset);
        assert!(
            instance.layout.part10 && instance.findings.is_empty(),
            "{:?}",
            instance.findings
        );
        let json = parsed(&instance);
        assert_eq!(
            json["00400275"]["Value"][0]["00400009"],
            json!({"vr": "SH", "Value": ["SPS1"]})
        );
        assert_eq!(json["00400275"]["Value"][1], json!({}));
        assert_eq!(json["00280010"], json!({"vr": "US", "Value": [4]}));
        assert_eq!(
            json["7FE00010"],
            json!({"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"})
        );
        let place = built.place("7FE00010").unwrap();
        assert_eq!(
            (instance.bulk[0].offset, instance.bulk[0].length),
            (place.offset, 64)
        );
        assert_eq!(instance.frames.count(), 2);
        let second = instance.frames.frame(2).unwrap();
        assert_eq!(
            (second.ranges[0].offset, second.ranges[0].length),
            (place.offset + 32, 32)
        );
        let sequence = instance
            .attributes
            .iter()
            .find(|a| a.tag == Tag(0x0040, 0x0275))
            .unwrap();
        let fragment: Value =
            serde_json::from_str(&instance.metadata.text[sequence.json.clone()]).unwrap();
        assert_eq!(fragment, json["00400275"]);
    }
}
