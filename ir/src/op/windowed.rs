//! One view of the windowed operators (convolutions and pools), so that no other place lists them.

use super::Op;

/// The attributes of a windowed operator as the file has them, and the roles of its operands.
#[derive(Clone, Copy, Debug)]
pub struct Windowed<'a> {
    /// `NOTSET`, `VALID`, `SAME_UPPER` or `SAME_LOWER`.
    pub auto_pad: &'a str,
    /// Number of taps along each spatial axis, if given.
    pub kernel_shape: Option<&'a [i64]>,
    /// Padding before each spatial axis, then after each of them.
    pub pads: Option<&'a [i64]>,
    /// Distance of consecutive windows along each spatial axis; absent for 1.
    pub strides: Option<&'a [i64]>,
    /// Distance of consecutive taps along each spatial axis; absent for 1.
    pub dilations: Option<&'a [i64]>,
    /// Convolution or pool, with the attributes of the kind.
    pub kind: Kind,
    /// Index of the operand with the image.
    pub image: usize,
    /// Index of the operand with the weights; `None` for pools.
    pub weights: Option<usize>,
    /// Indices of other operands that may have one element for each output channel.
    pub per_channel: &'a [usize],
}

/// The two kinds of windowed operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Multiplies by weights, in groups of channels.
    Convolution {
        /// Number of groups of channels.
        group: i64,
        /// Whether each input element contributes to a window of outputs, rather than the reverse.
        transposed: bool,
    },
    /// Reduces each channel separately.
    Pool {
        /// Whether a last window that ends beyond the padding is kept (`ceil_mode`).
        ceil: bool,
    },
}

/// The attributes of [`Windowed`] as mutable references.
pub struct WindowedMut<'a> {
    /// As [`Windowed::auto_pad`].
    pub auto_pad: &'a mut String,
    /// As [`Windowed::pads`].
    pub pads: &'a mut Option<Vec<i64>>,
    /// As [`Windowed::strides`].
    pub strides: &'a mut Option<Vec<i64>>,
    /// As [`Windowed::dilations`].
    pub dilations: &'a mut Option<Vec<i64>>,
    /// The kernel of convolutions, which is optional as the weights determine it; `None` for pools.
    pub kernel_shape: Option<&'a mut Option<Vec<i64>>>,
    /// The number of groups of convolutions; `None` for pools.
    pub group: Option<&'a mut i64>,
    /// The `ceil_mode` of pools; `None` for convolutions.
    pub ceil_mode: Option<&'a mut i64>,
}

impl Windowed<'_> {
    /// Number of groups of channels; 1 for pools.
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

    /// Whether a last window that ends beyond the padding is kept (`ceil_mode` of pools).
    pub fn ceil(&self) -> bool {
        matches!(self.kind, Kind::Pool { ceil: true })
    }
}

/// One row for each windowed operator: its kind, and the roles of its operands.
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

            /// The attributes of its windows as mutable references.
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
