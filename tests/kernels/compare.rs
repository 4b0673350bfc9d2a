//! Ops and their gradients in float32 and bfloat16 against float64.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor, Var as Leaf};
use libtest_mimic::{Failed, Trial};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use v5gate::ops::{Case, OPS, Tape, Var, linear_cross_entropy, to_vec_f64};

/// Outputs, the same again where nothing is recorded and other kernels may make them, and the gradient of every input.
pub type Found = (Vec<Tensor>, Vec<Option<Tensor>>);

pub fn cases(op: &'static str) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut normal = |shape: &[usize]| -> Tensor {
        let n: usize = shape.iter().product();
        // A sum of twelve uniforms: near enough to normal.
        let one = |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let data: Vec<f64> = (0..n).map(|_| one(&mut rng)).collect();
        Tensor::from_vec(data, shape, &Device::Cpu).expect("as many as the shape says")
    };
    let spec = OPS.iter().find(|o| o.name == op).expect("a listed op");
    (spec.cases)(&mut normal)
}

fn cotangents(outputs: &[Tensor], device: &Device) -> candle_core::Result<Vec<Tensor>> {
    let cotangent = |(i, t): (usize, &Tensor)| {
        let data: Vec<f64> = (0..t.elem_count()).map(|j| ((i * 31 + j * 7 + 3) as f64 * 0.7).sin()).collect();
        // Rounded as the op will see it, so that rounding the inputs is no error of the op.
        Tensor::from_vec(data, t.shape(), &Device::Cpu)?.to_dtype(t.dtype())?.to_device(device)
    };
    outputs.iter().enumerate().map(cotangent).collect()
}

pub fn run_op(case: &Case, inputs: &[Tensor], device: &Device) -> candle_core::Result<Found> {
    let tape = Tape::recording(inputs.len());
    let leaf = |(i, t): (usize, &Tensor)| Ok(tape.leaf(i, &t.to_device(device)?));
    let vars: Vec<Var> = inputs.iter().enumerate().map(leaf).collect::<candle_core::Result<_>>()?;
    let constants: Vec<Var> = vars.iter().map(|v| Var::constant(v.tensor().clone())).collect();
    let decoded = (case.op)(&Tape::no_grad(), &constants)?;
    let outputs = (case.op)(&tape, &vars)?;
    let tensors: Vec<_> = outputs.iter().map(|v| v.tensor().clone()).collect();
    // A scalar's gradient stays on the CPU, as the trainer's does.
    // In float32, as gradients are added up where an output is read again.
    let seeds = cotangents(&tensors, device)?.into_iter();
    let wide = |t: Tensor| if t.dtype() == DType::BF16 { t.to_dtype(DType::F32) } else { Ok(t) };
    let seeds = seeds.map(wide).collect::<candle_core::Result<Vec<_>>>()?;
    let pairs: Vec<_> = outputs.iter().zip(seeds).collect();
    let mut gradients = tape.backward_many(&pairs)?;
    let decoded = decoded.iter().map(|v| v.tensor().clone());
    let all = tensors.into_iter().chain(decoded).collect();
    Ok((all, (0..vars.len()).map(|i| gradients.take(i)).collect()))
}

/// The reference on the inputs and cotangents as they were rounded.
fn run_reference(case: &Case, inputs: &[Tensor], dtype: DType) -> candle_core::Result<Found> {
    let wide = inputs.iter().map(|t| t.to_dtype(DType::F64)).collect::<candle_core::Result<Vec<_>>>()?;
    let leaves: Vec<_> = wide.iter().map(Leaf::from_tensor).collect::<candle_core::Result<_>>()?;
    let inputs: Vec<_> = leaves.iter().map(|l| l.as_tensor().clone()).collect();
    let outputs = (case.reference)(&inputs)?;
    let rounded = outputs.iter().map(|o| o.to_dtype(dtype)).collect::<candle_core::Result<Vec<_>>>()?;
    let mut total = Tensor::zeros((), DType::F64, &Device::Cpu)?;
    for (o, c) in outputs.iter().zip(cotangents(&rounded, &Device::Cpu)?) {
        total = (total + (o * c.to_dtype(DType::F64)?)?.sum_all()?)?;
    }
    let store = total.backward()?;
    Ok((outputs, inputs.iter().map(|t| store.get(t).cloned()).collect()))
}

