//! Rows of a table, and their gradient.

use candle_core::{Result, Tensor, bail};

use super::dispatch::in_place;
use super::{LaunchShape, Out, args, launch};

const THREADS: usize = 128;

/// Token ids on the device of `like_device`.
pub(crate) fn ids(ids: &[u32], like_device: &Tensor) -> Result<Tensor> {
    Tensor::new(ids, like_device.device())
}

/// table[ids[i]].
pub(crate) fn gather(table: &Tensor, tokens: &[u32]) -> Result<Tensor> {
    let (vocab, width) = table.dims2()?;
    if let Some((position, id)) = tokens.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
        bail!("token id {id} at position {position} is outside the vocabulary of {vocab}");
    }
    let mut y = Out::new(&[tokens.len(), width], table.dtype(), table)?;
    let ids = ids(tokens, table)?;
    let shape = LaunchShape::new(tokens.len(), THREADS);
    launch("embedding_forward", table.dtype(), shape, &mut args![table, &ids, &mut y, width])?;
    y.finish()
}

/// table[ids[i]] += rows[i], position after position for every id: the same sum every time.
pub(crate) fn add_rows(table: &Tensor, tokens: &[u32], rows: &Tensor) -> Result<()> {
    let (_, width) = table.dims2()?;
    // Stable: positions of an id stay in order.
    let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
    order.sort_by_key(|&position| tokens[position as usize]);
    let id = |position: &u32| tokens[*position as usize];
    let (mut distinct, mut starts) = (Vec::new(), Vec::new());
    for (i, position) in order.iter().enumerate() {
        if i == 0 || id(&order[i - 1]) != id(position) {
            distinct.push(id(position));
            starts.push(i as u32);
        }
    }
    starts.push(order.len() as u32);
    let shape = LaunchShape::new(distinct.len(), THREADS);
    let [distinct, starts, order] = [ids(&distinct, rows)?, ids(&starts, rows)?, ids(&order, rows)?];
    in_place(table, |at| {
        let mut args = args![at, &distinct, &starts, &order, rows, width];
        launch("embedding_backward", rows.dtype(), shape, &mut args)
    })
}
