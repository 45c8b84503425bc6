//! Attributes of nodes.

use std::sync::Arc;

use crate::graph::Graph;
use crate::tensor::{Bytes, Tensor};

/// A graph in an attribute (a branch of If, the body of Loop). Two are equal if they are the same object.
#[derive(Clone, Debug)]
pub struct Subgraph(pub Arc<Graph>);

impl PartialEq for Subgraph {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Value of an attribute (ONNX, AttributeProto).
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// An integer (field `i`).
    Int(i64),
    /// A float (field `f`).
    Float(f32),
    /// A string (field `s`), which need not be UTF-8.
    Str(Vec<u8>),
    /// A tensor (field `t`).
    Tensor(Arc<Tensor>),
    /// A graph (field `g`).
    Graph(Subgraph),
    /// A list of integers (field `ints`).
    Ints(Vec<i64>),
    /// A list of floats (field `floats`).
    Floats(Vec<f32>),
    /// A list of strings (field `strings`).
    Strs(Vec<Vec<u8>>),
    /// In the body of a function: the function's attribute of this name, and the whole AttributeProto as
    /// it was in the file.
    Ref(Arc<str>, Bytes),
    /// Any other kind (types, sparse tensors, lists of graphs): the whole AttributeProto as it was in
    /// the file.
    Raw(Bytes),
}

impl Attr {
    /// The kind with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Str(_) => "a string",
            Self::Tensor(_) => "a tensor",
            Self::Graph(_) => "a graph",
            Self::Ints(_) => "a list of ints",
            Self::Floats(_) => "a list of floats",
            Self::Strs(_) => "a list of strings",
            Self::Ref(..) => "a reference to an attribute",
            Self::Raw(_) => "of another kind",
        }
    }
}

/// Names and values of attributes, in a fixed order.
pub type Attrs = Vec<(Arc<str>, Attr)>;

/// A Rust type of an attribute.
pub(crate) trait Field: Sized {
    /// The expected kind of attribute, for messages.
    const KIND: &'static str;
    fn read(attr: Attr) -> Option<Self>;
    /// `None` where the attribute is absent.
    fn write(&self) -> Option<Attr>;
}

macro_rules! field {
    ($t:ty, $kind:literal, $variant:ident) => {
        impl Field for $t {
            const KIND: &'static str = $kind;
            fn read(attr: Attr) -> Option<Self> {
                match attr {
                    Attr::$variant(v) => Some(v),
                    _ => None,
                }
            }
            fn write(&self) -> Option<Attr> {
                Some(Attr::$variant(self.clone()))
            }
        }
    };
}

field!(i64, "an int", Int);
field!(f32, "a float", Float);
field!(Vec<u8>, "a string", Str);
field!(Vec<Vec<u8>>, "a list of strings", Strs);
field!(Vec<i64>, "a list of ints", Ints);
field!(Vec<f32>, "a list of floats", Floats);
field!(Arc<Tensor>, "a tensor", Tensor);
field!(Subgraph, "a graph", Graph);

impl Field for String {
    const KIND: &'static str = "a UTF-8 string";
    fn read(attr: Attr) -> Option<Self> {
        match attr {
            Attr::Str(v) => Self::from_utf8(v).ok(),
            _ => None,
        }
    }
    fn write(&self) -> Option<Attr> {
        Some(Attr::Str(self.clone().into_bytes()))
    }
}

impl Field for Vec<String> {
    const KIND: &'static str = "a list of UTF-8 strings";
    fn read(attr: Attr) -> Option<Self> {
        match attr {
            Attr::Strs(v) => v.into_iter().map(|s| String::from_utf8(s).ok()).collect(),
            _ => None,
        }
    }
    fn write(&self) -> Option<Attr> {
        Some(Attr::Strs(self.iter().map(|s| s.clone().into_bytes()).collect()))
    }
}

impl<T: Field> Field for Option<T> {
    const KIND: &'static str = T::KIND;
    fn read(attr: Attr) -> Option<Self> {
        T::read(attr).map(Some)
    }
    fn write(&self) -> Option<Attr> {
        self.as_ref().and_then(T::write)
    }
}
