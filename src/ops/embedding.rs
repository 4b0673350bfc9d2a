//! Rows of a table chosen by token id. The gradient adds rows in token order: deterministic.

use candle_core::{Result, Tensor, bail};

use super::data::{Data, is_brief, tensor, wide};
use super::{Case, Real, Tape, Var, dispatch_dtype};
use crate::launch;

fn gather<T: Real>(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let (vocab, width) = table.dims2()?;
    let data = Data::of(table)?;
    let table = data.get::<T>()?;
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
    if is_brief(table.tensor()) {
        return looked_up(tape, table, ids);
    }
    let dtype = table.tensor().dtype();
    let y = match launch::runs_on_kernels(table.tensor()) {
        true => launch::embedding::gather(table.tensor(), ids)?,
        false => dispatch_dtype!(dtype, T => gather::<T>(table.tensor(), ids))?,
    };
    if !tape.requires_grad(&[table]) {
        return Ok(Var::constant(y));
    }
    tape.note_lookup(table.slot(), ids);
    let (slot, dims, ids) = (table.slot(), table.dims().to_vec(), ids.to_vec());
    Ok(tape.record_one(y, move |dy, sink| sink.add_rows(slot, &ids, &dims, &dy)))
}

/// The same of a table in bfloat16 without kernels: rows are copied as they are, and their gradients add up in float32.
fn looked_up(tape: &Tape, table: &Var, ids: &[u32]) -> Result<Var> {
    let vocab = table.tensor().dim(0)?;
    if let Some(position) = ids.iter().position(|&id| id as usize >= vocab) {
        bail!("token id {} at position {position} is outside the vocabulary of {vocab}", ids[position]);
    }
    let rows = Tensor::new(ids, table.tensor().device())?;
    let y = table.tensor().index_select(&rows, 0)?;
    if !tape.requires_grad(&[table]) {
        return Ok(Var::constant(y));
    }
    tape.note_lookup(table.slot(), ids);
    let (slot, dims, ids) = (table.slot(), table.dims().to_vec(), ids.to_vec());
    Ok(tape.record_one(y, move |dy, sink| sink.add_rows(slot, &ids, &dims, &wide(&dy)?)))
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
