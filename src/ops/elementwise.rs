//! Functions of one element at a time, and cutting a matrix into columns.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::data::{Data, ROWS, column_sums, rows_cols, tensor, wide};
use super::stored::{Stored, dispatch_stored};
use super::{Case, Real, Tape, Var, simd};
use crate::launch::{elementwise as launch, runs_on_kernels};
use crate::products::zeros;

/// Elements handled by one task.
const BLOCK: usize = 16 * 1024;

fn map<S: Stored>(x: &Tensor, f: impl Fn(S::Real) -> S::Real + Sync) -> Result<Tensor> {
    zip::<S>(x, x, |x, _| f(x))
}

/// `f` of every pair of elements.
pub(super) fn zip<S: Stored>(
    x: &Tensor,
    z: &Tensor,
    f: impl Fn(S::Real, S::Real) -> S::Real + Sync,
) -> Result<Tensor> {
    let (xd, zd) = (Data::of(x)?, Data::of(z)?);
    let (x_all, z_all) = (xd.get::<S>()?, zd.get::<S>()?);
    if x_all.len() != z_all.len() {
        candle_core::bail!("shapes {:?} and {:?} differ", x.dims(), z.dims());
    }
    let n = x_all.len();
    let mut y = Vec::with_capacity(n);
    let room = &mut y.spare_capacity_mut()[..n];
    let blocks = room.par_chunks_mut(BLOCK).zip(x_all.par_chunks(BLOCK).zip(z_all.par_chunks(BLOCK)));
    blocks.for_each(|(y, (x, z))| {
        simd(
            #[inline(always)]
            || {
                for (y, (x, z)) in y.iter_mut().zip(x.iter().zip(z)) {
                    y.write(S::narrow(f(x.widen(), z.widen())));
                }
            },
        );
    });
    #[expect(unsafe_code, reason = "every element was written: zeros first would be one more pass")]
    // SAFETY: the chunks of `room`, x and z are equally many and equally long, so all n are written.
    unsafe {
        y.set_len(n);
    }
    tensor(y, x.dims())
}

/// `a + b`, element by element.
///
/// # Shapes
/// - `a`, `b`: any, the same
/// - result: the same
pub fn add(tape: &Tape, a: &Var, b: &Var) -> Result<Var> {
    let dtype = a.tensor().dtype();
    let y = match runs_on_kernels(a.tensor()) {
        true => launch::zip("add", a.tensor(), b.tensor())?,
        false => dispatch_stored!(dtype, S => zip::<S>(a.tensor(), b.tensor(), |a, b| a + b))?,
    };
    if !tape.requires_grad(&[a, b]) {
        return Ok(Var::constant(y));
    }
    let (sa, sb) = (a.slot(), b.slot());
    Ok(tape.record_one(y, move |dy, sink| {
        // Two owners of one gradient: the second gets a copy, because sums are made in place.
        if sa.is_some() {
            sink.add(sb, dy.copy()?)?;
            sink.add(sa, dy)
        } else {
            sink.add(sb, dy)
        }
    }))
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4; // √(2/π)
const GELU_CUBIC: f64 = 0.044_715;

#[inline(always)]
fn gelu_of<T: Real>(x: T) -> T {
    // ½x(1 + tanh u) = x·sigmoid(2u)
    let u = T::of(GELU_SCALE) * (x + T::of(GELU_CUBIC) * x * x * x);
    x * (u + u).sigmoid()
}

#[inline(always)]
fn gelu_slope<T: Real>(x: T) -> T {
    let u = T::of(GELU_SCALE) * (x + T::of(GELU_CUBIC) * x * x * x);
    let s = (u + u).sigmoid();
    let du = T::of(GELU_SCALE) * (T::one() + T::of(3.0 * GELU_CUBIC) * x * x);
    s + T::of(2.0) * x * s * (T::one() - s) * du
}

/// `f(x, b, z)`, element by element: x and z are [rows, cols], b is [cols].
fn along_rows<S: Stored>(
    x: &Tensor,
    b: &Tensor,
    z: &Tensor,
    f: impl Fn(S::Real, S::Real, S::Real) -> S::Real + Sync,
) -> Result<Tensor> {
    let (rows, cols) = rows_cols(x);
    let b = wide(b)?;
    let (xd, bd, zd) = (Data::of(x)?, Data::of(&b)?, Data::of(z)?);
    let (x_all, b, z_all) = (xd.get::<S>()?, bd.get::<S::Real>()?, zd.get::<S>()?);
    if cols == 0 || b.len() != cols || z_all.len() != x_all.len() {
        candle_core::bail!("shapes {:?} and {} do not fit {:?}", z.dims(), b.len(), x.dims());
    }
    let mut y = zeros::<S>(rows * cols);
    let n = ROWS * cols;
    let blocks = y.par_chunks_mut(n).zip(x_all.par_chunks(n).zip(z_all.par_chunks(n)));
    blocks.for_each(|(y, (x, z))| {
        simd(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(cols).zip(z.chunks_exact(cols));
                for (y, (x, z)) in y.chunks_exact_mut(cols).zip(rows) {
                    for (((y, x), b), z) in y.iter_mut().zip(x).zip(b).zip(z) {
                        *y = S::narrow(f(x.widen(), *b, z.widen()));
                    }
                }
            },
        );
    });
    tensor(y, x.dims())
}

