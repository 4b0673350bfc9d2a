//! Reverse-mode differentiation over candle tensors: a list of closures, run backwards.
//!
//! Invariant: a gradient is complete when its closure runs, because every use of a value was
//! pushed after the value itself.

use std::cell::{Cell, RefCell};

use candle_core::{DType, Result, Tensor, bail};

use super::data::{add_in_place, add_rows, brief, is_brief, rows_cols, wide};
use super::kept::{Again, KeptValue};
use crate::launch;

/// A tensor that a [`Tape`] may be following. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Var {
    tensor: Tensor,
    slot: Slot,
    again: Option<Again>,
}

/// Where a value's gradient is collected, if it is followed at all.
pub(crate) type Slot = Option<usize>;

impl Var {
    /// A value that no gradient flows to.
    ///
    /// # Shapes
    /// - `tensor`: any
    /// - result: the same
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, slot: None, again: None }
    }

    /// The value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The dimensions of the value.
    pub fn dims(&self) -> &[usize] {
        self.tensor.dims()
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// The same value, of which those who read it keep how it is made.
    pub(super) fn made_again(self, make: impl Fn() -> Result<Tensor> + Send + Sync + 'static) -> Self {
        Self { again: Some(Again::new(make)), ..self }
    }

    /// The same if it lies in bfloat16 on a CPU.
    pub(super) fn made_again_if_brief(
        self,
        make: impl Fn() -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        if is_brief(&self.tensor) { self.made_again(make) } else { self }
    }

    /// What a backward pass that reads the value keeps of it.
    pub(super) fn kept(&self) -> KeptValue {
        KeptValue::of(&self.tensor, self.again.as_ref())
    }

    /// The same value in another shape.
    ///
    /// # Shapes
    /// - result: `shape`, which has as many elements
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        // Gradients are handed on flat in memory, so a reshape needs no node of its own: readers
        // look at elements, and shapes are restored by the op that owns the slot.
        Ok(Self { tensor: self.tensor.reshape(shape)?, slot: self.slot, again: None })
    }
}

/// Gradients by slot.
#[derive(Debug, Default)]
pub struct Gradients(Vec<Option<Tensor>>);

impl FromIterator<Option<Tensor>> for Gradients {
    fn from_iter<I: IntoIterator<Item = Option<Tensor>>>(by_slot: I) -> Self {
        Self(by_slot.into_iter().collect())
    }
}

impl Gradients {
    /// Adds `gradient` to what `slot` has collected so far; a value not followed drops it.
    pub fn add(&mut self, slot: Option<usize>, gradient: Tensor) -> Result<()> {
        let Some(slot) = slot else { return Ok(()) };
        match &mut self.0[slot] {
            Some(sum) => add_in_place(sum, &gradient)?,
            empty => *empty = Some(gradient),
        }
        Ok(())
    }

    /// Adds row i of `gradient` to row `ids[i]` of what `slot`, a table of `dims`, has collected so far.
    pub(crate) fn add_rows(
        &mut self,
        slot: Slot,
        ids: &[u32],
        dims: &[usize],
        gradient: &Tensor,
    ) -> Result<()> {
        let Some(slot) = slot else { return Ok(()) };
        let table = match self.0[slot].take() {
            Some(sum) => sum,
            // Kernels add parameters' gradients up in float32, whatever the activations are.
            None if launch::runs_on_kernels(gradient) => Tensor::zeros(dims, DType::F32, gradient.device())?,
            None if gradient.dtype() == DType::BF16 => Tensor::zeros(dims, DType::F32, gradient.device())?,
            None => Tensor::zeros(dims, gradient.dtype(), gradient.device())?,
        };
        add_rows(&table, ids, gradient)?;
        self.0[slot] = Some(table);
        Ok(())
    }

    /// Takes the gradient out of `slot`.
    pub fn take(&mut self, slot: usize) -> Option<Tensor> {
        self.0.get_mut(slot).and_then(Option::take)
    }
}