/// The bits of a tensor's elements.
pub fn to_bits(t: &Tensor) -> candle_core::Result<Vec<u64>> {
    Ok(to_vec_f64(t)?.into_iter().map(f64::to_bits).collect())
}

/// ‖got − expected‖ / ‖expected‖; NaN where anything is.
fn distance(got: &Tensor, expected: &Tensor) -> candle_core::Result<f64> {
    let (a, b) = (to_vec_f64(got)?, to_vec_f64(expected)?);
    if a.len() != b.len() {
        candle_core::bail!("{:?} against {:?}", got.dims(), expected.dims());
    }
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(&b).map(|(x, y)| x - y));
    Ok(difference / norm(&mut b.iter().copied()).max(1e-6))
}

/// How a launch is refused that asks for more shared memory than the card has.
const REFUSED: &str = "bytes of shared memory, a block of this device has";

/// The largest relative distance of an output and of a gradient, over all cases that a card of so much memory can.
fn worst(
    op: &'static str,
    dtype: DType,
    device: &Device,
    card: BlockMemory,
) -> candle_core::Result<[f64; 2]> {
    let mut worst = [0.0f64; 2];
    for case in cases(op) {
        let inputs =
            case.inputs.iter().map(|t| t.to_dtype(dtype)).collect::<candle_core::Result<Vec<_>>>()?;
        let failed = |e| candle_core::Error::Msg(format!("{}: {e}", case.name));
        let (y, g) = match run_op(&case, &inputs, device).map_err(failed) {
            Err(e) if card == BlockMemory::Little && e.to_string().contains(REFUSED) => {
                eprintln!("left out: {op}: {e}");
                continue;
            }
            other => other?,
        };
        let (ry, rg) = run_reference(&case, &inputs, dtype)?;
        let mut note = |which: usize, what: String, d: f64| -> candle_core::Result<()> {
            if !d.is_finite() || d > tolerance(op, dtype) {
                candle_core::bail!(
                    "{}: {what} is off by {d:.2e}, {:.2e} allowed",
                    case.name,
                    tolerance(op, dtype)
                );
            }
            worst[which] = worst[which].max(d);
            Ok(())
        };
        for (i, (a, b)) in y.iter().zip(ry.iter().cycle()).enumerate() {
            note(0, format!("output {i}"), distance(a, b)?)?;
        }
        for (i, (a, b)) in g.iter().zip(&rg).enumerate() {
            let Some(a) = a else { candle_core::bail!("{}: no gradient for input {i}", case.name) };
            let expected = match b {
                Some(b) => b.clone(),
                None => a.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.zeros_like()?,
            };
            note(1, format!("gradient {i}"), distance(a, &expected)?)?;
        }
    }
    Ok(worst)
}

/// What rounding may do, relative to a tensor's norm.
///
/// A value rounded to a type with unit roundoff u is off by at most u of its size; roundings along a path add up.
/// float32, u = 6e-8: sums of up to 2,100 terms and recurrences over 70 positions, at most √2100 u ≈ 3e-6 each
/// where errors are independent, a few of them behind each other, and states that grow: 2e-5.
/// bfloat16, u = 2^-9: the number of times that a value on its way from input to gradient is rounded.
fn tolerance(op: &str, dtype: DType) -> f64 {
    if dtype == DType::F32 {
        return 2e-5;
    }
    let roundings = match op {
        // One output; nothing in between.
        "embedding" | "linear" | "linear_cross_entropy" => 2.0,
        // Ops in a row, each stored: a gated product, its norm and a product; a fusion or a decay, and up to three behind
        // it; a norm, its shift, their mix, a product and tanh. As many gradients on the way back.
        // SSD multiplies three that the convolution has stored, and stores what it makes.
        "row_output" => 6.0,
        "row" | "wkv6_head" | "ssd_convolved" => 8.0,
        "row_mix" => 10.0,
        _ => 4.0,
    };
    roundings * 2f64.powi(-9)
}

