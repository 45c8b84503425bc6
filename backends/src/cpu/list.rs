//! Sequences and optionals at run time: arrays whose elements are arrays.

use std::sync::Arc;

use graph_opt_ir::Datum;

use super::array::{Array, Buf};
use crate::RunError;

/// An element of a sequence; `None` in an optional that holds nothing.
#[derive(Clone, Default, Debug)]
pub(crate) struct Item(pub Option<Arc<Array>>);

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

impl Array {
    /// The elements, if it is a sequence.
    pub fn items(&self) -> Option<&[Item]> {
        match &self.data {
            Buf::List(v) if self.dims.len() == 1 && v.is_contiguous() => Some(v),
            _ => None,
        }
    }

    /// An optional that holds nothing.
    pub fn absent() -> Self {
        Self::new(vec![], vec![Item(None)])
    }

    pub fn is_absent(&self) -> bool {
        matches!(self.data, Buf::List(_)) && self.dims.is_empty()
    }

    /// As a run is given it.
    pub fn of_datum(d: &Datum) -> Result<Self, RunError> {
        Ok(match d {
            Datum::Tensor(t) => Self::of(t)?,
            Datum::Absent => Self::absent(),
            Datum::Sequence(all) => {
                let one = |t| Ok(Item(Some(Arc::new(Self::of(t)?))));
                let all = all.iter().map(one).collect::<Result<Vec<_>, RunError>>()?;
                Self::new(vec![all.len()], all)
            }
        })
    }

    /// As a run gives it.
    pub fn datum(&self) -> Result<Datum, RunError> {
        let Some(all) = self.items() else {
            return if self.is_absent() {
                Ok(Datum::Absent)
            } else {
                self.tensor().map(Datum::Tensor)
            };
        };
        let all = all.iter().flat_map(|i| &i.0).map(|a| a.tensor());
        Ok(Datum::Sequence(all.collect::<Result<_, _>>()?))
    }
}
