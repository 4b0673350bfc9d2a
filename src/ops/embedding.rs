//! Rows of a table chosen by token id. The gradient adds rows in token order: deterministic.

use candle_core::{Result, Tensor, bail};

use super::data::{Data, tensor};
use super::stored::{Stored, dispatch_stored};
use super::{Case, Tape, Var};
use crate::launch;

fn gather<S: Stored>(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let (vocab, width) = table.dims2()?;
    let data = Data::of(table)?;
    let table = data.get::<S>()?;
    let mut y = Vec::with_capacity(ids.len() * width);
    for (position, &id) in ids.iter().enumerate() {
        let row = id as usize;
        if row >= vocab {
            bail!("token id {id} at position {position} is outside the vocabulary of {vocab}");
        }
        y.extend_from_slice(&table[row * width..(row + 1) * width]);
    }
    tensor(y, &[ids.len(), width])
}

/// `y[i] = table[ids[i]]`; an error where an id is outside the vocabulary.
///
/// # Shapes
/// - `table`: [V, d]
/// - `ids`: `[N]`
/// - result: [N, d]
pub fn embedding(tape: &Tape, table: &Var, ids: &[u32]) -> Result<Var> {
    let dtype = table.tensor().dtype();
    let y = match launch::runs_on_kernels(table.tensor()) {
        true => launch::embedding::gather(table.tensor(), ids)?,
        false => dispatch_stored!(dtype, S => gather::<S>(table.tensor(), ids))?,
    };
    if !tape.requires_grad(&[table]) {
        return Ok(Var::constant(y));
    }
    tape.note_lookup(table.slot(), ids);
    let (slot, dims, ids) = (table.slot(), table.dims().to_vec(), ids.to_vec());
    Ok(tape.record_one(y, move |dy, sink| sink.add_rows(slot, &ids, &dims, &dy)))
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let ids = [3u32, 0, 3, 6, 1, 3];
    vec![Case::new(
        "repeated ids",
        vec![normal(&[7, 5])],
        move |tape, v| Ok(vec![embedding(tape, &v[0], &ids)?]),
        move |t| Ok(vec![t[0].index_select(&Tensor::new(&ids, t[0].device())?, 0)?]),
    )]
}