/// Ops that a decoded token has kernels of its own for.
const DECODED: [&str; 6] = ["row", "row_mix", "row_output", "wkv6_head", "ssd_convolved", "token_mix"];

/// One input after the other has one element that is not a number: outputs have none in the same places whether ops
/// are made together or, as where a tape records, one by one.
fn nan_stays(op: &'static str, dtype: DType, device: &Device) -> candle_core::Result<()> {
    for case in cases(op).iter().filter(|case| case.inputs[0].dim(0).is_ok_and(|rows| rows == 1)) {
        let inputs = case.inputs.iter().map(|t| t.to_dtype(dtype)?.to_device(device));
        let inputs = inputs.collect::<candle_core::Result<Vec<_>>>()?;
        for i in 0..inputs.len() {
            let mut values = to_vec_f64(&inputs[i])?;
            let place = 7919 % values.len();
            values[place] = f64::NAN;
            let mut inputs = inputs.clone();
            let broken = Tensor::from_vec(values, inputs[i].dims(), &Device::Cpu)?;
            inputs[i] = broken.to_dtype(dtype)?.to_device(device)?;
            let places = |tape: Tape| -> candle_core::Result<Vec<bool>> {
                let vars: Vec<_> = inputs.iter().enumerate().map(|(i, t)| tape.leaf(i, t)).collect();
                let mut all = Vec::new();
                for output in (case.op)(&tape, &vars)? {
                    all.extend(to_vec_f64(output.tensor())?.into_iter().map(f64::is_nan));
                }
                Ok(all)
            };
            let (one_by_one, together) = (places(Tape::recording(inputs.len()))?, places(Tape::no_grad())?);
            if one_by_one != together || !together.contains(&true) {
                candle_core::bail!("{}: NaN in input {i}: {one_by_one:?}, together {together:?}", case.name);
            }
        }
    }
    Ok(())
}

pub fn name(dtype: DType) -> &'static str {
    if dtype == DType::F32 { "float32" } else { "bfloat16" }
}

/// The first of the largest, wherever it stands, and no number at all where one is none.
fn likeliest(dtype: DType, device: &Device) -> candle_core::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for n in [1usize, 2, 31, 1000, 1025, 5000] {
        for _ in 0..4 {
            // Few values, so that the largest stands in several places.
            let values: Vec<f32> = (0..n).map(|_| (rng.random::<f32>() * 8.0).floor() - 4.0).collect();
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let expected = values.iter().position(|x| *x == most).unwrap_or_default();
            let place = |values: Vec<f32>| -> candle_core::Result<u32> {
                let logits = Tensor::from_vec(values, (1, n), &Device::Cpu)?;
                v5gate::ops::likeliest(&logits.to_dtype(dtype)?.to_device(device)?)
            };
            if place(values.clone())? as usize != expected {
                candle_core::bail!("{n} logits: expected {expected}");
            }
            let mut broken = values;
            broken[rng.random_range(0..n)] = f32::NAN;
            if place(broken).is_ok() {
                candle_core::bail!("{n} logits, one not a number, and one of them likeliest");
            }
        }
    }
    Ok(())
}

