//! What a run reads and gives.

use crate::{Tensor, Type};

/// A value of a run. An optional that holds something is that itself.
#[derive(Clone, PartialEq, Debug)]
pub enum Datum {
    /// A tensor.
    Tensor(Tensor),
    /// A sequence of tensors.
    Sequence(Vec<Tensor>),
    /// An optional that holds nothing.
    Absent,
}

impl Datum {
    /// Its type; of an optional that holds nothing, it is not known of what.
    pub fn ty(&self) -> Type {
        match self {
            Self::Tensor(t) => t.ty(),
            Self::Sequence(all) => {
                let types = all.iter().map(Tensor::ty);
                Type::sequence(types.reduce(|a, b| a.join(&b)).unwrap_or_default())
            }
            Self::Absent => Type::Optional(Box::default()),
        }
    }

    /// Whether a value of this type may be this.
    pub fn is_of(&self, ty: &Type) -> bool {
        match (ty, self) {
            (Type::Unknown, _) | (Type::Optional(_), Self::Absent) => true,
            (Type::Optional(t), _) => self.is_of(t),
            (Type::Sequence(t), Self::Sequence(all)) => {
                all.iter().all(|x| t.meet(&x.ty()).is_some())
            }
            (Type::Tensor(_), Self::Tensor(t)) => ty.meet(&t.ty()).is_some(),
            _ => false,
        }
    }

    /// The tensor, if it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Tensor(t) => Some(t),
            _ => None,
        }
    }
}

impl From<Tensor> for Datum {
    fn from(t: Tensor) -> Self {
        Self::Tensor(t)
    }
}