type Backward = Box<dyn FnOnce(Vec<Option<Tensor>>, &mut Gradients) -> Result<()>>;

struct Node {
    first_output: usize,
    /// Their element types, in which the backward pass expects their gradients.
    outputs: Vec<DType>,
    backward: Backward,
}

/// The record of one forward pass.
///
/// # Example
///
/// The slope of tanh at 0 is 1, at ½ it is 1 − tanh²(½):
///
/// ```
/// use candle_core::{Device, Tensor};
/// use v5gate::ops::{Tape, tanh};
///
/// let x = Tensor::new(&[0f32, 0.5], &Device::Cpu)?;
/// let tape = Tape::recording(1);
/// let y = tanh(&tape, &tape.leaf(0, &x))?;
/// let mut gradients = tape.backward(&y, y.tensor().ones_like()?)?;
/// let slopes = gradients.take(0).expect("a gradient of the leaf").to_vec1::<f32>()?;
/// assert_eq!(slopes[0], 1.0);
/// assert!((slopes[1] - (1.0 - 0.5f32.tanh().powi(2))).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub struct Tape {
    nodes: Option<RefCell<Vec<Node>>>,
    slots: Cell<usize>,
    consumed: RefCell<Consumed>,
}

/// The ids that a recorded pass looked up and was taught.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Rows looked up in the tables that are parameters, with the parameter's number, in order.
    pub lookups: Vec<(usize, Vec<u32>)>,
    /// The targets that losses were taken at, in order.
    pub targets: Vec<u32>,
}

impl Consumed {
    /// What was looked up in one table.
    pub fn ids(&self, parameter: usize) -> Vec<u32> {
        let of = self.lookups.iter().filter(|(table, _)| *table == parameter);
        of.flat_map(|(_, ids)| ids.iter().copied()).collect()
    }
}

impl Tape {
    /// A tape that records; slots `0..leaves` belong to the parameters.
    pub fn recording(leaves: usize) -> Self {
        Self { nodes: Some(RefCell::default()), slots: Cell::new(leaves), consumed: RefCell::default() }
    }

    /// A tape that records nothing: inference.
    pub fn no_grad() -> Self {
        Self { nodes: None, slots: Cell::new(0), consumed: RefCell::default() }
    }

    /// Whether gradients are wanted.
    pub fn is_recording(&self) -> bool {
        self.nodes.is_some()
    }

    /// Parameter `index` as a value on this tape.
    ///
    /// # Shapes
    /// - `tensor`: any
    /// - result: the same
    pub fn leaf(&self, index: usize, tensor: &Tensor) -> Var {
        Var { tensor: tensor.clone(), slot: self.is_recording().then_some(index), again: None }
    }

    /// The ids that have gone into this pass (ruling R22: seen where they are used).
    pub fn consumed(&self) -> Consumed {
        self.consumed.borrow().clone()
    }

    /// Notes rows that a backward pass will add to.
    pub(super) fn note_lookup(&self, table: Slot, ids: &[u32]) {
        if let Some(table) = table {
            self.consumed.borrow_mut().lookups.push((table, ids.to_vec()));
        }
    }

    /// Notes targets that a backward pass will be led by.
    pub(super) fn note_targets(&self, targets: &[u32]) {
        self.consumed.borrow_mut().targets.extend_from_slice(targets);
    }

    /// Whether an op with these inputs has to keep what its backward pass needs.
    pub(crate) fn requires_grad(&self, inputs: &[&Var]) -> bool {
        self.is_recording() && inputs.iter().any(|v| v.slot.is_some())
    }

    /// Whether `x` is the single row of a decoded token, for kernels and without a gradient: then ops may be made
    /// together, in fewer launches.
    pub(super) fn decodes(&self, x: &Var) -> bool {
        !self.is_recording() && rows_cols(&x.tensor).0 == 1 && launch::runs_on_kernels(&x.tensor)
    }

