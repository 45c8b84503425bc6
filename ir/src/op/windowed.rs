//! What all windowed operators share: the attributes of their windows, as one view of eight
//! operators, so that no other place lists them.

use super::Op;

/// The attributes of a windowed operator, in the file's spelling.
#[derive(Clone, Copy, Debug)]
pub struct Windowed<'a> {
    /// `NOTSET`, `VALID`, `SAME_UPPER` or `SAME_LOWER`.
    pub auto_pad: &'a str,
    /// Taps along each spatial axis, if spelled out.
    pub kernel_shape: Option<&'a [i64]>,
    /// Begins of all spatial axes, then their ends.
    pub pads: Option<&'a [i64]>,
    /// Distance of neighbouring windows along each spatial axis.
    pub strides: Option<&'a [i64]>,
    /// Distance of neighbouring taps along each spatial axis.
    pub dilations: Option<&'a [i64]>,
    /// What only some of them have.
    pub kind: Kind,
    /// Operand that holds the image.
    pub image: usize,
    /// Operand that holds the weights, if there are any.
    pub weights: Option<usize>,
    /// Operands that may have one element for each output channel, beside the weights.
    pub per_channel: &'a [usize],
}

/// The two kinds of windowed operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Multiplies by weights, in this many groups of channels.
    Convolution {
        /// Number of groups.
        group: i64,
        /// Whether the input is spread over the output rather than gathered.
        transposed: bool,
    },
    /// Folds each channel by itself.
    Pool {
        /// Whether a last window that only starts inside is kept.
        ceil: bool,
    },
}

/// The same attributes, to be set.
pub struct WindowedMut<'a> {
    /// As in [`Windowed`].
    pub auto_pad: &'a mut String,
    /// As in [`Windowed`].
    pub pads: &'a mut Option<Vec<i64>>,
    /// As in [`Windowed`].
    pub strides: &'a mut Option<Vec<i64>>,
    /// As in [`Windowed`].
    pub dilations: &'a mut Option<Vec<i64>>,
    /// Of convolutions, which can do without: the weights say it.
    pub kernel_shape: Option<&'a mut Option<Vec<i64>>>,
    /// Of convolutions.
    pub group: Option<&'a mut i64>,
    /// Of pools.
    pub ceil_mode: Option<&'a mut i64>,
}

impl Windowed<'_> {
    /// Groups of channels; 1 for pools.
    pub fn groups(&self) -> i64 {
        match self.kind {
            Kind::Convolution { group, .. } => group,
            Kind::Pool { .. } => 1,
        }
    }

    /// Whether it is a transposed convolution.
    pub fn is_transposed(&self) -> bool {
        matches!(self.kind, Kind::Convolution { transposed: true, .. })
    }

    /// Whether it is a pool.
    pub fn is_pool(&self) -> bool {
        matches!(self.kind, Kind::Pool { .. })
    }

    /// Whether a last window that only starts inside is kept.
    pub fn ceil(&self) -> bool {
        matches!(self.kind, Kind::Pool { ceil: true })
    }
}

/// One row a windowed operator: its kind, and which operands are what.
macro_rules! family {
    (
        convolutions { $($conv:ident: transposed $transposed:literal image $image:literal weights $weights:literal per_channel [$($per:literal),*];)* }
        pools { $($pool:ident;)* }
    ) => {
        impl Op {
            /// The attributes of its windows, if it is a windowed operator.
            pub fn windowed(&self) -> Option<Windowed<'_>> {
                Some(match self {
                    $(Self::$conv(c) => Windowed {
                        auto_pad: &c.auto_pad,
                        kernel_shape: c.kernel_shape.as_deref(),
                        pads: c.pads.as_deref(),
                        strides: c.strides.as_deref(),
                        dilations: c.dilations.as_deref(),
                        kind: Kind::Convolution { group: c.group, transposed: $transposed },
                        image: $image,
                        weights: Some($weights),
                        per_channel: &[$($per),*],
                    },)*
                    $(Self::$pool(p) => Windowed {
                        auto_pad: &p.auto_pad,
                        kernel_shape: Some(&p.kernel_shape),
                        pads: p.pads.as_deref(),
                        strides: p.strides.as_deref(),
                        dilations: p.dilations.as_deref(),
                        kind: Kind::Pool { ceil: p.ceil_mode != 0 },
                        image: 0,
                        weights: None,
                        per_channel: &[],
                    },)*
                    _ => return None,
                })
            }

            /// The same, to be set.
            pub fn windowed_mut(&mut self) -> Option<WindowedMut<'_>> {
                Some(match self {
                    $(Self::$conv(c) => WindowedMut {
                        auto_pad: &mut c.auto_pad,
                        pads: &mut c.pads,
                        strides: &mut c.strides,
                        dilations: &mut c.dilations,
                        kernel_shape: Some(&mut c.kernel_shape),
                        group: Some(&mut c.group),
                        ceil_mode: None,
                    },)*
                    $(Self::$pool(p) => WindowedMut {
                        auto_pad: &mut p.auto_pad,
                        pads: &mut p.pads,
                        strides: &mut p.strides,
                        dilations: &mut p.dilations,
                        kernel_shape: None,
                        group: None,
                        ceil_mode: Some(&mut p.ceil_mode),
                    },)*
                    _ => return None,
                })
            }
        }
    };
}

family! {
    convolutions {
        Conv: transposed false image 0 weights 1 per_channel [2];
        FusedConv: transposed false image 0 weights 1 per_channel [2];
        ConvInteger: transposed false image 0 weights 1 per_channel [3];
        QLinearConv: transposed false image 0 weights 3 per_channel [4, 5, 8];
        ConvTranspose: transposed true image 0 weights 1 per_channel [2];
    }
    pools { MaxPool; AveragePool; LpPool; }
}

#[cfg(test)]
mod tests {
    use super::super::{Attr, Class, Op, TABLE};

    #[test]
    fn every_operator_of_the_class_is_a_row() {
        let mut rows = 0;
        for (domain, name, class) in TABLE {
            let kernel = vec![("kernel_shape".into(), Attr::Ints(vec![1]))];
            let Ok((op, _)) = Op::from_attrs(domain, name, kernel) else { continue };
            assert_eq!(op.windowed().is_some(), *class == Class::Window, "{name}");
            assert_eq!(op.clone().windowed_mut().is_some(), *class == Class::Window, "{name}");
            rows += usize::from(*class == Class::Window);
        }
        assert_eq!(rows, 8);
    }
}