/// GELU of z = x + b in GPT-2's tanh form, ½z(1 + tanh(√(2/π)(z + 0.044715z³))).
///
/// # Shapes
/// - `x`: [N, d]
/// - `b`: `[d]`
/// - result: [N, d]
pub fn gelu(tape: &Tape, x: &Var, b: &Var) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let on_device = runs_on_kernels(x.tensor());
    let make = move |x: &Tensor, b: &Tensor| match on_device {
        true => launch::gelu(x, b),
        false => {
            dispatch_stored!(dtype, S => along_rows::<S>(x, b, x, #[inline(always)] |x, b, _| gelu_of(x + b)))
        }
    };
    let y = make(x.tensor(), b.tensor())?;
    if !tape.requires_grad(&[x, b]) {
        return Ok(Var::constant(y));
    }
    let (xs, bs) = (x.slot(), b.slot());
    let (x, b) = (x.tensor().clone(), b.tensor().clone());
    let again = (x.clone(), b.clone());
    let y = tape.record_one(y, move |dy, sink| {
        if on_device {
            let (dx, db) = launch::gelu_backward(&x, &b, &dy)?;
            sink.add(bs, db)?;
            return sink.add(xs, dx);
        }
        dispatch_stored!(dtype, S => {
            let dx = along_rows::<S>(&x, &b, &dy, #[inline(always)] |x, b, dy| dy * gelu_slope(x + b))?;
            let db = column_sums(Data::of(&dx)?.get::<S>()?, b.elem_count());
            sink.add(bs, tensor(db, b.dims())?)?;
            sink.add(xs, dx)
        })
    });
    Ok(y.made_again_if_brief(move || make(&again.0, &again.1)))
}

/// Hyperbolic tangent, element by element.
///
/// # Shapes
/// - `x`: any
/// - result: the same
pub fn tanh(tape: &Tape, x: &Var) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let on_device = runs_on_kernels(x.tensor());
    let y = match on_device {
        true => launch::map("tanh_forward", x.tensor())?,
        false => dispatch_stored!(dtype, S => map::<S>(x.tensor(), Real::fast_tanh))?,
    };
    if !tape.requires_grad(&[x]) {
        return Ok(Var::constant(y));
    }
    let (slot, kept) = (x.slot(), y.clone());
    Ok(tape.record_one(y, move |dy, sink| {
        let dx = match on_device {
            true => launch::zip("tanh_backward", &kept, &dy)?,
            false => dispatch_stored!(dtype, S => zip::<S>(&kept, &dy, |y, dy| dy - dy * y * y))?,
        };
        sink.add(slot, dx)
    }))
}

// Not `max`: NaN must stay NaN.
#[inline(always)]
fn rectified<T: Real>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

/// max(x, 0)², the activation of RWKV's channel mixing.
///
/// # Shapes
/// - `x`: any
/// - result: the same
pub fn relu_squared(tape: &Tape, x: &Var) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let on_device = runs_on_kernels(x.tensor());
    let y = match on_device {
        true => launch::map("relu_squared_forward", x.tensor())?,
        false => dispatch_stored!(dtype, S => map::<S>(x.tensor(), |x| rectified(x) * rectified(x)))?,
    };
    if !tape.requires_grad(&[x]) {
        return Ok(Var::constant(y));
    }
    let (slot, x) = (x.slot(), x.tensor().clone());
    Ok(tape.record_one(y, move |dy, sink| {
        let dx = match on_device {
            true => launch::zip("relu_squared_backward", &x, &dy)?,
            false => {
                dispatch_stored!(dtype, S => zip::<S>(&x, &dy, |x, dy| dy * (rectified(x) + rectified(x))))?
            }
        };
        sink.add(slot, dx)
    }))
}

