//! `linear` in bfloat16 on a CPU: products in `products`, each sum rounded once, with what is added to it (ruling R28).

use candle_core::{Result, Tensor};
use half::bf16;

use super::data::{Data, column_sums, rows_cols, tensor, wide};
use super::weights::{Layout, fit, oriented, row_product};
use crate::products::{
    Added, Columns, Mat, Rows, Threads, matmul_brief, matmul_wide, rounded, widen, widened, zeros,
};

pub(super) fn forward(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    residual: Option<&Tensor>,
    layout: Layout,
) -> Result<Tensor> {
    let (rows, inner) = rows_cols(x);
    let (w_rows, w_cols) = w.dims2()?;
    let (xd, wd) = (Data::of(x)?, Data::of(w)?);
    let weight = oriented(Mat::new(wd.get::<bf16>()?, w_rows, w_cols), layout);
    let outer = weight.cols;
    let b = b.map(wide).transpose()?;
    let (bd, rd) = (b.as_ref().map(Data::of).transpose()?, residual.map(Data::of).transpose()?);
    let b = bd.as_ref().map(|b| b.get::<f32>()).transpose()?;
    let residual = rd.as_ref().map(|r| r.get::<bf16>()).transpose()?;
    fit([rows, inner], (&weight, w.dims()), [b.map(<[f32]>::len), residual.map(<[bf16]>::len)])?;
    let x = xd.get::<bf16>()?;
    if rows != 1 {
        return tensor(
            matmul_brief(Mat::new(x, rows, inner), weight, &Added { bias: b, residual }),
            &[rows, outer],
        );
    }
    let mut y = row_product(&widen(x), weight);
    if let Some(b) = b {
        y.iter_mut().zip(b).for_each(|(y, b)| *y += *b);
    }
    if let Some(residual) = residual {
        y.iter_mut().zip(residual).for_each(|(y, r)| *y += widened(*r));
    }
    tensor(y.into_iter().map(rounded).collect(), &[rows, outer])
}

/// Gradients of x, W and (if asked) b.
pub(super) fn backward(
    x: &Tensor,
    w: &Tensor,
    dy: &Tensor,
    layout: Layout,
    with_bias: bool,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let (rows, inner) = rows_cols(x);
    let (w_rows, w_cols) = w.dims2()?;
    let (xd, wd, dyd) = (Data::of(x)?, Data::of(w)?, Data::of(dy)?);
    let weight = oriented(Mat::new(wd.get::<bf16>()?, w_rows, w_cols), layout);
    let outer = weight.cols;
    let dy = Mat::new(dyd.get::<bf16>()?, rows, outer);
    let dx = matmul_brief(dy, weight.t(), &Added { bias: None, residual: None });
    let x = Mat::new(xd.get::<bf16>()?, rows, inner);
    let (a, b) = match layout {
        Layout::OutIn => (dy.t(), x),
        Layout::InOut => (x.t(), dy),
    };
    let mut dw = zeros(w_rows * w_cols);
    let (left, right) = (Rows::of(a, Threads::All), Columns::of(b, Threads::All));
    matmul_wide((&left, &right), rows, &mut dw, w_cols, false, 1.0, Threads::All);
    let db = with_bias.then(|| tensor(column_sums(dy.data, outer), &[outer])).transpose()?;
    Ok((tensor(dx, &[rows, inner])?, tensor(dw, w.dims())?, db))
}