/// More tokens and words than logits are kept of at a time: parts add up to what the op makes of the whole in float64.
/// Sums of 20,000 terms, of which independent roundings make 8e-6 in float32.
fn loss_in_parts(dtype: DType, device: &Device) -> candle_core::Result<()> {
    const SIZES: [usize; 3] = [3500, 20_000, 2];
    let [n, vocab, width] = SIZES;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut random = |shape: (usize, usize)| {
        let data: Vec<f64> = (0..shape.0 * shape.1).map(|_| rng.random::<f64>() * 4.0 - 2.0).collect();
        Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)
    };
    let (h, w) = (random((n, width))?, random((vocab, width))?);
    let targets: Vec<u32> = (0..n).map(|i| (i * 7919 % vocab) as u32).collect();
    let run = |dtype: DType, device: &Device| -> candle_core::Result<[Tensor; 3]> {
        let place = |t: &Tensor| t.to_dtype(dtype)?.to_device(device);
        let tape = Tape::recording(2);
        let (h, w) = (tape.leaf(0, &place(&h)?), tape.leaf(1, &place(&w)?));
        let loss = linear_cross_entropy(&tape, &h, &w, &targets)?;
        let (value, one) = (loss.tensor().clone(), Tensor::new(1.0f64, &Device::Cpu)?);
        let one = one.to_dtype(value.dtype())?;
        let mut gradients = tape.backward(&loss, one)?;
        let missing = || candle_core::Error::Msg("no gradient".to_owned());
        Ok([value, gradients.take(0).ok_or_else(missing)?, gradients.take(1).ok_or_else(missing)?])
    };
    let (got, expected) = (run(dtype, device)?, run(DType::F64, &Device::Cpu)?);
    for (what, (a, b)) in ["loss", "dh", "dW"].iter().zip(got.iter().zip(&expected)) {
        let (d, allowed) = (distance(a, b)?, tolerance("linear_cross_entropy", dtype));
        if !d.is_finite() || d > allowed {
            candle_core::bail!("{what} is off by {d:.2e}, {allowed:.2e} allowed");
        }
    }
    Ok(())
}

/// Trials for every op and element type on a device of this name; ignored where it is not there.
pub fn trials(on: &'static str, device: Option<&Device>) -> Vec<Trial> {
    let mut all = Vec::new();
    let device = device.cloned();
    for dtype in [DType::F32, DType::BF16] {
        for op in OPS.iter().map(|spec| spec.name).chain(["likeliest", "loss_in_parts"]) {
            let (title, device) = (format!("{on}::{op}::{}", name(dtype)), device.clone());
            let ignored = device.is_none();
            let card = if on == "cuda" { BlockMemory::Little } else { BlockMemory::Enough };
            let run = move || device.map_or(Ok(()), |device| check(op, dtype, &device, card));
            all.push(Trial::test(title, run).with_ignored_flag(ignored));
        }
        for op in DECODED {
            let (title, device) = (format!("{on}::{op}::nan_stays::{}", name(dtype)), device.clone());
            let ignored = device.is_none();
            let run = move || device.map_or(Ok(()), |device| Ok(nan_stays(op, dtype, &device)?));
            all.push(Trial::test(title, run).with_ignored_flag(ignored));
        }
    }
    all
}

/// Whether a card may refuse cases that ask for more shared memory than it has.
#[derive(Clone, Copy, PartialEq)]
pub enum BlockMemory {
    Enough,
    Little,
}

pub fn check(op: &'static str, dtype: DType, device: &Device, card: BlockMemory) -> Result<(), Failed> {
    // One at a time on a device: what fails is then the trial that failed.
    static DEVICE: Mutex<()> = Mutex::new(());
    let _turn = device.is_cuda().then(|| DEVICE.lock().unwrap_or_else(PoisonError::into_inner));
    if op == "likeliest" {
        return likeliest(dtype, device).map_err(|e| e.to_string().into());
    }
    if op == "loss_in_parts" {
        return loss_in_parts(dtype, device).map_err(|e| e.to_string().into());
    }
    let [y, g] = worst(op, dtype, device, card).map_err(|e| e.to_string())?;
    eprintln!(
        "{op:22} {:9} outputs {y:.1e}, gradients {g:.1e}, allowed {:.1e}",
        name(dtype),
        tolerance(op, dtype)
    );
    Ok(())
}