#[inline(always)]
fn sigmoid_slope<T: Real>(x: T) -> T {
    x.sigmoid() * (T::one() - x.sigmoid())
}

/// `sigmoid(gate) · x`, element by element.
///
/// # Shapes
/// - `gate`, `x`: any, the same
/// - result: the same
pub fn sigmoid_product(tape: &Tape, gate: &Var, x: &Var) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let on_device = runs_on_kernels(x.tensor());
    let y = match on_device {
        true => launch::zip("sigmoid_product_forward", gate.tensor(), x.tensor())?,
        false => dispatch_stored!(dtype, S => zip::<S>(gate.tensor(), x.tensor(), |g, x| g.sigmoid() * x))?,
    };
    if !tape.requires_grad(&[gate, x]) {
        return Ok(Var::constant(y));
    }
    let (gs, xs) = (gate.slot(), x.slot());
    let (gate, x) = (gate.tensor().clone(), x.tensor().clone());
    Ok(tape.record_one(y, move |dy, sink| {
        if on_device {
            let (dg, dx) = launch::zip_backward("sigmoid_product_backward", &gate, &x, &dy)?;
            sink.add(gs, dg)?;
            return sink.add(xs, dx);
        }
        dispatch_stored!(dtype, S => {
            let along = zip::<S>(&x, &dy, |x, dy| x * dy)?;
            sink.add(gs, zip::<S>(&gate, &along, |g, a| a * sigmoid_slope(g))?)?;
            sink.add(xs, zip::<S>(&gate, &dy, |g, dy| g.sigmoid() * dy)?)
        })
    }))
}

fn cut<S: Stored>(x: &Tensor, sizes: &[usize]) -> Result<Vec<Tensor>> {
    let (rows, cols) = rows_cols(x);
    let data = Data::of(x)?;
    let x = data.get::<S>()?;
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let mut part = vec![S::default(); rows * size];
        part.par_chunks_mut(ROWS * size.max(1)).zip(x.par_chunks(ROWS * cols)).for_each(|(p, x)| {
            for (p, x) in p.chunks_exact_mut(size).zip(x.chunks_exact(cols)) {
                p.copy_from_slice(&x[start..start + size]);
            }
        });
        parts.push(tensor(part, &[rows, size])?);
        start += size;
    }
    Ok(parts)
}

fn join<S: Stored>(parts: &[Option<Tensor>], sizes: &[usize], rows: usize) -> Result<Tensor> {
    let cols: usize = sizes.iter().sum();
    let mut x = vec![S::default(); rows * cols];
    let mut start = 0;
    for (part, &size) in parts.iter().zip(sizes) {
        if let Some(part) = part {
            let data = Data::of(part)?;
            for (x, p) in x.chunks_exact_mut(cols).zip(data.get::<S>()?.chunks_exact(size)) {
                x[start..start + size].copy_from_slice(p);
            }
        }
        start += size;
    }
    tensor(x, &[rows, cols])
}

