//! What a backward pass keeps of a value that it reads: the value, or, where that takes little time and much less
//! memory, how it is made again, bit for bit.
//!
//! Which values those are: in bfloat16 on a CPU, norms and GELU. What they are made of is kept for their own gradients
//! anyway, and making them is a hundredth of the product that reads them.

use std::fmt;
use std::sync::Arc;

use candle_core::{Result, Tensor};

/// How a value is made again.
#[derive(Clone)]
pub(super) struct Again(Arc<dyn Fn() -> Result<Tensor> + Send + Sync>);

impl Again {
    pub(super) fn new(make: impl Fn() -> Result<Tensor> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again")
    }
}

/// A value, or how it is made.
pub(super) enum KeptValue {
    Value(Tensor),
    Again(Again),
}

impl KeptValue {
    pub(super) fn of(value: &Tensor, again: Option<&Again>) -> Self {
        again.map_or_else(|| Self::Value(value.clone()), |again| Self::Again(again.clone()))
    }

    /// The value.
    pub(super) fn get(&self) -> Result<Tensor> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Again(Again(make)) => make(),
        }
    }
}

/// Several values.
pub(super) fn all_kept<const N: usize>(kept: &[KeptValue; N]) -> Result<[Tensor; N]> {
    let all: Vec<Tensor> = kept.iter().map(KeptValue::get).collect::<Result<_>>()?;
    <[Tensor; N]>::try_from(all)
        .map_err(|_| candle_core::Error::Msg("as many values as were kept".to_owned()))
}
