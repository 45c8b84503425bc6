//! Broken and nasty files.

use std::time::{Duration, Instant};

use super::super::load;
use super::shared;

/// Files whose fault is in types and shapes, which import does not look at.
const NEEDS_INFERENCE: &[&str] = &[
    "f13_value_info_type_lies.onnx",
    "f15_add_float_int.onnx",
    "f17_broadcast_impossible.onnx",
    "g06_conv_stride_negative.onnx",
    "g08_conv_dilation_0.onnx",
    "g14_conv_strides_long.onnx",
    "g18_conv_scalar_weight.onnx",
    "h01_reshape_two_minus1.onnx",
    "h03_reshape_overflow.onnx",
    "h05_axis_out_of_range.onnx",
    "h07_slice_step_0.onnx",
    "h09_transpose_perm.onnx",
    "h11_concat_mismatch.onnx",
    "h21_matmul_inner.onnx",
    "h23_einsum_scalar.onnx",
    "h25_resize_scale_nan.onnx",
];

#[test]
fn every_file_is_refused_or_read_as_the_manifest_says() {
    let Some(dir) = shared("hostile") else { return };
    let manifest = std::fs::read_to_string(dir.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let mut wrong = Vec::new();
    for f in manifest["files"].as_array().unwrap() {
        let name = f["file"].as_str().unwrap();
        let expect = f["expect"].as_str().unwrap();
        let start = Instant::now();
        let got = load(dir.join(name));
        assert!(start.elapsed() < Duration::from_secs(1), "{name} takes {:?}", start.elapsed());
        let said = match &got {
            Ok(i) => format!("ok {:?}", i.remarks),
            Err(e) => e.to_string(),
        };
        println!("{name:45} {expect:15} {said}");
        let fits = match expect {
            "reject" => got.is_err() || NEEDS_INFERENCE.contains(&name),
            "pass" => got.is_ok(),
            _ => true,
        };
        if !fits {
            wrong.push(format!("{name}: expected {expect}, got: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
