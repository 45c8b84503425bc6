//! Every kernel is valid for every kind of adapter; needs none.

use graph_opt_ir::Op;
use graph_opt_ir::op::{Attr, Attrs, TABLE};
use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::wgpu::kernel::Kernel;
use crate::wgpu::ops;

/// Every kernel with everything that is ever filled in.
fn all() -> Vec<Kernel> {
    let mut all = ops::fixed_kernels();
    for (domain, name, _) in TABLE {
        for attrs in [vec![], ("approximate", Attr::Str(b"tanh".to_vec())).into_attrs()] {
            let Ok((op, _)) = Op::from_attrs(domain, name, required(name, attrs)) else { continue };
            all.extend(ops::kernels_of(&op));
        }
    }
    all
}

trait IntoAttrs {
    fn into_attrs(self) -> Attrs;
}

impl IntoAttrs for (&str, Attr) {
    fn into_attrs(self) -> Attrs {
        vec![(self.0.into(), self.1)]
    }
}

/// With the attributes that have no default.
fn required(name: &str, mut attrs: Attrs) -> Attrs {
    if name.ends_with("Pool") {
        attrs.push(("kernel_shape".into(), Attr::Ints(vec![2, 2])));
    }
    attrs
}

/// What is generated for a convolution of eight channels at once, a pool and a unary operator; the
/// functions that several kernels share are left out.
#[test]
fn generated_kernels() {
    let fixed = ops::fixed_kernels();
    let convolution = fixed.into_iter().find(|k| k.name() == "conv_eight").unwrap();
    let of = |name: &str, attrs: Attrs| {
        let op = Op::from_attrs("", name, required(name, attrs)).unwrap().0;
        let [kernel] = &ops::kernels_of(&op)[..] else { panic!("{name} has several kernels") };
        kernel.clone()
    };
    for (name, kernel) in [
        ("wgsl_conv", convolution),
        ("wgsl_average_pool", of("AveragePool", vec![])),
        ("wgsl_leaky_relu", of("LeakyRelu", vec![])),
    ] {
        let text = kernel
            .source()
            .replace(include_str!("../kernels/common.wgsl"), "… common.wgsl …\n")
            .replace(include_str!("../kernels/math.wgsl"), "… math.wgsl …\n");
        let mut s = insta::Settings::clone_current();
        s.set_snapshot_path("../../../../snapshots");
        s.set_prepend_module_to_snapshot(false);
        s.set_description(kernel.key());
        s.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn kernels_are_valid_for_every_back_end() {
    let all = all();
    assert!(all.len() > 50, "{}", all.len());
    for kernel in all {
        let source = kernel.source();
        let key = kernel.key();
        assert!(!source.contains("{{"), "{key}");
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{key}: {}", e.emit_to_string(&source)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{key}: {e:?}"));
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        spv::write_vec(&module, &info, &options, None).unwrap_or_else(|e| panic!("{key}: {e}"));
        let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
        msl::write_string(&module, &info, &options, &Default::default())
            .unwrap_or_else(|e| panic!("{key}: {e}"));
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &Default::default())
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{key}: {e}"));
        // Version 310 is the first with compute shaders.
        let options = glsl::Options { version: glsl::Version::new_gles(310), ..Default::default() };
        let entry = glsl::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: "main".into(),
            multiview: None,
        };
        let mut text = String::new();
        let bounds = naga::proc::BoundsCheckPolicies::default();
        glsl::Writer::new(&mut text, &module, &info, &options, &entry, bounds)
            .and_then(|mut w| w.write())
            .unwrap_or_else(|e| panic!("{key}: {e}"));
    }
}
