//! The activation functions of published GPT-2 checkpoints.

use candle_core::{DType, Result, bail};
use serde::{Deserialize, Serialize};

use crate::ops::{Layout, Normed, Pointwise, Tape, Var, linear_of_norm, sigmoid_product};

/// A function of every element, under transformers' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU in its tanh form, GPT-2's own.
    #[default]
    GeluNew,
    /// The same function under another name.
    GeluPytorchTanh,
    /// GELU in terms of the error function.
    Gelu,
    /// max(x, 0).
    Relu,
    /// x · sigmoid(x).
    Silu,
    /// The same function under another name.
    Swish,
}

impl Activation {
    /// The activation of `x·w + b`. Functions that no kernel computes are for scoring on a CPU alone: training with
    /// them, or computing them on a GPU, is an error that names them.
    ///
    /// # Shapes
    /// - `x`: [N, d], `w`: [d, f], `b`: [f]
    /// - result: [N, f]
    pub(super) fn of_linear(self, tape: &Tape, x: &Normed, w: &Var, b: &Var) -> Result<Var> {
        let of = |then| linear_of_norm(tape, x, w, Some(b), Layout::InOut, then);
        match self {
            Self::GeluNew | Self::GeluPytorchTanh => of(Pointwise::Gelu),
            Self::Silu | Self::Swish => {
                let h = of(Pointwise::Identity)?;
                sigmoid_product(tape, &h, &h)
            }
            Self::Gelu | Self::Relu => self.scored(tape, &of(Pointwise::Identity)?),
        }
    }

    fn scored(self, tape: &Tape, x: &Var) -> Result<Var> {
        let name = if self == Self::Relu { "relu" } else { "gelu" };
        if tape.is_recording() {
            bail!("activation_function {name:?} is implemented for scoring, not for training");
        }
        if !x.tensor().device().is_cpu() {
            bail!("activation_function {name:?} is implemented on the CPU, not on {:?}", x.tensor().device());
        }
        // The error function in float64; and unlike max, x + |x| keeps NaN.
        let wide = x.tensor().to_dtype(DType::F64)?;
        let y = match self {
            Self::Relu => ((&wide + wide.abs()?)? * 0.5)?,
            _ => wide.gelu_erf()?,
        };
        Ok(Var::constant(y.to_dtype(x.tensor().dtype())?))
    }
}
