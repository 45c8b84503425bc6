//! Kernels: WGSL files in which `{{NAME}}` stands for what a variant fills in.

use std::fmt;

/// A kernel's source files and what is filled into them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kernel {
    name: &'static str,
    inputs: usize,
    files: &'static [&'static str],
    slots: Vec<(&'static str, String)>,
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident $inputs:literal [$($file:literal),*];)*) => {
        impl Kernel {
            $(
                $(#[$doc])*
                pub fn $name(slots: &[(&'static str, &str)]) -> Self {
                    Self {
                        name: stringify!($name),
                        inputs: $inputs,
                        files: &[
                            include_str!("kernels/common.wgsl"),
                            $(include_str!(concat!("kernels/", $file, ".wgsl")),)*
                        ],
                        slots: slots.iter().map(|&(n, v)| (n, v.to_owned())).collect(),
                    }
                }
            )*
        }
    };
}

kernels! {
    /// `BODY` of `x`, `a`, `b`, `c`.
    unary 1 ["math", "unary"];
    /// `BODY` of `x` and `y`.
    binary 2 ["math", "binary"];
    select 3 ["select"];
    strided 1 ["strided"];
    /// `PIXELS`
    conv_eight 3 ["conv_eight", "conv"];
    /// `PIXELS`
    conv_one 3 ["conv_one", "conv"];
    pack 1 ["pack"];
    /// `ROWS`, `COLUMNS`
    matmul 3 ["matmul"];
    /// `START` of `e`; `STEP` of `s`, `e`; `FINISH` of `s`, `count`.
    pool 1 ["math", "pool"];
    /// Reductions, with the placeholders of [`Kernel::pool`].
    reduce 1 ["math", "reduce"];
    conv_transpose 3 ["conv_transpose"];
    channels 4 ["channels"];
    moments 1 ["moments"];
    /// `BODY` of `x`, `mean`, `r`, `s`; `AT` of `i`, `row`.
    normalize 4 ["normalize"];
    softmax 1 ["math", "softmax"];
    lrn 1 ["math", "lrn"];
    pad 1 ["pad"];
    gather 2 ["gather"];
    taps 2 ["taps"];
    probe 1 ["probe"];
}

impl Kernel {
    /// Name of its file.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Number of operands, which stand before the result.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The key under which a compiled pipeline is kept: one for each variant.
    pub fn key(&self) -> String {
        let mut key = self.name.to_owned();
        for (n, v) in &self.slots {
            key += &format!("\n{n}={v}");
        }
        key
    }

    /// The whole WGSL module.
    pub fn source(&self) -> String {
        let mut s = self.files.join("\n");
        for (n, v) in &self.slots {
            s = s.replace(&format!("{{{{{n}}}}}"), v);
        }
        s
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