/// Cuts the columns of a matrix into parts that lie side by side.
///
/// # Shapes
/// - `x`: [N, Σ sizes]
/// - result: [N, size] for each of `sizes`
pub fn split(tape: &Tape, x: &Var, sizes: &[usize]) -> Result<Vec<Var>> {
    let dtype = x.tensor().dtype();
    let (rows, cols) = rows_cols(x.tensor());
    if sizes.iter().sum::<usize>() != cols {
        candle_core::bail!("split: {sizes:?} do not add up to {cols} columns");
    }
    let on_device = runs_on_kernels(x.tensor());
    let parts = match on_device {
        true => launch::cut(x.tensor(), sizes)?,
        false => dispatch_stored!(dtype, S => cut::<S>(x.tensor(), sizes))?,
    };
    if !tape.requires_grad(&[x]) {
        return Ok(parts.into_iter().map(Var::constant).collect());
    }
    let (slot, sizes) = (x.slot(), sizes.to_vec());
    Ok(tape.record(parts, move |gradients, sink| {
        let dx = match on_device {
            true => launch::join(&gradients, &sizes, rows)?,
            false => dispatch_stored!(dtype, S => join::<S>(&gradients, &sizes, rows))?,
        };
        sink.add(slot, dx)
    }))
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut all = vec![
        Case::new(
            "tanh",
            vec![normal(&[9, 11])],
            |tape, v| Ok(vec![tanh(tape, &v[0])?]),
            |t| Ok(vec![t[0].tanh()?]),
        ),
        Case::new(
            "squared ReLU",
            vec![normal(&[9, 11])],
            |tape, v| Ok(vec![relu_squared(tape, &v[0])?]),
            |t| Ok(vec![t[0].relu()?.sqr()?]),
        ),
        Case::new(
            "sigmoid gate",
            vec![normal(&[9, 11]), normal(&[9, 11])],
            |tape, v| Ok(vec![sigmoid_product(tape, &v[0], &v[1])?]),
            |t| Ok(vec![(&t[1] / (t[0].neg()?.exp()? + 1.0)?)?]),
        ),
        Case::new(
            "add",
            vec![normal(&[9, 11]), normal(&[9, 11])],
            |tape, v| Ok(vec![add(tape, &v[0], &v[1])?]),
            |t| Ok(vec![(&t[0] + &t[1])?]),
        ),
        Case::new(
            "a value used twice",
            vec![normal(&[5, 3])],
            |tape, v| Ok(vec![add(tape, &v[0], &tanh(tape, &v[0])?)?]),
            |t| Ok(vec![(&t[0] + t[0].tanh()?)?]),
        ),
    ];
    // Rows of whole packs of 16 bytes or 8, and others.
    all.extend([(70, 11), (9, 24)].map(|(rows, cols)| gelu_case(normal(&[rows, cols]), normal(&[cols]))));
    all.extend(
        [(70, [2, 3, 4]), (9, [8, 16, 4]), (5, [8, 16, 32])]
            .map(|(rows, parts)| split_case(normal(&[rows, parts.iter().sum()]), parts)),
    );
    all
}

/// The slow obvious GELU, in candle's differentiable functions.
pub(super) fn gelu_reference(x: &Tensor) -> Result<Tensor> {
    let u = ((x + (x.powf(3.0)? * GELU_CUBIC)?)? * GELU_SCALE)?;
    (x * (u.tanh()? + 1.0)?)? * 0.5
}

fn gelu_case(x: Tensor, b: Tensor) -> Case {
    let op = |tape: &Tape, v: &[Var]| Ok(vec![gelu(tape, &v[0], &v[1])?]);
    let reference = |t: &[Tensor]| Ok(vec![gelu_reference(&t[0].broadcast_add(&t[1])?)?]);
    Case::new(format!("gelu of {} columns", x.dims()[1]), vec![x, b], op, reference)
}

fn split_case(x: Tensor, parts: [usize; 3]) -> Case {
    let [a, b, c] = parts;
    Case::new(
        format!("split into {parts:?}"),
        vec![x],
        move |tape, v| split(tape, &v[0], &parts),
        move |t| {
            let part = |start, len| t[0].narrow(1, start, len)?.contiguous();
            Ok(vec![part(0, a)?, part(a, b)?, part(a + b, c)?])
        },
    )
}
