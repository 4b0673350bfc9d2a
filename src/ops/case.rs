//! What a conformance test needs to know of an op: inputs, the op, and its slow reference.

use candle_core::{Result, Tensor};

use super::{Tape, Var};

type Op = Box<dyn Fn(&Tape, &[Var]) -> Result<Vec<Var>>>;
type Reference = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>>;

/// One comparison: the op and its reference on the same inputs.
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The differentiable inputs, in float64.
    pub inputs: Vec<Tensor>,
    /// The op.
    pub op: Op,
    /// The same function in candle's own differentiable functions.
    pub reference: Reference,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        inputs: Vec<Tensor>,
        op: impl Fn(&Tape, &[Var]) -> Result<Vec<Var>> + 'static,
        reference: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + 'static,
    ) -> Self {
        Self { name: name.into(), inputs, op: Box::new(op), reference: Box::new(reference) }
    }
}

/// A captured state in the element type of the inputs, where they lie.
pub(crate) fn like(state: &Tensor, input: &Var) -> Result<Tensor> {
    state.to_dtype(input.tensor().dtype())?.to_device(input.tensor().device())
}

/// A source of normally distributed float64 tensors of given shapes.
pub type Normal<'a> = dyn FnMut(&[usize]) -> Tensor + 'a;

/// A row of [`super::OPS`].
pub struct OpSpec {
    /// The op's file.
    pub name: &'static str,
    /// Its conformance cases, on inputs from that source.
    pub cases: fn(&mut Normal<'_>) -> Vec<Case>,
}