    /// Records an op with several outputs. `backward` gets one gradient per output, `None` where
    /// nothing downstream used it.
    pub(crate) fn record(
        &self,
        outputs: Vec<Tensor>,
        backward: impl FnOnce(Vec<Option<Tensor>>, &mut Gradients) -> Result<()> + 'static,
    ) -> Vec<Var> {
        let Some(nodes) = &self.nodes else {
            return outputs.into_iter().map(Var::constant).collect();
        };
        let first_output = self.slots.get();
        self.slots.set(first_output + outputs.len());
        let types = outputs.iter().map(Tensor::dtype).collect();
        nodes.borrow_mut().push(Node { first_output, outputs: types, backward: Box::new(backward) });
        let vars = outputs.into_iter().enumerate();
        vars.map(|(i, tensor)| Var { tensor, slot: Some(first_output + i), again: None }).collect()
    }

    /// Records an op with one output.
    pub(crate) fn record_one(
        &self,
        output: Tensor,
        backward: impl FnOnce(Tensor, &mut Gradients) -> Result<()> + 'static,
    ) -> Var {
        let Some(nodes) = &self.nodes else {
            return Var::constant(output);
        };
        let first_output = self.slots.get();
        self.slots.set(first_output + 1);
        let backward: Backward = Box::new(move |mut gradients, sink| match gradients.pop().flatten() {
            Some(gradient) => backward(gradient, sink),
            None => Ok(()),
        });
        nodes.borrow_mut().push(Node { first_output, outputs: vec![output.dtype()], backward });
        Var { tensor: output, slot: Some(first_output), again: None }
    }

    /// The same value in float32, through which its gradient comes back in float32; any other than bfloat16 as it is.
    pub(super) fn widened(&self, x: &Var) -> Result<Var> {
        if x.tensor.dtype() != DType::BF16 {
            return Ok(x.clone());
        }
        let (y, slot, kept) = (wide(&x.tensor)?, x.slot, x.kept());
        match self.requires_grad(&[x]) {
            true => {
                let y = self.record_one(y, move |dy, sink| sink.add(slot, dy));
                Ok(y.made_again(move || wide(&kept.get()?)))
            }
            false => Ok(Var::constant(y)),
        }
    }

    /// The value as it is stored in bfloat16. Its gradient is rounded too, when all of its parts are added up.
    pub(super) fn rounded(&self, y: &Var) -> Result<Var> {
        let (z, slot) = (brief(&y.tensor)?, y.slot);
        match self.requires_grad(&[y]) {
            true => Ok(self.record_one(z, move |dz, sink| sink.add(slot, wide(&dz)?))),
            false => Ok(Var::constant(z)),
        }
    }

    /// Runs backwards from `output`, whose gradient is `seed`, and returns what the leaves collected.
    ///
    /// # Shapes
    /// - `seed`: that of `output`
    /// - result: for every leaf as many elements as it has
    pub fn backward(self, output: &Var, seed: Tensor) -> Result<Gradients> {
        self.backward_many(&[(output, seed)])
    }

    /// The same from several outputs at once.
    ///
    /// # Shapes
    /// - `seeds`: each output with a gradient of its shape
    /// - result: for every leaf as many elements as it has
    pub fn backward_many(self, seeds: &[(&Var, Tensor)]) -> Result<Gradients> {
        let Some(nodes) = self.nodes else { bail!("backward on a tape that recorded nothing") };
        let mut gradients = Gradients((0..self.slots.get()).map(|_| None).collect());
        for (output, seed) in seeds {
            // A copy, because gradients are added to in place.
            gradients.add(output.slot, seed.copy()?)?;
        }
        for node in nodes.into_inner().into_iter().rev() {
            // Sums over rows are made in float32, whatever the values are.
            let slots = (node.first_output..).zip(&node.outputs);
            let typed = |(s, t): (usize, &DType)| gradients.take(s).map(|g| g.to_dtype(*t)).transpose();
            let collected = slots.map(typed).collect::<Result<Vec<_>>>()?;
            if collected.iter().any(Option::is_some) {
                (node.backward)(collected, &mut gradients)?;
            }
        }
        Ok(gradients)
    }
}
